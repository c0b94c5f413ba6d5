"""A scene as a sequence of Gaussian PLY files, one per time (SuperSplat's sequence rule).

The folder (or zip) holds ``frame0001.ply`` and so on and nothing else. The layout of a file is
that of ``recon.ply``; view-dependent compensation is left out.
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fourreal.atomic import atomic_file, atomic_folder
from fourreal.errors import UserError
from recon.ply import write_ply
from viewer.player_scene import PlayerScene

if TYPE_CHECKING:
    from recon.scene import Scene4D

_EDGE = 1e-6  # opacities closer than this to 0 or 1 would have an infinite logit
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the same scene gives the same bytes


def write_sequence(
    scene: Scene4D | PlayerScene,
    folder: str | Path,
    frames: int | None = None,
    layout: str = "minimal",
) -> list[str]:
    """Write the sequence, replacing the folder in one step; the file names written.

    Args:
        folder: made anew; an existing one may hold nothing but .ply files.
        frames: number of files, evenly spaced in time; None: one per stored time.
        layout: of a file, see ``recon.ply``.

    Raises:
        UserError: ``folder`` is a file or holds something else, or frames is below 1.
    """
    target = check_folder(folder)
    player = _player(scene)
    times = moments(player, frames)
    names = frame_names("frame", len(times))
    with atomic_folder(target) as temporary:
        for name, t in zip(names, times, strict=True):
            _write_frame(player, float(t), temporary / name, layout)
    return names


def write_sequence_zip(
    scene: Scene4D | PlayerScene,
    file: str | Path,
    frames: int | None = None,
    layout: str = "minimal",
) -> list[str]:
    """The same sequence as one zip file, for sending; the names inside it.

    Raises:
        UserError: ``file`` is a folder, or frames is below 1.
    """
    target = Path(file)
    if target.is_dir():
        raise UserError(f"{target} is a folder; choose a file name for the zip")
    player = _player(scene)
    times = moments(player, frames)
    names = frame_names("frame", len(times))
    with (
        atomic_file(target) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
        tempfile.TemporaryDirectory() as work,
    ):
        for name, t in zip(names, times, strict=True):
            one = Path(work, "frame.ply")
            _write_frame(player, float(t), one, layout)
            entry = zipfile.ZipInfo(name, _ZIP_DATE)
            archive.writestr(entry, one.read_bytes(), zipfile.ZIP_DEFLATED)
    return names


def check_folder(folder: str | Path) -> Path:
    """The folder as a Path, if a sequence may replace it. Raises UserError if not."""
    target = Path(folder)
    if target.is_file():
        raise UserError(f"{target} is a file; choose another folder")
    if target.is_dir():
        foreign = next((p.name for p in target.iterdir() if p.suffix != ".ply"), None)
        if foreign:
            raise UserError(f"{target} holds {foreign}; a sequence needs a folder of its own")
    return target


def moments(player: PlayerScene, frames: int | None) -> NDArray[np.floating]:
    """The stored times, or ``frames`` evenly spaced ones. Raises UserError below 1."""
    if frames is not None and frames < 1:
        raise UserError(f"{frames} frames: at least 1 is needed")
    times = player.times
    return times if frames is None else np.linspace(times[0], times[-1], frames)


def frame_names(stem: str, count: int) -> list[str]:
    """``stem0001.ply`` and so on: sorting by name is sorting by time."""
    digits = max(4, len(str(count)))
    return [f"{stem}{k + 1:0{digits}d}.ply" for k in range(count)]


def _player(scene: Scene4D | PlayerScene) -> PlayerScene:
    player = PlayerScene.from_scene(scene)
    player.warn_of_lost_axes("PLY files")
    return player


def _write_frame(player: PlayerScene, t: float, path: Path, layout: str) -> None:
    means, radii, opacities, colors = player.at(t)
    logs = np.log(radii) if player.stretch is None else player.log_axes()
    p = np.clip(opacities.astype(np.float64), _EDGE, 1 - _EDGE)
    write_ply(path, means, logs, np.log(p / (1 - p)), colors, player.rotations, layout)
