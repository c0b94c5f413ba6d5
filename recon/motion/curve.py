"""Curves of time through the values at stamps: smooth where motion is, stiff where it stops.

Between two stamps a curve is the cubic with the values and slopes at both (Hermite), so it is C1
across stamps whatever the slopes are. They are those of the natural cubic spline (the curve through
the values that bends least; stamps need not be even), but at no stamp longer than ``_FASTEST``
times the slower of the mean speeds before and after it: what rests before or after a stamp hardly
moves at it, so the curve of a pose that is held and then left does not swing beyond it. How stiff a
curve is follows from the values alone. Legend: T stamps, M curves, C channels.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import torch
from torch import Tensor

_FASTEST = 2.0


def spline_slopes(times_T: Tensor, values_TMC: Tensor) -> Tensor:
    """Slopes [T, M, C] (per unit of time) of the curves through values [T, M, C]."""
    T = len(times_T)
    if T < 2:
        return torch.zeros_like(values_TMC)
    span = times_T.double().diff()
    chord = values_TMC.double().diff(dim=0) / span[:, None, None]
    slopes = _natural(span, chord)
    speed = chord.norm(dim=-1)
    slower = torch.cat([speed[:1], torch.minimum(speed[:-1], speed[1:]), speed[-1:]])
    length = slopes.norm(dim=-1)
    share = (_FASTEST * slower / length.clamp_min(1e-30)).clamp(max=1.0)
    return (slopes * share[..., None]).to(values_TMC)


def _natural(span: Tensor, chord: Tensor) -> Tensor:
    """Slopes of natural cubic splines [T, M, C] from spans [T - 1] and mean speeds (Thomas)."""
    last = len(span)
    gain: list[Tensor] = [span.new_tensor(0.5)]
    rest: list[Tensor] = [1.5 * chord[0]]
    for k in range(1, last + 1):
        before = 1 / span[k - 1]
        after = 1 / span[k] if k < last else span.new_tensor(0.0)
        right = 3 * before * chord[k - 1]
        if k < last:
            right = right + 3 * after * chord[k]
        pivot = 2 * (before + after) - before * gain[-1]
        gain.append(after / pivot)
        rest.append((right - before * rest[-1]) / pivot)
    out = [rest[-1]]
    for k in range(last - 1, -1, -1):
        out.append(rest[k] - gain[k] * out[-1])
    return torch.stack(out[::-1])


def bracket(stamps: Sequence[float], t: float) -> tuple[int, int, float]:
    """Stamps around ``t`` and the fraction between them; clamped to the first and last."""
    if t <= stamps[0] or len(stamps) == 1:
        return 0, 0, 0.0
    if t >= stamps[-1]:
        return len(stamps) - 1, len(stamps) - 1, 0.0
    right = bisect.bisect_right(stamps, t)
    return right - 1, right, (t - stamps[right - 1]) / (stamps[right] - stamps[right - 1])


def hermite(f: float) -> tuple[float, float, float, float]:
    """Weights, a fraction ``f`` after a stamp, of the value there, its slope times the span, and
    of the same two at the next stamp."""
    rise = f * f * (3 - 2 * f)
    return 1 - rise, f * (1 - f) ** 2, rise, -f * f * (1 - f)


def curve_at(times_T: Tensor, values: Tensor, slopes: Tensor | None, t: float) -> Tensor:
    """Values [M, C] at time ``t`` of curves [T, M, C]; without slopes straight lines."""
    left, right, f = bracket(times_T.tolist(), t)
    if slopes is None:
        return straight(times_T, values, t)
    if f == 0:
        return values[left]
    span = float(times_T[right] - times_T[left])
    a, b, c, d = hermite(f)
    ends = a * values[left] + c * values[right]
    return ends + span * (b * slopes[left] + d * slopes[right])


def straight(times_T: Tensor, values: Tensor, t: float) -> Tensor:
    """Values at ``t`` of [T, ...], on straight lines from stamp to stamp."""
    left, right, f = bracket(times_T.tolist(), t)
    return values[left] if f == 0 else torch.lerp(values[left], values[right], f)


def eased(times_T: Tensor, values: Tensor, t: float) -> Tensor:
    """Values at ``t`` of [T, ...], at rest at every stamp: C1, and never beyond two neighbours."""
    left, right, f = bracket(times_T.tolist(), t)
    return values[left] if f == 0 else torch.lerp(values[left], values[right], hermite(f)[2])
