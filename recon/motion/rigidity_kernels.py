"""Numba kernels of `recon.motion.rigidity`: local rotations of a node graph, and the penalty on
offsets.

The graph comes as rows of a sparse matrix: node m has the edges `edge[k]` to the nodes `other[k]`
for k in `start[m]` .. `start[m + 1]`. M nodes, E edges. Any float dtype; sums over nodes are made
per chunk, so that results do not depend on the number of threads.
"""

from __future__ import annotations

import math

import numpy as np

from fourreal.kernel_threads import take
from fourreal.kernels import njit
from recon.raster.kernels.geometry import row_times

CHUNK = 512  # nodes taken at once
ROUNDS = 12
_ENOUGH = 1e-6  # radians; a last turn so small ends the rounds


@njit(nogil=True, cache=True, error_model="numpy")
def pair_sums(counter, start, edge, first, second, rest, share, offsets, sums):
    """`sums` [M,9]: over a node's edges, the edge as it is now times as it was, times its share."""
    count = len(start) - 1
    while True:
        begin = take(counter) * CHUNK
        if begin >= count:
            break
        for m in range(begin, min(begin + CHUNK, count)):
            for c in range(9):
                sums[m, c] = 0
            for k in range(start[m], start[m + 1]):
                e = edge[k]
                i, j = first[e], second[e]
                for row in range(3):
                    now = share[e] * (rest[e, row] + offsets[i, row] - offsets[j, row])
                    for column in range(3):
                        sums[m, 3 * row + column] += now * rest[e, column]


@njit(nogil=True, cache=True, error_model="numpy")
def widen(counter, start, other, sums, wider):
    """`wider` [M,9]: the sums of a node and of those next to it."""
    count = len(start) - 1
    while True:
        begin = take(counter) * CHUNK
        if begin >= count:
            break
        for m in range(begin, min(begin + CHUNK, count)):
            for c in range(9):
                wider[m, c] = sums[m, c]
            for k in range(start[m], start[m + 1]):
                j = other[k]
                for c in range(9):
                    wider[m, c] += sums[j, c]


@njit(nogil=True, forceinline=True)
def _turn(R, x, y, z):
    """Rows of R, turned by the rotation vector x, y, z (Rodrigues)."""
    angle = math.sqrt(x * x + y * y + z * z)
    if angle == 0:
        return R
    x, y, z = x / angle, y / angle, z / angle
    s, c = math.sin(angle), math.cos(angle)
    v = 1 - c
    return (
        row_times(c + v * x * x, v * x * y - s * z, v * x * z + s * y, R),
        row_times(v * x * y + s * z, c + v * y * y, v * y * z - s * x, R),
        row_times(v * x * z - s * y, v * y * z + s * x, c + v * z * z, R),
    )


@njit(nogil=True, cache=True, error_model="numpy")
def nearest_rotations(counter, matrices, turns):
    """`turns` [M,9]: the rotation nearest to each of `matrices` [M,9] minus the identity.

    In double precision, from the identity, as `recon.motion.rigidity.nearest_rotation`.
    """
    count = len(matrices)
    while True:
        begin = take(counter) * CHUNK
        if begin >= count:
            break
        for m in range(begin, min(begin + CHUNK, count)):
            largest = 0.0
            for c in range(9):
                largest = max(largest, abs(float(matrices[m, c])))
            if largest == 0:
                for c in range(9):
                    turns[m, c] = 0
                continue
            scale = 1 / largest
            a = scale * matrices[m, 0], scale * matrices[m, 1], scale * matrices[m, 2]
            b = scale * matrices[m, 3], scale * matrices[m, 4], scale * matrices[m, 5]
            d = scale * matrices[m, 6], scale * matrices[m, 7], scale * matrices[m, 8]
            R = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
            for _ in range(ROUNDS):
                p, q, r = R
                x, y, z, along = 0.0, 0.0, 0.0, 0.0
                for c in range(3):
                    x += q[c] * d[c] - r[c] * b[c]
                    y += r[c] * a[c] - p[c] * d[c]
                    z += p[c] * b[c] - q[c] * a[c]
                    along += p[c] * a[c] + q[c] * b[c] + r[c] * d[c]
                share = 1 / (abs(along) + 1e-9)
                x, y, z = share * x, share * y, share * z
                R = _turn(R, x, y, z)
                if x * x + y * y + z * z < _ENOUGH * _ENOUGH:
                    break
            for c in range(3):
                turns[m, c], turns[m, 3 + c], turns[m, 6 + c] = R[0][c], R[1][c], R[2][c]
            turns[m, 0] -= 1
            turns[m, 4] -= 1
            turns[m, 8] -= 1


@njit(nogil=True, cache=True, error_model="numpy")
def turned_edges(counter, first, second, rest, turns, apart):
    """`apart` [E,3]: what the mean turn of an edge's two nodes adds to the edge."""
    count = len(first)
    while True:
        begin = take(counter) * CHUNK
        if begin >= count:
            break
        for e in range(begin, min(begin + CHUNK, count)):
            i, j = first[e], second[e]
            for row in range(3):
                total = turns[i, 3 * row] * 0
                for column in range(3):
                    c = 3 * row + column
                    total += (turns[i, c] + turns[j, c]) * rest[e, column]
                apart[e, row] = total / 2


@njit(nogil=True, cache=True, error_model="numpy")
def penalty(
    counter, start, edge, first, second, offsets, apart, per_offset, per_edge, slopes, values
):
    """Sum of |offset| * `per_offset` and of |difference - apart| * `per_edge`.

    `values` [chunks] holds the sums, `slopes` [M,3] those of the offsets.
    """
    count = len(start) - 1
    while True:
        chunk = take(counter)
        begin = chunk * CHUNK
        if begin >= count:
            break
        total = 0.0
        for m in range(begin, min(begin + CHUNK, count)):
            for c in range(3):
                total += per_offset * abs(offsets[m, c])
                slopes[m, c] = per_offset * np.sign(offsets[m, c])
            for k in range(start[m], start[m + 1]):
                e = edge[k]
                i, j = first[e], second[e]
                side = 1 if i == m else -1
                for c in range(3):
                    difference = offsets[i, c] - offsets[j, c] - apart[e, c]
                    if side > 0:
                        total += per_edge * abs(difference)
                    slopes[m, c] += side * per_edge * np.sign(difference)
        values[chunk] = total
