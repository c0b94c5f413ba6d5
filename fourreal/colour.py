"""How far apart colours are."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def difference(a: ArrayLike, b: ArrayLike) -> NDArray[np.floating]:
    """The largest difference of the three channels [...] of colours [..., 3]."""
    off = np.abs(np.asarray(a) - np.asarray(b))
    # numpy's max over so short an axis is slow
    return np.maximum(np.maximum(off[..., 0], off[..., 1]), off[..., 2])
