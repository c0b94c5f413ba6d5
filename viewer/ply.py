"""A scene as a sequence of Gaussian PLY files, one per time (SuperSplat's sequence rule).

The folder holds ``frame0001.ply`` and so on and nothing else. The layout of a file is that of
``recon.ply``; view-dependent compensation is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gen.atomic import atomic_folder
from gen.errors import UserError
from recon.ply import write_ply
from viewer.payload import PlayerScene

if TYPE_CHECKING:
    from recon.scene import Scene4D

_EDGE = 1e-6  # opacities closer than this to 0 or 1 would have an infinite logit


def write_sequence(
    scene: Scene4D | PlayerScene, folder: str | Path, frames: int | None = None
) -> list[str]:
    """Write the sequence, replacing the folder in one step; the file names written.

    Args:
        folder: made anew; an existing one may hold nothing but .ply files.
        frames: number of files, evenly spaced in time; None: one per stored time.

    Raises:
        UserError: ``folder`` is a file or holds something else, or frames is below 1.
    """
    target = Path(folder)
    if target.is_file():
        raise UserError(f"{target} is a file; choose another folder")
    if target.is_dir():
        foreign = next((p.name for p in target.iterdir() if p.suffix != ".ply"), None)
        if foreign:
            raise UserError(f"{target} holds {foreign}; a sequence needs a folder of its own")
    if frames is not None and frames < 1:
        raise UserError(f"{frames} frames: at least 1 is needed")
    player = PlayerScene.from_scene(scene)
    times = player.times
    moments = times if frames is None else np.linspace(times[0], times[-1], frames)
    digits = max(4, len(str(len(moments))))
    names = [f"frame{k + 1:0{digits}d}.ply" for k in range(len(moments))]
    with atomic_folder(target) as temporary:
        for name, t in zip(names, moments, strict=True):
            means, radii, opacities, colors = player.at(float(t))
            p = np.clip(opacities.astype(np.float64), _EDGE, 1 - _EDGE)
            write_ply(temporary / name, means, np.log(radii), np.log(p / (1 - p)), colors)
    return names
