"""Temporal deformation: how canonical points move, as offsets of control nodes.

Legend: N points, M control nodes, K nodes that a point follows, T time stamps.

A point's offset is the weighted mean of its K nearest nodes' offsets (K = 4), so that a few
thousand nodes move a hundred thousand points. Where the nodes' offsets come from is one of
    "free"   one bounded vector per node and time stamp (the CPU default),
    "mlp"    a small network of (node position, time) (4 x 64 by default),
and with M = N, K = 1 the network is the paper's deformation MLP on every point (8 x 256).
Offsets are bounded by tanh and exactly zero at the canonical time.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fourreal.kernels import njit
from recon.raster.kernels.threads import run_threaded, take

_CHUNK = 2048  # rows taken at once


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


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, spreader):  # type: ignore[override]
        ctx.spreader = spreader
        return spreader.product(spreader.matrix, values)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # type: ignore[override]
        return ctx.spreader.product(ctx.spreader.transposed, grad), None


class Spreader:
    """Interpolates node values [M, C] to points [N, C]; linear, differentiable in the values.

    Sparse matrix products, on a CPU by a kernel that is quick about points that follow no node.
    """

    def __init__(self, index_NK: Tensor, weights_NK: Tensor, nodes: int) -> None:
        n, k = index_NK.shape
        rows = torch.arange(n, device=index_NK.device).repeat_interleave(k)
        used = weights_NK.reshape(-1) != 0
        place = torch.stack([rows, index_NK.reshape(-1)])[:, used]
        values = weights_NK.reshape(-1)[used]
        with warnings.catch_warnings():  # torch calls its CSR products beta, once per process
            warnings.simplefilter("ignore", UserWarning)
            matrix = torch.sparse_coo_tensor(place, values, (n, nodes)).coalesce()
            self.matrix = matrix.to_sparse_csr()
            self.transposed = matrix.t().coalesce().to_sparse_csr()

    def __call__(self, values_MC: Tensor) -> Tensor:
        return _Spread.apply(values_MC, self)

    def product(self, matrix: Tensor, values: Tensor) -> Tensor:
        """One of the two matrices times [., C]."""
        if values.is_cuda:
            return matrix @ values.contiguous()
        parts = matrix.crow_indices(), matrix.col_indices(), matrix.values()
        out = values.new_empty(matrix.shape[0], values.shape[1])
        run_threaded(
            torch.get_num_threads(), sparse_product, *(p.numpy() for p in parts),
            values.detach().contiguous().numpy(), out.numpy(),
        )  # fmt: skip
        return out


@njit(nogil=True, cache=True, error_model="numpy")
def sparse_product(counter, start, column, value, dense, out):
    """`out` [R,C]: a matrix of R sparse rows (entries start[r] .. start[r + 1]) times `dense`."""
    count, width = out.shape
    while True:
        begin = take(counter) * _CHUNK
        if begin >= count:
            break
        for r in range(begin, min(begin + _CHUNK, count)):
            for c in range(width):
                out[r, c] = 0
            for k in range(start[r], start[r + 1]):
                weight, row = value[k], column[k]
                for c in range(width):
                    out[r, c] += weight * dense[row, c]


class FreeOffsets(nn.Module):
    """One offset vector per node and time stamp, bounded by ``bound`` and zero at ``canonical``.

    Nodes that are not ``free`` [M] never move.

    Times are separate parameters: a step on one cell leaves the optimiser state of the other
    times alone.
    """

    free: Tensor

    def __init__(
        self,
        nodes: int,
        times: int,
        canonical: int,
        bound: float,
        free: Tensor | None = None,
    ) -> None:
        super().__init__()
        free = torch.ones(nodes, dtype=torch.bool) if free is None else free
        self.register_buffer("free", free)
        self.canonical, self.bound, self.nodes = canonical, bound, nodes
        self.raw = nn.ParameterList([nn.Parameter(torch.zeros(nodes, 3)) for _ in range(times)])

    def start_from(self, offsets_TM3: Tensor) -> None:
        """Set the offsets (clipped just inside the bound)."""
        for t, value in enumerate(offsets_TM3):
            self.set_time(t, value)

    @torch.no_grad()
    def set_time(self, time_index: int, offsets_M3: Tensor) -> None:
        """Set the offsets of one time stamp (clipped just inside the bound)."""
        inside = (offsets_M3 / self.bound).clamp(-0.999, 0.999)
        self.raw[time_index].copy_(torch.atanh(inside) * self.bound)

    def forward(self, time_index: int) -> Tensor:
        """Offsets [M, 3] at a time stamp."""
        if time_index == self.canonical:
            return torch.zeros_like(self.raw[time_index])
        return self.bound * torch.tanh(self.raw[time_index] / self.bound) * self.free[:, None]


class MlpOffsets(nn.Module):
    """Offsets from a network of (position, time), minus its value at the canonical time.

    Sinusoidal encoding of position (6 octaves) and time (4), ReLU layers, last layer zero, so
    that the untrained network moves nothing. The difference of two tanh halves keeps
    |offset| < bound and makes it exactly zero at the canonical time.
    """

    def __init__(
        self,
        positions_M3: Tensor,
        times_T: Tensor,
        canonical: int,
        bound: float,
        width: int = 64,
        depth: int = 4,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.canonical, self.bound, self.nodes = canonical, bound, len(positions_M3)
        centre = positions_M3.median(0).values
        extent = (positions_M3 - centre).abs().max().clamp_min(1e-9)
        self.register_buffer("x", _encode((positions_M3 - centre) / extent, 6))
        self.register_buffer("t", _encode(times_T[:, None] * 2 - 1, 4))
        sizes = [self.x.shape[1] + self.t.shape[1], *[width] * depth, 3]
        self.layers = nn.ModuleList(
            [nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
        )
        for layer in self.layers:
            bound_w = 1 / math.sqrt(layer.in_features)
            nn.init.uniform_(layer.weight, -bound_w, bound_w, generator=generator)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.layers[-1].weight)

    def _raw(self, time_index: int) -> Tensor:
        h = torch.cat([self.x, self.t[time_index].expand(len(self.x), -1)], 1)
        for layer in self.layers[:-1]:
            h = torch.relu(layer(h))
        return 0.5 * torch.tanh(self.layers[-1](h))

    def forward(self, time_index: int) -> Tensor:
        """Offsets [M, 3] at a time stamp."""
        if time_index == self.canonical:
            return torch.zeros(self.nodes, 3, device=self.x.device)
        return self.bound * (self._raw(time_index) - self._raw(self.canonical))


def _encode(x: Tensor, octaves: int) -> Tensor:
    parts = [x]
    for k in range(octaves):
        parts += [torch.sin(math.pi * 2**k * x), torch.cos(math.pi * 2**k * x)]
    return torch.cat(parts, 1)
