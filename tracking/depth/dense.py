"""Dense depth of every view, cameras known: sweep, smooth, cross-check, join, fill.

Legend: V views, H W image. rho = 1/z in the view's own camera.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from tracking.depth.blank import blank_backdrop, push_behind
from tracking.depth.colours import evened, view_colours
from tracking.depth.consistency import (
    WIDE_DEG,
    asked_views,
    compare_views,
    is_far,
    splat_from,
)
from tracking.depth.fill import fill_inverse_depth
from tracking.depth.fixed import FixedParts
from tracking.depth.found_planes import planes_of
from tracking.depth.joined import joined
from tracking.depth.lifted import lifted
from tracking.depth.neighbours import neighbours
from tracking.depth.planes import TRUST, put_on_planes
from tracking.depth.sgm import semi_global
from tracking.depth.slanted import refine_inverse_depth
from tracking.depth.sweep import cost_volume, pixel_transfer, with_gray
from tracking.depth.witnesses import Witnesses


@dataclass(frozen=True)
class DepthConfig:
    """Dense-depth settings."""

    planes: int = 128
    neighbours: int = 4  # nearest views in order, both sides
    coarse_long_side: int = 256  # of the plane sweep
    long_side: int = 640  # of the refinement
    iterations: int = 3
    wide_deg: float = WIDE_DEG
    sure_margin: float = 0.02  # lead over the second-best plane above which a match is clear
    cost_a_view: float = 0.07  # by which it may match worse for each further view that agrees
    around: float = 0.08  # of the long side, around a pixel of a view far from all ...
    chance: float = 0.38  # ... the share of its neighbours that agree by chance, if it is one ...
    beyond_chance: float = 0.1  # ... and by how much more must do so
    speckle: float = 4e-4  # share of the picture below which an island of depth is noise
    speckle_of_two: float = 5e-3  # the same with one neighbour alone: no third view can object
    window: int = 5
    even_colours: bool = True  # of views that show the same surfaces differently
    cross_check: float = 0.03  # relative inverse-depth difference between two views
    together: int = 6  # nearest views in order whose depths are joined where they agree (0: none)

    def keep(self, near: list[int], wide: bool) -> int:
        """Of how many neighbours the cost counts: half, so that hidden ones do not vote.

        0, a soft minimum over all, where views are `wide` apart: not even half see the same.
        """
        return 0 if wide else max(1, len(near) // 2)


def inverse_depth_ranges(points: np.ndarray, w2c: np.ndarray) -> np.ndarray:
    """Range of 1/z per view [V, 2] from world points [N, 3], with a margin on both ends."""
    out = np.empty((len(w2c), 2))
    for i, m in enumerate(w2c):
        z = points @ m[2, :3] + m[2, 3]
        z = z[z > 1e-3]
        low, high = np.percentile(1.0 / z, [0.5, 99.5]) if len(z) else (0.2, 2.0)
        out[i] = max(low * 0.6, high / 60.0), high * 1.3
    return out


def far_from_all(
    near: list[list[int]], w2c: np.ndarray, ranges: np.ndarray, wide_deg: float
) -> np.ndarray:
    """Views, bool [V], that are at least `wide_deg` from the nearest of `near`.

    ranges [V, 2] of 1/z: the scene is where the middle of the picture is half-way between them.
    """
    out = np.zeros(len(w2c), bool)
    for v, others in enumerate(near):
        distance = 1.0 / float(np.sqrt(ranges[v].prod()))
        out[v] = is_far(v, others, w2c, distance, wide_deg)
    return out


def plane_count(
    view: int,
    near: list[int],
    K: np.ndarray,
    w2c: np.ndarray,
    limits: np.ndarray,
    size: tuple[int, int],
    most: int,
) -> int:
    """Planes needed for steps of about a pixel in the widest neighbour, at most `most`."""
    a, b = pixel_transfer(view, near, K, w2c)
    ends = []
    for rho in limits:
        q = a @ np.array([size[1] / 2, size[0] / 2, 1.0]) + rho * b
        ends.append(q[:, :2] / np.maximum(q[:, 2:], 1e-3))
    span = np.linalg.norm(ends[1] - ends[0], axis=1).max()
    return int(np.clip(np.ceil(span) + 1, 24, most))


def resized(
    frames: np.ndarray, K: np.ndarray, long_side: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames reduced to at most `long_side`: (images [V, h, w, 4] with gray, K [V, 3, 3], rgb)."""
    height, width = frames.shape[1:3]
    factor = min(1.0, long_side / max(height, width))
    h, w = round(height * factor), round(width * factor)
    if factor < 1:
        frames = np.stack([cv2.resize(f, (w, h), interpolation=cv2.INTER_AREA) for f in frames])
    scaled = K.astype(np.float64).copy()
    scaled[:, 0] *= w / width
    scaled[:, 1] *= h / height
    frames = np.ascontiguousarray(frames, np.float32)
    return np.stack([with_gray(image) for image in frames]), scaled, frames


def speckles(rho: np.ndarray, jump: float, smallest: int) -> np.ndarray:
    """True on islands of fewer than `smallest` pixels cut off by relative jumps of 1/z."""
    h, w = rho.shape
    index = np.arange(h * w).reshape(h, w)
    right = np.abs(np.diff(rho, axis=1)) < jump * rho[:, :-1]
    down = np.abs(np.diff(rho, axis=0)) < jump * rho[:-1]
    a = np.concatenate([index[:, :-1][right], index[:-1][down]])
    b = np.concatenate([index[:, 1:][right], index[1:][down]])
    graph = sparse.coo_matrix((np.ones(len(a), np.int8), (a, b)), shape=(h * w, h * w))
    _, labels = connected_components(graph, directed=False)
    return (np.bincount(labels)[labels] < smallest).reshape(h, w)


def coarse_depth(
    frames: np.ndarray,
    K: np.ndarray,
    w2c: np.ndarray,
    ranges: np.ndarray,
    config: DepthConfig,
    wide: np.ndarray,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(view, 1/z [h, w], margin [h, w]) of every view by plane sweep and semi-global matching."""
    images, K, rgb = resized(frames, K, config.coarse_long_side)
    # the sweep uses all cores and the matching one: the matching of a view runs beside the next
    # view's sweep
    waiting: tuple[int, np.ndarray, Future] | None = None
    with ThreadPoolExecutor(1) as worker:
        for v, near in enumerate(neighbours(w2c, config.neighbours)):
            count = plane_count(v, near, K, w2c, ranges[v], images.shape[1:3], config.planes)
            planes = np.linspace(ranges[v, 0], ranges[v, 1], count)
            keep = config.keep(near, wide[v])
            cost = cost_volume(images, v, near, K, w2c, planes, config.window, keep)
            if waiting is not None:
                yield _winning_depth(*waiting)
            waiting = v, planes, worker.submit(semi_global, cost, rgb[v])
        if waiting is not None:
            yield _winning_depth(*waiting)


def _winning_depth(
    view: int, planes: np.ndarray, matched: Future
) -> tuple[int, np.ndarray, np.ndarray]:
    index, margin = matched.result()
    return view, np.interp(index, np.arange(len(planes)), planes).astype(np.float32), margin


def dense_depth(
    frames: np.ndarray,
    K: np.ndarray,
    w2c: np.ndarray,
    ranges: np.ndarray,
    config: DepthConfig | None = None,
    progress: Callable[[int], None] | None = None,
    fixed: FixedParts | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Depth [V, H, W] (z, filled) and confidence [V, H, W] of every view.

    frames float32 [V, H, W, 3]; K [V, 3, 3]; w2c [V, 4, 4]; ranges [V, 2] of 1/z. fixed: what of
    the frames does not move with the scene, where matches say nothing; by default nothing.
    """
    config = config or DepthConfig()
    views, height, width = frames.shape[:3]
    near = neighbours(w2c, config.neighbours)
    wide = far_from_all(near, w2c, ranges, config.wide_deg)
    frames, swept = _swept_alike(frames, K, w2c, ranges, config, wide, progress)
    images, K_fine, rgb = resized(frames, K, config.long_side)
    h, w = images.shape[1:3]
    rho = np.empty((views, h, w), np.float32)
    cost = np.empty((views, h, w), np.float32)
    for v in range(views):
        start = fill_inverse_depth(swept.rho[v], swept.trust[v], swept.rgb[v])
        # nearest, not linear: a mixture of both sides of an edge belongs to neither
        start = cv2.resize(start, (w, h), interpolation=cv2.INTER_NEAREST)
        count = plane_count(v, near[v], K_fine, w2c, ranges[v], (h, w), 1 << 20)
        rho[v], cost[v] = refine_inverse_depth(
            start, images, v, near[v], K_fine, w2c, tuple(ranges[v]),
            step=float((ranges[v, 1] - ranges[v, 0]) / count), iterations=config.iterations,
            stride=2 if max(h, w) > 300 else 1, keep=config.keep(near[v], wide[v]),
        )  # fmt: skip
        if progress is not None:
            progress((views + v) // 2)
    margin = np.stack([cv2.resize(m, (w, h)) for m in swept.margins])
    fixed = (fixed or FixedParts()).resized(h, w)
    blank = blank_backdrop(rgb, rim=fixed.rim)
    if blank is not None:
        margin[blank] = 0.0
        cost[blank] = 1.0
    if fixed.together is not None:  # it matches itself, and draws what is beside it along
        reach = np.ones((config.window,) * 2)
        beside = cv2.dilate(fixed.together.astype(np.uint8), reach).astype(bool)
        margin[:, beside] = 0.0
        cost[:, beside] = 1.0
    rho, trust = settle(rho, cost, margin, rgb, K_fine, w2c, config, blank, wide)
    if blank is not None:
        for v in range(views):
            push_behind(rho[v], trust[v], blank[v])
    if (h, w) == (height, width):
        return 1.0 / rho, trust
    nearest = [cv2.resize(r, (width, height), interpolation=cv2.INTER_NEAREST) for r in rho]
    return 1.0 / np.stack(nearest), np.stack([cv2.resize(t, (width, height)) for t in trust])


@dataclass
class _Swept:
    """What the plane sweep says, at its coarse size: 1/z [V, h, w], the margins of its winners and
    how far it is believed (0..1), of every view; rgb [V, h, w, 3] of the frames."""

    rho: np.ndarray
    margins: list[np.ndarray]
    trust: list[np.ndarray]
    rgb: np.ndarray


def _swept_alike(
    frames: np.ndarray,
    K: np.ndarray,
    w2c: np.ndarray,
    ranges: np.ndarray,
    config: DepthConfig,
    wide: np.ndarray,
    progress: Callable[[int], None] | None,
) -> tuple[np.ndarray, _Swept]:
    """The frames [V, H, W, 3] in colours that agree, and their sweep."""
    swept = _sweep(frames, K, w2c, ranges, config, wide, progress)
    if not config.even_colours:
        return frames, swept
    coarse = resized(frames, K, config.coarse_long_side)[1]
    maps = view_colours(
        swept.rgb, swept.rho, np.stack(swept.trust), coarse, w2c, len(frames) // 2,
        neighbours(w2c, 2),
    )  # fmt: skip
    if maps is None:
        return frames, swept
    # the cost compares colours too: once more, with alike ones
    frames = evened(frames, maps)
    return frames, _sweep(frames, K, w2c, ranges, config, wide, progress)


def _sweep(
    frames: np.ndarray,
    K: np.ndarray,
    w2c: np.ndarray,
    ranges: np.ndarray,
    config: DepthConfig,
    wide: np.ndarray,
    progress: Callable[[int], None] | None,
) -> _Swept:
    coarse, margins = [], []
    for v, rho_hw, margin in coarse_depth(frames, K, w2c, ranges, config, wide):
        coarse.append(rho_hw)
        margins.append(margin)
        if progress is not None:
            progress(v // 2)
    rho = np.stack(coarse)
    _, K, rgb = resized(frames, K, config.coarse_long_side)
    trust = []
    for v, near in enumerate(neighbours(w2c, config.neighbours)):
        votes, _ = compare_views(rho[v], rho, v, near, K, w2c, config.cross_check)
        agreed = np.minimum(votes / min(2, len(near)), 1.0)
        trust.append(agreed * np.clip(margins[v] / 0.05, 0.2, 1.0))
    return _Swept(rho, margins, trust, rgb)


def settle(
    rho: np.ndarray,
    cost: np.ndarray,
    margin: np.ndarray,
    rgb: np.ndarray,
    K: np.ndarray,
    w2c: np.ndarray,
    config: DepthConfig,
    blank: np.ndarray | None = None,
    far: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Cross-check all views, take over what others see better, fill the rest: (rho, trust).

    rho, cost, margin (of the winning plane) [V, h, w]; rgb [V, h, w, 3]; far bool [V]: views that
    are far from all others (None: none is). A pixel is trusted when neighbours agree and none of
    them looks through it; its depth is then joined with theirs. Where it is not, the other views'
    trusted surfaces are seen from here; what still is missing is filled inside its colour region,
    and pushed back where a neighbour would look through the filling, or put onto the plane that
    it lies behind.
    """
    views, h, w = rho.shape
    near = neighbours(w2c, config.neighbours)
    trust = np.empty_like(rho)
    for v in range(views):
        agree, _ = compare_views(rho[v], rho, v, near[v], K, w2c, config.cross_check)
        trust[v] = np.minimum(agree / min(2, len(near[v])), 1.0)
        worse = cost[v]
        if far is not None and far[v]:
            # what several views agree on is right though the pictures differ
            worse = worse - config.cost_a_view * np.maximum(agree - 1, 0)
            # chance agrees here and there; of a surface, more of what is around agrees
            asked = asked_views(rho[v], v, near[v], K, w2c)
            side = (max(5, round(config.around * max(h, w)) | 1),) * 2
            around = cv2.blur(agree, side) / np.maximum(cv2.blur(asked, side), 1e-6)
            chance = config.chance / np.sqrt(len(near[v]))
            trust[v] *= np.clip((around - chance) / config.beyond_chance, 0.0, 1.0)
        trust[v] *= np.clip(1.5 - 4.5 * worse, 0.05, 1.0)
        trust[v] *= np.clip(margin[v] / config.sure_margin, 0.3, 1.0)
    if blank is not None:
        trust[blank] = 0.0
    first = trust.copy()
    for v in range(views):
        agree, violate = compare_views(rho[v], rho, v, near[v], K, w2c, config.cross_check, first)
        trust[v][violate > 0.7 * agree] = 0.0
        island = config.speckle if views > 2 else config.speckle_of_two
        trust[v][speckles(rho[v], 0.05, round(island * h * w))] = 0.0
    planes = planes_of(rho, trust, rgb, K, w2c)
    rho, trust = put_on_planes(rho, trust, rgb, K, w2c, near, config.cross_check, blank, planes)
    if config.together:
        joint = neighbours(w2c, config.together)
        rho = joined(rho, trust, K, w2c, joint, config.cross_check, kept=trust == TRUST)
    out, sure = np.empty_like(rho), trust.copy()
    for v, wide in enumerate(neighbours(w2c, 2 * config.neighbours)):
        seen = splat_from(v, wide, rho, sure, K, w2c)
        _, violate = compare_views(seen, rho, v, wide, K, w2c, config.cross_check, sure)
        # squared: a doubtful pixel must not outweigh what its colour region says
        filled = fill_inverse_depth(rho[v], trust[v] ** 2, rgb[v])
        # halos of near surfaces agree among themselves; what others see farther away is safe
        take = (trust[v] < 0.05) & (seen > 0) & (seen < 0.9 * filled) & (violate < 0.5)
        start = np.where(take, seen, rho[v])
        weight = np.where(take, 0.3, trust[v])
        filled = fill_inverse_depth(start, weight**2, rgb[v])
        _, violate = compare_views(filled, rho, v, wide, K, w2c, config.cross_check, sure)
        wrong = (violate > 0.5) & (weight < 0.05)
        if wrong.any():
            size = max(5, round(max(h, w) / 12) | 1)
            known = np.where(weight > 0.3, start, np.float32(1e6)).astype(np.float32)
            behind = cv2.erode(known, np.ones((size, size), np.uint8))
            wrong &= behind < 1e5
            start = np.where(wrong, behind, start)
            weight = np.where(wrong, 0.2, weight)
            filled = fill_inverse_depth(start, weight**2, rgb[v])
        out[v] = filled
        trust[v] = np.where(take, 0.2, trust[v])
    if blank is not None:  # of a thing before nothing, planes are its own sides
        return out, trust
    return lifted(out, trust, planes, Witnesses(rgb, K, w2c))
