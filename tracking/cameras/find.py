"""From gated flow to cameras, or to the fallback that the clip deserves.

Legend: V views; `points` are world positions [M, 3] of tracks that fit, used for depth ranges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from fourreal.errors import UserError
from tracking.cameras.adjust import adjusted_cameras
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
from tracking.cameras.turntable import what_moves
from tracking.cameras.wide import WideCameras
from tracking.flow.optical import PairFlows


@dataclass
class Cameras:
    """K [V, 3, 3], w2c [V, 4, 4]; points None: no usable parallax; trust in 0..1 of the depth."""

    K: np.ndarray
    w2c: np.ndarray
    points: np.ndarray | None
    trust: float = 1.0
    dropped: list[int] = field(default_factory=list)
    central: int | None = None  # another view must be the world, since the first was not placed
    wide: bool = False  # from wide-baseline features
    turntable: bool = False  # parts of the pictures stand still while the scene turns


STAND_IN = "--allow-stand-in makes a scene without depth all the same"
CLOSER = (
    "give views at most about 15 degrees apart of something that stands still and has texture, or "
    "cameras that are known"
)
NEARER_CAMERAS = (
    "cameras more than about 30 degrees apart see too little in common: choose neighbours with "
    "--pick-views, and check that the cameras belong to these pictures"
)


def not_usable(found: WideCameras | None, limits: FallbackConfig) -> str | None:
    """Why the cameras of wide-baseline features cannot be used, or None."""
    if found is None:
        return "wide-baseline features start no model"
    placed, views = int(found.placed.sum()), len(found.placed)
    if placed < max(3, limits.wide_placed * views):
        return f"wide-baseline features place {placed} of {views} views"
    if len(found.points) < 50:
        return f"wide-baseline features give {len(found.points)} points"
    if found.error_px > limits.wide_error_px:
        return f"wide-baseline features are off by {found.error_px:.1f} pixels"
    return None


def wide_result(
    found: WideCameras,
    pairs: PairFlows,
    size: tuple[int, int],
    central: int,
    K: np.ndarray | None,
    why: str,
    note: Callable[[str], None],
) -> Cameras:
    """Cameras of wide-baseline features, the placed view nearest to `central` as the world."""
    good = np.flatnonzero(found.placed)
    middle = int(good[np.abs(good - central).argmin()])
    home = found.w2c[middle]
    w2c = interpolate_missing(found.w2c @ np.linalg.inv(home), found.placed)
    points = found.points @ home[:3, :3].T + home[:3, 3]
    dropped = np.flatnonzero(~found.placed).tolist()
    note(f"neighbouring views cannot be linked ({why}): cameras come from wide-baseline features")
    for v in dropped:
        note(f"view {v} could not be placed: it is left out, its camera is interpolated")
    if K is None:
        K = intrinsics(found.focal * pairs.scale[0], pairs, size)
    return Cameras(K, w2c, points, 1.0, dropped, middle, True)


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
    wide: Callable[[float | None, bool], WideCameras | None] | None = None,
    adjust: bool = True,
) -> Cameras:
    """Cameras of the clip; K and w2c, when given, are kept.

    wide(focal of the frames or None, whether parts stand still in the pictures, which are to be
    left out): cameras of views that flow cannot link. adjust: given cameras
    that are slightly off are put right (``tracking.cameras.adjust``).

    Raises:
        UserError: no cameras can be found and the views are no rotation (unless
            limits.allow_stand_in).
    """
    focal = None if K is None else float(K[central, 0, 0] * pairs.scale[0])
    guess = focal or focal_of_fov(50.0, pairs.size)

    def no_parallax(w2c: np.ndarray, focal: float, why: str) -> Cameras:
        note(f"{why}: depth is a smooth stand-in, do not expect parallax from new viewpoints")
        return Cameras(K if K is not None else intrinsics(focal, pairs, size), w2c, None)

    def end(why: str, advice: str, w2c: np.ndarray, focal: float) -> Cameras:
        """Without cameras there is no scene; a stand-in only where it was asked for."""
        if not limits.allow_stand_in:
            raise UserError(f"{why}; {advice} ({STAND_IN})")
        return no_parallax(w2c, focal, why)

    if w2c is not None:
        assert K is not None
        return known_cameras(pairs, central, K, w2c, config, end, note if adjust else None)

    def attempt(obs: Observations) -> tuple[Solution | None, str | None]:
        """The solution of these tracks, and why it cannot be used (or None)."""
        try:
            solution = solve_poses(pairs, obs, central, K=K, config=config)
        except ValueError as error:
            return None, str(error)
        return solution, unusable(solution, obs, limits)

    def enough(solution: Solution | None, why: str | None) -> bool:
        """Most views have their place."""
        if solution is None or why is not None:
            return False
        return bool(solution.registered.sum() >= (1 - limits.lost_share) * pairs.views)

    static = is_static(pairs, limits)
    obs = follow(pairs, config.follow)
    if K is not None:
        own = working_cameras(pairs, K)
        obs = in_one_camera(obs, own, *working_intrinsics(pairs, K, central))
    turning = None if static else rotation_only(obs, pairs, central, focal, limits)
    solution, why = (None, None) if static or turning is not None else attempt(obs)
    sure = solution is not None and enough(solution, why)
    if solution is not None and sure:  # a camera that stands still agrees with a still backdrop
        sure = triangulation_angle_deg(solution, obs) > limits.low_angle_deg
    movers = None if sure else what_moves(obs)
    before_still = False
    if movers is not None:  # a turntable: what stands still must not say where the camera is
        of_movers, why_not = attempt(movers[0])
        if (
            of_movers is not None
            and enough(of_movers, why_not)
            and triangulation_angle_deg(of_movers, movers[0]) > limits.turntable_angle_deg
        ):
            before_still, obs, solution, why = True, movers[0], of_movers, None
            note(
                f"{100 * movers[1]:.0f} % of the points stand still in the pictures while others "
                "turn (a turntable?): the cameras are those of what turns"
            )
    if not before_still:
        if static:
            still = np.tile(np.eye(4), (pairs.views, 1, 1))
            return no_parallax(still, guess, "the camera of the freeze-time clip stands still")
        if turning is not None:
            cameras = rotation_cameras(obs, pairs, central, turning)
            return no_parallax(cameras, turning, "the camera only turns on the spot")
    placed = 0 if solution is None or why is not None else int(solution.registered.sum())
    if not enough(solution, why) and wide is not None and limits.wide:
        found = wide(None if focal is None else focal / pairs.scale[0], movers is not None)
        reason = not_usable(found, limits)
        if found is not None and reason is None and found.placed.sum() > placed:
            why = why or f"{placed} of {pairs.views} views follow from one another"
            result = wide_result(found, pairs, size, central, K, why, note)
            return replace(result, turntable=movers is not None)
        why = None if why is None else f"{why}; {reason}"
    if solution is None or why is not None:
        cameras = rotation_cameras(obs, pairs, central, guess)
        return end(f"cameras could not be recovered ({why})", CLOSER, cameras, guess)
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
        return end("too few points fit one rigid scene", CLOSER, cameras, guess)
    return Cameras(
        K if K is not None else intrinsics(solution.focal, pairs, size),
        interpolate_missing(solution.w2c, solution.registered),
        points,
        trust,
        dropped,
        turntable=before_still,
    )


def known_cameras(
    pairs: PairFlows,
    central: int,
    K: np.ndarray,
    w2c: np.ndarray,
    config: PoseConfig,
    end: Callable[[str, str, np.ndarray, float], Cameras],
    adjusting: Callable[[str], None] | None = None,
) -> Cameras:
    """The cameras as given, and points that lie where they see the same things.

    adjusting: says that the cameras were slightly off; None: they are not touched.
    """
    followed = follow(pairs, config.follow)
    if adjusting is not None:
        scale = np.diag([pairs.scale[0], pairs.scale[1], 1.0])
        better = adjusted_cameras(pairs, followed, scale @ K, w2c)
        if better is not None:
            adjusting(
                f"the given cameras are slightly off: turned by up to {better.turned_deg:.2f} "
                f"degrees, matches of the worst view lie {better.after:.1f} pixels off their lines "
                f"instead of {better.before:.1f} (--keep-cameras leaves them)"
            )
            K, w2c = np.linalg.inv(scale) @ better.K, better.w2c
    pinhole = working_intrinsics(pairs, K, central)

    def in_world(solution: Solution, obs: Observations) -> np.ndarray:
        return world_points(solution, obs, pinhole[1])

    try:
        points = known_points(
            pairs, followed, central, K, w2c, config.outlier_px, in_world, pinhole
        )
        why = "too few matches agree with the given cameras" if len(points) < 12 else None
    except CamerasDisagree as error:
        points, why = np.zeros((0, 3)), str(error)
    if why is not None:
        return end(why, NEARER_CAMERAS, w2c, pinhole[0])
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
