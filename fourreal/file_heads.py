"""What a file is that is neither picture nor video, by its first bytes, and what to do with it."""

from __future__ import annotations

import re

ARCHIVES = {
    b"PK\x03\x04": "zip", b"7z\xbc\xaf": "7z", b"Rar!": "rar", b"\x1f\x8b": "gzip",
    b"BZh": "bzip2", b"\xfd7zXZ": "xz",
}  # fmt: skip


def what_else(head: bytes, what: str) -> str:
    """What a file with such first bytes is, in place of a ``what``; '' where that is not known."""
    for mark, name in ARCHIVES.items():
        if head.startswith(mark):
            return f"it is an archive ({name}): unpack it, and give the folder or file in it"
    if re.match(rb"\s*(<!doctype html|<html)", head, re.IGNORECASE):
        return f"it is a web page, not a {what}: what was downloaded is the page around it"
    if head.startswith(b"version https://git-lfs"):
        return f"it stands for a {what} that Git LFS has not fetched: run `git lfs pull`"
    if head.startswith(b"%PDF"):
        return f"it is a PDF, not a {what}"
    if head.startswith(b"\x93NUMPY"):
        return "it is a single array (.npy): put it into an .npz as 'rgb' [V, T, H, W, 3]"
    return ""
