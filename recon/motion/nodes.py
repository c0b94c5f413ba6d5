"""Control nodes: where they are, which ones a point follows, and who their neighbours are.

Legend: N points, M nodes, K nodes that a point follows. A point's offset is the weighted mean of
its K nearest nodes' offsets (K = 4), so that a few thousand nodes move a hundred thousand points.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree


def choose_nodes(
    points: NDArray[np.floating], weight: NDArray[np.floating], count: int, seed: int = 0
) -> NDArray[np.int64]:
    """Indices [<= count] of control nodes: spread over the points, denser where they move.

    Points are thinned on a voxel grid whose cell shrinks with ``weight`` [N] (>= 0, about 1 where
    a point moves), the cell size being searched so that about ``count`` remain.
    """
    n = len(points)
    if n <= count:
        return np.arange(n)
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    shuffled = points[order]
    fine = weight[order] > 0.5
    extent = float(np.median(np.abs(points - np.median(points, 0)).max(1))) + 1e-9
    low, high = extent * 1e-4, extent * 4.0
    kept = np.arange(min(count, n))
    for _ in range(24):
        cell = math.sqrt(low * high)
        size = np.where(fine, cell, 4 * cell)[:, None]  # still regions need few nodes
        key = np.floor(shuffled / size).astype(np.int64)
        key = np.concatenate([key, fine[:, None]], 1)
        first = np.unique(_pack(key), return_index=True)[1]
        if len(first) > count:
            low = cell
        else:
            high, kept = cell, first
    return np.sort(order[kept])


def _pack(key: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number per row of small integers (no collisions for spans below 2^20)."""
    key = key - key.min(0)
    return ((key[:, 0] << 43) + (key[:, 1] << 22) + (key[:, 2] << 1)) + key[:, 3]


def interpolation(
    points: NDArray[np.floating],
    nodes: NDArray[np.floating],
    count: int = 4,
    still_points: NDArray[np.bool_] | None = None,
    still_nodes: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The nodes each point follows: index [N, K] and weights [N, K] that sum to 1.

    Weights are Gaussian in the distance, as wide as the distance to the farthest of the K nodes,
    so that the field has no seam where a point changes its neighbours. Moving points follow
    moving nodes only; points of ``still_points`` [N] have weight 0 everywhere, so that nothing
    that passes by drags them along.
    """
    n, m = len(points), len(nodes)
    moving = np.ones(n, bool) if still_points is None else ~still_points
    pool = (
        np.arange(m) if still_nodes is None or still_nodes.all() else np.flatnonzero(~still_nodes)
    )
    k = min(count, len(pool))
    index = np.zeros((n, k), np.int64)
    weight = np.zeros((n, k), np.float32)
    distance, near = cKDTree(nodes[pool]).query(points[moving], k=k)
    distance, near = distance.reshape(-1, k), near.reshape(-1, k)
    width = distance[:, -1:] + 1e-12
    value = np.exp(-2.0 * (distance / width) ** 2)
    index[moving] = pool[near]
    weight[moving] = value / value.sum(1, keepdims=True)
    return index, weight


def node_graph(nodes: NDArray[np.floating], neighbours: int = 6) -> NDArray[np.int64]:
    """Edges [E, 2] of the undirected k-nearest-neighbour graph of the nodes, for rigidity."""
    k = min(neighbours + 1, len(nodes))
    if k < 2:
        return np.zeros((0, 2), np.int64)
    near = cKDTree(nodes).query(nodes, k=k)[1]
    edges = np.stack([np.repeat(near[:, 0], k - 1), near[:, 1:].reshape(-1)], 1)
    return np.unique(np.sort(edges, axis=1), axis=0)
