"""How neighbouring nodes move apart when their surroundings turn: as-rigid-as-possible motion.

Legend: M nodes, E edges of the node graph. Asking neighbours to have the same offset charges a
limb for turning; asking that they differ as their surroundings' best rotation says charges only
what bends (Sorkine and Alexa 2007, with a norm of 1 so that joints may bend sharply).
"""

from __future__ import annotations

import torch
from torch import Tensor


class LocalTurns:
    """Rotations of the surroundings of nodes, from their offsets.

    Surroundings are ``rings`` rings of neighbours in the graph, each edge counting alike whatever
    its length.
    """

    def __init__(self, nodes_M3: Tensor, edges_E2: Tensor, rings: int = 3) -> None:
        self.rings, self.count = rings, len(nodes_M3)
        self.first, self.second = edges_E2[:, 0], edges_E2[:, 1]
        self.rest_E3 = nodes_M3[self.first] - nodes_M3[self.second]
        self.share_E1 = 1 / (self.rest_E3.square().sum(1, keepdim=True) + 1e-12)

    @torch.no_grad()
    def __call__(self, offsets_M3: Tensor) -> Tensor:
        """Difference [E, 3] of the offsets of an edge's nodes, were all around it rigid."""
        moved = self.rest_E3 + offsets_M3[self.first] - offsets_M3[self.second]
        pair_E33 = (self.share_E1 * moved)[:, :, None] * self.rest_E3[:, None, :]
        sums = self._around(pair_E33.flatten(1)).unflatten(1, (3, 3))
        turn = nearest_rotation(sums) - torch.eye(3).to(sums)
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
        R = _rotation(axis / (along + 1e-9 * A.abs().amax((1, 2))[:, None] + 1e-30)) @ R
    return R


def _rotation(vector_M3: Tensor) -> Tensor:
    """Rotation matrices [M, 3, 3] of rotation vectors (Rodrigues)."""
    angle = vector_M3.norm(dim=1).clamp_min(1e-12)[:, None, None]
    x, y, z = (vector_M3 / angle[:, 0]).unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).unflatten(1, (3, 3))
    return (
        torch.eye(3).to(cross) + torch.sin(angle) * cross + (1 - torch.cos(angle)) * cross @ cross
    )
