"""Coarse nodes over the nodes: what a neighbourhood does in common is found at once.

A node alone sees a few pixels; a limb that has moved further than these are wide gives its nodes
gradients that point anywhere. Steps that few, wide-apart nodes share follow the limb as a whole,
and what is left to single nodes is small.

Legend: M nodes, C coarse nodes of a level.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.motion.nodes import choose_nodes, interpolation
from recon.motion.spread import Spreader

COUNTS = (30, 200)  # coarse nodes of the levels
_AROUND = 6  # coarse nodes that a node follows


class Pyramid:
    """Levels of coarse nodes among those of ``nodes_M3`` [M, 3] that are ``free`` [M].

    A level with more than half as many nodes as are free is left out.
    """

    def __init__(
        self, nodes_M3: NDArray[np.floating], free: Tensor, counts: Sequence[int] = COUNTS
    ) -> None:
        moving = free.cpu().numpy()
        self.free_M1 = free[:, None]
        places = nodes_M3[moving]
        self.levels: list[Spreader] = []
        self.sizes: list[int] = []
        for count in counts:
            if 2 * count > len(places):
                continue
            chosen = choose_nodes(places, np.ones(len(places), np.float32), count)
            index, weights = interpolation(places, places[chosen], _AROUND)
            index_MK = np.zeros((len(moving), index.shape[1]), np.int64)
            weights_MK = np.zeros(index_MK.shape, np.float32)
            index_MK[moving], weights_MK[moving] = index, weights
            on = free.device
            place = torch.from_numpy(index_MK).to(on), torch.from_numpy(weights_MK).to(on)
            self.levels.append(Spreader(*place, len(chosen)))
            self.sizes.append(len(chosen))

    def start(self, fine_M3: Tensor) -> list[Tensor]:
        """``fine_M3`` and a zero [C, 3] for every level: their sum is ``fine_M3``."""
        return [fine_M3.detach().clone(), *(fine_M3.new_zeros(n, 3) for n in self.sizes)]

    @torch.no_grad()
    def total(self, parts: Sequence[Tensor]) -> Tensor:
        """What the levels come to, [M, 3]."""
        out = parts[0].clone()
        for spread, part in zip(self.levels, parts[1:], strict=True):
            out += spread(part)
        return out

    @torch.no_grad()
    def gradients(self, grad_M3: Tensor) -> list[Tensor]:
        """Of the parts, from that of their total, where nodes are free."""
        grad_M3 = grad_M3 * self.free_M1
        return [grad_M3, *(s.product(s.transposed, grad_M3) for s in self.levels)]
