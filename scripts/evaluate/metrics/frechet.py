"""Frechet distance between two sets of features, as FID and FVD use it.

Both sets are taken as Gaussians: |m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^(1/2)). With A the centred
features over sqrt(n - 1), C = A^T A and the last trace is the sum of the singular values of
A1 A2^T; no square root of a matrix is taken, so few samples in many dimensions do no harm.

The distance between finite samples is too large by an amount that depends on their number: compare
only rows with equally many clips.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scripts.evaluate.metrics.bootstrap import MISSING, Estimate, interval, number, resamples

RESAMPLES = 200  # of scenes; each is a singular value decomposition


def frechet_distance(a_ND: NDArray, b_ND: NDArray) -> float:
    """The distance between features a [N, D] and b [M, D]; NaN when a set has fewer than two.

    Raises:
        ValueError: the numbers of dimensions differ.
    """
    if a_ND.ndim != 2 or b_ND.ndim != 2 or a_ND.shape[1] != b_ND.shape[1]:
        raise ValueError(f"frechet_distance: got {a_ND.shape} and {b_ND.shape}, expected [N, D]")
    if min(len(a_ND), len(b_ND)) < 2:
        return float("nan")
    root_a, root_b = _root(a_ND), _root(b_ND)
    shift = a_ND.mean(0, dtype=np.float64) - b_ND.mean(0, dtype=np.float64)
    cross = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    value = (shift**2).sum() + (root_a**2).sum() + (root_b**2).sum() - 2 * cross
    return float(max(value, 0.0))


def _root(x_ND: NDArray) -> NDArray[np.float64]:
    """A [k, D] with A^T A the covariance, k = min(N, D)."""
    centred = np.asarray(x_ND, np.float64)
    centred = (centred - centred.mean(0)) / np.sqrt(len(x_ND) - 1)
    return centred if len(centred) <= centred.shape[1] else np.linalg.qr(centred)[1]


def frechet_estimate(
    made: Sequence[NDArray], reference_ND: NDArray, seed: int = 0, count: int = RESAMPLES
) -> Estimate:
    """The distance of the features of several scenes, each [n, D], to a reference set.

    A resample holds fewer different scenes and is further away for that alone; so the spread of the
    resamples is taken around the figure itself.
    """
    if not made or len(reference_ND) < 2:
        return MISSING
    value = number(frechet_distance(np.concatenate(list(made)), reference_ND))
    if value is None or len(made) < 2:
        return Estimate(value)
    draws = [
        frechet_distance(np.concatenate([made[i] for i in chosen]), reference_ND)
        for chosen in resamples(len(made), seed, count)
    ]
    low, high = interval(value + np.array(draws) - np.mean(draws))
    return Estimate(value, None if low is None else max(low, 0.0), high)
