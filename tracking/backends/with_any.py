"""A freeze-time clip -> ColumnTracks with any tracker and any depth estimator.

Geometry is triangulated (`flow`) unless the depth estimator gives depth up to scale and another
tracker is chosen: then cameras come from the tracks and that depth (tracking.cameras.from_tracks).

Legend: V views, H W frame, N tracks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fourreal.cameras import relative_pose
from fourreal.console import Report, warn
from fourreal.errors import UserError
from fourreal.npz_file import read_npz
from tracking.backends.table import Choice, TracksFile
from tracking.cameras.fallbacks import FallbackConfig
from tracking.cameras.from_tracks import cameras_from_tracks
from tracking.column import ColumnTracks, check_cameras, check_frames, track_column
from tracking.config import TrackConfig
from tracking.depth.consistency import reproject
from tracking.protocols import Depth, DepthEstimator, Tracker
from tracking.tracks import Tracks

NONRIGID_PX = 2.0  # at 512 pixels; the residual above which a point is not part of the rigid scene


def track_with(
    frames: np.ndarray,
    choice: Choice,
    *,
    K: np.ndarray | None = None,
    w2c: np.ndarray | None = None,
    fine: np.ndarray | None = None,
    at_once: bool = False,
    moments: Sequence[Callable[[], np.ndarray]] = (),
    progress: Report | None = None,
) -> ColumnTracks:
    """Track frames [V, H, W, 3] (0..1) with the chosen backends.

    K [3, 3] or [V, 3, 3], w2c [V, 4, 4]: kept as they are when given. fine: uint8 [V, h, w, 3], the
    same frames larger, for features of views that are far apart. at_once: a rig's, of one time.
    moments: what reads frames that the same cameras took at other times (``tracking.column``).

    Raises:
        UserError: a backend is missing something, or its result does not fit the clip.
    """
    config = TrackConfig(
        fallbacks=FallbackConfig(allow_stand_in=choice.allow_stand_in),
        adjust_cameras=not choice.keep_cameras,
    )
    network = None if choice.depth == "flow" else choice.make_depth()
    if choice.tracker == "flow":
        return track_column(
            frames, K=K, w2c=w2c, config=config, network=network, fine=fine, at_once=at_once,
            moments=moments, progress=progress,
        )  # fmt: skip
    tracker = choice.make_tracker()
    frames = check_frames(frames)
    central = len(frames) // 2
    K, w2c = check_cameras(K, w2c, len(frames))
    if choice.tracker == "npz":
        assert isinstance(tracker, TracksFile)
        return _from_file(frames, tracker, network, config, progress)
    estimate = None if network is None else network(frames)
    if estimate is not None and estimate.kind != "disparity":
        return _from_depth(frames, tracker, estimate, K, w2c, central)
    # triangulated geometry (with disparity aligned to it); the tracker gives the motion
    column = track_column(
        frames, K=K, w2c=w2c, config=config, network=estimate, fine=fine, at_once=at_once,
        moments=moments, progress=progress,
    )  # fmt: skip
    central = column.central
    depth = Depth(column.depth, column.depth_confidence, column.K[central], "scale")
    tracks = tracker(frames, depth, column.K[central], central)
    column.tracks = place(tracks, column.K, column.w2c, column.depth)
    return column


def _from_depth(
    frames: np.ndarray,
    tracker: Tracker,
    estimate: Depth,
    K: np.ndarray | None,
    w2c: np.ndarray | None,
    central: int,
) -> ColumnTracks:
    """Cameras and per-view scales from the tracks of `tracker` on a network's depth."""
    views = len(frames)
    if K is None:
        if estimate.K is None:
            raise UserError("the depth estimator gives no intrinsics: give the grid's K")
        K = np.broadcast_to(estimate.K, (views, 3, 3)).copy()
    tracks = tracker(frames, estimate, K[central], central)
    tracks.K = np.array(K, np.float64)
    found, scales = cameras_from_tracks(tracks)
    depth = estimate.depth / scales[:, None, None].astype(np.float32)
    z = tracks.z / scales[:, None].astype(np.float32)
    notes = []
    if w2c is None:
        unit = float(np.median(depth[central]))
        w2c = found
        w2c[:, :3, 3] /= unit
    else:
        # the scale of given cameras against that of the recovered ones
        unit = _scale_of(found, w2c)
    depth, tracks.z = depth / unit, (z / unit).astype(np.float32)
    tracks = place(tracks, tracks.K, w2c, depth)
    moving = float(tracks.nonrigid.mean())
    if moving > 0.3:
        notes.append(f"{100 * moving:.0f} % of the tracks do not fit one rigid scene")
        warn(notes[-1])
    return ColumnTracks(
        tracks, depth.astype(np.float32), estimate.confidence, tracks.K, w2c, central, True,
        [], notes,
    )  # fmt: skip


def _scale_of(found: np.ndarray, given: np.ndarray) -> float:
    """Length in `found` per length in `given`, from the spread of the camera centres."""
    spread = []
    for w2c in (found, given):
        centres = -np.einsum("vji,vj->vi", w2c[:, :3, :3], w2c[:, :3, 3])
        spread.append(float(np.linalg.norm(centres - centres.mean(0))))
    return spread[0] / max(spread[1], 1e-12) if spread[0] > 0 else 1.0


def place(tracks: Tracks, K: np.ndarray, w2c: np.ndarray, depth: np.ndarray) -> Tracks:
    """Tracks of the query view's pixel grid put into a scene of known cameras and depth [V, H, W].

    uv stays the tracker's. z is the rigid scene's where the track follows it (the more exact of the
    two), else the tracker's own; points that leave it in most views are marked nonrigid.
    """
    height, width = tracks.size
    c, n = tracks.central, height * width
    if tracks.points != n:
        raise ValueError(f"place: expected {n} tracks (a pixel grid), got {tracks.points}")
    limit = NONRIGID_PX * max(1.0, max(height, width) / 512.0)
    rho = 1.0 / depth[c]
    z = tracks.z.copy()
    seen, off = np.zeros(n, int), np.zeros(n, int)
    for v in range(tracks.frames):
        rigid, there = reproject(rho, K[c], K[v], relative_pose(w2c[c], w2c[v]))
        residual = np.linalg.norm(rigid.reshape(n, 2) - tracks.uv[v], axis=1)
        follows = (residual < limit) & (there.ravel() > 1e-4)
        z[v] = np.where(follows, 1.0 / np.maximum(there.ravel(), 1e-4), z[v])
        if v != c:
            seen += tracks.visible[v]
            off += tracks.visible[v] & ~follows
    z[c] = depth[c].ravel()
    return Tracks(
        tracks.uv, z, tracks.visible & np.isfinite(z), tracks.confidence, tracks.query_frame,
        tracks.query_uv, tracks.rgb, K, w2c, c, tracks.size, (off >= 2) & (off > 0.5 * seen),
    )  # fmt: skip


def _from_file(
    frames: np.ndarray,
    file: TracksFile,
    network: DepthEstimator | None,
    config: TrackConfig,
    progress: Report | None,
) -> ColumnTracks:
    """Imported tracks: their cameras (recovered from them when they are all alike) and depth."""
    tracks = file(frames, None, None, 0)
    depth = stored_depth(file.path, frames.shape[:3])
    notes = []
    if np.abs(tracks.w2c - tracks.w2c[0]).max() < 1e-9:
        tracks.w2c, scales = cameras_from_tracks(tracks)
        tracks.z = (tracks.z / scales[:, None]).astype(np.float32)
        depth = None if depth is None else (depth / scales[:, None, None]).astype(np.float32)
        notes.append("the tracks came without cameras: they were recovered from the points")
        warn(notes[-1])
    if depth is None:
        swept = track_column(
            frames, K=tracks.K, w2c=tracks.w2c, config=config, network=network, progress=progress
        )
        depth, confidence, notes = swept.depth, swept.depth_confidence, notes + swept.notes
    else:
        confidence = np.full(depth.shape, 0.8, np.float32)
    return ColumnTracks(
        tracks, depth, confidence, tracks.K, tracks.w2c, tracks.central, True, [], notes
    )


def stored_depth(path: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """`depths` [F, H, W] of a tracks file, holes put behind the rest; None when it has none."""
    try:
        stored = read_npz(path).get("depths")
        if stored is None:
            return None
        depth = np.asarray(stored, np.float32)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: unreadable depths ({error})") from error
    if depth.shape != shape:
        raise UserError(f"{path}: depths are {depth.shape}, the clip is {shape}")
    good = np.isfinite(depth) & (depth > 0)
    if not good.any():
        raise UserError(f"{path}: depths hold no positive value")
    return np.where(good, depth, depth[good].max() * 1.2).astype(np.float32)
