"""Sheets of a fitted capture: held-out pictures beside what is drawn, and new viewpoints."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from fourreal.atomic import atomic_file
from fourreal.cameras import camera_centres, look_at
from recon.fit.scene_fit import median_depth
from recon.render import render_scene
from recon.scene import Scene4D

FloatArray = NDArray[np.floating]
ACROSS = 6


def between(w2c_V44: FloatArray, position: float) -> FloatArray:
    """The camera [4, 4] at `position` 0..V-1 along the views, turned and moved evenly."""
    views = len(w2c_V44)
    low = min(int(position), views - 2)
    share = position - low
    pair = w2c_V44[[low, low + 1]]
    turn = Slerp([0, 1], Rotation.from_matrix(pair[:, :3, :3]))(share).as_matrix()
    centres = camera_centres(pair)
    out = np.eye(4)
    out[:3, :3] = turn
    out[:3, 3] = -turn @ ((1 - share) * centres[0] + share * centres[1])
    return out


def beside(scene: Scene4D, right_deg: float, up_deg: float) -> FloatArray:
    """The canonical camera carried around the middle of the scene, looking at it."""
    w2c = scene.w2c[scene.canonical_view].double().cpu().numpy()
    c2w = np.linalg.inv(w2c)
    reach = median_depth(scene)
    right, up = np.radians(right_deg), np.radians(up_deg)
    away = np.array([np.sin(right) * np.cos(up), -np.sin(up), -np.cos(right) * np.cos(up)])
    target = c2w[:3, :3] @ np.array([0, 0, reach]) + c2w[:3, 3]
    eye = c2w[:3, :3] @ (reach * away + np.array([0, 0, reach])) + c2w[:3, 3]
    return look_at(eye, target, up=-c2w[:3, 1])


def save_sheet(scene: Scene4D, rows: list[list[FloatArray]], path: Path) -> None:
    """Write truth over drawing for up to ACROSS held-out pictures, then new viewpoints.

    New ones: half-way between the input cameras, then 8 degrees to both sides, up and down.
    """
    w2c = scene.w2c.double().cpu().numpy()
    K = scene.K[scene.canonical_view]
    times = np.linspace(0, 1, ACROSS)
    parts = []
    some = rows[:: max(1, -(-len(rows) // ACROSS))][:ACROSS]
    if some:
        parts += [[truth for truth, _ in some], [drawn for _, drawn in some]]
    positions = np.linspace(0, len(w2c) - 1, 2 * ACROSS + 1)[1::2]
    canonical = float(scene.times[scene.canonical_time])
    parts.append([_image(scene, canonical, between(w2c, p), K) for p in positions])
    moves = [(-8, 0), (8, 0), (0, 8), (0, -8), (-14, 4), (14, 4)]
    parts.append([_image(scene, canonical, beside(scene, *m), K) for m in moves])
    if len(scene.times) > 1:
        middle = (len(w2c) - 1) / 2
        parts.append([_image(scene, float(t), between(w2c, middle), K) for t in times])
    height, width = scene.size
    sheet = np.ones((len(parts) * (height + 4), ACROSS * (width + 4), 3), np.float32)
    for r, part in enumerate(parts):
        for c, image in enumerate(part):
            y, x = r * (height + 4), c * (width + 4)
            sheet[y : y + height, x : x + width] = image
    path.parent.mkdir(parents=True, exist_ok=True)
    data = cv2.imencode(".png", (np.clip(sheet[..., ::-1], 0, 1) * 255 + 0.5).astype(np.uint8))[1]
    with atomic_file(path) as temporary:
        temporary.write_bytes(data.tobytes())


def _image(scene: Scene4D, t: float, w2c: FloatArray, K: object) -> FloatArray:
    return render_scene(scene, t, w2c, K, None, 0.0).rgb.clamp(0, 1).cpu().numpy()  # type: ignore[arg-type]
