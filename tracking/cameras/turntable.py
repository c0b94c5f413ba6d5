"""A scene that turns before a still camera and a still backdrop, as on a turntable.

What stands still in the pictures says that the camera does, and would win by numbers; the cameras
that belong to what turns are found without it.

Legend: V views, H W image.
"""

from __future__ import annotations

import cv2
import numpy as np

from tracking.cameras.bundle import Observations

_STILL_PX = 1.0  # working pixels that a point never leaves its place by
_MOVED_PX = 3.0  # ... and that it must leave it by
_FAR = 2  # views away that a point must be seen to tell
_LEAST_STILL = 0.1  # share of those points
_LEAST_MOVING = 40  # points
_ALIKE = 0.06  # difference to the median of all pictures that is none


def what_moves(obs: Observations) -> tuple[Observations, float] | None:
    """The tracks that leave their place in the picture, and the share of those that do not.

    None unless a good share of the points stands still and enough others move.
    """
    points = len(obs.anchor)
    moved, away = np.zeros(points), np.zeros(points, int)
    shift = np.linalg.norm(obs.uv - obs.anchor_uv[obs.track], axis=1)
    np.maximum.at(moved, obs.track, shift)
    np.maximum.at(away, obs.track, np.abs(obs.view - obs.anchor[obs.track]))
    tells = away >= min(_FAR, max(int(away.max(initial=0)), 1))
    if not tells.any():
        return None
    still = float((moved[tells] < _STILL_PX).mean())
    kept = moved > _MOVED_PX
    if still < _LEAST_STILL or kept.sum() < _LEAST_MOVING:
        return None
    number = np.cumsum(kept) - 1
    use = kept[obs.track]
    moving = Observations(
        obs.anchor[kept], obs.anchor_uv[kept], number[obs.track[use]], obs.view[use], obs.uv[use]
    )
    return moving, still


def still_parts(frames: np.ndarray) -> np.ndarray:
    """Where frames [V, H, W, 3] (0..1) show what most of them show in that place, [V, H, W]."""
    smooth = np.stack([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in frames])
    return np.abs(smooth - np.median(smooth, axis=0)).max(-1) < _ALIKE
