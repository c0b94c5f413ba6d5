"""Semi-global matching over a cost volume: the smooth surface that explains the images best.

Legend: H W image, D inverse-depth planes. Hot loops are numba kernels, compiled once and cached.
"""

from __future__ import annotations

import numpy as np

from fourreal.kernels import njit


@njit(fastmath=True, forceinline=True)
def _step(before, floor, jump, p1, cost, current, total):
    """One pixel of a path; before, current [D + 2] padded with large values -> its minimum."""
    low = np.float32(1e9)
    for d in range(len(cost)):
        side = min(before[d], before[d + 2]) + p1
        value = min(min(before[d + 1], side), jump) - floor + cost[d]
        current[d + 1] = value
        total[d] += value
        low = min(low, value)
    return low


@njit(cache=True, fastmath=True, nogil=True)
def _scan(cost, total, edge_y, edge_x, p1, p2, dy, dx):
    """Add one direction's path costs to `total`, both [H, W, D]."""
    h, w, d_count = cost.shape
    y0, y1, ys = (0, h, 1) if (dy > 0 or (dy == 0 and dx > 0)) else (h - 1, -1, -1)
    x0, x1, xs = (0, w, 1) if (dx > 0 or (dx == 0 and dy > 0)) else (w - 1, -1, -1)
    paths = np.full((2, w, d_count + 2), 1e9, np.float32)
    lows = np.zeros((2, w), np.float32)
    nothing = np.zeros(d_count + 2, np.float32)
    now = 0
    y = y0
    while y != y1:
        x = x0
        while x != x1:
            py, px = y - dy, x - dx
            if py < 0 or py >= h or px < 0 or px >= w:
                lows[now, x] = _step(
                    nothing, np.float32(0.0), np.float32(0.0), p1, cost[y, x], paths[now, x],
                    total[y, x],
                )  # fmt: skip
            else:
                source = now if dy == 0 else 1 - now
                change = np.float32(0.0)
                if dy != 0:
                    change = edge_y[max(y, py), x]
                if dx != 0:
                    change = max(change, edge_x[y, max(x, px)])
                floor = lows[source, px]
                lows[now, x] = _step(
                    paths[source, px], floor, floor + p2 * change + p1 * np.float32(1.2), p1,
                    cost[y, x], paths[now, x], total[y, x],
                )  # fmt: skip
            x += xs
        now = 1 - now
        y += ys


@njit(cache=True, nogil=True)
def _winner(total, cost, index, margin):
    """Best plane (sub-plane by a parabola) and its margin over planes that are not neighbours."""
    h, w, d_count = total.shape
    for y in range(h):
        for x in range(w):
            best, low = 0, np.float32(1e9)
            for d in range(d_count):
                if total[y, x, d] < low:
                    low, best = total[y, x, d], d
            second = np.float32(1e9)
            for d in range(d_count):
                if abs(d - best) > 2 and total[y, x, d] < second:
                    second = total[y, x, d]
            offset = np.float32(0.0)
            if 0 < best < d_count - 1:
                left, right = total[y, x, best - 1], total[y, x, best + 1]
                bend = left + right - 2 * low
                if bend > 1e-6:
                    offset = np.float32(0.5) * (left - right) / bend
            index[y, x] = best + offset
            margin[y, x] = second - low


def semi_global(
    cost: np.ndarray, image: np.ndarray, p1: float = 0.04, p2: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """cost float32 [H, W, D] in 0..1, image [H, W, 3] in 0..1 -> plane index [H, W], margin [H, W].

    A depth jump costs p2 on flat colour and down to a fifth of it across a colour edge.
    """

    def edge(axis: int) -> np.ndarray:
        step = np.abs(np.diff(image, axis=axis, prepend=np.take(image, [0], axis))).max(-1)
        return np.maximum(0.2, np.exp(-step / 0.06)).astype(np.float32)

    edge_y, edge_x = edge(0), edge(1)
    total = np.zeros_like(cost)
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
        _scan(cost, total, edge_y, edge_x, np.float32(p1), np.float32(p2), dy, dx)
    index = np.empty(cost.shape[:2], np.float32)
    margin = np.empty(cost.shape[:2], np.float32)
    _winner(total, cost, index, margin)
    return index, margin / 8.0
