"""Cameras on a circle around an asset, as in the paper's animated-Objaverse renders (Sec. 3.3).

World: z up, the asset in the unit sphere at 0 with its front along -y (`gen.data.assets.bake`).
Cameras follow `fourreal.cameras`: OpenCV, world-to-camera, pixel centres at +0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourreal.cameras import intrinsics_from_fov, look_at


@dataclass(frozen=True)
class Circle:
    """A circular trajectory, all angles in degrees.

    Attributes:
        azimuth: middle of the arc; 0 looks at the asset's front, growing counter-clockwise from
            above.
        arc: angle between the first and the last input view.
        elevation: height of the cameras above the horizon.
        fov_y: vertical field of view.
        margin: free share of the frame's half-width and half-height around the whole motion.
    """

    azimuth: float = 30.0
    arc: float = 70.0
    elevation: float = 12.0
    fov_y: float = 35.0
    margin: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.arc <= 360 or not -80 <= self.elevation <= 80:
            raise ValueError("Circle: arc must lie in 0..360 and elevation in -80..80 degrees")
        if not 5 <= self.fov_y <= 120 or not 0 <= self.margin <= 0.8:
            raise ValueError("Circle: fov_y must lie in 5..120 degrees and margin in 0..0.8")


def intrinsics(circle: Circle, height: int, width: int) -> NDArray[np.float64]:
    """K [3, 3] for frames of height x width: square pixels, centred."""
    half = np.tan(np.radians(circle.fov_y) / 2) * width / height
    fov_x = float(np.degrees(2 * np.arctan(half)))
    return np.asarray(intrinsics_from_fov(fov_x, height, width), np.float64)


def directions(circle: Circle, views: int, heldout: int = 0) -> NDArray[np.float64]:
    """Unit vectors [views + heldout, 3] from the asset to its cameras.

    Input views are evenly spaced over the arc (a full circle does not repeat its first view).
    Held-out ones lie half-way between neighbours and, in turn, 4 degrees higher and lower.
    """
    step = circle.arc / (views if circle.arc == 360 else max(views - 1, 1))
    angles = circle.azimuth - circle.arc / 2 + step * np.arange(views)
    heights = np.full(views, circle.elevation)
    if heldout:
        between = np.linspace(0, views - 2, heldout + 2)[1:-1].round()
        angles = np.concatenate([angles, angles[0] + step * (between + 0.5)])
        tilt = circle.elevation + np.where(np.arange(heldout) % 2 == 0, 4.0, -4.0)
        heights = np.concatenate([heights, tilt])
    a, e = np.radians(angles - 90.0), np.radians(heights)
    return np.stack([np.cos(a) * np.cos(e), np.sin(a) * np.cos(e), np.sin(e)], axis=-1)


def circle_cameras(
    circle: Circle,
    points_N3: NDArray,
    K: NDArray,
    height: int,
    width: int,
    views: int,
    heldout: int,
) -> NDArray[np.float64]:
    """World-to-camera matrices [views + heldout, 4, 4], all at one distance from 0.

    The distance is the smallest that keeps all `points_N3` in every frame with the margin.
    """
    away = directions(circle, views, heldout)
    cameras = [look_at(d, np.zeros(3), up=(0.0, 0.0, 1.0)) for d in away]
    w2c = np.asarray(cameras, np.float64)
    half = np.array([width / 2, height / 2]) * (1 - circle.margin)
    focal = np.array([K[0, 0], K[1, 1]])
    distance = 0.0
    for camera in w2c:
        p = points_N3 @ camera[:3, :3].T  # relative to 0: the depth there is p_z + distance
        needed = np.abs(p[:, :2]) * (focal / half) - p[:, 2:3]
        distance = max(distance, float(needed.max()))
    w2c[:, 2, 3] = max(distance, 1.05)  # never inside the unit sphere
    return w2c
