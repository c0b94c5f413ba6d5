"""Reading .npz files of strangers: what the headers claim is checked before anything is unpacked.

``numpy.load`` reserves as much memory as a header asks for. Here every array has to be as large as
its file in the archive says, the whole at most ``MAX_BYTES``, and nothing is ever unpickled.
"""

from __future__ import annotations

import zipfile
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
    except (ValueError, MemoryError):
        raise
    except OSError as error:
        raise ValueError(f"unreadable npz ({error.strerror or error})") from error
    # zipfile, zlib and the parser of headers raise whatever damage leads them to.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:120]
        raise ValueError(f"unreadable npz ({reason})") from error


def read_npy(path: str | Path) -> np.ndarray:
    """The array of an .npy.

    Raises:
        ValueError: not a whole .npy, Python objects in it, or more than ``MAX_BYTES``.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:
            shape, dtype = _header(stream, file.name)
            size = _size(shape, dtype)
            if size > MAX_BYTES or size != file.stat().st_size - stream.tell():
                raise ValueError(f"'{file.name}' claims {str(shape)[:60]} values, others are there")
        return np.load(file, allow_pickle=False)
    except (ValueError, MemoryError):
        raise
    except OSError as error:
        raise ValueError(f"unreadable npy ({error.strerror or error})") from error
    except Exception as error:  # as above
        raise ValueError(f"unreadable npy ({type(error).__name__})") from error


def _size(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Bytes of an array; in Python integers, since a product of int64 could wrap around."""
    size = dtype.itemsize
    for length in shape:
        size *= length
    return size


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    name = member.filename
    if not name.endswith(".npy"):
        raise ValueError(f"'{name}' in the npz is no array")
    with archive.open(member) as stream:
        shape, dtype = _header(stream, name)
        if _size(shape, dtype) != member.file_size - stream.tell():
            raise ValueError(f"'{name}' claims {str(shape)[:60]} values and does not hold them")
    with archive.open(member) as stream:
        return npy.read_array(stream, allow_pickle=False)


def _header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(stream)
    if version not in _READ_HEADER:
        raise ValueError(f"'{name}' is an array of the unknown version {version}")
    try:
        shape, _, dtype = _READ_HEADER[version](stream)
    except MemoryError:  # the parser's way to say that a header is nested too deeply
        raise ValueError(f"'{name}' has no readable header") from None
    if dtype.hasobject:
        raise ValueError(f"'{name}' holds Python objects, which are never unpickled")
    if any(length < 0 for length in shape):
        raise ValueError(f"'{name}' has the shape {str(shape)[:60]}")
    return shape, dtype
