"""Epipolar geometry of two pictures: y^T F x = 0 for pixels x of one and y of the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating]


def fundamental(K_a: Array, K_b: Array, move: Array) -> Array:
    """F [3, 3] of cameras K [3, 3]; ``move`` [4, 4] takes points of a's frame into b's."""
    t = move[:3, 3]
    cross = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])
    return np.linalg.inv(K_b).T @ cross @ move[:3, :3] @ np.linalg.inv(K_a)


def sampson(
    F: Array, x: Array, y: Array, x_scale: ArrayLike = 1.0, y_scale: ArrayLike = 1.0
) -> Array:
    """How far [N] matches x -> y [N, 2] are off, to first order and with sign, in pixels.

    x_scale, y_scale [N]: pixels of x and y for each of those that errors are counted in.
    """
    p, q = (np.concatenate([uv, np.ones((len(uv), 1))], 1) for uv in (x, y))
    line_b, line_a = p @ F.T, q @ F
    spread = (line_b[:, :2] ** 2).sum(1) * np.square(y_scale)
    spread = spread + (line_a[:, :2] ** 2).sum(1) * np.square(x_scale)
    return (line_b * q).sum(1) / np.maximum(np.sqrt(spread), 1e-12)
