"""Semi-global matching over a cost volume: the smooth surface that explains the images best.

Legend: H W image, D inverse-depth planes. Hot loops are numba kernels, compiled once and cached.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, fastmath=True)
def _scan(cost, total, edge_y, edge_x, p1, p2, dy, dx):
    """Add one direction's path costs to `total`, both [H, W, D]."""
    h, w, d_count = cost.shape
    y0, y1, ys = (0, h, 1) if (dy > 0 or (dy == 0 and dx > 0)) else (h - 1, -1, -1)
    x0, x1, xs = (0, w, 1) if (dx > 0 or (dx == 0 and dy > 0)) else (w - 1, -1, -1)
    previous = np.zeros((w, d_count), np.float32)
    previous_min = np.zeros(w, np.float32)
    current = np.zeros((w, d_count), np.float32)
    current_min = np.zeros(w, np.float32)
    y = y0
    while y != y1:
        x = x0
        while x != x1:
            py, px = y - dy, x - dx
            low = np.float32(1e9)
            if py < 0 or py >= h or px < 0 or px >= w:
                for d in range(d_count):
                    value = cost[y, x, d]
                    current[x, d] = value
                    total[y, x, d] += value
                    low = min(low, value)
            else:
                if dy == 0:
                    before, floor = current[px], current_min[px]
                else:
                    before, floor = previous[px], previous_min[px]
                change = np.float32(0.0)
                if dy != 0:
                    change = edge_y[max(y, py), x]
                if dx != 0:
                    change = max(change, edge_x[y, max(x, px)])
                jump = floor + p2 * change + p1 * np.float32(1.2)
                for d in range(d_count):
                    value = before[d]
                    if d > 0:
                        value = min(value, before[d - 1] + p1)
                    if d < d_count - 1:
                        value = min(value, before[d + 1] + p1)
                    value = min(value, jump) - floor + cost[y, x, d]
                    current[x, d] = value
                    total[y, x, d] += value
                    low = min(low, value)
            current_min[x] = low
            x += xs
        if dy != 0:
            for i in range(w):
                previous_min[i] = current_min[i]
                for d in range(d_count):
                    previous[i, d] = current[i, d]
        y += ys


@njit(cache=True)
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
