"""Lossless packing of integer arrays so that gzip finds little left to store.

A section is an integer array whose last axis runs over points (neighbours in space), and whose
middle axis, if any, runs over times. It is stored as differences along the named axes, wrapped
to the width of the integer, zig-zag coded (0, -1, 1, -2 -> 0, 1, 2, 3) and split into byte
planes: all lowest bytes first. Every step is undone exactly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.integer]
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32")


def pack(values: IntArray, delta: tuple[int, ...]) -> bytes:
    """Bytes of ``values``: differences along the axes ``delta``, zig-zag, byte planes."""
    width = values.dtype.itemsize
    residual = _wrapped(values)
    for axis in delta:
        first = np.take(residual, [0], axis=axis)
        residual = np.concatenate([first, np.diff(residual, axis=axis)], axis=axis)
    sign = residual.view(f"<i{width}") >> (8 * width - 1)
    zigzag = (residual << 1) ^ sign.view(f"<u{width}")
    planes = np.ascontiguousarray(zigzag).view(np.uint8).reshape(-1, width)
    return np.ascontiguousarray(planes.T).tobytes()


def unpack(data: bytes, dtype: str, shape: tuple[int, ...], delta: tuple[int, ...]) -> IntArray:
    """Undo ``pack``: an array of ``dtype`` (one of ``DTYPES``) and ``shape``.

    Raises ValueError when the number of bytes does not fit the shape.
    """
    if dtype not in DTYPES:
        raise ValueError(f"unknown integer type {dtype!r}")
    width = np.dtype(dtype).itemsize
    if len(data) != width * int(np.prod(shape, dtype=np.int64)):
        raise ValueError(f"{len(data)} bytes do not fill {dtype} {list(shape)}")
    planes = np.frombuffer(data, np.uint8).reshape(width, -1)
    zigzag = np.ascontiguousarray(planes.T).reshape(-1).view(f"<u{width}").reshape(shape)
    one = zigzag.dtype.type(1)
    residual = (zigzag >> one) ^ (~(zigzag & one) + one)
    for axis in reversed(delta):
        residual = np.cumsum(residual, axis=axis, dtype=residual.dtype)
    return residual.view(np.dtype(dtype).newbyteorder("<")).astype(dtype, copy=False)


def _wrapped(values: IntArray) -> NDArray[np.unsignedinteger]:
    """The same bits as little-endian unsigned integers, contiguous."""
    width = values.dtype.itemsize
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return little.view(f"<u{width}")
