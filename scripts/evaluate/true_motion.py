"""Motion that is known: where the exact tracks of a scene take its points.

A fit that starts from it tells what better tracking could gain at most, and what is lost elsewhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fourreal.errors import UserError
from recon.motion_stage import KnownMotion
from recon.scene import Scene4D
from scripts.evaluate.truth_grid import TruthGrid, align_cameras

_NEIGHBOURS = 4


def true_motion(truth: TruthGrid) -> KnownMotion:
    """For ``recon.reconstruct.fit_scene``: a point moves as the tracks that start nearest to it.

    Raises:
        UserError: the scene has no tracks.
    """
    tracks = truth.tracks
    if tracks is None:
        raise UserError(
            f"{truth.name} has no tracks.npz: variants of true motion need exact tracks"
        )

    def offsets(scene: Scene4D, points_M3: NDArray[np.floating]) -> NDArray[np.floating]:
        world = align_cameras(truth.w2c[: truth.views], scene.w2c.double().cpu().numpy())
        xyz = tracks.xyz[: truth.steps].astype(np.float64)
        start = xyz[scene.canonical_time]
        near = cKDTree(world.points(start)).query(points_M3, k=_NEIGHBOURS)[1]
        moved = world.scale * (xyz - start) @ world.rotation.T
        return np.median(moved[:, near], axis=2)

    return offsets
