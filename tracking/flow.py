"""Dense optical flow between the views of one clip: adjacent, chained, refined and gated.

Legend: V views, h w working resolution, uv in pixels with pixel centres at +0.5.
Flow from view a to view b is a displacement d [h, w, 2]: the pixel at uv in a is at uv + d in b.

Large motion breaks direct flow (a wrong match is as consistent as a right one), so a long pair is
the chain of its adjacent pairs, followed by one DIS call that starts from the chain.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import cv2
import numpy as np

from tracking.sparse import SparseMatch, epipolar_distance, features, match, spread


@dataclass(frozen=True)
class FlowConfig:
    """How flow is computed; lengths are in working pixels."""

    target_long_side: int = 512  # small frames are enlarged (at most 2x): halves the error
    max_long_side: int = 640  # larger frames are reduced: bounded time and memory
    reach: int = 7  # pairs up to this many views apart
    max_forward_backward: float = 1.5
    max_photometric: float = 22.0  # grey levels, mean over a 5x5 window
    max_chain_distance: float = 3.0  # |chain - refined|
    max_epipolar: float = 3.0  # from the fundamental matrix of sparse matches, where there is one
    min_epipolar: int = 40  # sparse matches that a fundamental matrix needs to be trusted
    min_chain: float = 0.15  # share of valid pixels below which a link of a chain may be broken

    def __post_init__(self) -> None:
        if self.reach < 1 or self.target_long_side < 16:
            raise ValueError(f"reach >= 1 and target_long_side >= 16 expected, got {self}")


@dataclass
class PairFlows:
    """Flow and its gate for ordered pairs of views, at working resolution.

    scale (sx, sy): working pixels per original pixel.
    """

    size: tuple[int, int]
    scale: tuple[float, float]
    gray_Vhw: np.ndarray  # uint8
    flow: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)  # float32 [h, w, 2]
    valid: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)  # bool [h, w]
    fundamental: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)
    foreign: list[int] = field(default_factory=list)  # views that show something else

    @property
    def views(self) -> int:
        """Number of views."""
        return len(self.gray_Vhw)


def working_size(height: int, width: int, config: FlowConfig) -> tuple[int, int]:
    """Working (h, w) for frames of (height, width): 2x for small ones, reduced for large ones."""
    long_side = max(height, width)
    factor = min(2.0, max(1.0, config.target_long_side / long_side))
    factor = min(factor, config.max_long_side / long_side)
    return max(16, round(height * factor)), max(16, round(width * factor))


def to_gray(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """frames float [V, H, W, 3] in 0..1 -> uint8 [V, h, w]."""
    height, width = frames.shape[1:3]
    smaller = size[0] < height
    mode = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    gray = frames @ np.array([0.299, 0.587, 0.114], np.float32)
    out = np.empty((len(frames), *size), np.uint8)
    for i, image in enumerate(gray):
        if (height, width) != size:
            image = cv2.resize(image.astype(np.float32), size[::-1], interpolation=mode)
        out[i] = np.clip(image * 255.0 + 0.5, 0, 255).astype(np.uint8)
    return out


def dis(a: np.ndarray, b: np.ndarray, init: np.ndarray | None = None) -> np.ndarray:
    """DIS flow (medium) from gray image a to b [h, w] uint8, optionally started at `init`."""
    solver = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = solver.calc(a, b, None if init is None else np.ascontiguousarray(init))
    return np.asarray(flow, np.float32)


def sample(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear samples of image [h, w(, c)] at uv [h, w, 2] (pixel centres at +0.5)."""
    return cv2.remap(
        image,
        np.ascontiguousarray(uv[..., 0] - 0.5, np.float32),
        np.ascontiguousarray(uv[..., 1] - 0.5, np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )


def pixel_grid(height: int, width: int) -> np.ndarray:
    """uv of every pixel centre, float32 [height, width, 2]."""
    v, u = np.mgrid[0:height, 0:width].astype(np.float32) + 0.5
    return np.stack([u, v], -1)


def inside(uv: np.ndarray, height: int, width: int) -> np.ndarray:
    """True where uv [..., 2] lies on the image."""
    u, v = uv[..., 0], uv[..., 1]
    return (u >= 0.5) & (u <= width - 0.5) & (v >= 0.5) & (v <= height - 0.5)


def photometric_error(a: np.ndarray, b: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Mean absolute grey difference over 5x5 along the flow, exposure removed, float32 [h, w]."""
    warped = sample(b, pixel_grid(*a.shape) + flow)
    difference = a.astype(np.float32) - warped.astype(np.float32)
    difference -= np.median(difference)
    return cv2.blur(np.abs(difference), (5, 5))


def adjacent_flow(a: np.ndarray, b: np.ndarray, matches: SparseMatch) -> np.ndarray:
    """DIS flow of two neighbours; where sparse matches lead to a better one, that one.

    a, b uint8 [h, w]. Both starts (none, and the matches spread smoothly) are run; each pixel takes
    the photometrically better one (on a draw, as on flat paper, the one that follows the matches),
    and a last call polishes the mixture.
    """
    plain = dis(a, b)
    if len(matches.x) < 24:
        return plain
    prior = spread(matches, a.shape)
    led = dis(a, b, prior)
    gain = photometric_error(a, b, plain) - photometric_error(a, b, led)
    take = cv2.blur(gain, (9, 9)) > -0.5
    return dis(a, b, np.where(take[..., None], led, plain))


def pair_flows(
    frames: np.ndarray,
    config: FlowConfig | None = None,
    progress: Callable[[int], None] | None = None,
) -> PairFlows:
    """All gated flows between views at most `config.reach` apart.

    frames float32 [V, H, W, 3] in 0..1. A match passes when its forward-backward error, its
    photometric error and its distance from the chain are all small, for itself and for every step
    of its chain (forward-backward alone passed 83 % wrong flow at large motion).
    """
    config = config or FlowConfig()
    height, width = frames.shape[1:3]
    size = working_size(height, width, config)
    gray = to_gray(frames, size)
    pairs = PairFlows(size, (size[1] / width, size[0] / height), gray)
    views = len(gray)
    grid = pixel_grid(*size)
    with ThreadPoolExecutor(max(1, min(8, os.cpu_count() or 1))) as pool:
        keypoints = list(pool.map(features, gray))

        def direct(key: tuple[int, int]) -> tuple[np.ndarray, SparseMatch]:
            a, b = key
            matches = match(keypoints[a], keypoints[b])
            return adjacent_flow(gray[a], gray[b], matches), matches

        def gate(key: tuple[int, int]) -> np.ndarray:
            return _gate(pairs, key, grid, config)

        def link(key: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
            """Flow of a pair through a view between the two, and where that chain holds."""
            between = _link(pairs, key, config.min_chain)
            if between is None:  # the chain is broken: matched anew, without a chain to agree with
                flow, matches = direct(key)
                trusted = len(matches.x) >= config.min_epipolar
                return flow, np.full(size, trusted)
            a, b = key
            uv = grid + pairs.flow[a, between]
            start = pairs.flow[a, between] + sample(pairs.flow[between, b], uv)
            flow = dis(gray[a], gray[b], start)
            step_ok = sample(pairs.valid[between, b].astype(np.float32), uv) > 0.5
            gap = np.linalg.norm(flow - start, axis=-1)
            return flow, step_ok & pairs.valid[a, between] & (gap < config.max_chain_distance)

        adjacent = [key for i in range(views - 1) for key in ((i, i + 1), (i + 1, i))]
        for key, (flow, matches) in zip(adjacent, pool.map(direct, adjacent), strict=True):
            pairs.flow[key] = flow
            if matches.fundamental is not None and len(matches.x) >= config.min_epipolar:
                pairs.fundamental[key] = matches.fundamental
        pairs.valid.update(zip(adjacent, pool.map(gate, adjacent), strict=True))
        pairs.foreign = foreign_views(pairs, config.min_chain)
        for a, b in adjacent:
            if a in pairs.foreign or b in pairs.foreign:
                pairs.valid[a, b][:] = False
        # flows of long clips would fill the memory: their pairs reach less far
        reach = config.reach if views <= 16 else min(config.reach, 5 if views <= 32 else 3)
        for distance in range(2, reach + 1):
            keys = [(a, b) for a in range(views) for b in (a - distance, a + distance)]
            keys = [k for k in keys if 0 <= k[1] < views and not {*k} & {*pairs.foreign}]
            holds = {}
            for key, (flow, ok) in zip(keys, pool.map(link, keys), strict=True):
                pairs.flow[key], holds[key] = flow, ok
            for key, ok in zip(keys, pool.map(gate, keys), strict=True):
                pairs.valid[key] = holds[key] & ok
            if progress is not None:
                progress(distance)
    return pairs


def foreign_views(pairs: PairFlows, share: float) -> list[int]:
    """Views that match neither neighbour while most others match theirs well.

    In a clip that is hard everywhere nothing stands out, and no view is called foreign.
    """
    best = np.zeros(pairs.views)
    for (a, b), valid in pairs.valid.items():
        best[[a, b]] = np.maximum(best[[a, b]], valid.mean())
    return np.flatnonzero(best < min(share, 0.3 * float(np.median(best)))).tolist()


def _link(pairs: PairFlows, key: tuple[int, int], share: float) -> int | None:
    """The view between a and b, as near to b as can be, to chain through; None: nothing holds.

    Both halves should be matched well; at large motion few pixels last that long, and then the step
    to b alone has to be sound.
    """
    a, b = key
    candidates = list(range(b - 1, a, -1) if b > a else range(b + 1, a))
    for between in candidates:
        halves = [pairs.valid.get((a, between)), pairs.valid.get((between, b))]
        if all(half is not None and half.mean() >= share for half in halves):
            return between
    last = candidates[0]
    sound = (a, last) in pairs.valid and pairs.valid[last, b].mean() >= share
    return last if sound else None


def _gate(
    pairs: PairFlows, key: tuple[int, int], grid: np.ndarray, config: FlowConfig
) -> np.ndarray:
    """Forward-backward, photometric and epipolar gate of one pair, bool [h, w]."""
    a, b = key
    flow = pairs.flow[key]
    uv = grid + flow
    round_trip = flow + sample(pairs.flow[b, a], uv)
    ok = np.linalg.norm(round_trip, axis=-1) < config.max_forward_backward
    error = photometric_error(pairs.gray_Vhw[a], pairs.gray_Vhw[b], flow)
    ok &= error < config.max_photometric
    if key in pairs.fundamental:
        distance = epipolar_distance(flow, grid, pairs.fundamental[key])
        ok &= distance < config.max_epipolar
    return ok & inside(uv, *pairs.size)
