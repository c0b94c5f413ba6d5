"""Cameras of grids made from text: the one camera move that the model was trained on.

A model whose training world has a single camera move shows that move in every freeze-time clip it
makes, so the cameras of such a grid need not be estimated from its (small, soft) frames.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gen.data.batches import HELD_OUT_SEED, WORLDS, seeded
from gen.data.world.motion import camera_path, intrinsics
from gen.data.world.scene_sampling import sample_scenes
from gen.flow.windows import WINDOW, frame_index
from gen.network.base import read_config, training_world

SCENES = 256  # the path is the mean of so many scenes'


def trained_cameras(
    folder: Path, views: int, height: int, width: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """K [V, 3, 3] and world-to-camera [V, 4, 4] (OpenCV axes) of a grid made by the weights in
    `folder`, with frames of `height` x `width` that are central parts of the model's own.

    The world's mean camera path; a scene's own differs by a few degrees.  None when the weights
    know several moves (or do not say), and for more views than one window: how far the camera gets
    beyond it was never trained.
    """
    config = read_config(folder)
    world = WORLDS.get(training_world(config) or "")
    if world is None or not isinstance(world.get("camera_move"), str) or views > WINDOW:
        return None
    scenes = sample_scenes(SCENES, seeded(HELD_OUT_SEED, 5), **world)
    mean = replace(
        scenes[:1],
        camera=scenes.camera.mean(0, keepdim=True),
        target=scenes.target.mean(0, keepdim=True),
    )
    w2c = camera_path(mean, frame_index(views)[None] / (WINDOW - 1))[0].double().numpy()
    own_h, own_w = config["params"]["height"], config["params"]["width_px"]
    focal = float(intrinsics(own_h, own_w)[0, 0])
    part_h = min(own_h, round(own_w * height / width))
    part_w = min(own_w, round(own_h * width / height))
    K = np.array(
        [
            [focal * width / part_w, 0, width / 2],
            [0, focal * height / part_h, height / 2],
            [0, 0, 1.0],
        ]
    )
    return np.tile(K, (views, 1, 1)), w2c
