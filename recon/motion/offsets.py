"""Temporal deformation: the offsets of nodes at every time stamp, and where they come from.

    FreeOffsets  one bounded vector per node and time stamp (the CPU default),
    MlpOffsets   a network of (node position, time) (4 x 64 by default); with a node on every point
                 it is the paper's deformation MLP (8 x 256).

Offsets are bounded by tanh and exactly zero at the canonical time. M nodes, T time stamps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class FreeOffsets(nn.Module):
    """One offset per node and time stamp, shorter than ``bound`` and zero at ``canonical_time``.

    Nodes that are not ``free`` [M] never move.

    Times are separate parameters: a step on one cell leaves the optimiser state of the other
    times alone.
    """

    free: Tensor

    def __init__(
        self,
        nodes: int,
        times: int,
        canonical_time: int,
        bound: float,
        free: Tensor | None = None,
    ) -> None:
        super().__init__()
        free = torch.ones(nodes, dtype=torch.bool) if free is None else free
        self.register_buffer("free", free)
        self.canonical_time, self.bound, self.nodes = canonical_time, bound, nodes
        self.raw = nn.ParameterList([nn.Parameter(torch.zeros(nodes, 3)) for _ in range(times)])

    @torch.no_grad()
    def set_time(self, time_index: int, offsets_M3: Tensor) -> None:
        """Set the offsets of one time stamp (clipped just inside the bound)."""
        inside = (offsets_M3 / self.bound).clamp(-0.999, 0.999)
        self.raw[time_index].copy_(torch.atanh(inside) * self.bound)

    def forward(self, time_index: int) -> Tensor:
        """Offsets [M, 3] at a time stamp."""
        if time_index == self.canonical_time:
            return torch.zeros_like(self.raw[time_index])
        return self.bound * torch.tanh(self.raw[time_index] / self.bound) * self.free[:, None]


class MlpOffsets(nn.Module):
    """Offsets from a network of (position, time), minus its value at the canonical time.

    Sinusoidal encoding of position (6 octaves) and time (4), ReLU layers, last layer zero, so
    that the untrained network moves nothing. The difference of two tanh halves keeps
    |offset| < bound and makes it exactly zero at the canonical time. Nodes that are not ``free``
    [M] never move, and cost nothing.
    """

    x: Tensor
    t: Tensor
    free: Tensor

    def __init__(
        self,
        positions_M3: Tensor,
        times_T: Tensor,
        canonical_time: int,
        bound: float,
        width: int = 64,
        depth: int = 4,
        generator: torch.Generator | None = None,
        free: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.canonical_time, self.bound, self.nodes = canonical_time, bound, len(positions_M3)
        free = torch.ones(self.nodes, dtype=torch.bool) if free is None else free
        self.register_buffer("free", free.nonzero()[:, 0])
        centre = positions_M3.median(0).values
        extent = (positions_M3 - centre).abs().max().clamp_min(1e-9)
        self.register_buffer("x", _encode((positions_M3[free] - centre) / extent, 6))
        self.register_buffer("t", _encode(times_T[:, None] * 2 - 1, 4))
        sizes = [self.x.shape[1] + self.t.shape[1], *[width] * depth, 3]
        layers = [nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
        for layer in layers:
            edge = 1 / math.sqrt(layer.in_features)
            nn.init.uniform_(layer.weight, -edge, edge, generator=generator)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(layers[-1].weight)
        self.layers = nn.ModuleList(layers)

    def _raw(self, time_index: int) -> Tensor:
        h = torch.cat([self.x, self.t[time_index].expand(len(self.x), -1)], 1)
        *hidden, last = self.layers
        for layer in hidden:
            h = torch.relu(layer(h))
        return 0.5 * torch.tanh(last(h))

    def forward(self, time_index: int) -> Tensor:
        """Offsets [M, 3] at a time stamp."""
        still = torch.zeros(self.nodes, 3, device=self.x.device)
        if time_index == self.canonical_time:
            return still
        moved = self.bound * (self._raw(time_index) - self._raw(self.canonical_time))
        return still.index_copy(0, self.free, moved)


def _encode(x: Tensor, octaves: int) -> Tensor:
    parts = [x]
    for k in range(octaves):
        parts += [torch.sin(math.pi * 2**k * x), torch.cos(math.pi * 2**k * x)]
    return torch.cat(parts, 1)
