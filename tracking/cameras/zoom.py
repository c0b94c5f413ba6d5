"""A lens that zooms while the camera moves: every view has a focal length of its own.

Cameras with one focal length for all come close enough that matches lie near their lines, but not
on them; from there each may turn, shift and zoom (``tracking.cameras.adjust``).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tracking.cameras.adjust import AdjustConfig, adjusted_cameras
from tracking.cameras.bundle import Observations
from tracking.cameras.known import working_cameras
from tracking.cameras.search import Cameras, Search

_LOOSE = AdjustConfig(
    turn_deg=2.0, shift_deg=3.0, focal=0.3, most_deg=8.0, line_px=(8.0, 4.0, 3.0)
)  # fmt: skip
_ZOOM = 1.08  # largest focal length, of the smallest, below which nobody zooms
_EVEN = 0.5  # of the whole zoom, what one step from view to view may be


def zooming(search: Search, obs: Observations, found: Cameras) -> tuple[Cameras, float] | None:
    """The cameras with focal lengths of their own and by how much they zoom; None: they do not."""
    if search.K is not None or found.points is None or found.dropped or len(found.w2c) < 4:
        return None
    working = working_cameras(search.pairs, found.K)
    better = adjusted_cameras(search.pairs, obs, working, found.w2c, _LOOSE)
    if better is None:
        return None
    length = np.log(better.K[:, 0, 0])
    zoom = float(np.exp(np.ptp(length)))
    # nobody zooms to and fro from frame to frame
    if zoom < _ZOOM or np.abs(np.diff(length)).max() > _EVEN * np.ptp(length):
        return None
    inverse = np.array([1 / search.pairs.scale[0], 1 / search.pairs.scale[1], 1.0])
    return replace(found, K=better.K * inverse[:, None], w2c=better.w2c), zoom
