"""A freeze-time column -> cameras, dense depth of every view, dense tracks of the central view.

Legend: V views, H W frame, N = H*W pixels of the central view. Lengths in units of the
central view's median depth, or those of the cameras when they are given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from fourreal.console import Report, warn
from fourreal.errors import UserError
from tracking.anchored import central_tracks, track_stride
from tracking.cameras.fallbacks import pseudo_depth
from tracking.cameras.find import find_cameras, shrink
from tracking.cameras.search import CLOSER, STAND_IN
from tracking.cameras.turntable import still_around, still_parts
from tracking.cameras.wide import wide_cameras
from tracking.config import TrackConfig
from tracking.depth.backdrop import still_backdrop
from tracking.depth.blank import blank_backdrop
from tracking.depth.burnt_in import burnt_in
from tracking.depth.colours import evened, view_colours
from tracking.depth.consistency import splat_from
from tracking.depth.dense import DepthConfig, dense_depth, inverse_depth_ranges, neighbours_of
from tracking.depth.fill import fill_inverse_depth
from tracking.depth.guided import guide_depth, network_depth
from tracking.depth.redrawn import redrawn
from tracking.depth.rim import empty_rim
from tracking.flow.moving import moving_parts, unexplained
from tracking.flow.optical import PairFlows, central_flow, linked_flow
from tracking.protocols import Depth, DepthEstimator
from tracking.tracks import Tracks

FLAT = 2.0 / 255.0  # local contrast of a surface with nothing to match


@dataclass
class ColumnTracks:
    """What a freeze-time clip gives.

    tracks: the central view's pixels through all views; depth, depth_confidence [V, H, W]: every
    view in its own camera, filled everywhere; K [V, 3, 3]; w2c [V, 4, 4]; parallax False: the depth
    is a smooth stand-in; dropped: views whose camera could only be interpolated; notes: one line
    for each thing that did not go the normal way (each was also printed as a warning); colours
    [V, 3, 2]: gain and offset that make a view's colours those of the central one (None: alike);
    backdrop [V, H, W]: what stands still while the scene moves, no part of it (None: nothing does);
    moving [V, H, W]: what moves on its own while the camera sweeps (None: nothing that is seen to).
    """

    tracks: Tracks
    depth: np.ndarray
    depth_confidence: np.ndarray
    K: np.ndarray
    w2c: np.ndarray
    central: int
    parallax: bool = True
    dropped: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    colours: np.ndarray | None = None
    backdrop: np.ndarray | None = None
    moving: np.ndarray | None = None


def check_frames(frames: np.ndarray) -> np.ndarray:
    """frames as float32 [V, H, W, 3] in 0..1; UserError for anything else."""
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[-1] != 3:
        raise UserError(f"frames: expected [views, height, width, 3], got {frames.shape}")
    if len(frames) < 2:
        raise UserError("a freeze-time clip needs at least 2 frames; give a longer one")
    if min(frames.shape[1:3]) < 16:
        raise UserError(f"frames of {frames.shape[2]}x{frames.shape[1]} are too small; at least 16")
    if frames.dtype == np.uint8:
        frames = frames.astype(np.float32) / 255.0
    return np.ascontiguousarray(frames, np.float32)


def track_column(
    frames: np.ndarray,
    *,
    K: np.ndarray | None = None,
    w2c: np.ndarray | None = None,
    config: TrackConfig | None = None,
    network: DepthEstimator | Depth | None = None,
    fine: np.ndarray | None = None,
    at_once: bool = False,
    progress: Report | None = None,
) -> ColumnTracks:
    """Track a freeze-time clip frames [V, H, W, 3] (0..1); no network is needed.

    K [3, 3] or [V, 3, 3] in pixels fixes the intrinsics, w2c [V, 4, 4] the cameras (then K too must
    be given), but for small corrections (config.adjust_cameras). network, or its depth of these
    frames: fills in where triangulation is not sure, and replaces the smooth stand-in where there
    is no parallax. fine: uint8 [V, h, w, 3], the same frames larger: features of views that are far
    apart come from these. progress(stage, done, total) is called as work goes on.
    """
    config = config or TrackConfig()
    frames = check_frames(frames)
    views, height, width = frames.shape[:3]
    central = config.central or 0
    if not 0 <= central < views:
        raise UserError(f"central view {central} is not in 0..{views - 1}")
    K, w2c = check_cameras(K, w2c, views)
    given = w2c is not None
    notes: list[str] = []

    def note(line: str) -> None:
        notes.append(line)
        warn(line)

    def tell(stage: str) -> Callable[[int], None]:
        return lambda i: progress(stage, i + 1, views) if progress is not None else None

    pairs = linked_flow(frames, config.flow, tell("flow"))
    tell("flow")(views - 1)
    if config.central is None:
        central = central_view(pairs, config.flow.min_chain)
    limits = config.fallbacks
    if network is not None:  # its depth takes the stand-in's place
        limits = replace(limits, allow_stand_in=True)
    found = find_cameras(
        pairs, frames.shape[1:3], central, K, w2c, config.poses, limits, note,
        lambda focal, still: wide_cameras(
            frames, focal, fine, still_parts(frames) if still else None
        ), config.adjust_cameras,
    )  # fmt: skip
    central = central if found.central is None else found.central
    K, w2c = found.K, found.w2c
    tell("cameras")(views - 1)
    colours = backdrop = blank = nothing = None
    estimate = network if network is None or isinstance(network, Depth) else network(frames)
    if found.points is None:
        if estimate is None:
            depth = pseudo_depth(views, height, width)
        else:
            depth = network_depth(estimate)
            note("in place of the stand-in: the network's depth, at a scale of its own per view")
        confidence = np.full_like(depth, 0.05)
    else:
        ranges = inverse_depth_ranges(found.points, w2c)
        depth, confidence = depth_of_kept(
            frames, K, w2c, ranges, found.dropped, config.depth, tell("depth")
        )
        if estimate is not None:
            confidence = (confidence * found.trust).astype(np.float32)
        elif found.trust < 1.0:
            depth = shrink(depth, confidence, found.trust)
        colours = view_colours(
            frames, 1.0 / depth, confidence, K, w2c, central,
            lambda v: neighbours_of(v, views, 2), one_camera=not given,
        )  # fmt: skip
        if colours is not None:
            note("the views differ in exposure or colour: evened to those of the central one")
        alike = frames if colours is None else np.clip(evened(frames, colours), 0, 1)
        backdrop = None if given else still_backdrop(alike, depth, K, w2c)
        if found.turntable:
            still = still_around(alike, confidence)
            backdrop = still if backdrop is None else backdrop | still
        if backdrop is not None:
            note(
                f"{100 * backdrop.mean():.0f} % of the pictures do not move with the scene (a "
                "backdrop): left out"
            )
        rim = empty_rim(frames)
        burnt = burnt_in(frames, rim)
        nothing = burnt if rim is None else rim if burnt is None else rim | burnt
        for fixed, what in (
            (rim, "the pictures have a black rim"),
            (burnt, "something is burnt into the pictures (a logo, a caption?)"),
        ):
            if fixed is not None:
                note(f"{what} ({100 * fixed.mean():.1f} % of them): left out")
                everywhere = np.broadcast_to(fixed, depth.shape)
                backdrop = everywhere.copy() if backdrop is None else backdrop | everywhere
        if backdrop is not None:
            confidence[backdrop] = 0.0
        held = redrawn(alike, depth, K, w2c, backdrop, found.dropped)
        if held is not None and held.off > limits.redrawn_off:
            nearer = "cameras" if given else "views (of a video: --max-views 32)"
            note(
                f"depth does not hold between the views: {100 * held.off:.0f} % of what neighbours "
                f"show, {held.apart_deg:.0f} degrees apart, is not there in the next one. Expect "
                f"torn pictures between them; {nearer} nearer to each other help"
            )
        agreed = float((confidence[central] > 0.3).mean())
        if found.wide and agreed < limits.wide_agreed and not limits.allow_stand_in:
            raise UserError(
                f"cameras could not be recovered (those of wide-baseline features agree with "
                f"{100 * agreed:.0f} % of the picture); {CLOSER} ({STAND_IN})"
            )
        blank = blank_backdrop(frames, rim=rim)
        if blank is not None:
            note(
                "the backdrop is one flat colour: its depth is unknown, it was put behind all else"
            )
        solid = np.ones((height, width), bool) if blank is None else ~blank[central]
        matched = (confidence[central] > 0.3) & (contrast(frames[central]) > FLAT)
        covered = float(matched[solid].mean()) if solid.any() else 0.0
        if covered < config.fallbacks.textureless_share:
            note(f"little texture: {100 * (1 - covered):.0f} % of depth follows its surroundings")
        if estimate is not None:
            guided, confidence = guide_depth(depth, confidence, estimate, frames)
            depth = guided if blank is None else np.where(blank, depth, guided)
    if not given:
        scale = float(np.median(depth[central]))
        depth /= np.float32(scale)
        w2c = w2c.copy()
        w2c[:, :3, 3] /= scale
    central_flow(pairs, central, config.flow, tell("tracks"))
    tell("tracks")(views - 1)
    moving = None
    # flow over blank paper leads anywhere
    rigid = not (given or at_once or found.wide or found.turntable)
    if found.points is not None and rigid and blank is None:
        moving = moving_parts(pairs, K, w2c, nothing)
    if moving is not None:
        moving = np.stack([cv2.resize(m.astype(np.uint8), (width, height)) for m in moving]).astype(
            bool
        )
        moving = unexplained(moving, alike, depth, K, w2c)
    if moving is not None:
        note(
            f"{100 * moving.mean():.0f} % of the pictures move on their own while the camera does: "
            "this is no frozen moment. What moves cannot be placed; film it while nothing moves, "
            "or give a clip of a still camera as --fixed-view"
        )
    stride = track_stride(views, (height, width), config.max_track_points)
    if stride > 1:
        note(f"a clip this large: tracks are kept for one pixel in {stride} x {stride}")
    tracks = central_tracks(
        frames, pairs, K, w2c, depth, confidence, central, config.nonrigid_px, stride
    )
    for v in found.dropped:  # what such a view shows is not known to be this scene
        tracks.visible[v], tracks.confidence[v] = False, 0.0
    stands = backdrop is not None and stride == 1 and backdrop[central].ravel()
    share = float((tracks.nonrigid & ~stands).mean())
    if found.points is not None and share > config.fallbacks.nonrigid_share:
        note(f"{100 * share:.0f} % of pixels move against the rigid scene: kept, marked non-rigid")
    return ColumnTracks(
        tracks, depth, confidence, K, w2c, central, found.points is not None, found.dropped, notes,
        colours, backdrop, moving,
    )  # fmt: skip


def contrast(image: np.ndarray) -> np.ndarray:
    """Standard deviation [H, W] of the grey values around each pixel of image [H, W, 3]."""
    gray = image.mean(-1)
    side = max(5, round(max(gray.shape) / 50) | 1)
    mean = cv2.blur(gray, (side, side))
    return np.sqrt(np.maximum(cv2.blur(gray * gray, (side, side)) - mean * mean, 0.0))


def central_view(pairs: PairFlows, share: float) -> int:
    """The view nearest to the middle that is matched with a neighbour (the middle if none is)."""
    order = sorted(pairs.sequence, key=lambda v: abs(v - pairs.views // 2))
    for v in order:
        near = [pairs.valid[v, o].mean() for o in (v - 1, v + 1) if 0 <= o < pairs.views]
        if max(near) >= share:
            return v
    return order[0]


def depth_of_kept(
    frames: np.ndarray,
    K: np.ndarray,
    w2c: np.ndarray,
    ranges: np.ndarray,
    dropped: list[int],
    config: DepthConfig,
    progress: Callable[[int], None],
) -> tuple[np.ndarray, np.ndarray]:
    """dense_depth without the views that were dropped; those get what the others see from there."""
    kept = [v for v in range(len(frames)) if v not in dropped]
    if not dropped or len(kept) < 2:
        return dense_depth(frames, K, w2c, ranges, config, progress)
    depth = np.ones(frames.shape[:3], np.float32)
    confidence = np.full(frames.shape[:3], 0.05, np.float32)
    depth[kept], confidence[kept] = dense_depth(
        frames[kept], K[kept], w2c[kept], ranges[kept], config, progress
    )
    for v in dropped:
        seen = splat_from(v, kept, 1.0 / depth, confidence, K, w2c)
        flat = np.zeros_like(frames[v])  # its colours say nothing about this scene
        depth[v] = 1.0 / fill_inverse_depth(seen, (seen > 0).astype(np.float32), flat)
    return depth, confidence


def check_cameras(
    K: np.ndarray | None, w2c: np.ndarray | None, views: int
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Given cameras as float64 [V, 3, 3] and [V, 4, 4]; UserError when they do not fit."""
    if K is not None:
        K = np.asarray(K, np.float64)
        if K.shape not in ((3, 3), (views, 3, 3)):
            raise UserError(f"K: expected [3, 3] or [{views}, 3, 3], got {list(K.shape)}")
        K = np.broadcast_to(K, (views, 3, 3)).copy()
    if w2c is not None:
        if K is None:
            raise UserError("cameras were given without intrinsics; give K too")
        w2c = np.asarray(w2c, np.float64)
        if w2c.shape != (views, 4, 4):
            raise UserError(f"w2c: expected [{views}, 4, 4], got {list(w2c.shape)}")
    return K, w2c
