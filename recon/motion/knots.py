"""Motion of a whole clip: knots of one curve, fewer than the times that it is fitted to.

Between knots a node runs along the cubic whose slope at a knot is that of the parabola through it
and its two neighbours (Catmull-Rom where knots are even): linear in the knots, and only the four
around a time count. A scene keeps knots and slopes, so what is drawn at a time is what was fitted.
Legend: T times of the clip, S knots, M nodes. A place among the knots is a number: 2.5 is half-way
between the third and the fourth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.motion.curve import bracket, hermite
from recon.motion.offsets import FreeOffsets


def choose_knots(times: int, home: int, most: int, every: int) -> NDArray[np.intp]:
    """Which of the times are knots: all of ``most`` or fewer, else about one in ``every``.

    The first, the last and ``home`` (the canonical time) are knots; there are never fewer than
    ``most`` of them.
    """
    if times <= most:
        return np.arange(times)
    count = max(most, -(-(times - 1) // every) + 1)
    before = round((count - 1) * home / (times - 1))
    before = min(max(before, int(home > 0)), count - 1 - int(home < times - 1))
    early = np.linspace(0, home, before + 1)
    late = np.linspace(home, times - 1, count - before)
    return np.unique(np.concatenate([early, late]).round().astype(np.intp))


def places(knots: Sequence[float], times: Sequence[float]) -> list[float]:
    """Where times lie among the knots."""
    at = [bracket(knots, t) for t in times]
    return [left + f for left, _, f in at]


class KnotOffsets(FreeOffsets):
    """Offsets of nodes at any place of the curves through knots; bounded, zero at the canonical
    one.

    Args:
        start: free offsets, one set per knot; their parameters are taken over.
        knots_S: when the knots are.
        curved: cubics; off: straight lines.
    """

    def __init__(self, start: FreeOffsets, knots_S: Sequence[float], curved: bool = True) -> None:
        super().__init__(start.nodes, len(start.raw), start.canonical_time, start.bound, start.free)
        self.raw, self.curved = start.raw, curved
        self._slopes = slope_weights(knots_S)
        self._spans = np.diff(np.asarray(knots_S, np.float64)).tolist()

    def forward(self, place: float) -> Tensor:  # type: ignore[override]
        """Offsets [M, 3] at a place among the knots."""
        left = int(place)
        f = place - left
        if f == 0:
            return super().forward(left)
        weights: dict[int, float] = {}

        def add(parts: dict[int, float], gain: float) -> None:
            for knot, weight in parts.items():
                weights[knot] = weights.get(knot, 0.0) + gain * weight

        if self.curved:
            a, b, c, d = hermite(f)
            span = self._spans[left]
            add({left: a, left + 1: c}, 1.0)
            add(self._slopes[left], span * b)
            add(self._slopes[left + 1], span * d)
        else:
            add({left: 1 - f, left + 1: f}, 1.0)
        weights.pop(self.canonical_time, None)
        moved = [weight * super(KnotOffsets, self).forward(k) for k, weight in weights.items()]
        return torch.stack(moved).sum(0) if moved else torch.zeros_like(self.raw[left])

    @torch.no_grad()
    def slopes(self) -> Tensor | None:
        """Slopes [S, M, 3] at the knots per unit of time; None: the curves are straight lines."""
        if not self.curved:
            return None
        values = [super(KnotOffsets, self).forward(k) for k in range(len(self.raw))]
        return torch.stack(
            [sum((w * values[k] for k, w in at.items()), values[0] * 0) for at in self._slopes]
        )


def slope_weights(knots_S: Sequence[float]) -> list[dict[int, float]]:
    """For every knot, what the values at the knots around count in the slope there."""
    span = np.diff(np.asarray(knots_S, np.float64))
    last = len(span)
    out: list[dict[int, float]] = []
    for k in range(last + 1):
        if last == 0:
            out.append({})
        elif k in (0, last):
            j = min(k, last - 1)
            out.append({j: -1 / span[j], j + 1: 1 / span[j]})
        else:
            before, after = float(span[k - 1]), float(span[k])
            whole = before + after
            out.append(
                {
                    k - 1: -after / (before * whole),
                    k: (after - before) / (before * after),
                    k + 1: before / (after * whole),
                }
            )
    return out
