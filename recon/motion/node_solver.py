"""Nodes carried to where several views sight them: rays intersected, neighbours moving alike.

Legend: M nodes, E edges of the node graph. Gauss-Newton on reprojection errors with robust
weights; an L1 smoothness over the graph carries along what no view sees and keeps the border of a
moving thing sharp against what stands still. With one view only, the motion along its rays is
what the neighbours' is: nothing else is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fourreal.cameras import transform
from fourreal.kernels import njit

FloatArray = NDArray[np.floating]
SWEEPS = 40


@dataclass
class Sighting:
    """Where one view sees the nodes at one time: uv_M2 pixels and weight_M (0: not seen)."""

    uv_M2: FloatArray
    weight_M: FloatArray
    K: FloatArray
    w2c: FloatArray


def solve_step(
    nodes_M3: FloatArray,
    edges_E2: NDArray[np.int64],
    sightings: Sequence[Sighting],
    smoothness: float = 0.3,
    rounds: int = 5,
    start: FloatArray | None = None,
    free: NDArray[np.bool_] | None = None,
    turned: Callable[[FloatArray], FloatArray] | None = None,
) -> FloatArray:
    """Offsets [M, 3] that carry the nodes to where they are sighted.

    Args:
        smoothness: weight of an edge's L1 difference, in pixels per pixel (offsets are measured
            in pixels of the observing cameras, so the scale of the scene does not matter).
        rounds: iteratively reweighted Gauss-Newton rounds.
        start: where to begin, [M, 3]; zero by default.
        free: bool [M], the nodes that may move; the others keep ``start``.
        turned: from the offsets, how those of an edge's nodes should differ, [E, 3]; by default
            not at all.
    """
    u: FloatArray = np.zeros(np.shape(nodes_M3)) if start is None else np.array(start, np.float64)
    pixel = _pixel_size(nodes_M3, sightings)
    free = np.ones(len(u), bool) if free is None else free
    loose = free[edges_E2].any(1)
    edges_E2 = edges_E2[loose]
    for k in range(rounds):
        apart = np.zeros((len(edges_E2), 3)) if turned is None else turned(u)[loose]
        u = _gauss_newton(nodes_M3, u, edges_E2, apart, sightings, pixel, smoothness, k, free)
    return u


def _pixel_size(nodes_M3: FloatArray, observations: Sequence[Sighting]) -> float:
    """World length of one pixel at the median node."""
    sizes = []
    for seen in observations:
        z = transform(seen.w2c, nodes_M3)[:, 2]
        sizes.append(np.median(np.abs(z)) / seen.K[0, 0])
    return float(np.median(sizes))


def _gauss_newton(
    x_M3: FloatArray,
    u_M3: FloatArray,
    edges: NDArray[np.int64],
    apart_E3: FloatArray,
    observations: Sequence[Sighting],
    pixel: float,
    smoothness: float,
    round_index: int,
    free: NDArray[np.bool_],
) -> FloatArray:
    """One reweighted step; unknowns are offsets in pixel sizes."""
    M = len(x_M3)
    blocks, rhs = np.zeros((M, 3, 3)), np.zeros((M, 3))
    scale = 4.0 if round_index < 2 else 1.5  # Geman-McClure width, pixels
    width = scale if round_index > 0 else np.inf
    for seen in observations:
        given = (seen.uv_M2, seen.weight_M, seen.K, seen.w2c)
        arrays = (np.ascontiguousarray(x, np.float64) for x in given)
        _add_sighting(x_M3 + u_M3, u_M3 / pixel, *arrays, pixel, width, blocks, rhs)
    bent = u_M3[edges[:, 0]] - u_M3[edges[:, 1]] - apart_E3
    difference = np.linalg.norm(bent / pixel, axis=-1)
    link = smoothness / np.maximum(difference, 0.3 if round_index else 1.0)
    pull = link[:, None] * apart_E3 / pixel
    np.add.at(rhs, edges[:, 0], pull)
    np.add.at(rhs, edges[:, 1], -pull)
    blocks += 1e-4 * np.eye(3)  # unseen and unlinked nodes stay
    first, neighbour, strength = _adjacency(edges, link, M)
    out = np.ascontiguousarray(u_M3 / pixel)
    _relax(blocks, rhs, first, neighbour, strength, np.flatnonzero(free), out, SWEEPS)
    return out * pixel


def relaxed(
    weight_M: FloatArray,
    rhs_M3: FloatArray,
    edges_E2: NDArray[np.int64],
    link_E: FloatArray,
    start_M3: FloatArray,
    sweeps: int,
) -> FloatArray:
    """Solution [M, 3] of (diag(weight) + graph Laplacian of the links) x = rhs, from ``start_M3``
    in so many sweeps."""
    out = np.array(start_M3, np.float64)
    rows = _adjacency(edges_E2, link_E, len(out))
    _relax_plain(weight_M, np.ascontiguousarray(rhs_M3), *rows, out, sweeps)
    return out


def _adjacency(
    edges: NDArray[np.int64], link: FloatArray, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """Neighbour lists of an undirected graph: row starts [M+1], neighbours and weights [2E]."""
    i, j = edges.T
    both = sparse.coo_matrix((np.r_[link, link], (np.r_[i, j], np.r_[j, i])), shape=(count, count))
    csr = both.tocsr()
    return csr.indptr.astype(np.int64), csr.indices.astype(np.int64), csr.data


@njit(cache=True, error_model="numpy")
def _add_sighting(places, steps, uv, weight, K, w2c, pixel, width, blocks, rhs):
    """Add what a view says to the normal equations: `blocks` [M,3,3] and `rhs` [M,3] of `steps`
    [M,3], in pixel sizes; `width` of Geman-McClure weights in pixels, infinite: none."""
    fx, fy = K[0, 0], K[1, 1]
    rows = np.zeros((2, 3))
    for m in range(len(places)):
        w = weight[m]
        if w == 0:
            continue
        p, q, z = w2c[0, 3], w2c[1, 3], w2c[2, 3]
        for c in range(3):
            p += w2c[0, c] * places[m, c]
            q += w2c[1, c] * places[m, c]
            z += w2c[2, c] * places[m, c]
        if not z > 1e-8:
            continue
        off_x = uv[m, 0] - (fx * p + K[0, 1] * q) / z - K[0, 2]
        off_y = uv[m, 1] - fy * q / z - K[1, 2]
        if width < np.inf:
            gain = 1 / (1 + (off_x * off_x + off_y * off_y) / (width * width))
            w *= gain * gain
        for c in range(3):
            rows[0, c] = pixel * fx / z * (w2c[0, c] - p / z * w2c[2, c])
            rows[1, c] = pixel * fy / z * (w2c[1, c] - q / z * w2c[2, c])
            off_x += rows[0, c] * steps[m, c]
            off_y += rows[1, c] * steps[m, c]
        for c in range(3):
            rhs[m, c] += w * (rows[0, c] * off_x + rows[1, c] * off_y)
            for d in range(3):
                blocks[m, c, d] += w * (rows[0, c] * rows[0, d] + rows[1, c] * rows[1, d])


@njit(cache=True)
def _relax(blocks, rhs, first, neighbour, strength, free, x, sweeps):
    """Over-relaxed block Gauss-Seidel on (blocks + graph Laplacian) x = rhs, free rows only."""
    for sweep in range(sweeps):
        for k in range(len(free)):
            m = free[k] if sweep % 2 == 0 else free[len(free) - 1 - k]
            a = blocks[m].copy()
            b0, b1, b2 = rhs[m, 0], rhs[m, 1], rhs[m, 2]
            for e in range(first[m], first[m + 1]):
                w, n = strength[e], neighbour[e]
                a[0, 0] += w
                a[1, 1] += w
                a[2, 2] += w
                b0 += w * x[n, 0]
                b1 += w * x[n, 1]
                b2 += w * x[n, 2]
            c00 = a[1, 1] * a[2, 2] - a[1, 2] * a[2, 1]
            c01 = a[0, 2] * a[2, 1] - a[0, 1] * a[2, 2]
            c02 = a[0, 1] * a[1, 2] - a[0, 2] * a[1, 1]
            c11 = a[0, 0] * a[2, 2] - a[0, 2] * a[2, 0]
            c12 = a[0, 2] * a[1, 0] - a[0, 0] * a[1, 2]
            c22 = a[0, 0] * a[1, 1] - a[0, 1] * a[1, 0]
            det = a[0, 0] * c00 + a[1, 0] * c01 + a[2, 0] * c02
            x[m, 0] += 1.6 * ((c00 * b0 + c01 * b1 + c02 * b2) / det - x[m, 0])
            x[m, 1] += 1.6 * ((c01 * b0 + c11 * b1 + c12 * b2) / det - x[m, 1])
            x[m, 2] += 1.6 * ((c02 * b0 + c12 * b1 + c22 * b2) / det - x[m, 2])


@njit(cache=True)
def _relax_plain(weight, rhs, first, neighbour, strength, x, sweeps):
    """As `_relax`, of all rows, where blocks are multiples of the identity: three divisions a row
    in place of an inverse, which is most of what `_relax` takes."""
    count = len(x)
    for sweep in range(sweeps):
        for k in range(count):
            m = k if sweep % 2 == 0 else count - 1 - k
            a, b0, b1, b2 = weight[m], rhs[m, 0], rhs[m, 1], rhs[m, 2]
            for e in range(first[m], first[m + 1]):
                w, n = strength[e], neighbour[e]
                a += w
                b0 += w * x[n, 0]
                b1 += w * x[n, 1]
                b2 += w * x[n, 2]
            x[m, 0] += 1.6 * (b0 / a - x[m, 0])
            x[m, 1] += 1.6 * (b1 / a - x[m, 1])
            x[m, 2] += 1.6 * (b2 / a - x[m, 2])
