"""Dense optical flow between the views of one clip: of neighbours, chained, refined and gated.

Legend: V views, h w working resolution, uv in pixels with pixel centres at +0.5.
Flow from view a to view b is a displacement d [h, w, 2]: the pixel at uv in a is at uv + d in b.

Large motion breaks direct flow (a wrong match is as consistent as a right one), so a long pair is
the chain of its neighbouring pairs, followed by one DIS call that starts from the chain.

Cameras need flow only to say where to look (patches are aligned from there), so neighbours get
half-resolution flow first; `sharpen` brings it to full resolution for the dense tracks.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import cv2
import numpy as np

from fourreal.cameras import pixel_grid
from tracking.flow.gate import gate_pixels
from tracking.flow.sparse import SparseMatch, features, match, spread


@dataclass(frozen=True)
class FlowConfig:
    """How flow is computed; lengths are in working pixels."""

    target_long_side: int = 512  # small frames are enlarged (at most 2x): halves the error
    max_long_side: int = 640  # larger frames are reduced: bounded time and memory
    max_forward_backward: float = 1.5
    max_photometric: float = 22.0  # grey levels, mean over a 5x5 window
    rough_forward_backward: float = 3.0  # the same two for flow of half resolution
    rough_photometric: float = 30.0
    max_chain_distance: float = 3.0  # |chain - refined|
    misled: float = 0.1  # share of sparse matches off the flow above which they lead it
    misled_px: float = 2.0  # at half resolution
    max_epipolar: float = 3.0  # from the fundamental matrix of sparse matches, where there is one
    min_epipolar: int = 40  # sparse matches that a fundamental matrix needs to be trusted
    ring_views: int = 12  # from which on a clip may go all the way around
    min_chain: float = 0.15  # share of valid pixels below which a link of a chain may be broken

    def __post_init__(self) -> None:
        if self.target_long_side < 16:
            raise ValueError(f"target_long_side >= 16 expected, got {self.target_long_side}")


@dataclass
class PairFlows:
    """Flow and its gate for ordered pairs of views, at working resolution.

    scale (sx, sy): working pixels per original pixel. closed: the camera has gone all the way
    around, and the last view is linked to the first as well. plain: where there is but a backdrop
    of one colour, bool [V, h, w] (None: there is none, or it is not known).
    """

    size: tuple[int, int]
    scale: tuple[float, float]
    gray_Vhw: np.ndarray  # uint8
    flow: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)  # float32 [h, w, 2]
    valid: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)  # bool [h, w]
    fundamental: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)
    foreign: list[int] = field(default_factory=list)  # views that show something else
    closed: bool = False
    plain: np.ndarray | None = None

    @property
    def views(self) -> int:
        """Number of views."""
        return len(self.gray_Vhw)

    @property
    def sequence(self) -> list[int]:
        """The views that belong to the clip; neighbours in this list are linked by flow."""
        return [v for v in range(self.views) if v not in self.foreign]

    def linked(self, view: int) -> list[int]:
        """The views before and behind `view` in the sequence; none for a foreign view."""
        order = self.sequence
        if view not in order:
            return []
        i = order.index(view)
        return [order[k] for k in (i - 1, i + 1) if 0 <= k < len(order)]

    def in_common(self, a: int, b: int) -> float:
        """Share 0..1 of the pictures of a linked pair that is matched both ways."""
        return min(float(self.valid[a, b].mean()), float(self.valid[b, a].mean()))


def working_size(height: int, width: int, config: FlowConfig) -> tuple[int, int]:
    """Working (h, w) for frames of (height, width): 2x for small ones, reduced for large ones."""
    long_side = max(height, width)
    factor = min(2.0, max(1.0, config.target_long_side / long_side))
    factor = min(factor, config.max_long_side / long_side)
    return max(16, round(height * factor)), max(16, round(width * factor))


def to_gray(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """frames float [V, H, W, 3] in 0..1 -> uint8 [V, h, w]."""
    height, width = frames.shape[1:3]
    mode = cv2.INTER_AREA if size[0] < height else cv2.INTER_CUBIC
    out = np.empty((len(frames), *size), np.uint8)
    for i, frame in enumerate(frames):
        image = np.asarray(frame @ np.array([0.299, 0.587, 0.114], np.float32), np.float32)
        if (height, width) != size:
            image = np.asarray(cv2.resize(image, size[::-1], interpolation=mode), np.float32)
        out[i] = np.clip(image * 255.0 + 0.5, 0, 255).astype(np.uint8)
    return out


def dis(
    a: np.ndarray, b: np.ndarray, init: np.ndarray | None = None, *, quick: bool = False
) -> np.ndarray:
    """DIS flow (medium) from gray image a to b [h, w] uint8, optionally started at `init`.

    quick: two thirds of the time for a start that is good already.
    """
    start = np.zeros((*a.shape, 2), np.float32) if init is None else np.ascontiguousarray(init)
    solver = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    if quick:
        solver.setPatchStride(4)
        solver.setGradientDescentIterations(12)
    flow = solver.calc(a, b, start)
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


def inside(uv: np.ndarray, height: int, width: int) -> np.ndarray:
    """True where uv [..., 2] lies on the image."""
    u, v = uv[..., 0], uv[..., 1]
    return (u >= 0.5) & (u <= width - 0.5) & (v >= 0.5) & (v <= height - 0.5)


def photometric_error(a: np.ndarray, b: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Mean absolute grey difference over 5x5 along the flow, exposure removed, float32 [h, w]."""
    height, width = a.shape
    warped = sample(b, pixel_grid(height, width, np.float32) + flow)
    off = a.astype(np.float32) - warped.astype(np.float32)
    off -= np.median(off)
    return cv2.blur(np.abs(off), (5, 5))


def neighbour_flow(
    a: np.ndarray, b: np.ndarray, matches: SparseMatch, config: FlowConfig
) -> np.ndarray:
    """DIS flow of two neighbours [h, w] uint8, computed at half resolution and enlarged.

    matches: sparse ones at half resolution. Where too many of them say that the flow is wrong (in
    flat places it likes to stand still), a second flow starts from the matches spread smoothly;
    each pixel takes the photometrically better one, on a draw (flat paper) the one they led.
    """
    small_a, small_b = halved(a), halved(b)
    flow = dis(small_a, small_b)
    if len(matches.x) >= 24:
        said = sample(flow, matches.x[:, None])[:, 0]
        off = np.linalg.norm(said - (matches.y - matches.x), axis=1) > config.misled_px
        if off.mean() > config.misled:
            led = dis(small_a, small_b, spread(matches, small_a.shape))
            gain = photometric_error(small_a, small_b, flow)
            gain -= photometric_error(small_a, small_b, led)
            take = cv2.blur(gain, (9, 9)) > -0.5
            flow = np.where(take[..., None], led, flow)
    (h, w), (half_h, half_w) = a.shape, small_a.shape
    return cv2.resize(flow, (w, h)) * np.array([w / half_w, h / half_h], np.float32)


def halved(image: np.ndarray) -> np.ndarray:
    """image [h, w] at half its size, at least 16 pixels a side."""
    h, w = image.shape
    size = max(16, (w + 1) // 2), max(16, (h + 1) // 2)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def half_features(image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Features of `image` with positions at half resolution; small pictures are not halved."""
    small = halved(image)
    if max(small.shape) >= 200:
        return features(small)
    xy, descriptors = features(image)
    return xy * np.array(small.shape[::-1], np.float32) / image.shape[::-1], descriptors


def linked_flow(
    frames: np.ndarray,
    config: FlowConfig | None = None,
    progress: Callable[[int], None] | None = None,
) -> PairFlows:
    """Gated half-resolution flow between neighbouring views, both ways; frames [V, H, W, 3] 0..1.

    A match passes when its forward-backward error, its photometric error and its distance from the
    epipolar line of sparse matches are all small (forward-backward alone passed 83 % wrong flow at
    large motion). Views that show something else are named, and the flow goes past them.
    """
    config = config or FlowConfig()
    height, width = frames.shape[1:3]
    size = working_size(height, width, config)
    gray = to_gray(frames, size)
    pairs = PairFlows(size, (size[1] / width, size[0] / height), gray)
    with threads() as pool:
        keypoints = list(pool.map(half_features, gray))

        def link(ends: list[tuple[int, int]], done: Callable[[int], None] | None) -> None:
            """Flow and gates of pairs; each direction is a task of its own: all cores are used."""
            found = dict(zip(ends, pool.map(matched, ends), strict=True))
            found |= {(b, a): found[a, b].reversed() for a, b in ends}
            flows = pool.map(
                lambda key: neighbour_flow(gray[key[0]], gray[key[1]], found[key], config), found
            )
            for i, (key, flow) in enumerate(zip(found, flows, strict=True)):
                pairs.flow[key] = flow
                if done is not None and i % 2:
                    done(i // 2)
            gates = pool.map(lambda key: _gate(pairs, key, config, rough=True), found)
            pairs.valid.update(zip(found, gates, strict=True))

        def matched(key: tuple[int, int]) -> SparseMatch:
            """Sparse matches of a pair; notes its fundamental matrix where there are enough."""
            a, b = key
            found = match(keypoints[a], keypoints[b])
            if found.fundamental is not None and len(found.x) >= config.min_epipolar:
                half = halved(gray[a]).shape
                scale = np.diag([half[1] / size[1], half[0] / size[0], 1.0])
                pairs.fundamental[a, b] = scale @ found.fundamental @ scale
                pairs.fundamental[b, a] = pairs.fundamental[a, b].T
            return found

        link([(i, i + 1) for i in range(len(gray) - 1)], progress)
        pairs.foreign = foreign_views(pairs, config)
        order = pairs.sequence
        link([e for e in zip(order, order[1:], strict=False) if e[1] - e[0] > 1], None)
        if len(order) >= config.ring_views:
            end, across = (order[-1], order[0]), (order[0], order[len(order) // 2])
            link([end, across], None)
            pairs.closed = _comes_around(pairs, end, across)
            for a, b in [across] if pairs.closed else [across, end]:
                for known in (pairs.flow, pairs.valid, pairs.fundamental):
                    known.pop((a, b), None)
                    known.pop((b, a), None)
    return pairs


def _comes_around(pairs: PairFlows, end: tuple[int, int], across: tuple[int, int]) -> bool:
    """Whether the last view is next to the first as neighbours are, and the middle one is not."""
    order, ends = pairs.sequence, pairs.in_common(*end)
    usual = np.median([pairs.in_common(*pair) for pair in zip(order, order[1:], strict=False)])
    return bool(ends >= 0.6 * usual and pairs.in_common(*across) < 0.5 * ends)


def sharpen(pairs: PairFlows, config: FlowConfig | None = None) -> None:
    """Bring the flow of linked pairs to full resolution, and gate it anew."""
    config = config or FlowConfig()
    keys, gray = list(pairs.flow), pairs.gray_Vhw
    with threads() as pool:
        flows = pool.map(
            lambda key: dis(gray[key[0]], gray[key[1]], pairs.flow[key], quick=True), keys
        )
        pairs.flow.update(zip(keys, list(flows), strict=True))
        gates = pool.map(lambda key: _gate(pairs, key, config), keys)
        pairs.valid.update(zip(keys, gates, strict=True))


def central_flow(
    pairs: PairFlows,
    central: int,
    config: FlowConfig | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Add flow between the central view and every other, both ways, as far as the chain holds.

    The linked pairs are sharpened first. Besides its own gate, a match needs every step of its
    chain to be valid and must stay near it.
    """
    config = config or FlowConfig()
    order = pairs.sequence
    if central not in order:
        return
    sharpen(pairs, config)
    middle = order.index(central)
    grid = pixel_grid(*pairs.size, np.float32)

    def extend(key: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Flow of a pair through the neighbour of its outer view, and where that chain holds."""
        a, b = key
        outer = b if a == central else a
        through = order[order.index(outer) - np.sign(outer - central)]
        uv = grid + pairs.flow[a, through]
        start = pairs.flow[a, through] + sample(pairs.flow[through, b], uv)
        flow = dis(pairs.gray_Vhw[a], pairs.gray_Vhw[b], start)
        ok = sample(pairs.valid[through, b].astype(np.float32), uv) > 0.5
        off = flow - start
        near = np.hypot(off[..., 0], off[..., 1]) < config.max_chain_distance
        return flow, ok & pairs.valid[a, through] & near

    with threads() as pool:
        ends = [list(range(middle - 2, -1, -1)), list(range(middle + 2, len(order)))]
        for distance in range(max(map(len, ends), default=0)):
            outer = [order[side[distance]] for side in ends if distance < len(side)]
            keys = [key for v in outer for key in ((central, v), (v, central))]
            found = dict(zip(keys, pool.map(extend, keys), strict=True))
            pairs.flow.update({key: flow for key, (flow, _) in found.items()})
            gates = list(pool.map(lambda key: _gate(pairs, key, config), keys))
            for key, ok in zip(keys, gates, strict=True):
                pairs.valid[key] = found[key][1] & ok
            if progress is not None:
                progress(distance)


def threads() -> ThreadPoolExecutor:
    """A thread per core, at most 8; OpenCV and the compiled loops let go of Python's lock."""
    return ThreadPoolExecutor(max(1, min(8, os.cpu_count() or 1)))


def foreign_views(pairs: PairFlows, config: FlowConfig) -> list[int]:
    """Views that match neither neighbour while most others match theirs well.

    In a clip that is hard everywhere nothing stands out, and no view is called foreign. The gate of
    rough flow lets chance matches through: doubtful views are judged by the strict one.
    """

    def best(shares: dict[tuple[int, int], float]) -> np.ndarray:
        out = np.zeros(pairs.views)
        for key, share in shares.items():
            out[list(key)] = np.maximum(out[list(key)], share)
        return out

    shares = {key: float(valid.mean()) for key, valid in pairs.valid.items()}
    rough = best(shares)
    limit = min(config.min_chain, 0.3 * float(np.median(rough)))
    doubtful = rough < 2.5 * limit
    for key in shares:
        if doubtful[list(key)].any():
            shares[key] = float(_gate(pairs, key, config).mean())
    return np.flatnonzero(doubtful & (best(shares) < limit)).tolist()


def _gate(
    pairs: PairFlows, key: tuple[int, int], config: FlowConfig, *, rough: bool = False
) -> np.ndarray:
    """Forward-backward, photometric and epipolar gate of one pair, bool [h, w]."""
    a, b = key
    back = config.rough_forward_backward if rough else config.max_forward_backward
    off = config.rough_photometric if rough else config.max_photometric
    return gate_pixels(
        pairs.gray_Vhw[a], pairs.gray_Vhw[b], pairs.flow[a, b], pairs.flow[b, a],
        pairs.fundamental.get(key), back, off, config.max_epipolar,
    )  # fmt: skip
