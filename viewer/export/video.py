"""A scene as a video along a camera path, time running back and forth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from fourreal.console import progress
from fourreal.errors import UserError
from fourreal.video_io import write_video
from recon.render import render_scene
from viewer.camera_paths import camera_path

if TYPE_CHECKING:
    from recon.scene import Scene4D


def write_camera_video(
    scene: Scene4D,
    target: str | Path,
    path: str | ArrayLike = "orbit",
    frames: int = 48,
    fps: float = 16.0,
    compensation: float = 0.0,
) -> None:
    """Render ``frames`` pictures along a camera path and write them as an mp4.

    Args:
        path: "orbit", "spiral" or "input" (``viewer.camera_paths``), or cameras [frames, 4, 4].
        compensation: see ``Scene4D.at``; 0 keeps the scene consistent while the camera moves.

    Raises:
        UserError: ``target`` is not the name of a video.
    """
    if not Path(target).suffix:
        raise UserError(f"{target}: name a .mp4 file")
    points = scene.means.detach().cpu().numpy()
    if isinstance(path, str):
        path = camera_path(path, scene.w2c.cpu().numpy(), points, frames)
    cameras = np.asarray(path)
    K = scene.K[len(scene.K) // 2]
    first, last = float(scene.times[0]), float(scene.times[-1])
    moments = first + (last - first) * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frames) / frames))
    pictures = []
    for w2c, t in zip(progress(cameras, "rendering"), moments, strict=True):
        rgb = render_scene(scene, float(t), w2c, K, compensation=compensation).rgb
        pictures.append(rgb.clamp(0, 1).cpu().numpy())
    write_video(target, np.stack(pictures), fps)
