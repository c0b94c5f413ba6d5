"""Ground-truth scenes on disk, in the layout that the evaluation scripts read.

A scene folder holds grid_HxW.npz (rgb uint8 [V',T',H,W,3]; depth_u16 = 4000 z, 65535 = background),
cameras.json, tracks.npz and meta.json; V' and T' count input cells first, then held-out ones.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from gen.data.world.grid import GroundTruth

DEPTH_UNITS = 4000  # depth_u16 counts per world unit


def write_truth(
    truth: GroundTruth,
    folder: Path,
    world: str,
    meta: dict[str, Any],
    cameras_meta: dict[str, Any] | None = None,
) -> None:
    """Write one scene into `folder`.

    Args:
        world: what the world's axes and units are, for cameras.json.
        meta: further entries of meta.json, beside the prompt.
        cameras_meta: further entries of cameras.json, or other values for those it has.
    """
    folder.mkdir(parents=True, exist_ok=True)
    views, times, height, width = truth.rgb.shape[:4]
    background = ~np.isfinite(truth.depth)
    depth = np.where(background, 0, truth.depth) * DEPTH_UNITS
    depth_u16 = np.where(background, 65535, np.minimum(np.rint(depth), 65534)).astype(np.uint16)
    rgb = np.rint(truth.rgb * 255).astype(np.uint8)
    np.savez_compressed(folder / f"grid_{height}x{width}.npz", rgb=rgb, depth_u16=depth_u16)
    np.savez_compressed(folder / "tracks.npz", **truth.tracks)  # type: ignore[arg-type]
    normalised = truth.times.astype(float).tolist()
    cameras = {
        "width": width,
        "height": height,
        "K": truth.K[0].tolist(),
        "convention": f"OpenCV (x right, y down, z forward); w2c 4x4; world {world}; "
        "pixel centres at +0.5; depth is z-depth",
        "w2c": truth.w2c.tolist(),
        "input_views": list(range(truth.views)),
        "heldout_views": list(range(truth.views, views)),
        "input_times": list(range(truth.steps)),
        "heldout_times": list(range(truth.steps, times)),
        "frame_times": normalised,
        "time_normalised": normalised,
        **(cameras_meta or {}),
    }
    (folder / "cameras.json").write_text(json.dumps(cameras, indent=1))
    (folder / "meta.json").write_text(json.dumps({"prompt": truth.prompt, **meta}, indent=1))
