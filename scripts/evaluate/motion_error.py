"""How far a reconstruction's motion is from the true one: errors in 3-D against exact tracks.

Legend: N tracked surface points, T' times. A track that an input view sees at the canonical time is
compared with the Gaussians nearest to where it starts.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fourreal.cameras import camera_centres
from recon.scene import Scene4D
from scripts.evaluate.truth_grid import TruthGrid, align_cameras

FloatArray = NDArray[np.floating]
_NEIGHBOURS = 4
_SOLID = 0.3  # opacity
_MOVES = 0.02  # of the distance to the camera: what moves less is not counted


def motion_error(scene: Scene4D, truth: TruthGrid) -> dict[str, float | None]:
    """Mean end-point error over moving tracks and input times, in percent of their true motion.

    ``epe`` in 3-D, ``epe_along`` and ``epe_across`` its parts along and across the rays of the
    fixed-view video (view 0), the only view that sees every time in a cross fit. 100 is what a
    scene that does not move would get. None where the truth holds no tracks.
    """
    nothing: dict[str, float | None] = dict.fromkeys(("epe", "epe_along", "epe_across"))
    if truth.tracks is None:
        return nothing
    c = scene.canonical_time
    seen = truth.tracks.visible[: truth.views, c].any(0)
    times = [t for t in range(truth.steps) if t != c]
    start = truth.tracks.xyz[c, seen].astype(np.float64)
    true = truth.tracks.xyz[times][:, seen] - start  # [T, N, 3]
    distance = np.linalg.norm(start - camera_centres(truth.w2c[0]), axis=-1)
    moves = np.linalg.norm(true, axis=-1).max(0) > _MOVES * distance
    if not moves.any():
        return nothing
    start, true = start[moves], true[:, moves]
    world = align_cameras(truth.w2c[: truth.views], scene.w2c.double().cpu().numpy())
    error = _found(scene, world.points(start), times)
    error = error @ world.rotation / world.scale - true
    ray = start - camera_centres(truth.w2c[0])
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    along = np.abs((error * ray).sum(-1))
    across = np.linalg.norm(error - (error * ray).sum(-1, keepdims=True) * ray, axis=-1)
    size = float(np.linalg.norm(true, axis=-1).mean()) / 100
    parts = {"epe": np.linalg.norm(error, axis=-1), "epe_along": along, "epe_across": across}
    return {name: round(float(value.mean()) / size, 2) for name, value in parts.items()}


@torch.no_grad()
def _found(scene: Scene4D, points_N3: FloatArray, times: list[int]) -> FloatArray:
    """Displacement [T, N, 3] of the scene's solid Gaussians nearest to points, median of a few."""
    solid = torch.sigmoid(scene.opacity_logits) > _SOLID
    kept = scene.keep(solid)
    near = cKDTree(kept.means.cpu().numpy()).query(points_N3, k=min(_NEIGHBOURS, len(kept)))[1]
    near = near.reshape(len(points_N3), -1)
    moved = [kept.displacement(float(kept.times[t])).cpu().numpy() for t in times]
    return np.stack([np.median(m[near], axis=1) for m in moved]).astype(np.float64)
