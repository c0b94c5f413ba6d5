"""What the static and the joint stage of a reconstruction have in common."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from gen.grid import VideoGrid
from recon.config import FitConfig
from recon.fit.scene_fit import JointFit
from recon.scene import Scene4D

OnScene = Callable[[Scene4D], None]
_OUTLINE = 2  # pixels by which an outline may be off
_SHOW_EVERY = 2.0  # seconds between two states handed to ``on_scene``


def now_and_then(fit: JointFit, on_scene: OnScene | None) -> Callable[[int], None] | None:
    """A hook for ``JointFit.run`` that hands out the scene every ``_SHOW_EVERY`` seconds."""
    if on_scene is None:
        return None
    last = time.monotonic()

    def hook(step: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _SHOW_EVERY:
            on_scene(fit.result())
            last = time.monotonic()

    return hook


def ignored_pixels(backdrop: NDArray[np.bool_] | None, config: FitConfig) -> torch.Tensor | None:
    """Pixels [V, H, W] of the freeze-time column that are no part of the scene, for the fit."""
    return None if backdrop is None else torch.from_numpy(backdrop).to(config.device)


def empty_pixels(past: NDArray[np.bool_] | None, config: FitConfig) -> torch.Tensor | None:
    """Pixels [V, H, W] of the freeze-time column in which nothing of the scene can be: where it
    looks past the scene (``ColumnTracks.past``), but for the outline."""
    if past is None or not config.loss.past:
        return None
    around = np.ones((2 * _OUTLINE + 1, 2 * _OUTLINE + 1), np.uint8)
    core = np.stack([cv2.erode(mask.astype(np.uint8), around) for mask in past])
    return torch.from_numpy(core > 0).to(config.device)


def cameras_are_fitted(scene: Scene4D, grid: VideoGrid, config: FitConfig) -> bool:
    """Whether cameras are fitted too: estimated ones may be, given ones are kept, but for those
    that matches have moved already."""
    if not config.refine_cameras or grid.w2c is None:
        return config.refine_cameras
    moved = np.abs(scene.w2c.cpu().numpy() - grid.w2c.astype(np.float32)).max()
    return bool(moved > 1e-6 * max(1.0, float(np.abs(grid.w2c).max())))
