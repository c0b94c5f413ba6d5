"""Reading .npz files of strangers: what the headers claim is checked before anything is unpacked.

``numpy.load`` reserves as much memory as a header asks for. Here every array has to be as large as
its file in the archive says, the whole at most ``MAX_BYTES``, and nothing is ever unpickled.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

MAX_BYTES = 6 * 2**30
_READ_HEADER = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npz(path: str | Path, leave_out: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """All arrays of an .npz by name, except those named in ``leave_out``.

    Raises:
        ValueError: not a whole .npz, Python objects in it, or more than ``MAX_BYTES``.
    """
    skipped = {f"{name}.npy" for name in leave_out}
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename not in skipped]
            if sum(m.file_size for m in members) > MAX_BYTES:
                raise ValueError(f"its arrays take more than {MAX_BYTES >> 30} GB")
            return {m.filename.removesuffix(".npy"): _read(archive, m) for m in members}
    except OSError as error:
        raise ValueError(f"unreadable npz ({error.strerror or error})") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"unreadable npz ({error})") from error


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    name = member.filename
    if not name.endswith(".npy"):
        raise ValueError(f"'{name}' in the npz is no array")
    with archive.open(member) as stream:
        shape, dtype = _header(stream, name)
        # Python integers: a product of int64 could wrap around to something small.
        size = dtype.itemsize
        for length in shape:
            size *= length
        if size != member.file_size - stream.tell():
            raise ValueError(f"'{name}' claims {str(shape)[:60]} values and does not hold them")
    with archive.open(member) as stream:
        return npy.read_array(stream, allow_pickle=False)


def _header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(stream)
    if version not in _READ_HEADER:
        raise ValueError(f"'{name}' is an array of the unknown version {version}")
    try:
        shape, _, dtype = _READ_HEADER[version](stream)
    # The header is a Python literal: what its parser trips over depends on the literal.
    except (SyntaxError, TypeError, RecursionError, MemoryError, KeyError) as error:
        raise ValueError(f"'{name}' has no readable header ({type(error).__name__})") from error
    if dtype.hasobject:
        raise ValueError(f"'{name}' holds Python objects, which are never unpickled")
    if any(length < 0 for length in shape):
        raise ValueError(f"'{name}' has the shape {str(shape)[:60]}")
    return shape, dtype
