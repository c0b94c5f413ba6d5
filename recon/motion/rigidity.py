"""How neighbouring nodes move apart when their surroundings turn: as-rigid-as-possible motion.

Legend: M nodes, E edges of the node graph. Asking neighbours to have the same offset charges a
limb for turning; asking that they differ as their surroundings' best rotation says charges only
what bends (Sorkine and Alexa 2007, with a norm of 1 so that joints may bend sharply). On a CPU,
kernels do it (`recon.motion.rigidity_kernels`); elsewhere torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourreal.kernel_threads import run_threaded
from recon.motion import rigidity_kernels as kernels

_MANY = 2000  # nodes from which a second thread saves more than its waking costs


class LocalTurns:
    """Rotations of the surroundings of nodes, from their offsets.

    Surroundings are ``rings`` rings of neighbours in the graph, each edge counting alike whatever
    its length.
    """

    def __init__(self, nodes_M3: Tensor, edges_E2: Tensor, rings: int = 3) -> None:
        self.rings, self.count = rings, len(nodes_M3)
        self.first, self.second = edges_E2[:, 0].contiguous(), edges_E2[:, 1].contiguous()
        self.rest_E3 = nodes_M3[self.first] - nodes_M3[self.second]
        self.share_E1 = 1 / (self.rest_E3.square().sum(1, keepdim=True) + 1e-12)
        self.rows = None if nodes_M3.is_cuda else _rows(edges_E2.numpy(), self.count)

    @torch.no_grad()
    def __call__(self, offsets_M3: Tensor) -> Tensor:
        """Difference [E, 3] of the offsets of an edge's nodes, were all around it rigid."""
        return self._by_torch(offsets_M3) if self.rows is None else self._by_kernels(offsets_M3)

    def penalty(
        self, offsets_M3: Tensor, apart_E3: Tensor, per_offset: float, per_edge: float
    ) -> Tensor:
        """per_offset * mean |offset| + per_edge * mean |difference of an edge's offsets - apart|.

        Means over all numbers; the gradient reaches the offsets.
        """
        if self.rows is not None:
            return _Penalty.apply(offsets_M3, apart_E3, self, per_offset, per_edge)
        value = per_offset * offsets_M3.abs().mean()
        if len(self.first):
            difference = offsets_M3[self.first] - offsets_M3[self.second] - apart_E3
            value = value + per_edge * difference.abs().mean()
        return value

    def run(self, kernel: Callable, *args: Any) -> None:
        """A kernel on as many threads as pay for themselves."""
        run_threaded(torch.get_num_threads() if self.count > _MANY else 1, kernel, *args)

    def _by_kernels(self, offsets_M3: Tensor) -> Tensor:
        assert self.rows is not None
        start, edge, other = self.rows
        ends = self.first.numpy(), self.second.numpy()
        rest = self.rest_E3.numpy()
        offsets = offsets_M3.detach().to(self.rest_E3).contiguous().numpy()
        sums, wider = np.empty((2, self.count, 9), rest.dtype)
        shares = self.share_E1[:, 0].numpy()
        self.run(kernels.pair_sums, start, edge, *ends, rest, shares, offsets, sums)
        for _ in range(self.rings - 1):
            self.run(kernels.widen, start, other, sums, wider)
            sums, wider = wider, sums
        self.run(kernels.nearest_rotations, sums, wider)
        apart = torch.empty_like(self.rest_E3)
        self.run(kernels.turned_edges, *ends, rest, wider, apart.numpy())
        return apart

    @torch.no_grad()
    def rotations(self, offsets_M3: Tensor) -> Tensor:
        """How the surroundings of every node turned [M, 3, 3]."""
        moved = self.rest_E3 + offsets_M3[self.first] - offsets_M3[self.second]
        pair_E33 = (self.share_E1 * moved)[:, :, None] * self.rest_E3[:, None, :]
        return nearest_rotation(self._around(pair_E33.flatten(1)).unflatten(1, (3, 3)))

    def _by_torch(self, offsets_M3: Tensor) -> Tensor:
        turn = self.rotations(offsets_M3)
        turn = turn - torch.eye(3).to(turn)
        mean = 0.5 * (turn[self.first] + turn[self.second])
        return (mean @ self.rest_E3[:, :, None])[:, :, 0]

    def _around(self, values_EC: Tensor) -> Tensor:
        """Sums [M, C] of the edges' values over the surroundings of every node."""
        out = values_EC.new_zeros(self.count, values_EC.shape[1])
        out.index_add_(0, self.first, values_EC)
        out.index_add_(0, self.second, values_EC)
        for _ in range(self.rings - 1):
            wider = out.clone()
            wider.index_add_(0, self.first, out[self.second])
            wider.index_add_(0, self.second, out[self.first])
            out = wider
        return out


class _Penalty(torch.autograd.Function):
    """Value and gradient in one go, as the photometric loss."""

    @staticmethod
    def forward(ctx, offsets, apart, turns, per_offset, per_edge):  # type: ignore[override]
        start, edge, _ = turns.rows
        values = np.zeros(-(-turns.count // kernels.CHUNK))
        slopes = torch.empty_like(offsets, memory_format=torch.contiguous_format)
        scale = np.array([per_offset / max(offsets.numel(), 1), per_edge / max(apart.numel(), 1)])
        turns.run(
            kernels.penalty, start, edge, turns.first.numpy(), turns.second.numpy(),
            offsets.detach().contiguous().numpy(), apart.numpy(),
            *scale.astype(slopes.numpy().dtype), slopes.numpy(), values,
        )  # fmt: skip
        ctx.save_for_backward(slopes)
        return offsets.new_tensor(values.sum())

    @staticmethod
    @once_differentiable
    def backward(ctx, v_value):  # type: ignore[override]
        (slopes,) = ctx.saved_tensors
        return slopes * v_value, None, None, None, None


def _rows(edges_E2: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """start [M + 1], edge [2E] and other node [2E] of the edges at every node."""
    ends = edges_E2.T.reshape(-1)
    order = np.argsort(ends, kind="stable")
    start = np.searchsorted(ends[order], np.arange(count + 1))
    others = edges_E2[:, ::-1].T.reshape(-1)
    return start, order % max(len(edges_E2), 1), np.ascontiguousarray(others[order])


def nearest_rotation(matrices_M33: Tensor, rounds: int = 12) -> Tensor:
    """Rotations R [M, 3, 3] that make trace(R^T A) largest, by turning towards A from identity.

    Mueller et al. 2016, "A robust method to extract the rotational part of deformations": no
    singular values, no reflections, and flat surroundings do no harm.
    """
    A = matrices_M33
    R = torch.eye(3).to(A).expand_as(A)
    for _ in range(rounds):
        axis = torch.linalg.cross(R, A, dim=1).sum(2)
        along = (R * A).sum((1, 2)).abs()[:, None]
        R = rotations(axis / (along + 1e-9 * A.abs().amax((1, 2))[:, None] + 1e-30)) @ R
    return R


def rotations(vector_M3: Tensor) -> Tensor:
    """Rotation matrices [M, 3, 3] of rotation vectors (Rodrigues)."""
    angle = vector_M3.norm(dim=1).clamp_min(1e-12)[:, None, None]
    x, y, z = (vector_M3 / angle[:, 0]).unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).unflatten(1, (3, 3))
    return (
        torch.eye(3).to(cross) + torch.sin(angle) * cross + (1 - torch.cos(angle)) * cross @ cross
    )
