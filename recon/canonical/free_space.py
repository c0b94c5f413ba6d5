"""No points in front of a surface that other views see clean.

A pixel whose depth is too near is a speck in mid-air from elsewhere. Views that surely see through
the place where it would be say so, before it becomes a Gaussian.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracking.column import ColumnTracks
from tracking.depth.consistency import compare_views, is_far
from tracking.depth.witnesses import witnesses

_TOLERANCE = 0.03  # relative difference of 1/z of two views that see one surface
_WITNESSES = 8  # views asked, spread over the clip
_LEAST = 1.5  # trusted views that must see through a pixel ...
_LEAST_WIDE = 0.4  # ... or, where views are far apart: no more may see the place


def seen_through(column: ColumnTracks) -> NDArray[np.bool_]:
    """Pixels [V, H, W] where more trusted views see through the point than agree with it."""
    rho = (1.0 / np.maximum(column.depth, 1e-9)).astype(np.float32)
    out = np.zeros(rho.shape, bool)
    good = [v for v in range(len(rho)) if v not in column.dropped]
    for v in good:
        others = witnesses(good, v, _WITNESSES)
        agree, through = compare_views(
            rho[v], rho, v, others, column.K, column.w2c, _TOLERANCE, column.depth_confidence
        )
        # its own view believes in it too, as far as it is sure
        far = is_far(v, good, column.w2c, float(np.median(column.depth[v])))
        out[v] = (through >= (_LEAST_WIDE if far else _LEAST)) & (
            through > agree + column.depth_confidence[v]
        )
    return out
