"""The command `inspect`: what a clip, a grid, a data set, a run or an export holds."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from fourreal.console import say, warn
from fourreal.errors import UserError
from fourreal.option_values import Tiles, existing
from fourreal.run_folder import slug
from gen.data.assets.as_grid import describe_asset, is_asset
from gen.footage.inspection import inspect_footage
from gen.footage.sheet import save_sheet
from pipeline.scene_file import SCENE_FILE, load_scene, scene_path


@dataclass
class Inspect:
    """Say what a clip, grid or run folder holds, and whether it can be used."""

    path: Positional[str]
    """A clip, a grid, a data set (see `grid`) or a run folder."""
    sheet: str = ""
    """Where to write the contact sheet (.png or .jpg); by default outputs/inspect/NAME.png."""
    tiles: Tiles = None
    """ROWSxCOLUMNS of a tiled mp4 that does not say so itself."""
    cameras: str = ""
    """Cameras of a clip, photos or a rig that lie elsewhere: see `videos`."""


def inspect(options: Inspect) -> None:
    """Print what a clip, grid, data set or run folder holds, and write a contact sheet of it."""
    if options.sheet and Path(options.sheet).suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UserError(f"--sheet {options.sheet}: name a .png or .jpg file")
    p = existing(options.path)
    if p.suffix == ".safetensors" or (p / SCENE_FILE).is_file():
        scene = load_scene(scene_path(p))
        say(
            f"{scene_path(p)}: 4D scene, {len(scene.means)} Gaussians, {len(scene.times)} times, "
            f"{len(scene.K)} cameras of {scene.size[0]}x{scene.size[1]}"
        )
    if p.suffix == ".safetensors":
        return
    if p.suffix in (".html", ".fr4d", ".4dgs", ".ply"):
        say(f"{p}: {_exported_facts(p)}")
        return
    if is_asset(p):
        for line in describe_asset(p):
            say(line)
        return
    report = inspect_footage(p, options.tiles, options.cameras)
    for line in report.lines:
        say(line)
    if (p / SCENE_FILE).is_file() and not options.sheet:
        say(f"look: {p / 'overview.png'}")
        return
    name = slug(p.resolve().stem if p.is_file() else p.resolve().name)
    sheet = Path(options.sheet) if options.sheet else Path("outputs") / "inspect" / f"{name}.png"
    try:
        say(f"look: {save_sheet(report.sheet, sheet)}")
    except OSError as error:
        if options.sheet or error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        warn(f"{sheet} may not be written: no contact sheet (--sheet names another place)")


def _exported_facts(path: Path) -> str:
    """What a player page, a payload or a Gaussian PLY holds. Raises UserError if it is damaged."""
    if path.suffix == ".ply":
        from recon.ply import read_ply

        return f"{len(read_ply(path)['means'])} Gaussians of one moment"
    from viewer.read.any_scene import read_player_scene

    scene = read_player_scene(path)
    return (
        f"player of {len(scene.means)} Gaussians, {len(scene.times)} times, {len(scene.K)} cameras "
        f"of {scene.size[0]}x{scene.size[1]}, {path.stat().st_size / 1e6:.2f} MB"
    )
