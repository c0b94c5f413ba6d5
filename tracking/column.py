"""A freeze-time column -> cameras, dense depth of every view, dense tracks of the central view.

Legend: V views, H W frame, N = H*W pixels of the central view. Lengths in units of the
central view's median depth, or those of the cameras when they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from fourreal.console import Report, warn
from fourreal.errors import UserError
from tracking.anchored import central_tracks, track_stride
from tracking.cameras.find import find_cameras
from tracking.cameras.wide import wide_cameras
from tracking.column_depth import ColumnDepth, measured_depth, without_parallax
from tracking.config import TrackConfig
from tracking.depth.backdrop import still_parts
from tracking.depth.blank import backdrop_share, blank_backdrop
from tracking.depth.fixed import fixed_parts
from tracking.flow.moving import moving_parts, unexplained
from tracking.flow.optical import FlowConfig, PairFlows, central_flow, linked_flow
from tracking.protocols import Depth, DepthEstimator
from tracking.tracks import Tracks


@dataclass
class ColumnTracks:
    """What a freeze-time clip gives.

    tracks: the central view's pixels through all views; depth, depth_confidence [V, H, W]: every
    view in its own camera, filled everywhere; K [V, 3, 3]; w2c [V, 4, 4]; parallax False: the depth
    is a smooth stand-in; dropped: views whose camera could only be interpolated; notes: one line
    for each thing that did not go the normal way (each was also printed as a warning); colours
    [V, 3, 2]: gain and offset that make a view's colours those of the central one (None: alike);
    backdrop [V, H, W]: what stands still while the scene moves, no part of it (None: nothing does);
    past [V, H, W]: where one looks past the scene at the backdrop, with nothing of it before that;
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
    past: np.ndarray | None = None


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


def linked(
    frames: np.ndarray, config: FlowConfig, progress: Callable[[int], None] | None = None
) -> PairFlows:
    """Flow between neighbouring frames [V, H, W, 3] (0..1), and where their backdrop is plain."""
    pairs = linked_flow(frames, config, progress)
    fixed = fixed_parts(frames)
    plain = blank_backdrop(frames, rim=fixed.rim)
    if plain is not None:
        h, w = pairs.size
        if fixed.together is not None:
            plain |= fixed.together
        clear = (backdrop_share(f, p) for f, p in zip(frames, plain, strict=True))
        pairs.plain = np.stack([cv2.resize(c, (w, h)) > 0.5 for c in clear])
    return pairs


def track_column(
    frames: np.ndarray,
    *,
    K: np.ndarray | None = None,
    w2c: np.ndarray | None = None,
    config: TrackConfig | None = None,
    network: DepthEstimator | Depth | None = None,
    fine: np.ndarray | None = None,
    at_once: bool = False,
    moments: Sequence[Callable[[], np.ndarray]] = (),
    progress: Report | None = None,
) -> ColumnTracks:
    """Track a freeze-time clip frames [V, H, W, 3] (0..1); no network is needed.

    K [3, 3] or [V, 3, 3] in pixels fixes the intrinsics, w2c [V, 4, 4] the cameras (then K too must
    be given), but for small corrections (config.adjust_cameras). network, or its depth of these
    frames: fills in where triangulation is not sure, and replaces the smooth stand-in where there
    is no parallax. fine: uint8 [V, h, w, 3], the same frames larger: features of views that are far
    apart come from these. moments: each reads frames of the same cameras, standing still, at
    another time: where little can be matched, they say where the cameras are as well.
    progress(stage, done, total) is called as work goes on.
    """
    config = config or TrackConfig()
    if network is not None:  # its depth takes the stand-in's place
        config = replace(config, fallbacks=replace(config.fallbacks, allow_stand_in=True))
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

    def other_times() -> Iterator[PairFlows]:
        return (linked(check_frames(read()), config.flow) for read in moments)

    pairs = linked(frames, config.flow, tell("flow"))
    tell("flow")(views - 1)
    if config.central is None:
        central = central_view(pairs, config.flow.min_chain)
    found = find_cameras(
        pairs, frames.shape[1:3], central, K, w2c, config.poses, config.fallbacks, note,
        lambda focal, still: wide_cameras(
            frames, focal, fine, still_parts(frames) if still else None
        ), config.adjust_cameras,
        other_times if len(moments) else None,
    )  # fmt: skip
    central = central if found.central is None else found.central
    K, w2c = found.K, found.w2c
    tell("cameras")(views - 1)
    estimate = network if network is None or isinstance(network, Depth) else network(frames)
    if found.points is None:
        seen = without_parallax(frames, estimate, note)
    else:
        seen = measured_depth(frames, found, central, config, given, estimate, note, tell("depth"))
    if not given:
        scale = float(np.median(seen.depth[central]))
        seen.depth /= np.float32(scale)
        w2c = w2c.copy()
        w2c[:, :3, 3] /= scale
    central_flow(pairs, central, config.flow, tell("tracks"))
    tell("tracks")(views - 1)
    moving = None
    # flow over blank paper leads anywhere
    rigid = not (given or at_once or found.wide or found.turntable)
    if found.points is not None and rigid and seen.blank is None:
        moving = moving_on_its_own(pairs, seen, K, w2c)
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
        frames, pairs, K, w2c, seen.depth, seen.confidence, central, config.nonrigid_px, stride
    )
    for v in found.dropped:  # what such a view shows is not known to be this scene
        tracks.visible[v], tracks.confidence[v] = False, 0.0
    stands = seen.backdrop is not None and stride == 1 and seen.backdrop[central].ravel()
    share = float((tracks.nonrigid & ~stands).mean())
    if found.points is not None and share > config.fallbacks.nonrigid_share:
        note(f"{100 * share:.0f} % of pixels move against the rigid scene: kept, marked non-rigid")
    return ColumnTracks(
        tracks, seen.depth, seen.confidence, K, w2c, central, found.points is not None,
        found.dropped, notes, seen.colours, seen.backdrop, moving, seen.past,
    )  # fmt: skip


def moving_on_its_own(
    pairs: PairFlows, seen: ColumnDepth, K: np.ndarray, w2c: np.ndarray
) -> np.ndarray | None:
    """Mask [V, H, W] of what moves while the camera does, by flow and by what depth shows."""
    small = moving_parts(pairs, K, w2c, seen.fixed.together)
    if small is None:
        return None
    height, width = seen.depth.shape[1:]
    moving = np.stack([cv2.resize(m.astype(np.uint8), (width, height)) for m in small])
    return unexplained(moving.astype(bool), seen.alike, seen.depth, K, w2c)


def central_view(pairs: PairFlows, share: float) -> int:
    """The view nearest to the middle that is matched with a neighbour (the middle if none is)."""
    order = sorted(pairs.sequence, key=lambda v: abs(v - pairs.views // 2))
    for v in order:
        near = [pairs.valid[v, o].mean() for o in (v - 1, v + 1) if 0 <= o < pairs.views]
        if max(near) >= share:
            return v
    return order[0]


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
