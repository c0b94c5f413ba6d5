"""One scene, cameras that see its colours differently: what the fit is shown, how it is scored.

A map [V, 3, 2] holds gain and offset of every view and channel, identity for the central view
(``tracking.depth.colours``). The fit sees all views in the central one's colours, and so do the
scene, its exports and viewers; only scores against the given frames go back through the maps.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import cast

import numpy as np
from numpy.typing import NDArray

from gen.frame_files import FrameFiles
from gen.grid import VideoGrid
from recon.render import render_scene
from recon.scene import Scene4D
from tracking.depth.colours import evened

_NOISE = 0.05  # of colours, for the robust weights
_PRIOR = 0.02  # how strongly a map found again is held to the one before


def even_grid(grid: VideoGrid, maps: NDArray[np.floating]) -> VideoGrid:
    """The grid in common colours; unknown cells stay as they are."""
    assert grid.known is not None
    out = copy(grid)  # not built anew: for the fit, the column may have holes
    if isinstance(grid.frames, FrameFiles):
        out.frames = cast(NDArray[np.float32], grid.frames.changed(_even(grid.known, maps)))
        return out
    known = grid.known[:, :, None, None, None]
    out.frames = np.where(known, np.clip(evened(grid.frames, maps), 0, 1), grid.frames)
    return out


def _even(
    known: NDArray[np.bool_], maps: NDArray[np.floating]
) -> Callable[[int, int, NDArray[np.float32]], NDArray[np.float32]]:
    """One image after the other in common colours."""

    def change(v: int, t: int, image: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.clip(evened(image[None], maps[[v]])[0], 0, 1) if known[v, t] else image

    return change


def maps_from_scene(
    scene: Scene4D, frames_VHW3: NDArray[np.float32], maps: NDArray[np.floating]
) -> NDArray[np.float64]:
    """The maps found again from what the static scene draws in each view of the column."""
    out = np.array(maps, np.float64)
    t = float(scene.times[scene.canonical_time])
    for v in range(len(maps)):
        if v == scene.canonical_view:
            continue
        drawn = render_scene(scene, t, scene.w2c[v], scene.K[v])
        covered = drawn.alpha.cpu().numpy() > 0.95
        wanted = drawn.rgb.cpu().numpy()[covered].astype(np.float64)
        seen = frames_VHW3[v][covered].astype(np.float64)
        if len(seen) < 1000:
            continue
        for c in range(3):
            out[v, c] = _line(seen[:, c], wanted[:, c], out[v, c])
    return out


def _line(
    seen: NDArray[np.float64], wanted: NDArray[np.float64], start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Robust (gain, offset) with wanted = gain * seen + offset, near ``start``."""
    j = np.stack([seen, np.ones_like(seen)], 1)
    x = start.copy()
    prior = _PRIOR * len(seen)
    for _ in range(8):
        weight = 1.0 / (1.0 + ((j @ x - wanted) / _NOISE) ** 2)
        h = (j * weight[:, None]).T @ j + prior * np.eye(2)
        x = np.linalg.solve(h, (j * weight[:, None]).T @ wanted + prior * start)
    return np.array([np.clip(x[0], 0.2, 5.0), x[1]])
