"""Where the surface lies that views show and nothing draws.

Legend: V views, M nodes, P points, D places along a ray.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fourreal.cameras import invert, pixel_index, project, transform, unproject
from fourreal.kernels import njit
from fourreal.video_io import to_float
from recon.later.cells import COLOUR, MARGIN, Cell, Cells, LaterConfig

FloatArray = NDArray[np.floating]
Mask = NDArray[np.bool_]


def search(
    K: FloatArray,
    w2c: FloatArray,
    near_M3: FloatArray,
    cells: Cells,
    config: LaterConfig,
    most: int | None = None,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Points where the views are wrong: places [P, 3], RGB [P, 3], sigma [P].

    Args:
        K, w2c: [V, 3, 3] and [V, 4, 4] of all views.
        near_M3: where the nodes that move are; nothing is sought much nearer than these.
        most: about so many pixels of each view are enough; by default all are searched.
    """
    places, colors, sigma = [np.zeros((0, 3))], [np.zeros((0, 3))], [np.zeros(0)]
    for v, cell in cells.items():
        todo = cell.wrong & ~_covered(np.concatenate(places), cell, K[v], w2c[v])
        y, x = np.nonzero(todo)
        if most is not None:
            every = max(1, len(y) // most)
            y, x = y[::every], x[::every]
        if not len(y):
            continue
        z = transform(w2c[v], near_M3)[:, 2]
        closest = 0.9 * np.percentile(z[z > 0], 1) if (z > 0).any() else np.inf
        far = np.minimum(cell.depth[y, x], 2 * np.percentile(z, 99)) * (1 - 0.5 * MARGIN)
        inside = closest < far
        y, x, far = y[inside], x[inside], far[inside]
        share = np.linspace(0, 1, config.depths)
        depth = 1 / (1 / closest + (1 / far - 1 / closest)[:, None] * share)  # [P, D]
        uv = np.stack([x, y], -1) + 0.5
        rays = unproject(np.repeat(uv, config.depths, 0), depth.reshape(-1), K[v])
        along = transform(invert(w2c[v]), rays)
        colour = to_float(cell.frame)[y, x]
        off = _agreement(along.reshape(*depth.shape, 3), colour, v, cells, K, w2c)
        good = np.isfinite(off).any(1)
        best = np.arange(len(off))[good], off[good].argmin(1)
        places.append(along.reshape(*depth.shape, 3)[best])
        colors.append(colour[good])
        sigma.append(config.sigma * depth[best] / K[v, 0, 0])
    return np.concatenate(places), np.concatenate(colors), np.concatenate(sigma)


def _agreement(
    along_PD3: FloatArray,
    colour_P3: FloatArray,
    v: int,
    cells: Cells,
    K: FloatArray,
    w2c: FloatArray,
) -> FloatArray:
    """How badly [P, D] the other views agree with a place; infinite where they contradict it.

    Where many places of a ray do as well, the middle ones are the best.
    """
    P, D, _ = along_PD3.shape
    support, through, off = np.zeros((3, P, D), np.float32)
    places, colour = (np.ascontiguousarray(x, np.float64) for x in (along_PD3, colour_P3))
    for u, cell in cells.items():
        if u == v:
            continue
        beside = cv2.dilate(cell.wrong.astype(np.uint8), np.ones((3, 3), np.uint8))
        lens, pose = (np.ascontiguousarray(x[u], np.float64) for x in (K, w2c))
        shown = to_float(cell.frame), cell.depth, beside
        _ask(places, colour, lens, pose, *shown, support, through, off)
    possible = (support >= 2) & (4 * through <= support)
    index = np.arange(D)
    middle = (possible * index).sum(1) / np.maximum(possible.sum(1), 1)
    away = np.abs(index - middle[:, None]) / D
    return np.where(possible, off / np.maximum(support, 1) + 0.1 * away, np.inf)


@njit(cache=True, error_model="numpy")
def _ask(places, colour, K, w2c, frame, depth, beside, support, through, off):
    """Add what a view says of `places` [P,D,3]: to `support` [P,D] where it is wrong there or
    `beside` it and as the `colour` [P,3], to `off` [P,D] by how much it is not, to `through` [P,D]
    where it is right and sees further."""
    height, width = depth.shape
    for i in range(len(places)):
        for d in range(places.shape[1]):
            x, y, z = w2c[0, 3], w2c[1, 3], w2c[2, 3]
            for c in range(3):
                x += w2c[0, c] * places[i, d, c]
                y += w2c[1, c] * places[i, d, c]
                z += w2c[2, c] * places[i, d, c]
            if not z > 0:
                continue
            right = (K[0, 0] * x + K[0, 1] * y) / z + K[0, 2]
            down = K[1, 1] * y / z + K[1, 2]
            if not (0 <= right < width and 0 <= down < height):
                continue
            column, row = int(right), int(down)
            if beside[row, column]:
                differs = 0.0
                for c in range(3):
                    differs = max(differs, abs(frame[row, column, c] - colour[i, c]))
                if differs < COLOUR:
                    support[i, d] += np.float32(1)
                    off[i, d] += np.float32(differs)
            elif depth[row, column] > z * (1 + MARGIN):
                through[i, d] += np.float32(1)


def _covered(places_P3: FloatArray, cell: Cell, K: FloatArray, w2c: FloatArray) -> Mask:
    """Pixels [H, W] at or beside which a place lies in front of what is drawn."""
    out = np.zeros(cell.depth.shape, np.uint8)
    uv, z = project(transform(w2c, places_P3), K)
    pixel, inside = pixel_index(uv, z, cell.depth.shape)
    front = inside & (z < cell.depth.reshape(-1)[pixel])
    out.reshape(-1)[pixel[front]] = 1
    return cv2.dilate(out, np.ones((3, 3), np.uint8)).astype(bool)
