"""Cameras of grids made from text: the one camera move that the weights were trained on.

A model whose training world has a single camera move shows that move in every freeze-time clip it
makes, so the cameras of such a grid need not be estimated from its (small, soft) frames. The move
lies beside the weights (``cameras.json``), written when they were trained: what today's training
code draws has no say in it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourreal.atomic import atomic_file
from fourreal.errors import UserError
from fourreal.read_text import read_json
from gen.network.base import CAMERA_MOVE, read_config

FORMAT = "fourreal-camera-move"


def save_camera_move(folder: Path, focal: float, paths: list[NDArray[np.float64]]) -> None:
    """Write the move beside the weights of `folder`.

    focal: focal length over the width of a frame.  paths: for 1, 2, … views the world-to-camera
    matrices [V, 4, 4] (OpenCV axes) of a grid with so many views.
    """
    content = {
        "format": FORMAT,
        "version": 1,
        "focal": focal,
        "w2c": [np.asarray(path, np.float64)[:, :3].tolist() for path in paths],
    }
    with atomic_file(Path(folder) / CAMERA_MOVE) as temporary:
        temporary.write_text(json.dumps(content) + "\n")


def trained_cameras(
    folder: Path, views: int, height: int, width: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """K [V, 3, 3] and world-to-camera [V, 4, 4] (OpenCV axes) of a grid made by the weights in
    `folder`, with frames of `height` x `width` that are central parts of the model's own.

    The world's mean camera path; a scene's own differs by a few degrees.  None when the weights
    know several moves (they come without a move then), and for more views than one window: how far
    the camera gets beyond it was never trained.

    Raises:
        UserError: the file with the move is damaged.
    """
    path = Path(folder) / CAMERA_MOVE
    if not path.is_file():
        return None
    try:
        focal, paths = _checked(read_json(path))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} does not describe a camera move: {error}") from None
    if views > len(paths):
        return None
    params = read_config(folder)["params"]
    own_h, own_w = params["height"], params["width_px"]
    focal *= own_w
    part_h = min(own_h, round(own_w * height / width))
    part_w = min(own_w, round(own_h * width / height))
    K = np.array(
        [
            [focal * width / part_w, 0, width / 2],
            [0, focal * height / part_h, height / 2],
            [0, 0, 1.0],
        ]
    )
    return np.tile(K, (views, 1, 1)), paths[views - 1]


def _checked(content: dict[str, Any]) -> tuple[float, list[NDArray[np.float64]]]:
    """Focal length and paths of a file's content; ValueError, KeyError or TypeError otherwise."""
    if content["format"] != FORMAT or content["version"] != 1:
        raise ValueError("unknown format or version")
    focal, paths = float(content["focal"]), []
    for views, rows in enumerate(content["w2c"], 1):
        w2c = np.tile(np.eye(4), (views, 1, 1))
        w2c[:, :3] = np.asarray(rows, np.float64).reshape(views, 3, 4)
        turn = w2c[:, :3, :3]
        if not np.isfinite(w2c).all() or abs(turn @ turn.swapaxes(1, 2) - np.eye(3)).max() > 1e-3:
            raise ValueError(f"the path for {views} views holds no world-to-camera matrices")
        paths.append(w2c)
    if not 0.05 < focal < 100:
        raise ValueError(f"focal {focal:g} widths")
    return focal, paths
