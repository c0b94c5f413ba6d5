"""What lies beside the views and is none: masks, depth, smaller copies, hidden files, thumbnails.

Each is passed over with a word (``Chosen.notes``). Names decide; a folder of pictures with two
grey levels, or of 16 bits beside coloured ones, is one of masks or depth whatever it is called.
"""

from __future__ import annotations

import filecmp
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fourreal.image_facts import opened
from fourreal.natural_order import natural_key

KINDS = {
    "masks": "mask masks masked matte mattes seg segs segment segments segmentation segmentations "
    "semantic semantics silhouette silhouettes sam",
    "depth": "depth depths depthmap depthmaps disparity disparities disp",
    "normals or flow": "normal normals flow flows",
    "thumbnails": "thumb thumbs thumbnail thumbnails preview previews proxy proxies",
    "calibration": "calib calibration checkerboard chessboard charuco",
    "results": "output outputs result results render renders rendered colmap sparse dense",
    "drawings": "overlay overlays visualization visualizations vis keypoints heatmap heatmaps",
}
WORD = {word: kind for kind, words in KINDS.items() for word in words.split()}
GONE = "links to what is not there"
HIDDEN = (".", "__MACOSX", "@eaDir", "#recycle", "$RECYCLE", "lost+found")
SMALL_VIDEOS = (".lrv", ".lrf", ".thm")  # what action cameras and drones keep for their screens
PICTURES = r"(images?|imgs?|rgb|input|frames|colou?r|photos)"  # usual names of folders of images
COPY = re.compile(rf"{PICTURES}[_-](2|4|8|16|32)x?", re.I)
SCALES = re.compile(r"(1|2|4|8|16)x")
# Of one recording GH010012.MP4, GH020012.MP4 …, or GOPR0012.MP4, GP010012.MP4 …
CHAPTER = re.compile(r"(?:G[HXL]([0-9]{2})|GOPR|GP([0-9]{2}))([0-9]{4})\.(?:mp4|360)", re.I)
# How phones and their clouds call a photo that was edited, beside the original.
EDITED = re.compile(r"(IMG_)E([0-9]+)|(.+)-edited", re.I)


@dataclass(frozen=True)
class Chosen:
    """Files or folders that may be views, in name order, and what was passed over and why."""

    taken: list[Path]
    passed: dict[str, list[str]]

    @property
    def notes(self) -> list[str]:
        """One line for each kind of thing that was passed over."""
        return [f"passed over, {kind}: {_some(names)}" for kind, names in self.passed.items()]


def choose(paths: Iterable[Path], suffixes: Sequence[str] = ()) -> Chosen:
    """The files or folders that may be views; if all of them look like something else, all.

    Args:
        paths: of one folder. suffixes: of files; the earlier one counts where two files have one
            name.
    """
    passed: dict[str, list[str]] = {}
    ordered = sorted(paths, key=lambda p: natural_key(p.name))
    seen = [p for p in ordered if not _keep(passed, "hidden", p, _is_hidden(p.name))]
    seen = [p for p in seen if not _keep(passed, GONE, p, not p.exists())]
    left = []
    for path in seen:
        kind = kind_of(path.name)
        if kind is None and path.suffix.lower() in SMALL_VIDEOS:
            kind = "smaller copies"
        if not _keep(passed, kind or "", path, kind is not None):
            left.append(path)
    if not left and len(set(passed) - {"hidden", GONE}) == 1:  # they are what is asked for
        left = seen
        passed = {k: v for k, v in passed.items() if k in ("hidden", GONE)}
    copies = set() if suffixes else _smaller_copies(left)
    chapters = _chapters(left)
    best: dict[str, Path] = {}
    for path in sorted(left, key=lambda p: _rank(p, suffixes)):
        best.setdefault(path.stem if suffixes else path.name, path)
    taken = []
    for path in left:
        if _keep(passed, "smaller copies", path, path in copies):
            continue
        if _keep(passed, "later chapters of a recording", path, path in chapters):
            continue
        if suffixes and _keep(passed, "edited copies", path, _original(path.stem) in best):
            continue
        double = best[path.stem if suffixes else path.name] != path
        if not _keep(passed, "the same in another format", path, double):
            taken.append(path)
    return Chosen(taken, passed)


def copies_among(files: Sequence[Path]) -> list[Path]:
    """The files that are another one again, byte by byte; none if less than two others are left."""
    kept: list[Path] = []
    for file in sorted(files, key=lambda f: len(f.name)):  # copies are called longer
        length = file.stat().st_size
        alike = (k for k in kept if k.stat().st_size == length)
        if not any(filecmp.cmp(k, file, shallow=False) for k in alike):
            kept.append(file)
    return [f for f in files if f not in kept] if len(kept) > 1 else []


def kind_of(name: str) -> str | None:
    """What a name says that its holder is, if that is no view."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    return next((WORD[w] for w in words if w in WORD), None)


def is_picture_folder(name: str) -> bool:
    """Whether a folder is called as those of a camera's own images are."""
    return bool(
        re.fullmatch(PICTURES, name, re.I) or COPY.fullmatch(name) or SCALES.fullmatch(name)
    )


def without_masks(folders: Chosen, first: dict[Path, Path]) -> Chosen:
    """Folders of pictures less those whose first picture is a mask or a depth map.

    Args:
        first: a picture of each folder.
    """
    kinds = {d: _picture_kind(first[d]) for d in folders.taken}
    if "colour" not in kinds.values():
        return folders
    passed = {k: list(v) for k, v in folders.passed.items()}
    taken = [d for d in folders.taken if kinds[d] in ("colour", "grey")]
    for folder in folders.taken:
        if folder not in taken:
            passed.setdefault(kinds[folder], []).append(folder.name)
    return Chosen(taken, passed)


def _picture_kind(file: Path) -> str:
    try:
        with opened(file) as image:
            if image.mode.startswith(("I", "F")):
                return "depth"
            if image.mode in ("1", "L", "P"):
                image.thumbnail((256, 256), Image.Resampling.NEAREST)
                return "masks" if len(np.unique(np.asarray(image))) <= 2 else "grey"
    except Exception:  # whoever reads it says what is wrong
        return "colour"
    return "colour"


def _is_hidden(name: str) -> bool:
    return name.startswith(HIDDEN)


def _keep(passed: dict[str, list[str]], kind: str, path: Path, is_passed: bool) -> bool:
    """Note a path under a kind if it is passed over; whether it is."""
    if is_passed:
        passed.setdefault(kind, []).append(path.name)
    return is_passed


def _smaller_copies(paths: Sequence[Path]) -> set[Path]:
    """`images_2` beside `images`, `2x` beside `1x`; of `images_4` and `images_8` the second."""
    names = {p.name: p for p in paths}
    if len(names) > 1 and all(SCALES.fullmatch(n) for n in names):
        return set(paths) - {min(paths, key=lambda p: int(p.name[:-1]))}
    found: dict[str, list[tuple[int, Path]]] = {}
    for path in paths:
        match = COPY.fullmatch(path.name)
        if match and (match[1] in names or match[1].lower() in ("images", "image")):
            found.setdefault(match[1], []).append((int(match[2]), path))
    copies: set[Path] = set()
    for base, group in found.items():
        kept = [] if base in names else [min(group)]
        copies |= {p for entry in group if entry not in kept for p in entry[1:]}
    return copies


def _chapters(paths: Sequence[Path]) -> set[Path]:
    """The second and later files that an action camera split one recording into."""
    found: dict[str, list[tuple[int, Path]]] = {}
    for path in paths:
        if match := CHAPTER.fullmatch(path.name):
            found.setdefault(match[3], []).append((int(match[1] or match[2] or 0), path))
    return {path for group in found.values() for _, path in sorted(group)[1:]}


def _original(stem: str) -> str:
    """How the photo is called that a file of such a name is an edited copy of; '' of others."""
    match = EDITED.fullmatch(stem)
    return "".join(part for part in match.groups() if part) if match else ""


def _rank(path: Path, suffixes: Sequence[str]) -> int:
    suffix = path.suffix.lower()
    return suffixes.index(suffix) if suffix in suffixes else len(suffixes)


def _some(names: Sequence[str]) -> str:
    shown = " ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
