"""Which of several wordings a caption takes (drawn, or the canonical ones), and holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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


def longest_phrase(words: list[str], phrases: Iterable[list[str]]) -> tuple[int, int]:
    """Where the longest of the phrases first stands in ``words``, and how many words it has;
    (-1, 0) where none does."""
    best = (-1, 0)
    for phrase in phrases:
        starts = range(len(words) - len(phrase) + 1)
        at = next((i for i in starts if words[i : i + len(phrase)] == phrase), -1)
        if at >= 0 and len(phrase) > best[1]:
            best = (at, len(phrase))
    return best
