"""Motion that is known: where the exact tracks of a scene take its points.

A fit that starts from it tells what better tracking could gain at most, and what is lost elsewhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fourreal.cameras import project, transform
from fourreal.errors import UserError
from recon.motion.frames import FrameConfig
from recon.motion.node_solver import Sighting
from recon.motion.single_view import SingleView
from recon.motion_stage import KnownMotion
from recon.scene import Scene4D
from scripts.evaluate.truth_grid import TrueTracks, TruthGrid, align_cameras

FloatArray = NDArray[np.floating]
_NEIGHBOURS = 4
_MOVES = 1e-3  # of the distance to the camera


def true_motion(truth: TruthGrid) -> KnownMotion:
    """For ``recon.reconstruct.fit_scene``: a point moves as the tracks that start nearest to it.

    Raises:
        UserError: the scene has no tracks.
    """
    tracks = _tracks(truth)
    return lambda scene, points_M3: _followed(truth, tracks, scene, points_M3)[0]


def motion_seen_by_one(truth: TruthGrid) -> KnownMotion:
    """The same in the picture of view 0 alone: where it sees a point is known exactly, how far away
    that is and where all others are say rigid frames, as in a cross fit.

    Raises:
        UserError: the scene has no tracks.
    """
    tracks = _tracks(truth)

    def offsets(scene: Scene4D, points_M3: FloatArray) -> FloatArray:
        true, seen = _followed(truth, tracks, scene, points_M3)
        K, w2c = scene.cameras()
        c, points = scene.canonical_time, np.asarray(points_M3, np.float64)
        far = np.median(np.abs(transform(w2c[0], points)[:, 2]))
        free = np.flatnonzero(np.linalg.norm(true, axis=-1).max(0) > _MOVES * far)
        alone = SingleView(points, free, c, FrameConfig())
        found = np.zeros_like(true)
        for t in sorted((t for t in range(len(true)) if t != c), key=lambda t: abs(t - c)):
            uv, _ = project(transform(w2c[0], points + true[t]), K[0])
            sighting = Sighting(uv, seen[t].astype(np.float64), K[0], w2c[0])
            alone.carried(t - 1 if t > c else t + 1, sighting)
            found[t] = alone.lifted(t, sighting)
        for t, moved in alone.in_upright_plane(w2c):
            found[t] = moved
        return found

    return offsets


def _tracks(truth: TruthGrid) -> TrueTracks:
    if truth.tracks is None:
        raise UserError(
            f"{truth.name} has no tracks.npz: variants of true motion need exact tracks"
        )
    return truth.tracks


def _followed(
    truth: TruthGrid, tracks: TrueTracks, scene: Scene4D, points_M3: FloatArray
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Offsets [T, M, 3] of points as the tracks that start nearest to them move, and at which times
    view 0 sees most of these [T, M]."""
    world = align_cameras(truth.w2c[: truth.views], scene.w2c.double().cpu().numpy())
    xyz = tracks.xyz[: truth.steps].astype(np.float64)
    start = xyz[scene.canonical_time]
    near = cKDTree(world.points(start)).query(points_M3, k=_NEIGHBOURS)[1]
    moved = world.scale * (xyz - start) @ world.rotation.T
    seen = tracks.visible[0, : truth.steps][:, near].mean(2) >= 0.5
    return np.median(moved[:, near], axis=2), seen
