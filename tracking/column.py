"""A freeze-time column -> cameras, dense depth of every view, dense tracks of the central view.

Legend: V views, H W frame, N = H*W pixels of the canonical (central) view. Lengths in units of the
canonical view's median depth, or those of the cameras when they are given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from gen.errors import UserError
from tracking.depth import DepthConfig, dense_depth, inverse_depth_ranges, reproject
from tracking.flow import FlowConfig, PairFlows, inside, pair_flows, sample
from tracking.poses import PoseConfig, solve_poses
from tracking.sweep import relative_pose
from tracking.tracks import Tracks

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class TrackConfig:
    """Settings of the `flow` tracker."""

    flow: FlowConfig = field(default_factory=FlowConfig)
    poses: PoseConfig = field(default_factory=PoseConfig)
    depth: DepthConfig = field(default_factory=DepthConfig)
    canonical: int | None = None  # None: the central view
    nonrigid_px: float = 2.0  # residual above which a pixel is not part of the rigid scene


@dataclass
class ColumnTracks:
    """What a freeze-time clip gives.

    tracks: the canonical view's pixels through all views; depth, depth_confidence [V, H, W]: every
    view in its own camera, filled everywhere; K [V, 3, 3]; w2c [V, 4, 4]; notes: one line for each
    thing that did not go the normal way.
    """

    tracks: Tracks
    depth: np.ndarray
    depth_confidence: np.ndarray
    K: np.ndarray
    w2c: np.ndarray
    canonical: int
    notes: list[str] = field(default_factory=list)


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
    progress: Progress | None = None,
) -> ColumnTracks:
    """Track a freeze-time clip frames [V, H, W, 3] (0..1) without any network.

    K [3, 3] or [V, 3, 3] in pixels fixes the intrinsics, w2c [V, 4, 4] the cameras (then K too must
    be given). progress(stage, done, total) is called as work goes on.
    """
    config = config or TrackConfig()
    frames = check_frames(frames)
    views, height, width = frames.shape[:3]
    canonical = views // 2 if config.canonical is None else config.canonical
    notes: list[str] = []
    K = None if K is None else np.broadcast_to(np.asarray(K, np.float64), (views, 3, 3)).copy()

    def tell(stage: str) -> Callable[[int], None]:
        return lambda i: progress(stage, i + 1, views) if progress is not None else None

    pairs = pair_flows(frames, config.flow, tell("flow"))
    focal = None if K is None else float(K[0, 0, 0] * pairs.scale[0])
    solution, obs = solve_poses(pairs, canonical, focal=focal, config=config.poses)
    if K is None:
        K = np.tile(
            np.array(
                [
                    [solution.focal / pairs.scale[0], 0, width / 2],
                    [0, solution.focal / pairs.scale[1], height / 2],
                    [0, 0, 1.0],
                ]
            ),
            (views, 1, 1),
        )
    w2c = solution.w2c
    points = world_points(solution, obs, pairs)
    ranges = inverse_depth_ranges(points, w2c)
    depth, confidence = dense_depth(frames, K, w2c, ranges, config.depth, tell("depth"))
    scale = float(np.median(depth[canonical]))
    depth, w2c = depth / scale, w2c.copy()
    w2c[:, :3, 3] /= scale
    tracks = canonical_tracks(frames, pairs, K, w2c, depth, confidence, canonical, config)
    return ColumnTracks(tracks, depth, confidence, K, w2c, canonical, notes)


def world_points(solution, obs, pairs: PairFlows) -> np.ndarray:
    """World positions [M, 3] of the tracks that the adjustment kept."""
    kept = np.zeros(len(obs.anchor), bool)
    kept[obs.track[np.nan_to_num(solution.residual, nan=np.inf) < 4.0]] = True
    kept &= np.nan_to_num(solution.inverse_depth) > 1e-3
    centre = np.array([pairs.size[1] / 2, pairs.size[0] / 2])
    uv, anchor = obs.anchor_uv[kept], obs.anchor[kept]
    ray = np.concatenate([(uv - centre) / solution.focal, np.ones((len(uv), 1))], 1)
    camera = ray / solution.inverse_depth[kept][:, None]
    return np.einsum("nji,nj->ni", solution.rotation[anchor], camera - solution.translation[anchor])


def canonical_tracks(
    frames, pairs: PairFlows, K, w2c, depth, confidence, canonical: int, config: TrackConfig
) -> Tracks:
    """Direction from the flow where it is trusted and near the rigid prediction, depth from geometry.

    uv is flow-anchored (what the view-dependent offset is for); where flow failed it is the rigid
    projection, at low confidence.
    """
    views, height, width = frames.shape[:3]
    n = height * width
    uv = np.empty((views, n, 2), np.float32)
    z = np.empty((views, n), np.float32)
    visible = np.empty((views, n), bool)
    weight = np.empty((views, n), np.float32)
    rho = 1.0 / depth
    own = confidence[canonical]
    disagree = np.zeros((height, width), np.int32)
    seen = np.zeros((height, width), np.int32)
    for v in range(views):
        move = relative_pose(w2c[canonical], w2c[v])
        rigid, there = reproject(rho[canonical], K[canonical], K[v], move)
        there = np.maximum(there, 1e-4)
        if v == canonical:
            uv[v], z[v] = rigid.reshape(n, 2), 1.0 / there.ravel()
            visible[v], weight[v] = True, own.ravel()
            continue
        on_image = inside(rigid, height, width)
        # a point is hidden where the other view's own surface is clearly nearer
        hidden = sample(rho[v], rigid) > there * 1.08
        flow, valid = native_flow(pairs, canonical, v, (height, width))
        moved = rigid.copy()
        residual = np.full((height, width), np.inf, np.float32)
        if flow is not None:
            matched = rigid_grid(height, width) + flow
            residual = np.linalg.norm(matched - rigid, axis=-1)
            limit = config.nonrigid_px * max(1.0, max(height, width) / 512.0)
            seen += valid
            disagree += valid & (residual > limit)
            take = valid & (residual < 2.0 * limit)
            moved[take] = matched[take]
        else:
            take = np.zeros((height, width), bool)
        vis = on_image & ~hidden
        uv[v], z[v] = moved.reshape(n, 2), 1.0 / there.ravel()
        visible[v] = vis.ravel()
        weight[v] = (own * np.where(take, 1.0, 0.5) * vis).ravel()
    nonrigid = (disagree >= 2) & (disagree > 0.5 * seen)
    grid = rigid_grid(height, width).reshape(n, 2)
    return Tracks(
        uv,
        z,
        visible,
        np.clip(weight, 0, 1),
        np.full(n, canonical),
        grid,
        frames[canonical].reshape(n, 3),
        K,
        w2c,
        canonical,
        (height, width),
        nonrigid.ravel(),
    )


def rigid_grid(height: int, width: int) -> np.ndarray:
    """Pixel centres [H, W, 2] float32."""
    from tracking.flow import pixel_grid

    return pixel_grid(height, width)


def native_flow(
    pairs: PairFlows, a: int, b: int, size: tuple[int, int]
) -> tuple[np.ndarray | None, np.ndarray]:
    """Flow a -> b and its gate at the frames' own size, in original pixels."""
    if (a, b) not in pairs.flow:
        return None, np.zeros(size, bool)
    flow = cv2.resize(pairs.flow[a, b], size[::-1], interpolation=cv2.INTER_AREA)
    flow = flow / np.array(pairs.scale, np.float32)
    valid = cv2.resize(
        pairs.valid[a, b].astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA
    )
    return flow, valid > 0.9


def column_depth(
    frames: np.ndarray,
    K: np.ndarray,
    w2c: np.ndarray,
    *,
    init: np.ndarray | None = None,
    config: TrackConfig | None = None,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Depth [V, H, W] and confidence of another column of the grid, cameras known from column 0.

    frames [V, H, W, 3]; K [V, 3, 3]; w2c [V, 4, 4]; init: depth [V, H, W] of column 0, which sets
    the range of depths that are tried.
    """
    config = config or TrackConfig()
    frames = check_frames(frames)
    views = len(frames)
    K = np.broadcast_to(np.asarray(K, np.float64), (views, 3, 3))
    w2c = np.asarray(w2c, np.float64)
    if init is None:
        raise UserError("column_depth: give init, the depth of a column that was tracked")
    rho = 1.0 / np.asarray(init).reshape(views, -1)
    ranges = np.stack(
        [np.percentile(rho, 0.5, axis=1) * 0.8, np.percentile(rho, 99.8, axis=1) * 1.3], 1
    )

    def tell(i: int) -> None:
        if progress is not None:
            progress("depth", i + 1, views)

    return dense_depth(frames, K, w2c, ranges, config.depth, tell)
