"""One moment as ``.spz`` (version 3, gzip), the compressed format of nianticlabs/spz.

Axes right, up, back. Positions are 24-bit fixed point, radii steps of 1/16 in the logarithm,
rotations three components of ten bits, colours and opacities bytes. Version 3 is what every
reader knows; 4 needs zstd. Format: README.md and src/cc/load-spz.cc of that repository (MIT).
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from viewer.export.moments import SH_C0, Moment

MAGIC = 0x5053474E  # "NGSP"
VERSION = 3
_COLOUR = 0.15  # share of a byte's range that a unit of the zeroth coefficient takes
_MOST_BITS = 20  # of a position's fraction


def write_spz(moment: Moment, path: Path) -> None:
    """Write ``moment`` (OpenCV axes) to ``path``."""
    path.write_bytes(spz_bytes(moment))


def spz_bytes(moment: Moment) -> bytes:
    """The file as bytes."""
    m = moment.upright()
    reach = max(float(np.abs(m.means).max()), 1e-9)
    bits = int(np.clip(np.floor(np.log2((2**23 - 1) / reach)), 0, _MOST_BITS))
    fixed = np.rint(m.means.astype(np.float64) * 2**bits).astype("<i4")
    places = fixed.reshape(-1, 1).view(np.uint8)[:, :3]
    header = struct.pack("<IIIBBBB", MAGIC, VERSION, len(m.means), 0, bits, 0, 0)
    parts = (
        places,
        _bytes(m.opacities * 255),
        _bytes((m.colors - 0.5) / SH_C0 * (_COLOUR * 255) + 127.5),
        _bytes((m.log_axes + 10) * 16),
        _smallest_three(m.rotations),
    )
    raw = header + b"".join(np.ascontiguousarray(p).tobytes() for p in parts)
    return gzip.compress(raw, compresslevel=9, mtime=0)


def _bytes(values: NDArray) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _smallest_three(rotations: NDArray) -> NDArray[np.uint32]:
    """Index of the largest of x, y, z, w, then sign and nine bits of each of the others."""
    q = np.roll(rotations.astype(np.float64), -1, axis=1)
    q /= np.maximum(np.linalg.norm(q, axis=1, keepdims=True), 1e-12)
    largest = np.abs(q).argmax(1)
    q *= np.where(np.take_along_axis(q, largest[:, None], 1) < 0, -1, 1)
    packed = largest.astype(np.uint32)
    for axis in range(4):
        size = np.minimum(np.floor(511 * np.abs(q[:, axis]) * np.sqrt(2) + 0.5), 511)
        code = (q[:, axis] < 0).astype(np.uint32) << 9 | size.astype(np.uint32)
        packed = np.where(largest == axis, packed, packed << 10 | code)
    return packed.astype("<u4")
