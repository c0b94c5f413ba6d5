"""How well a fitted scene shows what it was fitted to, and what of it cannot have stood still.

Legend: V views, T times, H W image.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fourreal.console import warn
from fourreal.image_metrics import psnr
from gen.grid import VideoGrid
from recon.render import render_scene
from recon.scene import Scene4D
from tracking.depth.colours import as_seen

_AROUND = 0.03  # of the long side: differences are averaged over this, so that grain says nothing
_OFF = 0.05  # difference of colour that is left ...
_OF_MEDIAN = 5.0  # ... times what is left all over the picture, if that is more
_LEAST = 0.005  # share of a picture, in most views, that must be so far off


def cell_quality(
    scene: Scene4D,
    grid: VideoGrid,
    maps: NDArray[np.floating] | None = None,
    backdrop: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """PSNR of every known cell as the scene draws it: psnr_cells [V][T] (null: unknown), mean.

    With ``maps`` [V, 3, 2] in each view's own colours, and the maps as view_colours; without the
    pixels of the canonical column that are ``backdrop`` [V, H, W].
    """
    assert grid.known is not None and grid.times is not None
    table: list[list[float | None]] = [[None] * grid.T for _ in range(grid.V)]
    for v, t in np.argwhere(grid.known):
        image = _shown(scene, grid, int(v), int(t), maps)
        mask = None if backdrop is None or t != scene.canonical_time else ~backdrop[v]
        value = psnr(image, grid.frames[v, t], mask)
        table[v][t] = round(value, 3)
    values = [x for row in table for x in row if x is not None]
    out: dict[str, Any] = {"psnr_input": round(float(np.mean(values)), 3), "psnr_cells": table}
    if maps is not None:
        out["view_colours"] = np.round(maps, 4).tolist()
    return out


def _shown(
    scene: Scene4D, grid: VideoGrid, v: int, t: int, maps: NDArray[np.floating] | None
) -> NDArray[np.floating]:
    """The cell (v, t) as the scene draws it [H, W, 3], in the view's own colours."""
    assert grid.times is not None
    drawn = render_scene(scene, float(grid.times[t]), scene.w2c[v], scene.K[v]).rgb
    image = drawn.clamp(0, 1).cpu().numpy()
    return (image if maps is None else as_seen(image, maps[v])).clip(0, 1)


def unexplained(
    scene: Scene4D, grid: VideoGrid, maps: NDArray[np.floating] | None = None
) -> NDArray[np.floating]:
    """Share of each picture [V] of a grid of one time that a scene without motion cannot show.

    Views that the fit left out count as 0. maps [V, 3, 2]: as in ``cell_quality``.
    """
    assert grid.known is not None
    side = max(5, round(_AROUND * max(scene.size)) | 1)
    out = np.zeros(grid.V)
    for v in np.flatnonzero(np.asarray(grid.known)[:, 0]):
        off = _shown(scene, grid, int(v), 0, maps) - grid.frames[v, 0]
        left = np.abs(cv2.blur(off, (side, side))).mean(-1)
        out[v] = (left > max(_OFF, _OF_MEDIAN * float(np.median(left)))).mean()
    return out


def say_what_does_not_fit(
    scene: Scene4D, grid: VideoGrid, maps: NDArray[np.floating] | None = None
) -> dict[str, Any]:
    """Warn when most pictures of a frozen moment show what cannot have stood still.

    Returns:
        {"unexplained": share of the pictures} for a grid of one time, else {}.
    """
    if grid.T > 1:
        return {}
    shares = unexplained(scene, grid, maps)
    if np.median(shares) >= _LEAST:
        warn(
            f"{100 * shares.mean():.1f} % of the pictures fit no frozen moment, in most views: "
            "what is there moved while the camera did (or mirrors), and is blurred; film it while "
            "nothing moves, or give a clip of a still camera as --fixed-view"
        )
    return {"unexplained": round(float(shares.mean()), 4)}
