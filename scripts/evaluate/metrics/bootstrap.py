"""Bootstrap intervals over scenes: what a figure would be with other scenes of the same kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000


class Estimate(NamedTuple):
    """A figure with the ends of its 95 % interval; None where there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None


MISSING = Estimate(None)


def resamples(n: int, seed: int = 0, count: int = RESAMPLES) -> NDArray[np.intp]:
    """`count` draws [count, n] of n scenes with replacement."""
    return np.random.default_rng(seed).integers(0, n, (count, n))


def interval(values: NDArray) -> tuple[float, float] | tuple[None, None]:
    """The central 95 % of bootstrap values; None when a scene is all there is."""
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return None, None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def number(value: float | NDArray) -> float | None:
    """A JSON number; None for NaN."""
    return float(value) if np.isfinite(value) else None


def mean_of(values_N: NDArray, seed: int = 0) -> Estimate:
    """Mean over scenes; scenes without a value (NaN) are left out."""
    values = np.asarray(values_N, np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return MISSING
    if len(values) == 1:
        return Estimate(float(values[0]))
    draws = values[resamples(len(values), seed)].mean(1)
    return Estimate(float(values.mean()), *interval(draws))


def statistic_of(
    n: int, statistic: Callable[[NDArray[np.intp]], float], count: int, seed: int = 0
) -> Estimate:
    """A figure that is no mean over scenes: `statistic` of the indices of n scenes."""
    value = number(statistic(np.arange(n)))
    if n < 2 or value is None:
        return Estimate(value)
    return Estimate(value, *interval(np.array([statistic(i) for i in resamples(n, seed, count)])))
