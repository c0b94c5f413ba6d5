"""Plane sweep: how well every inverse-depth plane of one view explains its neighbours.

Legend: H W image, D planes, n neighbours. Planes are fronto-parallel and even in inverse depth.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from fourreal.cameras import relative_pose
from fourreal.kernel_threads import cores, run_threaded, take
from fourreal.kernels import njit

NOISE = np.float32((3.0 / 255.0) ** 2)  # variance below which a window counts as flat
SOFT = np.float32(0.05)  # difference of cost that makes one neighbour count e times another
_NOTHING = np.float32(np.exp(-0.6 / 0.05))  # likeness, in all, of a depth that nobody speaks for


def pixel_transfer(
    view: int, others: Sequence[int], K: np.ndarray, w2c: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(A [n, 3, 3], b [n, 3]) with pixel index (x, y) at 1/z = rho seen at A (x, y, 1) + rho b.

    Indices have pixel centres at integers, homogeneous, float32.
    """
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    unshift = np.linalg.inv(shift)
    a, b = [], []
    for other in others:
        move = relative_pose(w2c[view], w2c[other])
        a.append(unshift @ K[other] @ move[:3, :3] @ np.linalg.inv(K[view]) @ shift)
        b.append(unshift @ K[other] @ move[:3, 3])
    return np.array(a, np.float32), np.array(b, np.float32)


@njit(fastmath=True, forceinline=True)
def likeness(cost):
    """How well one neighbour's cost (0..1) speaks for a depth: what `soft_minimum` adds up."""
    return np.exp(-cost / SOFT)


@njit(fastmath=True, forceinline=True)
def soft_minimum(total, n):
    """Cost 0..0.6 of a depth from the sum of the likeness of its n neighbours, hidden ones too.

    One neighbour that fits is enough, each further one makes it surer, and those in which the
    point is hidden or too slanted to match say nothing. For views that are far apart: there the
    second best of four is chance.
    """
    return -SOFT * np.log(total / np.float32(n) + _NOTHING)


@njit(fastmath=True, forceinline=True)
def _box(source, radius, scratch, out):
    """Box sums of source [h, w] over (2 radius + 1)^2, borders replicated by clamping."""
    h, w = source.shape
    for y in range(h):
        for x in range(w):
            total = np.float32(0.0)
            for k in range(-radius, radius + 1):
                total += source[y, min(max(x + k, 0), w - 1)]
            scratch[y, x] = total
    for y in range(h):
        for x in range(w):
            out[y, x] = 0.0
        for k in range(-radius, radius + 1):
            row = min(max(y + k, 0), h - 1)
            for x in range(w):
                out[y, x] += scratch[row, x]


@njit(fastmath=True, forceinline=True)
def _warp(reference, other, a, b, rho, warped, colour, outside):
    """Gray of `other` and its colour difference along one plane; other, reference [h, w, 4]."""
    h, w = warped.shape
    rows, columns = other.shape[:2]
    for y in range(h):
        for x in range(w):
            q0 = a[0, 0] * x + a[0, 1] * y + a[0, 2] + rho * b[0]
            q1 = a[1, 0] * x + a[1, 1] * y + a[1, 2] + rho * b[1]
            q2 = a[2, 0] * x + a[2, 1] * y + a[2, 2] + rho * b[2]
            u, v = np.float32(-9.0), np.float32(-9.0)
            if q2 > np.float32(1e-4):
                u, v = q0 / q2, q1 / q2
            out = not (u >= 0 and v >= 0 and u <= columns - 1 and v <= rows - 1)
            outside[y, x] = out
            u = min(max(u, np.float32(0.0)), np.float32(columns - 1.001))
            v = min(max(v, np.float32(0.0)), np.float32(rows - 1.001))
            x0, y0 = int(u), int(v)
            fx, fy = u - x0, v - y0
            w00, w01 = (1 - fx) * (1 - fy), fx * (1 - fy)
            w10, w11 = (1 - fx) * fy, fx * fy
            difference = np.float32(0.0)
            gray = np.float32(0.0)
            for c in range(4):
                value = (
                    w00 * other[y0, x0, c]
                    + w01 * other[y0, x0 + 1, c]
                    + w10 * other[y0 + 1, x0, c]
                    + w11 * other[y0 + 1, x0 + 1, c]
                )
                if c < 3:
                    difference += abs(value - reference[y, x, c])
                else:
                    gray = value
            warped[y, x] = gray
            colour[y, x] = difference / np.float32(3.0)


@njit(cache=True, fastmath=True, nogil=True)
def _sweep(counter, reference, others, a, b, rho, mean, variance, radius, keep, noise, out):
    """out[D, h, w]: cost of every plane; see cost_volume."""
    n = len(others)
    h, w = mean.shape
    area = np.float32((2 * radius + 1) ** 2)
    while True:
        d = take(counter)
        if d >= len(rho):
            break
        costs = np.empty((n, h, w), np.float32)
        warped = np.empty((h, w), np.float32)
        product = np.empty((h, w), np.float32)
        colour = np.empty((h, w), np.float32)
        scratch = np.empty((h, w), np.float32)
        sum_w = np.empty((h, w), np.float32)
        sum_ww = np.empty((h, w), np.float32)
        sum_gw = np.empty((h, w), np.float32)
        near = np.empty((h, w), np.float32)
        outside = np.empty((h, w), np.bool_)
        for i in range(n):
            _warp(reference, others[i], a[i], b[i], rho[d], warped, colour, outside)
            _box(warped, radius, scratch, sum_w)
            for y in range(h):
                for x in range(w):
                    product[y, x] = warped[y, x] * warped[y, x]
            _box(product, radius, scratch, sum_ww)
            for y in range(h):
                for x in range(w):
                    product[y, x] = warped[y, x] * reference[y, x, 3]
            _box(product, radius, scratch, sum_gw)
            _box(colour, 1, scratch, near)
            for y in range(h):
                for x in range(w):
                    mean_w = sum_w[y, x] / area
                    variance_w = max(sum_ww[y, x] / area - mean_w * mean_w, 0.0) + noise
                    covariance = sum_gw[y, x] / area - mean[y, x] * mean_w
                    zncc = covariance / np.sqrt(variance[y, x] * variance_w)
                    shape = min(max(np.float32(1.0) - zncc, np.float32(0.0)), np.float32(1.0))
                    difference = min(near[y, x] / np.float32(0.9), np.float32(1.0))
                    cost = np.float32(0.5) * (shape + difference)
                    costs[i, y, x] = np.float32(1e9) if outside[y, x] else cost
        values = np.empty(n, np.float32)
        for y in range(h):
            for x in range(w):
                if keep == 0:
                    alike = np.float32(0.0)
                    for i in range(n):
                        alike += likeness(costs[i, y, x])
                    out[d, y, x] = soft_minimum(alike, n)
                    continue
                count = 0
                for i in range(n):
                    value = costs[i, y, x]
                    if value < np.float32(1e8):
                        j = count
                        while j > 0 and values[j - 1] > value:
                            values[j] = values[j - 1]
                            j -= 1
                        values[j] = value
                        count += 1
                total = np.float32(0.5)
                if count > 0:
                    m = min(count, keep)
                    total = np.float32(0.0)
                    for i in range(m):
                        total += values[i]
                    total /= m
                out[d, y, x] = total


def with_gray(image: np.ndarray) -> np.ndarray:
    """image [H, W, 3] -> float32 [H, W, 4] with the channel mean behind."""
    return np.concatenate([image, image.mean(-1, keepdims=True)], -1).astype(np.float32)


def cost_volume(
    images: np.ndarray,
    view: int,
    neighbours: Sequence[int],
    K: np.ndarray,
    w2c: np.ndarray,
    rho: np.ndarray,
    window: int = 5,
    keep: int = 2,
) -> np.ndarray:
    """Matching cost float32 [H, W, D] in 0..1 of the planes rho [D] (1/z) of `view`.

    images float32 [V, H, W, 4] (with_gray). Per neighbour: half ZNCC over `window`, half colour
    difference over 3x3; across neighbours the mean of the best `keep`, so that a neighbour in which
    the point is hidden does not vote, or with `keep` 0 their `soft_minimum`.
    """
    size = (window, window)
    gray = np.ascontiguousarray(images[view][..., 3])
    mean = cv2.blur(gray, size, borderType=cv2.BORDER_REPLICATE)
    squared = cv2.blur(gray * gray, size, borderType=cv2.BORDER_REPLICATE)
    variance = np.maximum(squared - mean * mean, 0.0) + NOISE
    a, b = pixel_transfer(view, neighbours, K, w2c)
    out = np.empty((len(rho), *gray.shape), np.float32)
    others = np.ascontiguousarray(images[np.asarray(neighbours)])
    run_threaded(
        cores(),
        _sweep,
        np.ascontiguousarray(images[view]), others, a, b, rho.astype(np.float32), mean, variance,
        window // 2, keep, NOISE, out,
    )  # fmt: skip
    return np.ascontiguousarray(np.moveaxis(out, 0, -1))
