"""From gated flow to cameras, or to the fallback that the clip deserves.

The clip's own front end first; what turns before a still backdrop where that says nothing; features
that bear a wide baseline where views are too far apart; an honest end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain

import numpy as np

from tracking.cameras.adjust import adjusted_cameras
from tracking.cameras.bundle import Observations, Solution
from tracking.cameras.fallbacks import (
    FallbackConfig,
    interpolate_missing,
    is_static,
    left_out_lines,
)
from tracking.cameras.follow import follow
from tracking.cameras.known import CamerasDisagree, in_one_camera, known_points, working_cameras
from tracking.cameras.moments import (
    SURE_PX,
    Moments,
    few_points,
    joined,
    near,
    of_first,
    same_cameras,
    surest,
)
from tracking.cameras.outlines import outlines_of, within_outlines
from tracking.cameras.poses import PoseConfig, working_intrinsics
from tracking.cameras.rotation import Turning, rotation_cameras, rotation_only
from tracking.cameras.search import CLOSER, Attempt, Cameras, Search, world_points
from tracking.cameras.silhouettes import MOVING_PX, Silhouettes
from tracking.cameras.turntable import of_what_turns, what_moves
from tracking.cameras.wide import WideCameras, far_apart, not_usable
from tracking.cameras.zoom import zooming
from tracking.flow.optical import PairFlows

_INNER = 100  # points away from outlines that find cameras ...
_MANY_INNER = 300  # ... and from which the others only mislead

NEARER_CAMERAS = (
    "cameras more than about 30 degrees apart see too little in common: choose neighbours with "
    "--pick-views, and check that the cameras belong to these pictures"
)


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
    moments: Moments | None = None,
) -> Cameras:
    """Cameras of the clip; K and w2c, when given, are kept.

    wide(focal of the frames or None, whether parts stand still in the pictures, which are to be
    left out): cameras of views that flow cannot link. adjust: given cameras
    that are slightly off are put right (``tracking.cameras.adjust``). moments: flow of what the
    same cameras, standing still, saw at other times, asked where points are few.

    Raises:
        UserError: no cameras can be found and the views are no rotation (unless
            limits.allow_stand_in).
    """
    search = Search(pairs, size, central, K, config, limits, note)
    if w2c is not None:
        return known_cameras(search, w2c, adjust)
    static = is_static(pairs, limits)
    obs = as_one_camera(search, follow(pairs, config.follow))
    turning = None if static else rotation_only(obs, pairs, central, search.focal, limits)
    in_place = static or turning is not None
    found = Attempt(obs) if in_place else searched(search, obs, moments)
    # a camera that stands still agrees with a still backdrop
    sure = search.enough(found) and found.angle_deg > limits.low_angle_deg
    movers = None if sure else what_moves(obs)
    turned = None if movers is None else of_what_turns(search, *movers)
    if turned is not None:
        found = turned
    elif static:
        still = np.tile(np.eye(4), (pairs.views, 1, 1))
        why = "the camera of the freeze-time clip stands still"
        return search.no_parallax(still, search.guess, why)
    elif turning is not None:
        return in_its_place(search, obs, turning, turning.what)
    if not search.enough(found) and wide is not None and limits.wide:
        known = None if search.focal is None else search.focal / pairs.scale[0]
        far = wide(known, movers is not None)
        reason = not_usable(far, limits)
        if far is not None and reason is None and far.placed.sum() > found.placed:
            return replace(far_apart(search, far, found), turntable=movers is not None)
        if found.why is not None:
            found.why = f"{found.why}; {reason}"
    single = replace(own_cameras(search, found), turntable=turned is not None)
    zoomed = None if single.turntable else zooming(search, found.obs, single)
    if zoomed is None:
        return single
    better, by = zoomed
    search.note(f"the lens zooms while the camera moves ({by:.2f} times): every view has its own")
    return known_cameras(replace(search, K=better.K), better.w2c, False)


def as_one_camera(search: Search, seen: Observations) -> Observations:
    """What was followed, as the central camera would have seen it where intrinsics are known."""
    pairs, K = search.pairs, search.K
    if K is None:
        return seen
    pinhole = working_intrinsics(pairs, K, search.central)
    return in_one_camera(seen, working_cameras(pairs, K), *pinhole)


def searched(search: Search, obs: Observations, moments: Moments | None) -> Attempt:
    """The cameras of tracks of one moment, and of others where its own are few or say nothing."""
    alone = before_plain(search, obs) if search.silhouettes else search.attempt(obs)
    if moments is None or (search.enough(alone) and not few_points(obs, search.config.follow)):
        return alone
    return at_all_times(search, alone, moments) or alone


def before_plain(search: Search, obs: Observations) -> Attempt:
    """The cameras of tracks before a plain backdrop: where enough are away from the outlines, these
    find them, and where many are, these alone say where exactly they are."""
    inner = within_outlines(obs, outlines_of(search.pairs))
    count = len(np.unique(inner.track))
    found = search.attempt(inner) if count >= _INNER else None
    if found is None or not search.enough(found):
        return search.attempt(obs)
    if count >= _MANY_INNER:
        return found
    better = search.sharpened(found, obs)
    return better if search.enough(better) and near(better, found) else found


def at_all_times(search: Search, alone: Attempt, moments: Moments) -> Attempt | None:
    """The cameras of tracks of this and other moments, with the tracks of this one.

    All tracks and silhouettes find the cameras, with and without those of this moment ``alone`` as
    a start, and the surest tracks say where exactly they are. None: they are not the same cameras
    at all moments.
    """
    every: list[Observations] = []
    sure: list[Observations] = []
    shapes: list[Silhouettes] = []
    for pairs in chain([search.pairs], moments()):  # flow of one moment at a time is kept
        outlines = outlines_of(pairs)
        shapes.extend(search.silhouettes_of(pairs))
        for into, config in ((every, search.config.follow), (sure, surest(search.config.follow))):
            seen = within_outlines(follow(pairs, config), outlines)
            into.append(as_one_camera(search, seen))
    together = joined(every)
    found = search.attempt(together, shapes)
    if search.enough(alone):
        again = search.sharpened(alone, together, silhouettes=shapes)
        found = max(again, found, key=Attempt.fits)
    if not (search.enough(found) and same_cameras(found, every)):
        return None
    better = search.sharpened(found, joined(sure), SURE_PX, silhouettes=())
    if search.enough(better) and same_cameras(better, sure) and near(better, found):
        return of_first(better, sure[0])
    return of_first(found, every[0])


def in_its_place(search: Search, obs: Observations, turning: Turning, why: str) -> Cameras:
    """Cameras that only turn and zoom, of a scene without depth."""
    w2c, zooms = rotation_cameras(obs, search.pairs, search.central, turning)
    out = search.no_parallax(w2c, turning.focal, why)
    if search.K is None:
        out.K[:, [0, 1], [0, 1]] *= zooms[:, None]
    return out


def own_cameras(search: Search, found: Attempt) -> Cameras:
    """What the clip's own tracks say, or the end."""
    pairs, limits, obs, solution = search.pairs, search.limits, found.obs, found.solution
    if solution is None or found.why is not None:
        w2c, _ = rotation_cameras(obs, pairs, search.central, Turning(search.guess))
        why = f"cameras could not be recovered ({found.why})"
        return search.end(why, CLOSER, w2c, search.guess)
    angle = found.angle_deg
    if angle < limits.useless_angle_deg:
        why = f"almost no parallax ({angle:.2f} degrees)"
        return in_its_place(search, obs, Turning(solution.focal), why)
    centre = working_intrinsics(pairs, search.K, search.central)[1]
    for shape in search.silhouettes:
        off = shape.off_px(solution.rotation, solution.translation, solution.focal, centre)
        if off > MOVING_PX and solution.registered.all():
            search.note(
                "what stands before the plain backdrop changes its outline as nothing that keeps "
                f"still does ({off / pairs.scale[0]:.1f} pixels off): it moves while the camera "
                "does, this is no frozen moment. Film it while nothing moves, or give a clip of a "
                "still camera as --fixed-view"
            )
    trust = min(1.0, angle / limits.low_angle_deg)
    if trust < 1.0:
        search.note(f"low parallax ({angle:.1f} degrees): depth is drawn towards a smooth one")
    dropped = np.flatnonzero(~solution.registered).tolist()
    for line in left_out_lines(dropped, pairs.views, pairs.foreign):
        search.note(line)
    return Cameras(
        search.intrinsics(solution.focal),
        interpolate_missing(solution.w2c, solution.registered),
        world_points(solution, obs, centre),
        trust,
        dropped,
    )


def known_cameras(search: Search, w2c: np.ndarray, adjust: bool) -> Cameras:
    """The cameras as given, but for small corrections (adjust), and points that lie where they see
    the same things."""
    pairs, central, K, config = search.pairs, search.central, search.K, search.config
    assert K is not None
    followed = follow(pairs, config.follow)
    if adjust:
        scale = np.diag([pairs.scale[0], pairs.scale[1], 1.0])
        better = adjusted_cameras(pairs, followed, scale @ K, w2c)
        if better is not None:
            search.note(
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
    except CamerasDisagree as error:
        return search.end(str(error), NEARER_CAMERAS, w2c, pinhole[0])
    return Cameras(K, w2c, points)


def shrink(depth: np.ndarray, confidence: np.ndarray, trust: float) -> np.ndarray:
    """Draw log inverse depth [V, H, W] towards its median, less where it is confident."""
    out = np.empty_like(depth)
    for v, view in enumerate(depth):
        log = -np.log(view)
        middle = np.median(log)
        out[v] = np.exp(-(middle + trust * np.clip(confidence[v], 0.1, 1.0) * (log - middle)))
    return out
