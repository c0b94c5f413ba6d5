"""The mean camera move of a procedural world, for weights that are trained on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gen.data.batches import HELD_OUT_SEED, WORLDS, seeded
from gen.data.world.motion import camera_path, intrinsics
from gen.data.world.scene_sampling import sample_scenes
from gen.flow.windows import WINDOW, frame_index

SCENES = 256  # the path is the mean of so many scenes'


def mean_camera_move(world: str) -> tuple[float, list[NDArray[np.float64]]] | None:
    """Focal length over width, and for 1 to `WINDOW` views the world-to-camera matrices [V, 4, 4]
    (OpenCV axes) along the mean path of the world's scenes.

    None for a world with several camera moves.
    """
    settings = WORLDS[world]
    if not isinstance(settings.get("camera_move"), str):
        return None
    scenes = sample_scenes(SCENES, seeded(HELD_OUT_SEED, 5), **settings)
    mean = replace(
        scenes[:1],
        camera=scenes.camera.mean(0, keepdim=True),
        target=scenes.target.mean(0, keepdim=True),
    )
    paths = [
        camera_path(mean, frame_index(views)[None] / (WINDOW - 1))[0].double().numpy()
        for views in range(1, WINDOW + 1)
    ]
    return float(intrinsics(1, 1)[0, 0]), paths
