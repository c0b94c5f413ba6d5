"""A scene as a sequence of Gaussian PLY files, one per time (SuperSplat's sequence rule).

The folder (or zip) holds ``frame0001.ply`` and so on and nothing else. The layout of a file is
that of ``recon.ply``; view-dependent compensation is left out.
"""

from __future__ import annotations

import tempfile
import zipfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fourreal.atomic import atomic_file
from fourreal.errors import UserError
from recon.ply import write_ply
from viewer.export.moments import Moment, moment_at, moments
from viewer.export.sequence import frame_names, write_moments
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

    ``layout`` of a file: see ``recon.ply``. Other arguments and errors as in
    ``viewer.export.sequence.write_moments``.
    """
    player = PlayerScene.from_scene(scene)
    return write_moments(player, folder, frames, ".ply", partial(write_frame, layout=layout))


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
    player = PlayerScene.from_scene(scene)
    player.warn_of_lost_axes(".ply files")
    times = moments(player, frames)
    names = frame_names("frame", len(times))
    with (
        atomic_file(target) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
        tempfile.TemporaryDirectory() as work,
    ):
        for name, t in zip(names, times, strict=True):
            one = Path(work, "frame.ply")
            write_frame(moment_at(player, float(t)), one, layout)
            entry = zipfile.ZipInfo(name, _ZIP_DATE)
            archive.writestr(entry, one.read_bytes(), zipfile.ZIP_DEFLATED)
    return names


def write_frame(moment: Moment, path: Path, layout: str = "minimal") -> None:
    """Write one moment as a Gaussian PLY file, world axes as they are (y down)."""
    p = np.clip(moment.opacities.astype(np.float64), _EDGE, 1 - _EDGE)
    logits = np.log(p / (1 - p))
    write_ply(path, moment.means, moment.log_axes, logits, moment.colors, moment.rotations, layout)
