"""From gated flow to cameras, or to the fallback that the clip deserves.

Legend: V views; `points` are world positions [M, 3] of tracks that fit, used for depth ranges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tracking.cameras.bundle import Observations, Solution
from tracking.cameras.fallbacks import (
    FallbackConfig,
    interpolate_missing,
    is_static,
    rotation_cameras,
    rotation_only,
    triangulation_angle_deg,
    unusable,
)
from tracking.cameras.follow import follow
from tracking.cameras.known import CamerasDisagree, in_one_camera, known_points, working_cameras
from tracking.cameras.poses import PoseConfig, focal_of_fov, solve_poses, working_intrinsics
from tracking.flow.optical import PairFlows


@dataclass
class Cameras:
    """K [V, 3, 3], w2c [V, 4, 4]; points None: no usable parallax; trust in 0..1 of the depth."""

    K: np.ndarray
    w2c: np.ndarray
    points: np.ndarray | None
    trust: float = 1.0
    dropped: list[int] = field(default_factory=list)


def intrinsics(focal: float, pairs: PairFlows, size: tuple[int, int]) -> np.ndarray:
    """K [V, 3, 3] at the frames' own size from a focal length in working pixels."""
    K = np.array(
        [
            [focal / pairs.scale[0], 0, size[1] / 2],
            [0, focal / pairs.scale[1], size[0] / 2],
            [0, 0, 1.0],
        ]
    )
    return np.tile(K, (pairs.views, 1, 1))


def find_cameras(
    pairs: PairFlows,
    size: tuple[int, int],
    central: int,
    K: np.ndarray | None,
    w2c: np.ndarray | None,
    config: PoseConfig,
    limits: FallbackConfig,
    note: Callable[[str], None],
) -> Cameras:
    """Cameras of the clip; K and w2c, when given, are kept as they are."""
    focal = None if K is None else float(K[central, 0, 0] * pairs.scale[0])
    guess = focal or focal_of_fov(50.0, pairs.size)

    def no_parallax(w2c: np.ndarray, focal: float, why: str) -> Cameras:
        note(f"{why}: depth is a smooth stand-in, do not expect parallax from new viewpoints")
        return Cameras(K if K is not None else intrinsics(focal, pairs, size), w2c, None)

    if w2c is not None:
        assert K is not None
        return known_cameras(pairs, central, K, w2c, config, note)
    still = np.tile(np.eye(4), (pairs.views, 1, 1))
    if is_static(pairs, limits):
        return no_parallax(still, guess, "the camera of the freeze-time clip stands still")
    obs = follow(pairs, config.follow)
    if K is not None:
        own = working_cameras(pairs, K)
        obs = in_one_camera(obs, own, *working_intrinsics(pairs, K, central))
    turning = rotation_only(obs, pairs, central, focal, limits)
    if turning is not None:
        cameras = rotation_cameras(obs, pairs, central, turning)
        return no_parallax(cameras, turning, "the camera only turns on the spot")
    try:
        solution = solve_poses(pairs, obs, central, K=K, config=config)
        why = unusable(solution, obs, limits)
    except ValueError as error:
        solution, why = None, str(error)
    if solution is None or why is not None:
        cameras = rotation_cameras(obs, pairs, central, guess)
        return no_parallax(cameras, guess, f"cameras could not be recovered ({why})")
    angle = triangulation_angle_deg(solution, obs)
    if angle < limits.useless_angle_deg:
        cameras = rotation_cameras(obs, pairs, central, solution.focal)
        return no_parallax(cameras, solution.focal, f"almost no parallax ({angle:.2f} degrees)")
    trust = min(1.0, angle / limits.low_angle_deg)
    if trust < 1.0:
        note(f"low parallax ({angle:.1f} degrees): depth is drawn towards a smooth one")
    dropped = np.flatnonzero(~solution.registered).tolist()
    for v in dropped:
        why = "shows something else" if v in pairs.foreign else "could not be placed"
        note(f"view {v} {why}: it is left out, its camera is interpolated from its neighbours")
    points = world_points(solution, obs, working_intrinsics(pairs, K, central)[1])
    if len(points) < 12:
        cameras = rotation_cameras(obs, pairs, central, guess)
        return no_parallax(cameras, guess, "too few points fit one rigid scene")
    return Cameras(
        K if K is not None else intrinsics(solution.focal, pairs, size),
        interpolate_missing(solution.w2c, solution.registered),
        points,
        trust,
        dropped,
    )


def known_cameras(
    pairs: PairFlows,
    central: int,
    K: np.ndarray,
    w2c: np.ndarray,
    config: PoseConfig,
    note: Callable[[str], None],
) -> Cameras:
    """The cameras as given, and points that lie where they see the same things."""
    pinhole = working_intrinsics(pairs, K, central)

    def in_world(solution: Solution, obs: Observations) -> np.ndarray:
        return world_points(solution, obs, pinhole[1])

    try:
        points = known_points(
            pairs, central, K, w2c, config.follow, config.outlier_px, in_world, pinhole
        )
        why = "too few matches agree with the given cameras" if len(points) < 12 else None
    except CamerasDisagree as error:
        points, why = np.zeros((0, 3)), str(error)
    if why is not None:
        note(f"{why}: depth is a smooth stand-in")
        return Cameras(K, w2c, None)
    return Cameras(K, w2c, points)


def world_points(solution: Solution, obs: Observations, centre: np.ndarray) -> np.ndarray:
    """World positions [M, 3] of the tracks that the adjustment kept."""
    kept = np.zeros(len(obs.anchor), bool)
    kept[obs.track[np.nan_to_num(solution.residual, nan=np.inf) < 4.0]] = True
    kept &= np.nan_to_num(solution.inverse_depth) > 1e-3
    uv, anchor = obs.anchor_uv[kept], obs.anchor[kept]
    ray = np.concatenate([(uv - centre) / solution.focal, np.ones((len(uv), 1))], 1)
    camera = ray / solution.inverse_depth[kept][:, None]
    return np.einsum("nji,nj->ni", solution.rotation[anchor], camera - solution.translation[anchor])


def shrink(depth: np.ndarray, confidence: np.ndarray, trust: float) -> np.ndarray:
    """Draw log inverse depth [V, H, W] towards its median, less where it is confident."""
    out = np.empty_like(depth)
    for v, view in enumerate(depth):
        log = -np.log(view)
        middle = np.median(log)
        out[v] = np.exp(-(middle + trust * np.clip(confidence[v], 0.1, 1.0) * (log - middle)))
    return out
