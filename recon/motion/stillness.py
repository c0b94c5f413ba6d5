"""Which points stand still, from what still cameras see over time.

Legend: N points, V views, T times. What is known to be still is never moved by the fit, so that
nothing that passes by drags it along. Evidence comes first: surroundings that never change are
still, a pattern that flows to another place and looks the same there moves. What no view shows
either way (covered later, never seen by a camera that has other times, plain) gets the label that
reaches it first over the surface; where few cameras have other times, that of its side of the
cheapest border over the surface.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_order, dijkstra, maximum_flow
from scipy.spatial import cKDTree

from fourreal.cameras import pixel_index, project, transform
from fourreal.colour import difference
from tracking.flow.trusted import trusted_flow

FloatArray = NDArray[np.floating]
Mask = NDArray[np.bool_]
_DARK = 0.02  # added to colours before their brightness is compared
_SURE = 1e4  # links cut before a point that is surely still or moving changes sides
_LEAN = 7.2  # the same of one that changes and may be either, over the short side in pixels


@dataclass
class Sights:
    """Points as the still cameras see them: all that the functions below look at.

    points [N, 3]; colors [N, 3]; frames [V, T, H, W, 3]; known [V, T]; depth [V, H, W] that the
    points draw; K [V, 3, 3]; w2c [V, 4, 4]; canonical_time; tolerance: a point is seen where its
    depth is that of the surface, within this fraction.
    """

    points: FloatArray
    colors: FloatArray
    frames: FloatArray
    known: Mask
    depth: FloatArray
    K: FloatArray
    w2c: FloatArray
    canonical_time: int = 0
    tolerance: float = 0.04

    def __post_init__(self) -> None:
        self.seen: dict[int, tuple[NDArray[np.int64], Mask]] = {}
        self.smooth: dict[tuple[int, int], FloatArray] = {}
        for v, row in enumerate(self.known):
            if row[self.canonical_time] and row.sum() > 1:
                self.seen[v] = self._seen_pixels(v)
                for t in np.flatnonzero(row):
                    self.smooth[v, int(t)] = cv2.GaussianBlur(self.frames[v, t], (0, 0), 0.8)

    def others(self, v: int) -> list[int]:
        """The known times of view v, without the canonical one."""
        return [int(t) for t in np.flatnonzero(self.known[v]) if t != self.canonical_time]

    def _seen_pixels(self, v: int) -> tuple[NDArray[np.int64], Mask]:
        """Pixel index [N] (0 outside) and whether the view's surface is the point's [N]."""
        uv, z = project(transform(self.w2c[v], self.points), self.K[v])
        pixel, inside = pixel_index(uv, z, self.depth[v].shape)
        surface = self.depth[v].reshape(-1)[pixel]
        with np.errstate(invalid="ignore"):
            return pixel, inside & (np.abs(z - surface) < self.tolerance * surface)


def still_points(sights: Sights, many: int = 3) -> Mask:
    """Points [N] that stand still; all of them when nothing is seen to move, none when nothing
    is seen to stand still. What changes in most of ``many`` views or more stays free to move. Fewer
    views see one side of things only: far from what they see move, shapes tell what belongs to it.
    """
    still = surely_still(sights)
    if not still.any():
        return still
    moving = surely_moving(sights) & ~still
    maybe, looks = maybe_still(sights)
    changes = (looks > 0) & ~maybe & ~still
    if not moving.any():  # too fast or too plain to be followed: at least it changes
        moving = changes
    if not moving.any():
        return np.ones(len(still), bool)
    if len(sights.seen) < many:
        label = _shortest_border(sights, still, moving, changes, maybe & ~moving)
    else:
        label = _nearest_label(sights, still, moving, maybe & ~moving)
    return label & ~(changes & (looks >= many))


def surely_still(sights: Sights, contrast: float = 0.06, wide: float = 0.05) -> Mask:
    """Points [N] whose surroundings (7 x 7 pixels) never change in some still view.

    One view is enough, because a thing that passes in front changes the others. Surroundings must
    have ``contrast``, or belong to an unchanged area of a share of ``wide`` of the picture: the
    inside of a plain moving thing does not change either.
    """
    still = np.zeros(len(sights.points), bool)
    kernel = np.ones((7, 7), np.uint8)
    for v, (pixel, seen) in sights.seen.items():
        first = sights.smooth[v, sights.canonical_time]
        changes = [difference(sights.smooth[v, t], first) for t in sights.others(v)]
        change = np.max(changes, axis=0)
        limit = 0.03 + 2 * float(np.percentile(change, 20))  # flicker of the clip itself
        calm = cv2.dilate(change, kernel) < min(limit, 0.1)
        textured = (cv2.dilate(first, kernel) - cv2.erode(first, kernel)).max(-1) > contrast
        area, stats = cv2.connectedComponentsWithStats(calm.astype(np.uint8), connectivity=4)[1:3]
        calm &= textured | (stats[:, cv2.CC_STAT_AREA] > wide * calm.size)[area]
        still |= seen & calm.reshape(-1)[pixel]
    return still


def surely_moving(sights: Sights, reach: int = 3, share: float = 1 / 3) -> Mask:
    """Points [N] that flow carries to where they look the same, in ``share`` of their views.

    Of the times within ``reach`` of the canonical one, one is enough. The pixel left behind must
    have changed by more than brightness, so that shadows do not move the ground.
    """
    votes, looks = np.zeros((2, len(sights.points)), int)
    for v, (pixel, seen) in sights.seen.items():
        start = sights.frames[v, sights.canonical_time]
        before = sights.smooth[v, sights.canonical_time]
        moved = np.zeros(before.shape[:2], bool)
        at_y, at_x = np.indices(moved.shape, dtype=np.float32)
        near = [t for t in sights.others(v) if abs(t - sights.canonical_time) <= reach]
        for t in near:
            flow, trust = trusted_flow(start, sights.frames[v, t])
            after = sights.smooth[v, t]
            there = cv2.remap(after, at_x + flow[..., 0], at_y + flow[..., 1], cv2.INTER_LINEAR)
            found = (trust > 0.6) & (difference(there, before) < 0.08)
            left = _change(before, after) > 0.06
            moved |= found & left & (np.hypot(flow[..., 0], flow[..., 1]) > 1.0)
        if near:
            looks += seen
            votes += seen & moved.reshape(-1)[pixel]
    moving = votes >= np.maximum(looks * share, 1)
    around = cKDTree(sights.points).query(sights.points, k=min(10, len(moving)), workers=-1)[1]
    return moving & (moving[around].sum(1) >= 4)


def maybe_still(sights: Sights) -> tuple[Mask, NDArray[np.int64]]:
    """Points [N] whose pixel keeps its colour, up to brightness (shadows pass), at every time in
    at least a third of the views that see them (the others may be covered); and how many views
    see them."""
    n, times = len(sights.points), sights.frames.shape[1]
    doubt, looks = np.zeros(n), np.zeros(n, np.int64)
    for t in range(times):
        change = np.full((len(sights.frames), n), np.nan)
        for v, (pixel, seen) in sights.seen.items():
            if t != sights.canonical_time and (v, t) in sights.smooth:
                before = sights.smooth[v, sights.canonical_time].reshape(-1, 3)[pixel]
                value = _change(before, sights.smooth[v, t].reshape(-1, 3)[pixel])
                change[v] = np.where(seen, value, np.nan)
        lower = _lower_third(change)
        looks = np.maximum(looks, np.isfinite(change).sum(0))
        doubt = np.maximum(doubt, np.nan_to_num(lower))
    return (looks > 0) & (doubt < 0.05), looks


def _change(before: FloatArray, after: FloatArray) -> FloatArray:
    """Largest difference over the channels [...] that a change of brightness does not explain."""
    before, after = before + _DARK, after + _DARK
    gain = np.clip(after.sum(-1) / before.sum(-1), 0.4, 1.8)
    return difference(after, before * gain[..., None])


def _lower_third(values_VN: FloatArray) -> FloatArray:
    """The value at a third of the sorted finite ones of every column; NaN where there is none."""
    ordered = np.sort(values_VN, axis=0)  # NaN last
    count = np.isfinite(values_VN).sum(0)
    place = np.maximum((count - 1) // 3, 0)
    return np.take_along_axis(ordered, place[None], 0)[0]


def _shortest_border(
    sights: Sights, still: Mask, moving: Mask, changes: Mask, maybe: Mask, neighbours: int = 9
) -> Mask:
    """Points [N] on the side of the ``still`` ones of the cheapest border to ``moving`` ones.

    A minimum cut: a border costs the links between neighbours that it cuts, fewer across gaps and
    edges of colour. A leg on the ground is cut off at its foot, where the contact is least, however
    far from it motion was seen. What changes leans to moving, what may be still to still.
    """
    n = len(still)
    i, j, length, edge = _links(sights, neighbours)
    link = 1 / (length * (1 + 10 * edge))
    lean = _LEAN / min(sights.depth.shape[1:])  # points grow with the area, borders with the length
    to_moving = np.where(moving, _SURE, np.where(changes, lean, 0.0))
    to_still = np.where(still, _SURE, np.where(maybe, lean / 4, 0.0))
    every, source, sink = np.arange(n), np.full(n, n), np.full(n, n + 1)
    rows, columns = np.r_[i, j, source, every], np.r_[j, i, every, sink]
    amount = np.rint(1000 * np.r_[link, link, to_moving, to_still]).astype(np.int32)
    graph = sparse.csr_matrix((amount, (rows, columns)), shape=(n + 2, n + 2))
    graph.eliminate_zeros()
    left = graph - maximum_flow(graph, n, n + 1).flow
    left.data = np.maximum(left.data, 0)
    left.eliminate_zeros()
    reached = breadth_first_order(left, n, return_predecessors=False)
    out = np.ones(n + 2, bool)
    out[reached] = False
    return out[:n]


def _nearest_label(
    sights: Sights, still: Mask, moving: Mask, maybe: Mask, neighbours: int = 9
) -> Mask:
    """Points [N] nearer to ``still`` than to ``moving`` ones along the surface.

    A link is longer across edges of colour; between points that may be still, still ones get on
    faster.
    """
    i, j, length, edge = _links(sights, neighbours)
    cost = length * (1 + 40 * edge)
    eased = cost * np.where(maybe[i] & maybe[j], 0.3, 1.0)
    away_still = _distance(i, j, eased, still)
    away_moving = _distance(i, j, cost, moving)
    return away_still <= away_moving


def _links(
    sights: Sights, neighbours: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray, FloatArray]:
    """Links i -> j between neighbouring points: their length in pixels, more across gaps, and the
    difference of colour."""
    n = len(sights.points)
    depth = np.abs(transform(sights.w2c[len(sights.w2c) // 2], sights.points)[:, 2])
    pixel = depth / sights.K[0, 0, 0]
    distance, near = cKDTree(sights.points).query(
        sights.points, k=min(neighbours + 1, n), workers=-1
    )
    i, j = np.repeat(np.arange(n), near.shape[1] - 1), near[:, 1:].reshape(-1)
    steps = distance[:, 1:].reshape(-1) / np.maximum(np.minimum(pixel[i], pixel[j]), 1e-12)
    length = np.maximum(steps, 0.3) * (1 + np.maximum(steps - 3, 0))
    return i, j, length, difference(sights.colors[i], sights.colors[j])


def _distance(
    i: NDArray[np.int64], j: NDArray[np.int64], cost: FloatArray, seeds: Mask
) -> FloatArray:
    """Length [N] of the shortest path from any of ``seeds`` over undirected links."""
    n = len(seeds)
    first = np.flatnonzero(seeds)
    # node n is a step of nothing (a zero would be no link) away from all seeds
    weights = np.r_[cost, cost, np.full(len(first), 1e-6)]
    rows, columns = np.r_[i, j, np.full(len(first), n)], np.r_[j, i, first]
    order = np.lexsort((weights, columns, rows))
    rows, columns, weights = rows[order], columns[order], weights[order]
    fresh = np.r_[True, (np.diff(rows) != 0) | (np.diff(columns) != 0)]
    graph = sparse.csr_matrix((weights[fresh], (rows[fresh], columns[fresh])), shape=(n + 1, n + 1))
    return dijkstra(graph, indices=n)[:n]
