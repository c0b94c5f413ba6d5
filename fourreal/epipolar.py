"""Epipolar geometry of two pictures: y^T F x = 0 for pixels x of one and y of the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating]


def fundamental(K_a: Array, K_b: Array, move: Array) -> Array:
    """F [..., 3, 3] of cameras K [..., 3, 3]; ``move`` [..., 4, 4] takes points of a's frame into
    b's."""
    to_b = np.swapaxes(np.linalg.inv(K_b), -1, -2)
    return to_b @ cross(move[..., :3, 3]) @ move[..., :3, :3] @ np.linalg.inv(K_a)


def cross(t: Array) -> Array:
    """Matrices [..., 3, 3] that take x to t [..., 3] x x."""
    out = np.zeros((*t.shape, 3), t.dtype)
    out[..., [2, 0, 1], [1, 2, 0]] = t
    out[..., [1, 2, 0], [2, 0, 1]] = -t
    return out


def sampson(
    F: Array, x: Array, y: Array, x_scale: ArrayLike = 1.0, y_scale: ArrayLike = 1.0
) -> Array:
    """How far [..., N] matches x -> y [..., N, 2] are off by F [..., 3, 3], to first order and with
    sign, in pixels.

    x_scale, y_scale [..., N]: pixels of x and y for each of those that errors are counted in.
    """
    p, q = (np.concatenate([uv, np.ones((*uv.shape[:-1], 1))], -1) for uv in (x, y))
    line_b, line_a = p @ np.swapaxes(F, -1, -2), q @ F
    spread = (line_b[..., :2] ** 2).sum(-1) * np.square(y_scale)
    spread = spread + (line_a[..., :2] ** 2).sum(-1) * np.square(x_scale)
    return (line_b * q).sum(-1) / np.maximum(np.sqrt(spread), 1e-12)


def sampson_slopes(F: Array, x: Array, y: Array) -> tuple[Array, Array]:
    """``sampson`` [N] of matches with an F [N, 3, 3] each, and how it changes with its entries
    [N, 3, 3]."""
    p, q = (np.concatenate([uv, np.ones((len(uv), 1))], 1) for uv in (x, y))
    line_b, line_a = (F @ p[:, :, None])[..., 0], (q[:, None] @ F)[:, 0]
    off = (line_b * q).sum(1)
    line_b[:, 2] = line_a[:, 2] = 0.0
    length = np.maximum(np.sqrt((line_b**2 + line_a**2).sum(1)), 1e-12)[:, None]
    off = off[:, None] / length
    # q_i p_j less what the spread takes off: off (line_b_i p_j + q_i line_a_j) / length
    slopes = (q - off / length * line_b)[:, :, None] * p[:, None]
    slopes -= q[:, :, None] * (off / length * line_a)[:, None]
    return off[:, 0], slopes / length[:, :, None]
