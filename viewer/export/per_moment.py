"""The formats that hold one moment a file: .ply, .glb, .spz and .sog."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from viewer.export.gltf import write_glb
from viewer.export.ply import write_frame
from viewer.export.sequence import WriteMoment, write_moments, write_one
from viewer.export.sog import find_splat_transform, write_sog
from viewer.export.spz import write_spz
from viewer.player_scene import PlayerScene

if TYPE_CHECKING:
    from recon.scene import Scene4D

WRITERS: dict[str, WriteMoment] = {
    ".ply": write_frame,
    ".glb": write_glb,
    ".spz": write_spz,
    ".sog": write_sog,
}


def write_all(
    scene: Scene4D | PlayerScene, folder: str | Path, suffix: str, frames: int | None = None
) -> list[str]:
    """One file per time; see ``viewer.export.sequence.write_moments``."""
    _check(suffix)
    player = PlayerScene.from_scene(scene)
    return write_moments(player, folder, frames, suffix, WRITERS[suffix])


def write_moment(
    scene: Scene4D | PlayerScene,
    path: str | Path,
    suffix: str,
    t: float,
    write: WriteMoment | None = None,
) -> None:
    """The moment ``t`` in 0..1 as one file, by ``write`` if the usual way is not wanted."""
    _check(suffix)
    write_one(PlayerScene.from_scene(scene), path, t, write or WRITERS[suffix])


def _check(suffix: str) -> None:
    if suffix == ".sog":
        find_splat_transform()  # before anything is written
