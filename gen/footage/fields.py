"""Values out of files that others wrote: checked for type, shape and place before they are used.

Everything here raises ValueError with what was found and what was expected.
"""

from __future__ import annotations

import math
import posixpath
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourreal.read_text import read_json

MAX_TEXT = 256 * 2**20


def read_object(file: Path) -> dict[str, Any]:
    """A JSON file that holds an object."""
    try:
        return read_json(file)
    except ValueError as error:
        raise ValueError(f"{file.name} is {error}") from error


def need(table: dict[str, Any], name: str, kind: type, where: str) -> Any:
    """``table[name]``, which must be there and of a kind."""
    if name not in table:
        raise ValueError(f"{where} has no '{name}'")
    if not isinstance(table[name], kind):
        raise ValueError(f"'{name}' in {where} is no {kind.__name__}")
    return table[name]


def number(value: Any, what: str) -> float:
    """A finite number."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            found = float(value)
        except OverflowError:  # a whole number beyond what a float holds
            found = math.inf
        if math.isfinite(found):
            return found
    huge = isinstance(value, int) and not isinstance(value, bool)
    shown = "a number beyond all bounds" if huge else repr(str(value)[:40])
    raise ValueError(f"{what} must be a finite number, got {shown}")


def array(value: Any, shape: tuple[int, ...], what: str) -> NDArray[np.float64]:
    """Finite numbers of a shape; -1 stands for any length."""
    try:
        out = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{what} must hold numbers only") from None
    fits = out.ndim == len(shape) and all(
        b in (-1, a) for a, b in zip(out.shape, shape, strict=True)
    )
    if not fits or not np.isfinite(out).all():
        raise ValueError(f"{what} must be finite and {list(shape)}, got {list(out.shape)}")
    return out


def pose(value: Any, what: str) -> NDArray[np.float64]:
    """A 4x4 matrix of a pose, which may be without its last row, or a list of all its numbers."""
    count = len(value) if isinstance(value, list) else 0
    matrix = array(_rows(value, count if count in (12, 16) else 0, 4), (-1, 4), what)
    if len(matrix) == 3:
        matrix = np.concatenate([matrix, [[0.0, 0.0, 0.0, 1.0]]])
    return array(matrix, (4, 4), what)


def _rows(value: Any, count: int, width: int) -> Any:
    """A list of ``count`` plain numbers as rows of ``width``; anything else as it is."""
    plain = count and isinstance(value, list) and len(value) == count
    if plain and not any(isinstance(v, list) for v in value):
        return [value[k : k + width] for k in range(0, count, width)]
    return value


def inside(folder: Path, name: Any, what: str) -> Path:
    """The path of a file named in a file; the name may not lead out of the folder (links in it,
    which are its owner's, may)."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise ValueError(f"{what} must be a file name, got {str(name)[:40]!r}")
    if escapes(name):
        raise ValueError(f"{what} leads out of the folder: {name[:80]}")
    return folder / name


def escapes(name: str) -> bool:
    """Whether a relative name, or a rooted one, leads out of the folder it is used in."""
    return name.startswith("/") or posixpath.normpath(name).split("/")[0] == ".."


def intrinsics(value: Any, what: str) -> NDArray[np.float64]:
    """A 3x3 pin-hole matrix without skew, focal lengths above 0."""
    K = array(_rows(value, 9, 3), (3, 3), what)
    if not (K[0, 0] > 0 and K[1, 1] > 0 and abs(K[2, 2] - 1) < 1e-6):
        raise ValueError(f"{what} is no pin-hole matrix (fx, fy > 0, last row 0 0 1)")
    if abs(K[0, 1]) > 1e-3 * K[0, 0]:
        raise ValueError(f"{what} has skew {K[0, 1]:.3g}; only square grids of pixels are read")
    K[0, 1] = 0.0
    return K
