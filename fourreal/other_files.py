"""What a file is that is no video, told by its first bytes, and what to do with it; and what to say
of a path where there is nothing."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from urllib.parse import unquote

from fourreal.errors import UserError
from fourreal.file_heads import what_else
from fourreal.image_facts import opened

NO_VIDEO = "not a readable video (is the file complete and a video?)"
PHOTOS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif")
UNFINISHED = (".crdownload", ".part", ".partial", ".download", ".opdownload", ".aria2")


def is_photo(path: Path) -> bool:
    """Whether a file is a photo in the container of videos, HEIC or AVIF."""
    with path.open("rb") as handle:
        head = handle.read(12)
    return head[4:8] == b"ftyp" and head[8:12] in PHOTOS


def why_no_video(path: Path) -> str:
    """Why libav finds no video in a file."""
    try:
        with path.open("rb") as handle:
            head = handle.read(512)
    except OSError as error:
        return f"it cannot be opened ({error.strerror})"
    if path.suffix.lower() in UNFINISHED:
        return "its download is not finished (or broke off): wait for it, or start it again"
    if not head:
        return f"{NO_VIDEO}: it is empty"
    if said := what_else(head, "video"):
        return said
    try:
        with opened(path) as image:
            kind = image.format
            moving = getattr(image, "n_frames", 1) > 1 and kind not in ("MPO", "TIFF", "HEIF")
    except Exception:  # it is no picture either
        return NO_VIDEO
    if moving:
        return f"it is an animated {kind}, which is not read: save it as .mp4, .gif or .apng"
    kind = "HEIC" if kind == "HEIF" else kind
    return f"it is a picture ({kind}), not a video: a clip of photos is the folder that holds them"


def nothing_there(path: str) -> UserError:
    """What to say of a path, as it was typed, where there is nothing."""
    if meant := _as_meant(path):
        return UserError(f"no such file or folder: '{path}'; '{meant}' is there")
    if re.match(r"[A-Za-z][A-Za-z+.-]+://", path):
        return UserError(
            f"{path} is an address, and nothing is fetched from the network: download it, and give "
            "the file"
        )
    if re.search(r"[*?]|%0?\d*d", path):
        return UserError(
            f"no such file or folder: {path} (it is taken as a name, not as a pattern: give the "
            "folder that holds the images)"
        )
    if Path(path).is_symlink():
        return UserError(f"{path} is a link to {os.readlink(path)}, which is not there")
    return UserError(f"no such file or folder: {path}{_near(Path(path))}")


def _as_meant(path: str) -> str:
    """A path that is there, where it was typed with what a shell, a browser or a file manager adds:
    quotes, spaces at its ends, backslashes before spaces, `file://`, `~`; '' elsewhere."""
    plain = path.strip().strip("'\"").strip()
    if plain.startswith("file://"):
        plain = unquote(plain.removeprefix("file://"))
    for meant in (plain, re.sub(r"\\(.)", r"\1", plain)):
        try:
            if meant and Path(meant).expanduser().exists():
                return str(Path(meant).expanduser())
        except (RuntimeError, ValueError, OSError):  # no such user; no name of a file
            continue
    return ""


def _near(path: Path) -> str:
    """A question about the name beside that is most like one that is not there."""
    try:
        names = [f.name for f in path.parent.iterdir()]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.8)
    return f"; did you mean {path.parent / near[0]}?" if near else ""
