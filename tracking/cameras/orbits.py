"""Starts for cameras where points say too little: on arcs around the subject, as most frozen
moments are filmed, judged by its silhouettes and by what points there are.

Legend as in ``tracking.cameras.bundle``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from tracking.cameras.bundle import Observations, Solution, refine, triangulate
from tracking.cameras.silhouettes import Silhouettes

_ARCS_DEG = (8.0, 12.0, 18.0, 27.0, 40.0, 60.0, 90.0, 135.0)  # between the first and the last view
_STEP_DEG = 25.0  # between neighbours, at most
_HEIGHTS_DEG = (0.0, 15.0, 35.0)  # of the cameras above the subject's horizon
_NEAR, _FAR = 0.4, 2.5  # inverse depths of points, to that of the middle
_BEST = 6
_APART = 1.6  # ratio of arcs below which two starts are the same


def orbits(
    obs: Observations,
    silhouettes: Silhouettes,
    views: int,
    central: int,
    focals: tuple[float, ...],
    centre: np.ndarray,
    scale: float,
) -> Iterator[Solution]:
    """Cameras on arcs that fit silhouettes and points best, best first; each looks at the middle of
    what it shows of the subject.

    focals: in working pixels. scale: of the robust costs, pixels.
    """
    middle = silhouettes.middle
    steps = max(1, views - 1)
    arcs = [sign * arc for arc in _ARCS_DEG if arc <= _STEP_DEG * steps for sign in (1, -1)]
    tried: list[tuple[float, float, Solution]] = []
    for focal, arc, height in product(focals, arcs, _HEIGHTS_DEG):
        turns = arc * (np.arange(views) - central) / steps
        rotation, translation = _around(turns, height, (middle - centre) / focal, central)
        rho = triangulate(obs, rotation, translation, focal, centre, np.ones(views, bool))
        rho = np.clip(np.nan_to_num(rho, nan=1.0), _NEAR, _FAR)
        start = Solution(
            rotation, translation, focal, rho, np.empty(0), np.inf, np.ones(views, bool)
        )
        seen = refine(
            obs, start, centre, central, fixed_focal=True, fixed_cameras=True, scale=scale,
            iterations=1,
        )  # fmt: skip
        cost = seen.cost * len(obs.track)
        cost += silhouettes.cost(rotation, translation, focal, centre, scale)
        tried.append((cost, arc, replace(start, inverse_depth=seen.inverse_depth)))
    tried.sort(key=lambda entry: entry[0])
    kept: list[tuple[float, float]] = []
    for _, arc, start in tried:
        if any(f == start.focal and 1 / _APART < arc / a < _APART for a, f in kept):
            continue
        kept.append((arc, start.focal))
        yield start
        if len(kept) == _BEST:
            return


def _around(
    turns_deg: NDArray[np.float64], height_deg: float, aim: NDArray[np.float64], central: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """World-to-camera [V, 3, 3], [V, 3] of cameras at distance 1 from a point that each sees at
    aim [V, 2] (z = 1), turned around its vertical; the central one is the identity."""
    up = np.radians(height_deg)
    w2c = np.tile(np.eye(4), (len(turns_deg), 1, 1))
    tilt = cv2.Rodrigues(np.array([-up, 0.0, 0.0]))[0]
    for v, turn in enumerate(np.radians(turns_deg)):
        facing = tilt @ cv2.Rodrigues(np.array([0.0, turn, 0.0]))[0]
        ray = np.append(aim[v], 1.0)
        ray /= np.linalg.norm(ray)
        axis = np.array([-ray[1], ray[0], 0.0])  # of the turn from straight ahead to the ray
        sine = np.linalg.norm(axis)
        if sine > 1e-9:
            facing = cv2.Rodrigues(axis / sine * np.arctan2(sine, ray[2]))[0] @ facing
        w2c[v, :3, :3], w2c[v, :3, 3] = facing, ray
    w2c = w2c @ np.linalg.inv(w2c[central])
    return w2c[:, :3, :3].copy(), w2c[:, :3, 3].copy()
