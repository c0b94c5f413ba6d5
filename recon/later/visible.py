"""At which times points that were found at one of them are visible.

Legend: T stamps, P points.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from fourreal.cameras import pixel_index, project, transform
from fourreal.colour import difference
from fourreal.video_io import to_float
from recon.later.cells import COLOUR, MARGIN, Cells
from recon.motion.offsets import FreeOffsets
from recon.scene import Scene4D

FloatArray = NDArray[np.floating]
Mask = NDArray[np.bool_]
_LOST = 0.7  # of points that are denied: they are followed no further
# Where a point is not visible.  Below 0, so that a quarter of it is left halfway between stamps:
# a limb that is found anew at every stamp is at the wrong place there, twice.
_NOT_VISIBLE = -0.5


def visible_times(
    scene: Scene4D,
    places_TP3: FloatArray,
    t: int,
    colors_P3: FloatArray,
    every: dict[int, Cells],
) -> FloatArray:
    """Visibility [T, P] of points that are found at ``t``: 1 at the stamps around it that do not
    deny them, below 0 elsewhere; stamps that are not in ``every`` are as their neighbours."""
    denied = np.zeros(places_TP3.shape[:2], bool)
    for s, cells in every.items():
        if s != t:
            denied[s] = denied_by(scene, places_TP3[s], colors_P3, cells)
    later = np.cumsum(denied[t:], axis=0) > 0
    before = np.cumsum(denied[: t + 1][::-1], axis=0)[::-1] > 0
    return np.where(np.concatenate([before[:-1], later]), _NOT_VISIBLE, 1.0)


def denied_by(scene: Scene4D, places_P3: FloatArray, colors_P3: FloatArray, cells: Cells) -> Mask:
    """Which points [P] more than a few views of a stamp see past, to something of another colour;
    those that no view sees as well."""
    K, w2c = scene.cameras()
    past, seen = np.zeros((2, len(places_P3)))
    for v, cell in cells.items():
        uv, z = project(transform(w2c[v], places_P3), K[v])
        pixel, inside = pixel_index(uv, z, cell.depth.shape)
        drawn = cell.depth.reshape(-1)[pixel]
        other = difference(to_float(cell.frame).reshape(-1, 3)[pixel], colors_P3) > COLOUR
        past += inside & other & (drawn > z * (1 + MARGIN))
        seen += inside & (z < drawn * (1 + MARGIN))
    return (past > 0.34 * seen) | (seen < 1)


def lost_at(
    scene: Scene4D, motion: FreeOffsets, colors_P3: FloatArray, every: dict[int, Cells]
) -> Callable[[int], bool]:
    """Whether most of the last points of a scene, of these colours, are denied by a stamp."""

    def lost(s: int) -> bool:
        there = moved_points(scene, motion, len(colors_P3), s)
        return s in every and float(denied_by(scene, there, colors_P3, every[s]).mean()) > _LOST

    return lost


@torch.no_grad()
def moved_points(scene: Scene4D, motion: FreeOffsets, count: int, s: int) -> FloatArray:
    """Where the last ``count`` points are at a stamp, [P, 3]."""
    index, weights = scene.node_index[-count:], scene.node_weights[-count:, :, None]
    moved = scene.means[-count:] + (motion(s)[index] * weights).sum(1)
    return moved.double().cpu().numpy()
