"""The outermost boxes of a video file: whether it is as long as they say, and its head."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

MEDIA = (b"mdat", b"moov", b"moof")
MATROSKA_HEAD, LARGEST_HEAD = 2**16, 2**26  # bytes
EBML, SEGMENT = 0x1A45DFA3, 0x18538067


def is_cut_off(path: str | Path, container: str) -> bool:
    """Whether the end of a file is missing; False where its container does not tell.

    Args:
        container: libav's name of the format.
    """
    size = os.stat(path).st_size
    with open(path, "rb") as file:
        if container.startswith("mov"):
            return _boxes_end(file, size) > size
        if container.startswith("matroska"):
            return _segment_end(file) > size
        if container == "avi":
            head = file.read(8)
            return len(head) == 8 and struct.unpack("<I", head[4:])[0] + 8 > size + 1
    return False


def head_of(path: str | Path, container: str) -> bytes:
    """What a video file says of its streams, as bytes; b"" where its container is another.

    Args:
        container: libav's name of the format.
    """
    with open(path, "rb") as file:
        if container.startswith("matroska"):
            return file.read(MATROSKA_HEAD)
        if container.startswith("mov"):
            for kind, at, length in _boxes(file, os.stat(path).st_size):
                if kind == b"moov" and length <= LARGEST_HEAD:
                    file.seek(at)
                    return file.read(length)
    return b""


def _boxes_end(file: BinaryIO, size: int) -> int:
    """Where the last box with media of an ISO file ends."""
    ends = [at + length for kind, at, length in _boxes(file, size) if kind in MEDIA]
    return max(ends, default=0)


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """The outermost boxes of an ISO file: kind, place, length."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        elif length == 0:  # to the end of the file
            break
        if length < 8:  # not a box
            break
        yield head[4:8], at, length
        at += length


def _segment_end(file: BinaryIO) -> int:
    """Where the segment of a Matroska file ends; 0 where it does not say (a live recording)."""
    while True:
        name, _ = _number(file, keep_marker=True)
        length, known = _number(file)
        if name == SEGMENT:
            return file.tell() + length if known else 0
        if name != EBML or not known:
            return 0
        file.seek(length, os.SEEK_CUR)


def _number(file: BinaryIO, keep_marker: bool = False) -> tuple[int, bool]:
    """An EBML number of variable length, and whether it is known (not all ones)."""
    first = file.read(1)
    if not first or not first[0]:
        return 0, False
    more = 8 - first[0].bit_length()
    rest = file.read(more)
    value = first[0] if keep_marker else first[0] & (0xFF >> (more + 1))
    value = int.from_bytes(bytes([value]) + rest, "big")
    return value, keep_marker or value != (1 << (7 * (more + 1))) - 1
