"""How far outside the silhouettes of other views the points of outlines lie, as a numba kernel.

Legend as in ``tracking.cameras.silhouettes`` and ``tracking.cameras.normal_equations``.
"""

from __future__ import annotations

import math

import numpy as np

from fourreal.kernels import njit
from tracking.cameras.normal_equations import pixel_slopes, transfer

_COARSE = 64  # places along a ray ...
_FINE = 9  # ... and around the best, again and again
_ROUNDS = 4
_BEHIND = 1e4  # square pixels, of a place behind a camera


@njit(cache=True, fastmath=True, nogil=True)
def incoherence(
    outside, points, view, others, rotation, translation, focal, centre, nearest, farthest, scale,
    derive, h, g,
):  # fmt: skip
    """Sum over points of the Cauchy cost of the distances to the silhouettes of all other views, at
    the place on the point's ray that has the least.

    nearest, farthest: range of inverse depths, to that of the middle of the scene, (0, 0, 1) of the
    world, in the point's view. derive: add the normal equations to h [S, S], g [S], the place taken
    out of them.
    """
    asked = others.shape[1]
    last = len(g) - 1
    ray, r = np.ones(3), np.zeros((asked, 2, 3))
    relative, point = np.empty((asked, 3, 3)), np.empty(3)
    offset = np.empty((asked, 3))
    row, along, where = np.empty(13), np.empty(max(last + 1, 1)), np.empty(13, np.int64)
    where[12] = last
    total = 0.0
    for n in range(len(points)):
        i = view[n]
        for k in range(2):
            ray[k] = (points[n, k] - centre[k]) / focal
        for o in range(asked):
            transfer(
                rotation, translation, i, others[i, o], ray, 0.0, relative[o], offset[o], point
            )
            for k in range(3):
                r[o, 0, k], r[o, 1, k] = point[k], offset[o, k]
        middle = max(rotation[i, 2, 2] + translation[i, 2], 1e-2)
        low, high = nearest / middle, farthest / middle
        best, best_rho = np.inf, low
        for turn in range(_ROUNDS):
            count = _COARSE if turn == 0 else _FINE
            step = (high - low) / (count - 1)
            for q in range(count):
                rho, square = low + step * q, 0.0
                for o in range(asked):
                    z = r[o, 0, 2] + rho * r[o, 1, 2]
                    if z < 1e-3:
                        square += _BEHIND
                    else:
                        x = focal * (r[o, 0, 0] + rho * r[o, 1, 0]) / z + centre[0]
                        y = focal * (r[o, 0, 1] + rho * r[o, 1, 1]) / z + centre[1]
                        d, _, _ = _sampled(outside[others[i, o]], x, y)
                        square += d * d
                    if square >= best:
                        break
                if square < best:
                    best, best_rho = square, rho
            if best == 0.0:
                break
            low, high = max(low, best_rho - step), best_rho + step
        total += 0.5 * scale * scale * math.log(1.0 + best / (scale * scale))
        if not derive or best == 0.0:
            continue
        weight = 1.0 / (1.0 + best / (scale * scale))
        along[:] = 0.0
        stiff = 1e-9
        for c in range(6):
            where[6 + c] = 6 * i + c
        for o in range(asked):
            for k in range(3):
                point[k] = r[o, 0, k] + best_rho * r[o, 1, k]
            z = point[2]
            if z < 1e-3:
                continue
            x, y = focal * point[0] / z + centre[0], focal * point[1] / z + centre[1]
            d, right, down = _sampled(outside[others[i, o]], x, y)
            if d == 0.0:
                continue
            j_rho = pixel_slopes(
                right, down, focal, point, ray, best_rho, relative[o], offset[o], row
            )
            for k in range(2):
                speed = focal * (r[o, 1, k] - point[k] / z * r[o, 1, 2]) / z
                stiff += weight * speed * speed
            for c in range(6):
                where[c] = 6 * others[i, o] + c
            for c in range(13):
                a = weight * row[c]
                g[where[c]] += a * d
                along[where[c]] += a * j_rho
                for e in range(13):
                    h[where[c], where[e]] += a * row[e]
        for c in range(last + 1):
            if along[c] != 0.0:
                share = along[c] / stiff
                for e in range(last + 1):
                    h[c, e] -= share * along[e]
    return total


@njit(fastmath=True, nogil=True, forceinline=True)
def _sampled(outside, x, y):
    """Distance at pixel (x, y) of outside [h, w] and its slopes to the right and down; 0 within.

    Past the picture's border it grows on, but where the subject itself is cut by the border.
    """
    height, width = outside.shape
    x, y = x - 0.5, y - 0.5
    inner_x, inner_y = min(max(x, 0.0), width - 1.001), min(max(y, 0.0), height - 1.001)
    left, top = int(inner_x), int(inner_y)
    fx, fy = inner_x - left, inner_y - top
    a, b = outside[top, left], outside[top, left + 1]
    c, e = outside[top + 1, left], outside[top + 1, left + 1]
    d = (a * (1 - fx) + b * fx) * (1 - fy) + (c * (1 - fx) + e * fx) * fy
    if d <= 0:
        return 0.0, 0.0, 0.0
    right, down = (b - a) * (1 - fy) + (e - c) * fy, (c - a) * (1 - fx) + (e - b) * fx
    if x != inner_x:
        d += abs(x - inner_x)
        right = 1.0 if x > inner_x else -1.0
    if y != inner_y:
        d += abs(y - inner_y)
        down = 1.0 if y > inner_y else -1.0
    return d, right, down
