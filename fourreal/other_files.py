"""What a file is that is no video, told by its first bytes, and what to do with it; and what to say
of a path where there is nothing."""

from __future__ import annotations

import re
from pathlib import Path

from fourreal.errors import UserError
from fourreal.image_facts import opened

NO_VIDEO = "not a readable video (is the file complete and a video?)"
PHOTOS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif")
ARCHIVES = {
    b"PK\x03\x04": "zip", b"7z\xbc\xaf": "7z", b"Rar!": "rar", b"\x1f\x8b": "gzip",
    b"BZh": "bzip2", b"\xfd7zXZ": "xz",
}  # fmt: skip


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
    if not head:
        return f"{NO_VIDEO}: it is empty"
    for mark, name in ARCHIVES.items():
        if head.startswith(mark):
            return f"it is an archive ({name}): unpack it, and give the folder or file in it"
    if re.match(rb"\s*(<!doctype html|<html)", head, re.IGNORECASE):
        return "it is a web page, not a video: what was downloaded is the page around it"
    if head.startswith(b"%PDF"):
        return "it is a PDF, not a video"
    if head.startswith(b"\x93NUMPY"):
        return "it is a single array (.npy): put it into an .npz as 'rgb' [V, T, H, W, 3]"
    try:
        with opened(path) as image:
            moving = getattr(image, "n_frames", 1) > 1 and image.format not in (
                "MPO",
                "TIFF",
                "HEIF",
            )
            kind = image.format
    except Exception:  # it is no picture either
        return NO_VIDEO
    if moving:
        return f"it is an animated {kind}, which is not read: save it as .mp4, .gif or .apng"
    kind = "HEIC" if kind == "HEIF" else kind
    return f"it is a picture ({kind}), not a video: a clip of photos is the folder that holds them"


def nothing_there(path: str) -> UserError:
    """What to say of a path, as it was typed, where there is nothing."""
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
    return UserError(f"no such file or folder: {path}")
