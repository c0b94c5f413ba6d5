"""The commands that look at things, and their options: view, export, inspect, doctor.

Whatever is heavy to import is imported where it is used, so that `--help` is quick.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from fourreal.console import say, warn
from fourreal.errors import UserError
from fourreal.option_values import parse_pair
from fourreal.run_folder import slug
from gen.footage.inspection import inspect_footage
from gen.footage.sheet import save_sheet
from gen.grid import VideoGrid

if TYPE_CHECKING:
    from recon.scene import Scene4D

SCENE_FILE = "scene.safetensors"


@dataclass
class View:
    """Open a run in the viser viewer (a local web server)."""

    run: Positional[str]
    """Folder of the run, or a scene.safetensors."""
    host: str = "127.0.0.1"
    """Address to listen on; anything but 127.0.0.1 is reachable from other machines."""
    port: int = 8080
    """Port to listen on."""


@dataclass
class Export:
    """Write a run's scene in another form."""

    run: Positional[str]
    """Folder of the run, or a scene.safetensors."""
    format: Literal["ply-sequence", "html", "4dgs", "video", "nerfstudio", "pointcloud"] = (
        "ply-sequence"
    )
    """ply-sequence: one Gaussian .ply per time; html: the self-contained player; 4dgs: the player's
    bare payload; video: an mp4; nerfstudio: a folder for ns-viewer, ns-render and ns-export;
    pointcloud: plain coloured points (needs Open3D)."""
    out: str = ""
    """Where to; by default inside the run folder."""
    frames: int = 0
    """Number of frames of a sequence or video; 0: one per time of the grid (video: 48)."""
    path: Literal["orbit", "spiral", "input"] = "orbit"
    """Camera path of a video."""
    zip: bool = False
    """Write a ply-sequence as one zip file instead of a folder."""
    outliers: float = 0.0
    """pointcloud: remove points this many standard deviations farther from their 20 neighbours
    than usual (2 is a good value); 0 keeps all."""
    min_opacity: float = 0.1
    """pointcloud: leave out Gaussians fainter than this."""


@dataclass
class Inspect:
    """Say what a clip, grid or run folder holds, and whether it can be used."""

    path: Positional[str]
    """A clip, a grid, a data set (see `grid`) or a run folder."""
    sheet: str = ""
    """Where to write the contact sheet (.png or .jpg); by default outputs/inspect/NAME.png."""
    tiles: str = ""
    """ROWSxCOLUMNS of a tiled mp4 that does not say so itself."""
    cameras: str = ""
    """Cameras of a clip, photos or a rig that lie elsewhere: see `videos`."""


@dataclass
class Doctor:
    """Versions, devices, optional parts, memory and disk in one screen."""


def load_scene(path: Path) -> Scene4D:
    """The scene of a file."""
    from recon.scene import Scene4D

    return Scene4D.load(path)


def scene_path(run: str | Path) -> Path:
    """The scene file of a run folder, or the file itself.

    Raises:
        UserError: no scene there.
    """
    path = Path(run)
    if path.is_dir():
        path = path / SCENE_FILE
    if not path.is_file():
        raise UserError(
            f"no scene at {run}; give a run folder with {SCENE_FILE} (see outputs/) or such a file"
        )
    return path


def view(options: View) -> None:
    """Serve a run in the viser viewer until interrupted."""
    from viewer.viser.app import serve

    path = scene_path(options.run)
    scene = load_scene(path)
    grid = _grid_beside(path)
    if options.host not in ("127.0.0.1", "localhost", "::1"):
        warn(f"listening on {options.host}: the viewer can be reached from other machines")
    serve(scene, grid, host=options.host, port=options.port)


def export(options: Export) -> None:
    """Write a scene in another form."""
    source = scene_path(options.run)
    scene = load_scene(source)
    form, frames = options.format, options.frames
    if frames < 0 or frames > 10_000:
        raise UserError(f"--frames {frames}: choose 0..10000")
    if options.zip and form != "ply-sequence":
        raise UserError("--zip goes with --format ply-sequence")
    if frames and form in ("html", "4dgs", "nerfstudio"):
        raise UserError(f"--frames goes with ply-sequence, pointcloud and video, not with {form}")

    def target(default: str) -> Path:
        return Path(options.out) if options.out else source.parent / default

    if form == "ply-sequence":
        from viewer.export.ply import write_sequence, write_sequence_zip

        written = target("ply.zip" if options.zip else "ply")
        (write_sequence_zip if options.zip else write_sequence)(scene, written, frames or None)
    elif form == "html":
        from viewer.page.html import write_player

        written = target("index.html")
        write_player(scene, written, *_title_and_rate(source.parent))
    elif form == "4dgs":
        from viewer.page.payload import write_4dgs

        written = target("scene.4dgs")
        write_4dgs(scene, written, *_title_and_rate(source.parent))
    elif form == "nerfstudio":
        from viewer.nerfstudio_plugin.export import write_nerfstudio

        written = write_nerfstudio(scene, _grid_beside(source), target("nerfstudio"))
        say(f"look: ns-viewer --load-config {written}")
    elif form == "pointcloud":
        from viewer.export.pointcloud import write_pointclouds

        written = target("points")
        write_pointclouds(scene, written, frames or None, options.outliers, options.min_opacity)
    else:
        from viewer.export.video import write_camera_video

        written = target(f"{options.path}.mp4")
        write_camera_video(scene, written, path=options.path, frames=frames or 48)
    say(f"wrote {written}")


def _grid_beside(scene: Path) -> VideoGrid | None:
    """The grid of the run that a scene file lies in; None, with a warning, if it is not there."""
    if (scene.parent / "grid" / "grid.json").exists():
        return VideoGrid.load(scene.parent / "grid")
    warn(f"no grid folder beside {scene}: its frames are not shown")
    return None


def _title_and_rate(run: Path) -> tuple[str, float]:
    """Prompt (else the folder's name) and frames per second along time of a run; 8 without grid."""
    try:
        grid = json.loads((run / "grid" / "grid.json").read_text())
        return str(grid.get("prompt") or run.resolve().name), float(grid.get("fps", 8.0))
    except (OSError, ValueError, AttributeError, TypeError):
        return run.resolve().name, 8.0


def inspect(options: Inspect) -> None:
    """Print what a clip, grid, data set or run folder holds, and write a contact sheet of it."""
    p = Path(options.path)
    if options.sheet and Path(options.sheet).suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UserError(f"--sheet {options.sheet}: name a .png or .jpg file")
    if not p.exists():
        raise UserError(f"no such file or folder: {p}")
    if p.suffix == ".safetensors" or (p / SCENE_FILE).is_file():
        scene = load_scene(scene_path(p))
        say(
            f"{scene_path(p)}: 4D scene, {len(scene.means)} Gaussians, {len(scene.times)} times, "
            f"{len(scene.K)} cameras of {scene.size[0]}x{scene.size[1]}"
        )
    if p.suffix == ".safetensors":
        return
    if p.suffix in (".html", ".4dgs", ".ply"):
        say(f"{p}: {_exported_facts(p)}")
        return
    pair = parse_pair(options.tiles, "--tiles", "ROWSxCOLUMNS", "2x4") if options.tiles else None
    report = inspect_footage(p, pair, options.cameras)
    for line in report.lines:
        say(line)
    if (p / SCENE_FILE).is_file() and not options.sheet:
        say(f"look: {p / 'overview.png'}")
        return
    name = slug(p.resolve().stem if p.is_file() else p.resolve().name)
    sheet = Path(options.sheet) if options.sheet else Path("outputs") / "inspect" / f"{name}.png"
    say(f"look: {save_sheet(report.sheet, sheet)}")


def _exported_facts(path: Path) -> str:
    """What a player page, a payload or a Gaussian PLY holds. Raises UserError if it is damaged."""
    if path.suffix == ".ply":
        from recon.ply import read_ply

        return f"{len(read_ply(path)['means'])} Gaussians of one moment"
    from viewer.page.html import read_player
    from viewer.page.payload import read_4dgs

    scene = read_player(path) if path.suffix == ".html" else read_4dgs(path)
    return (
        f"player of {len(scene.means)} Gaussians, {len(scene.times)} times, {len(scene.K)} cameras "
        f"of {scene.size[0]}x{scene.size[1]}, {path.stat().st_size / 1e6:.2f} MB"
    )


def doctor() -> None:
    """Print versions, devices, optional parts, memory, disk and what will be slow."""
    from pipeline.doctor import report

    for line in report():
        say(line)
