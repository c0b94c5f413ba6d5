"""No points where other views plainly show something else.

A pixel whose depth is too near floats before surfaces that other views see. Blank paper hides such
an error from the matching: it looks alike everywhere, so the views agree. But where it floats
before a dark pot, its colour is missing there, whatever either depth is worth.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fourreal.cameras import relative_pose
from tracking.column import ColumnTracks
from tracking.depth.consistency import is_far, nearest, reproject
from tracking.depth.witnesses import ALIKE, OTHER, witnesses

_IN_FRONT = 0.02  # relative difference of 1/z by which a point lies before a view's own surface
_SAME = 0.04  # ... and within which it lies on it
_WITNESSES = 12  # views asked, spread over the clip
_LEAST = 2  # of them that must contradict ...
_LEAST_WIDE = 1  # ... or, where views are far apart: no more may see the place


def contradicted(column: ColumnTracks, frames_VHW3: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Pixels [V, H, W] that more views contradict by colour than agree with in depth and colour."""
    rho = (1.0 / np.maximum(column.depth, 1e-9)).astype(np.float32)
    views, height, width = rho.shape
    out = np.zeros(rho.shape, bool)
    good = [v for v in range(views) if v not in column.dropped]
    grain = np.ones((3, 3), np.uint8)
    # an edge that is off by a pixel contradicts nothing
    surface = {v: cv2.dilate(rho[v], grain) for v in good}
    low = {v: cv2.erode(frames_VHW3[v], grain) for v in good}
    high = {v: cv2.dilate(frames_VHW3[v], grain) for v in good}
    for v in good:
        against, for_it = np.zeros((2, height, width), np.int32)
        for u in witnesses(good, v, _WITNESSES):
            move = relative_pose(column.w2c[v], column.w2c[u])
            uv, there = reproject(rho[v], column.K[v], column.K[u], move)
            seen = ((uv >= 0) & (uv < (width, height))).all(-1)
            if column.backdrop is not None:  # what stands there is no part of the scene
                seen &= nearest(column.backdrop[u].astype(np.uint8), uv) == 0
            own, colour = nearest(surface[u], uv), frames_VHW3[v]
            off = np.maximum(nearest(low[u], uv) - colour, colour - nearest(high[u], uv)).max(-1)
            against += seen & (there > own * (1 + _IN_FRONT)) & (off > OTHER)
            for_it += seen & (np.abs(there - own) < _SAME * there) & (off < ALIKE)
        far = is_far(v, good, column.w2c, float(np.median(column.depth[v])))
        out[v] = (against >= (_LEAST_WIDE if far else _LEAST)) & (against > for_it)
    return out
