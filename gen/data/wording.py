"""Which of several wordings a caption takes: drawn, or the canonical ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator


class Wording:
    """Draws wordings from a generator, or always takes the canonical one when there is none."""

    def __init__(self, generator: Generator | None) -> None:
        self.generator = generator

    def chance(self, probability: float) -> bool:
        if self.generator is None:
            return probability >= 0.5
        return float(torch.rand((), generator=self.generator)) < probability

    def pick(self, options: Sequence, first: float = 0.5):
        """The first option with probability `first`, otherwise any of them."""
        if self.generator is None or self.chance(first):
            return options[0]
        return options[int(torch.randint(len(options), (), generator=self.generator))]
