"""Files that a data set names, found in its folder: paths of Windows, of another machine, in
another case, without suffix. Nothing outside the folder is ever opened by what a file says; links
inside the folder are its owner's and are followed."""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from pathlib import Path
from typing import Any

from fourreal.video_io import IMAGE_SUFFIXES
from gen.footage.fields import escapes
from gen.footage.views import images_in

DRIVE = re.compile(r"^(?:[A-Za-z]:(?=/)|//[^/]+/)")
DOWNSCALED = (2, 4, 8)  # nerfstudio and others keep such copies beside `images`


class NamedFiles:
    """Finds images below a folder by the names that a file of the data set gives them.

    ``notes`` says afterwards what was found otherwise than it is named.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._listed: dict[Path, dict[str, str]] = {}
        self._taken: dict[Path, str] = {}
        self._elsewhere: list[str] = []
        self._spelt: list[tuple[str, str]] = []
        self._copies: dict[str, str] = {}

    def find(self, name: Any, what: str) -> Path | None:
        """The image of a name; None when it is missing.

        Raises:
            ValueError: no name, one that leads out of the folder, or two names of one file.
        """
        if not isinstance(name, str) or not name or "\0" in name:
            raise ValueError(f"{what} must be a file name, got {str(name)[:40]!r}")
        plain = name.replace("\\", "/")
        rooted = plain.startswith("/") or DRIVE.match(plain) is not None
        parts = [p for p in DRIVE.sub("", posixpath.normpath(plain)).split("/") if p]
        found = None
        here = self.folder.absolute().as_posix().rstrip("/") + "/"
        if plain.startswith(here) and not escapes(plain[len(here) :]):
            parts = posixpath.normpath(plain[len(here) :]).split("/")
            found = self._below(parts)
        elif not rooted and not escapes(plain):
            found = self._below(parts)
        else:
            parts = [p for p in parts if p != ".."]
            for skipped in range(len(parts)):
                found = self._below(parts[skipped:])
                if found is not None:
                    self._elsewhere.append(name)
                    break
            if found is None and not rooted:
                raise ValueError(f"{what} leads out of the folder: {name[:80]}")
        if found is None:
            return None
        if self._taken.setdefault(found, name) != name:
            raise ValueError(
                f"{what}: {name[:80]} and {self._taken[found][:80]} are both {found.name} here"
            )
        if found.name != parts[-1]:
            self._spelt.append((parts[-1], found.name))
        return found

    @property
    def notes(self) -> list[str]:
        """What was done about names, one line each."""
        out = []
        if self._elsewhere:
            out.append(
                f"paths of another folder or machine ({self._elsewhere[0][:80]}): "
                f"{len(self._elsewhere)} found below {self.folder.name or '.'}"
            )
        for named, copy in self._copies.items():
            out.append(f"{named}/ is not there: the downscaled copies in {copy}/ are read")
        written = [x for x in self._spelt if not _only_suffix_added(*x)]
        if written:
            out.append(
                f"{len(written)} name(s) are written otherwise than the files are called "
                f"({written[0][0]} is {written[0][1]})"
            )
        return out

    def not_named(self) -> list[str]:
        """Images that lie beside those that were found and that no name led to."""
        folders = dict.fromkeys(f.parent for f in self._taken)
        return [
            file.name
            for folder in folders
            for file in images_in(folder)
            if file not in self._taken and not file.name.startswith(".")
        ]

    def why_missing(self, name: str) -> str:
        """What there is to say about a name that was not found, after a colon, or nothing."""
        if name.replace("\\", "/").startswith("/") or DRIVE.match(name.replace("\\", "/")):
            return ": the path is of another machine, and no end of it is found below this folder"
        return ""

    def _below(self, parts: list[str]) -> Path | None:
        at = self.folder
        for part in parts[:-1]:
            if not (at / part).is_dir():
                names = (part, *(f"{part}_{n}" for n in DOWNSCALED))
                listed = [self._listing(at).get(_folded(n)) for n in names]
                spelt = next((n for n in listed if n is not None and (at / n).is_dir()), None)
                if spelt is None:
                    return None
                if _folded(spelt) != _folded(part):
                    self._copies[part] = spelt
                part = spelt
            at = at / part
        return self._file(at, parts[-1]) if parts else None

    def _file(self, at: Path, name: str) -> Path | None:
        suffix = Path(name).suffix.lower()
        if suffix in IMAGE_SUFFIXES and _is_there(at / name):
            return at / name
        stem = name if suffix not in IMAGE_SUFFIXES else name[: -len(suffix)]
        # PNG first: D-NeRF, which leaves the suffix away, means it
        for ending in (suffix, *IMAGE_SUFFIXES) if stem != name else IMAGE_SUFFIXES:
            spelt = self._listing(at).get(_folded(stem + ending))
            if spelt is not None and _is_there(at / spelt):
                return at / spelt
        return None

    def _listing(self, folder: Path) -> dict[str, str]:
        if folder not in self._listed:
            try:
                names = sorted(os.listdir(folder))
            except OSError:
                names = []
            self._listed[folder] = {_folded(n): n for n in reversed(names)}
        return self._listed[folder]


def _folded(name: str) -> str:
    """A name without regard to case, and to how a system writes letters with marks."""
    return unicodedata.normalize("NFC", name).casefold()


def _is_there(file: Path) -> bool:
    """Whether a file is there and has content (a copy that broke off leaves an empty one)."""
    return file.is_file() and file.stat().st_size > 0


def _only_suffix_added(named: str, found: str) -> bool:
    return found.startswith(named) and found[len(named) :].lower() in IMAGE_SUFFIXES
