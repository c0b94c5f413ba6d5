"""Write a scene as a folder that nerfstudio's commands open (without importing nerfstudio).

    config.yml                                builds the configuration when it is read
    nerfstudio_models/step-000000000.ckpt     the scene in nerfstudio's world (``state``)
    data.json, images/v00/t000.png            cameras, times and pictures of the input cells

``config.yml`` calls ``config.exported`` instead of listing nerfstudio's settings, so that it
opens with whatever version is installed, and from wherever the folder was moved.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from fourreal.atomic import atomic_folder
from fourreal.errors import UserError
from fourreal.video_io import to_uint8
from gen.grid import VideoGrid
from recon.render import render_scene
from recon.scene import Scene4D
from viewer.nerfstudio_plugin import data_file
from viewer.nerfstudio_plugin.space import Similarity, nerfstudio_space, opengl_c2w
from viewer.nerfstudio_plugin.state import scene_state

CONFIG_FILE = "config.yml"


def write_nerfstudio(scene: Scene4D, grid: VideoGrid | None, folder: str | Path) -> Path:
    """Write the folder, replacing an earlier export; the path of its ``config.yml``.

    ``grid`` gives the pictures of the cells; without one they are drawn from the scene.

    Raises:
        UserError: ``folder`` is a file, or holds something that is no such export.
    """
    target = Path(folder).resolve()
    if target.is_file():
        raise UserError(f"{target} is a file; choose another folder")
    if target.is_dir() and any(target.iterdir()) and not (target / CONFIG_FILE).is_file():
        raise UserError(f"{target} holds something else; choose another folder")
    space = nerfstudio_space(scene)
    moved = space.scene(scene)
    with atomic_folder(target) as temporary:
        frames = _write_cells(moved, grid, temporary)
        _write_json(moved, frames, space, temporary / data_file.FILE)
        checkpoint = temporary / "nerfstudio_models" / "step-000000000.ckpt"
        checkpoint.parent.mkdir()
        state: dict[str, Any] = {f"_model.{n}": v for n, v in scene_state(moved).items()}
        torch.save({"step": 0, "pipeline": state}, checkpoint)
        (temporary / CONFIG_FILE).write_text(
            "# Opened by nerfstudio (ns-viewer, ns-render, ns-export) with fourreal installed.\n"
            "!!python/object/apply:viewer.nerfstudio_plugin.config.exported\n"
            f"- {json.dumps(str(target))}\n"
        )
    return target / CONFIG_FILE


def _write_cells(scene: Scene4D, grid: VideoGrid | None, folder: Path) -> list[dict[str, Any]]:
    """Save the pictures of the known cells; what ``data.json`` says of each."""
    V, times = len(scene.w2c), scene.times.tolist()
    if grid is not None:  # of a whole clip the scene keeps some of the times
        own = np.asarray(grid.times)
        if grid.V != V or np.abs(own[None] - np.asarray(times)[:, None]).min(1).max() > 1e-4:
            raise UserError(
                f"the grid is {grid.V} x {grid.T}, the scene {V} x {len(times)}: not the same run"
            )
        times = own.tolist()
    T = len(times)
    known = np.ones((V, T), bool) if grid is None or grid.known is None else grid.known
    frames = []
    for v, t in np.argwhere(known):
        name = f"images/v{v:02d}/t{t:03d}.png"
        if grid is not None:
            picture = to_uint8(grid.frames[v, t])
        else:
            rgb = render_scene(scene, times[t], scene.w2c[v], scene.K[v]).rgb
            picture = to_uint8(rgb.clamp(0, 1).cpu().numpy())
        if picture.shape[:2] != tuple(scene.size):
            raise UserError(f"the grid's frames are {picture.shape[:2]}, the scene's {scene.size}")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        frames.append({"file": name, "view": int(v), "time": float(times[t])})
    return frames


def _write_json(
    scene: Scene4D, frames: list[dict[str, Any]], space: Similarity, path: Path
) -> None:
    """Cameras (OpenGL camera-to-world in nerfstudio's world) and cells."""
    c2w = opengl_c2w(scene.w2c.cpu().numpy())
    data = {
        "format": data_file.FORMAT,
        "version": data_file.VERSION,
        "size": list(scene.size),
        "cameras": [
            {"K": K.tolist(), "camera_to_world": pose.tolist()}
            for K, pose in zip(scene.K.cpu().double().numpy(), c2w, strict=True)
        ],
        "frames": frames,
        "from_scene": {
            "rotation": space.rotation.tolist(),
            "translation": space.translation.tolist(),
            "scale": space.scale,
        },
    }
    path.write_text(json.dumps(data, indent=1))
