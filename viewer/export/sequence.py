"""Files of a scene, one per moment: a folder that holds nothing else, or one file.

``frame0001.SUFFIX`` and so on: sorting by name is sorting by time, and programs that play numbered
files (SuperSplat) take the folder as a sequence.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fourreal.atomic import atomic_file, atomic_folder
from fourreal.errors import UserError
from viewer.export.moments import Moment, moment_at, moments
from viewer.player_scene import PlayerScene

WriteMoment = Callable[[Moment, Path], None]


def write_moments(
    player: PlayerScene, folder: str | Path, frames: int | None, suffix: str, write: WriteMoment
) -> list[str]:
    """Write one file per moment, replacing the folder in one step; the names written.

    Args:
        folder: made anew; an existing one may hold nothing but files of this ``suffix``.
        frames: number of files, evenly spaced in time; None: one per stored time.

    Raises:
        UserError: ``folder`` is a file or holds something else, or frames is below 1.
    """
    target = check_folder(folder, suffix)
    player.warn_of_lost_axes(f"{suffix} files")
    times = moments(player, frames)
    names = frame_names("frame", len(times), suffix)
    with atomic_folder(target) as temporary:
        for name, t in zip(names, times, strict=True):
            write(moment_at(player, float(t)), temporary / name)
    return names


def write_one(player: PlayerScene, path: str | Path, t: float, write: WriteMoment) -> None:
    """Write the moment ``t`` in 0..1 as one file. Raises UserError where a folder is in its way."""
    target = Path(path)
    if target.is_dir():
        raise UserError(f"{target} is a folder; choose a file name with --out")
    player.warn_of_lost_axes(f"{target.suffix} files")
    with atomic_file(target) as temporary:
        write(moment_at(player, t), temporary)


def check_folder(folder: str | Path, suffix: str = ".ply") -> Path:
    """The folder as a Path, if a sequence may replace it. Raises UserError if not."""
    target = Path(folder)
    if target.is_file():
        raise UserError(f"{target} is a file; choose another folder")
    if target.is_dir():
        foreign = next((p.name for p in target.iterdir() if p.suffix != suffix), None)
        if foreign:
            raise UserError(f"{target} holds {foreign}; a sequence needs a folder of its own")
    return target


def frame_names(stem: str, count: int, suffix: str = ".ply") -> list[str]:
    """``stem0001.ply`` and so on: sorting by name is sorting by time."""
    digits = max(4, len(str(count)))
    return [f"{stem}{k + 1:0{digits}d}{suffix}" for k in range(count)]
