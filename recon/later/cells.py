"""Frames beside how the scene draws them, and where the two differ.

Legend: V views, P points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fourreal.colour import difference
from fourreal.video_io import to_uint8
from gen.grid import VideoGrid
from recon.motion.offsets import FreeOffsets
from recon.raster.rasterize import RasterOutput
from recon.render import render_scene
from recon.scene import Scene4D

FloatArray = NDArray[np.floating]
Mask = NDArray[np.bool_]
MARGIN = 0.03  # of a depth, within which two surfaces are one
COLOUR = 0.12  # largest difference of colours that are the same


@dataclass(frozen=True)
class LaterConfig:
    """What counts as later surface."""

    views: int = 4
    """So many views must know a time."""
    error: float = 0.12
    """Difference of colour, smoothed, that is wrong."""
    share: float = 2e-4
    """Part of a time's pixels that must be wrong for it to be looked at."""
    times: int = 16
    """At most so many times are, the worst first."""
    followed: int = 6
    """What is found at so many of these is followed."""
    depths: int = 64
    """Places along a ray."""
    sigma: float = 0.7
    """Standard deviation of a point in pixels."""


@dataclass
class Cell:
    """One frame beside how it is drawn.

    frame: uint8 [H, W, 3], smoothed; depth [H, W] drawn (infinite where nothing is); wrong [H, W],
    where the two differ and the frame is not what it was at the canonical time.
    """

    frame: NDArray[np.uint8]
    depth: FloatArray
    wrong: Mask


Cells = dict[int, Cell]  # by view


def draw_cells(
    scene: Scene4D, motion: FreeOffsets, grid: VideoGrid, t: int, config: LaterConfig
) -> Cells:
    """The known cells of a stamp."""
    now, c, known = scene.node_offsets.clone(), scene.canonical_time, grid.known
    assert known is not None
    with torch.no_grad():
        now[t] = motion(t)
    moved, out = replace(scene, node_offsets=now), {}
    for v in np.flatnonzero(known[:, t]).tolist():
        drawn = render_scene(moved, float(scene.times[t]), scene.w2c[v], scene.K[v])
        same = [(grid.frames[v, c], 0.5)] if known[v, c] else []
        out[v], _ = beside(grid.frames[v, t], drawn, same, config.error)
    return out


def beside(
    frame_HW3: FloatArray,
    drawn: RasterOutput,
    same: Sequence[tuple[FloatArray, float]],
    error: float,
) -> tuple[Cell, FloatArray]:
    """A frame beside how it is drawn, and how far they differ [H, W], both smoothed.

    Args:
        same: pictures [H, W, 3], and the share of ``error`` to within which a frame that looks
            like one of them is not wrong.
    """
    side = max(3, round(max(frame_HW3.shape[:2]) / 100) | 1)
    frame = _smooth(frame_HW3)
    off = difference(frame, _smooth(drawn.rgb.detach().clamp(0, 1).cpu().numpy()))
    wrong = off > error
    for picture, share in same:
        wrong &= difference(frame, _smooth(picture)) > share * error
    core = cv2.morphologyEx(wrong.astype(np.uint8), cv2.MORPH_OPEN, np.ones((side, side)))
    alpha, depth = (x.detach().cpu().numpy() for x in (drawn.alpha, drawn.depth))
    depth = np.where(alpha > 0.5, depth, np.inf).astype(np.float32)
    return Cell(to_uint8(frame), depth, core.astype(bool)), off


def _smooth(image_HW3: FloatArray) -> FloatArray:
    return np.asarray(cv2.blur(image_HW3, (3, 3)))


def share_of_wrong(cells: Cells) -> float:
    """Part of the pixels of all views that are drawn wrongly."""
    return float(np.mean([cell.wrong.mean() for cell in cells.values()]))
