"""A scene as plain coloured point clouds through Open3D (extra ``[open3d]``), one per time.

Point k is the same Gaussian in every file. World axes as in the scene (x right, y down, z forward).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fourreal.atomic import atomic_folder
from fourreal.console import say
from fourreal.errors import UserError
from viewer.export.moments import moments
from viewer.export.sequence import check_folder, frame_names
from viewer.player_scene import PlayerScene

if TYPE_CHECKING:
    from recon.scene import Scene4D

_NEIGHBOURS = 20  # Open3D's own example; the distance to so many neighbours is averaged


def write_pointclouds(
    scene: Scene4D | PlayerScene,
    folder: str | Path,
    frames: int | None = None,
    outliers: float = 0.0,
    min_opacity: float = 0.1,
) -> list[str]:
    """Write ``points0001.ply`` and so on (xyz, rgb), replacing the folder; the names written.

    Args:
        frames: number of files, evenly spaced in time; None: one per stored time.
        outliers: 0 keeps all points; else a point goes whose mean distance to its 20 neighbours
            is this many standard deviations above the mean (at the first time, for all files).
        min_opacity: leave out Gaussians below this opacity (at their most visible).

    Raises:
        UserError: Open3D is missing, the folder is not ours to replace, or no point is left.
    """
    o3d = _open3d()
    if outliers < 0 or not 0 <= min_opacity <= 1:
        raise UserError("--outliers must not be negative, --min-opacity must lie in 0..1")
    target = check_folder(folder)
    player = PlayerScene.from_scene(scene)
    player.warn_of_lost_axes("point clouds")
    peak = player.opacities * (1 if player.visibility is None else player.visibility.max(0))
    keep = np.flatnonzero(peak >= min_opacity)
    if outliers:
        cloud = _cloud(o3d, player, float(player.times[0]), keep)
        _, inside = cloud.remove_statistical_outlier(_NEIGHBOURS, outliers)
        say(f"  {len(keep) - len(inside)} of {len(keep)} points are outliers")
        keep = keep[np.asarray(inside, np.int64)]
    if not len(keep):
        raise UserError("no point is left; lower --min-opacity or raise --outliers")
    times = moments(player, frames)
    names = frame_names("points", len(times))
    with atomic_folder(target) as temporary:
        for name, t in zip(names, times, strict=True):
            cloud = _cloud(o3d, player, float(t), keep)
            if not o3d.io.write_point_cloud(str(temporary / name), cloud):
                raise UserError(f"Open3D could not write {target / name}")
    return names


def _cloud(o3d: Any, player: PlayerScene, t: float, keep: NDArray[np.int64]) -> Any:
    means, _, _, colors = player.at(t)
    cloud = o3d.geometry.PointCloud()
    cloud.points = o3d.utility.Vector3dVector(means[keep].astype(np.float64))
    cloud.colors = o3d.utility.Vector3dVector(colors[keep].astype(np.float64))
    return cloud


def _open3d() -> Any:
    try:
        import open3d
    except (ImportError, OSError) as error:  # OSError: a system library is missing
        raise UserError(
            f"point clouds need Open3D ({str(error).splitlines()[0]}); pip install -e '.[open3d]'"
        ) from error
    return open3d
