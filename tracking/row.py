"""Dense 2-D tracks of a fixed-view row: the camera stands still, so motion is the objects' own.

Legend: T frames, H W size, N = H*W pixels of the query frame, row-major. uv in pixels, centres at
+0.5. A still camera gives no parallax: depth over time comes from elsewhere (`lift_row`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from fourreal.errors import UserError
from tracking.flow.optical import FlowConfig, dis, inside, pixel_grid, sample, to_gray, working_size


@dataclass(frozen=True)
class RowConfig:
    """Row tracking; grey levels are of 255, lengths in working pixels unless said otherwise."""

    flow: FlowConfig = FlowConfig()
    still_grey: float = 5.0  # a still background pixel changes less than this
    gain_grey: float = 1.5  # moving must explain the pixel better than standing still by this
    gone_grey: float = 12.0  # a pixel that never looks the same again by this is no background
    min_motion_px: float = 0.5  # original pixels
    max_forward_backward: float = 2.0


@dataclass
class RowTracks:
    """uv float32 [T, N, 2]; visible bool [T, N]; confidence float32 [T, N]; moving bool [H, W].

    Points outside `moving` have exactly their query position at all times.
    """

    uv: np.ndarray
    visible: np.ndarray
    confidence: np.ndarray
    moving: np.ndarray
    query: int
    size: tuple[int, int]

    def __post_init__(self) -> None:
        t, n = self.uv.shape[:2]
        if self.visible.shape != (t, n) or self.confidence.shape != (t, n):
            raise ValueError("visible and confidence: expected [T, N] like uv")
        if self.moving.shape != tuple(self.size) or n != self.size[0] * self.size[1]:
            raise ValueError(f"moving: expected {self.size}, got {self.moving.shape}")


def colour_change(a: np.ndarray, b: np.ndarray, blur: int = 3) -> np.ndarray:
    """Largest channel difference of images [H, W, 3] in 0..1 after a blur, in grey levels."""
    return cv2.blur(np.abs(a - b).max(-1), (blur, blur)) * 255.0


def track_row(
    frames: np.ndarray,
    query: int = 0,
    config: RowConfig | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> RowTracks:
    """Follow every pixel of frame `query` of frames [T, H, W, 3] (0..1) through the clip.

    Each frame's flow starts from the flow to its neighbour plus one adjacent step (a chain) and is
    refined directly against the query frame, so errors do not add up over time.
    """
    config = config or RowConfig()
    frames = np.ascontiguousarray(frames, np.float32)
    if frames.ndim != 4 or frames.shape[-1] != 3:
        raise UserError(f"frames: expected [times, height, width, 3], got {frames.shape}")
    times, height, width = frames.shape[:3]
    if not 0 <= query < times:
        raise UserError(f"query frame {query} is not in 0..{times - 1}")
    size = working_size(height, width, config.flow)
    scale = np.array([size[1] / width, size[0] / height], np.float32)
    gray = to_gray(frames, size)
    n = height * width
    still = pixel_grid(height, width)
    uv = np.tile(still[None], (times, 1, 1, 1))
    visible = np.ones((times, height, width), bool)
    confidence = np.ones((times, height, width), np.float32)
    gain = np.zeros((height, width), np.float32)
    moved = np.zeros((height, width), np.float32)
    votes = np.zeros((height, width), np.float32)
    changed = np.zeros((height, width), np.float32)
    stays = np.zeros((height, width), bool)
    noise, done = config.still_grey, 0
    for step in (1, -1):
        forward = np.zeros((*size, 2), np.float32)
        backward = np.zeros((*size, 2), np.float32)
        for t in range(query + step, times if step > 0 else -1, step):
            forward = _extend(gray, query, t, step, forward)
            backward = _extend_back(gray, query, t, step, backward)
            flow, ok, trust = _native(gray, query, t, forward, backward, scale, frames, config)
            static = colour_change(frames[query], frames[t])
            follows = colour_change(
                frames[query], np.asarray(sample(frames[t], still + flow), np.float32)
            )
            length = np.linalg.norm(flow, axis=-1)
            uv[t] = still + flow
            visible[t], confidence[t] = ok, trust
            use = ok & (length > config.min_motion_px)
            gain += use * (static - follows)
            moved += use
            changed = np.maximum(changed, static)
            noise = 3.0 * float(np.median(static)) + 1.5
            stays |= static < max(2.0 * noise, 8.0)
            votes += (static < min(noise, config.still_grey)) & ~use
            done += 1
            if progress is not None:
                progress("row", done, times - 1)
    # hysteresis: the flat inside of an object moves without changing much, but is joined to parts
    # that do; flat background beside it does not change at all
    strong = (moved > votes) & (gain > config.gain_grey * np.maximum(moved, 1.0))
    weak = (moved > votes) & (gain > 0.2 * np.maximum(moved, 1.0)) & (changed > noise)
    labels, _ = ndimage.label(weak | strong)
    moving = (labels > 0) & np.isin(labels, np.unique(labels[strong]))
    # background that is covered for a while is seen again; what never is left with the object,
    # too far for the flow to follow
    gone = ~stays & (changed > config.gone_grey)
    moving |= _joined(gone, moving)
    moving = _close(moving, (moved > 0) | gone)
    for t in range(times):
        unmoved = colour_change(frames[query], frames[t]) < 3.0 * config.still_grey
        uv[t][~moving] = still[~moving]
        visible[t] = np.where(moving, visible[t], unmoved)
        confidence[t] = np.where(moving, confidence[t], unmoved.astype(np.float32))
    return RowTracks(
        uv.reshape(times, n, 2),
        visible.reshape(times, n),
        confidence.reshape(times, n),
        moving,
        query,
        (height, width),
    )


def _extend(gray, query, t, step, before):
    """Flow query -> t from the flow query -> t - step: one chained step, one refinement."""
    adjacent = dis(gray[t - step], gray[t])
    start = before + sample(adjacent, pixel_grid(*gray.shape[1:]) + before)
    return dis(gray[query], gray[t], start) if t != query + step else adjacent


def _extend_back(gray, query, t, step, before):
    """Flow t -> query from the flow t - step -> query."""
    adjacent = dis(gray[t], gray[t - step])
    start = adjacent + sample(before, pixel_grid(*gray.shape[1:]) + adjacent)
    return dis(gray[t], gray[query], start) if t != query + step else adjacent


def _native(gray, query, t, forward, backward, scale, frames, config):
    """Flow at the frames' own size, its gate and its confidence."""
    height, width = frames.shape[1:3]
    grid = pixel_grid(*gray.shape[1:])
    target = grid + forward
    round_trip = np.linalg.norm(forward + sample(backward, target), axis=-1)
    # a long motion may be less exact and still right
    limit = config.max_forward_backward + 0.05 * np.linalg.norm(forward, axis=-1)
    trust = np.exp(-0.5 * (round_trip / limit) ** 2) * inside(target, *gray.shape[1:])
    trust[round_trip > 1.5 * limit] = 0.0
    flow = cv2.resize(forward, (width, height), interpolation=cv2.INTER_AREA) / scale
    trust = cv2.resize(trust.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    follows = colour_change(frames[query], sample(frames[t], pixel_grid(height, width) + flow))
    ok = (trust > 0.4) & (follows < config.flow.max_photometric * 1.5)
    return flow.astype(np.float32), ok, (trust * ok).astype(np.float32)


def _joined(more: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """The parts of `more` that touch something moving, without threads a pixel wide."""
    labels, _ = ndimage.label(more | moving)
    touching = np.unique(labels[moving])
    joined = np.isin(labels, touching[touching > 0])
    return ndimage.binary_opening(joined)


def _close(moving: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """Fill the flat inside of a moving object; drop specks."""
    height, width = moving.shape
    size = max(3, round(min(height, width) / 40) | 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    closed = cv2.morphologyEx(moving.astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0
    closed = (closed & candidate) | moving
    filled = ndimage.binary_fill_holes(closed)
    holes, count = ndimage.label(filled & ~closed)
    if count:
        area = ndimage.sum(np.ones_like(holes), holes, np.arange(1, count + 1))
        share = ndimage.mean(candidate.astype(float), holes, np.arange(1, count + 1))
        take = (area < 0.02 * moving.size) & (share > 0.5)
        closed |= np.isin(holes, 1 + np.flatnonzero(take))
    labels, count = ndimage.label(closed)
    if count:
        area = ndimage.sum(closed, labels, np.arange(1, count + 1))
        closed &= np.isin(labels, 1 + np.flatnonzero(area >= max(6, 3e-4 * moving.size)))
    return closed


def lift_row(row: RowTracks, depth_T: np.ndarray) -> np.ndarray:
    """Depth of every row track over time: depth_T [T, H, W] sampled at uv -> z float32 [T, N].

    NaN where the point is not visible. depth_T is the row's own view in every column of the grid.
    Near a depth edge the nearest pixel is read, never a mixture of both sides.
    """
    times, height, width = depth_T.shape
    if (times, (height, width)) != (len(row.uv), tuple(row.size)):
        raise ValueError(f"depth_T: expected {(len(row.uv), *row.size)}, got {depth_T.shape}")
    x = np.clip(row.uv[..., 0].astype(np.int64), 0, width - 1)
    y = np.clip(row.uv[..., 1].astype(np.int64), 0, height - 1)
    z = depth_T[np.arange(times)[:, None], y, x].astype(np.float32)
    return np.where(row.visible, z, np.nan).astype(np.float32)
