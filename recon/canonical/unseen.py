"""Where on the rays of a camera nobody sees.

Legend: V views, H x W the picture of a viewpoint beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourreal.cameras import Camera, invert, pixel_grid, unproject
from fourreal.kernels import njit

FloatArray = NDArray[np.floating]
Mask = NDArray[np.bool_]

_STEPS = 64  # along a ray
_BEHIND = 0.03  # relative depth behind a surface from which on a view does not see
_THICK = 0.05  # relative depth over which no view sees


def unseen_from(
    camera: Camera,
    end_HW: FloatArray,
    near: float,
    deepest: Sequence[NDArray[Any]],
    K: FloatArray,
    w2c: FloatArray,
    solid: Mask | None = None,
) -> FloatArray:
    """Depth [H, W] from which on nobody sees what is on a ray, 0 where its end is seen.

    A view does not see what is behind ``deepest``, its depth [h, w]; one outside whose picture a
    place is says nothing, and half of the views must say something. end_HW: the depth at which
    rays end; near: that at which they begin; solid [H, W]: where that is on a surface (by default
    nowhere). If a view sees it, what is before it is air, though nobody looks through all of it.
    """
    height, width = end_HW.shape
    rays = unproject(pixel_grid(height, width).reshape(-1, 2), np.ones(height * width), camera.K)
    end = end_HW.reshape(-1).astype(np.float64)
    on_surface = np.zeros(len(end), bool) if solid is None else solid.reshape(-1)
    step = (max(float(end.max()), near) / near) ** (1 / _STEPS)
    found = np.zeros(len(end))
    _walk(
        rays.astype(np.float32), end, on_surface, near * step ** np.arange(_STEPS + 1), step,
        np.stack(deepest).astype(np.float32), K.astype(np.float32),
        np.stack([pose @ invert(camera.w2c) for pose in w2c]).astype(np.float32), found,
    )  # fmt: skip
    return found.reshape(height, width)


@njit(forceinline=True)
def _hidden(ray, z, least, deepest, K, moves):
    """Whether nobody sees the place at depth z, and a share of views says `least` so at least."""
    views, height, width = deepest.shape
    x, y, far = ray[0] * z, ray[1] * z, ray[2] * z
    told = 0
    for v in range(views):
        m, k = moves[v], K[v]
        a = m[0, 0] * x + m[0, 1] * y + m[0, 2] * far + m[0, 3]
        b = m[1, 0] * x + m[1, 1] * y + m[1, 2] * far + m[1, 3]
        c = m[2, 0] * x + m[2, 1] * y + m[2, 2] * far + m[2, 3]
        if not c > 0:
            continue
        down = k[2, 0] * a + k[2, 1] * b + k[2, 2] * c
        column = (k[0, 0] * a + k[0, 1] * b + k[0, 2] * c) / down
        row = (k[1, 0] * a + k[1, 1] * b + k[1, 2] * c) / down
        if not (0 <= column < width and 0 <= row < height):
            continue
        if not c > deepest[v, int(row), int(column)] * np.float32(1 + _BEHIND):
            return False
        told += 1
    return told >= least * views


@njit(cache=True, error_model="numpy")
def _walk(rays, end, on_surface, depths, step, deepest, K, moves, found):
    """Into found [N]: for each of rays [N, 3], the depth from which on nobody sees, as above."""
    for i in range(len(rays)):
        last = np.float32(end[i])
        if on_surface[i] and not _hidden(rays[i], last, 0.0, deepest, K, moves):
            continue  # its end is seen
        begun = 0.0
        for z in depths:
            if not z < end[i] * (1 - _BEHIND):
                break
            if not _hidden(rays[i], np.float32(z), 0.5, deepest, K, moves):
                begun = 0.0
                continue
            if begun == 0:
                begun = z
            if z * step > begun * (1 + _THICK):
                found[i] = begun
                break
        # what is drawn where nobody sees it is as unknown
        if found[i] == 0 and _hidden(rays[i], last, 0.5, deepest, K, moves):
            found[i] = (begun if begun > 0 else end[i]) * (1 - _BEHIND / 2)
