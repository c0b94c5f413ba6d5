"""The command `export`: a run's scene in another form.

Whatever is heavy to import is imported where it is used, so that `--help` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from fourreal.console import say
from fourreal.errors import UserError
from pipeline.scene_file import grid_beside, load_scene, scene_path, title_and_rate


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
    layout: Literal["minimal", "full"] = "minimal"
    """ply-sequence: the 14 properties that most viewers ask for, or all 62 of the reference
    implementation (zero normals and higher harmonics) for readers of that fixed layout."""
    outliers: float = 0.0
    """pointcloud: remove points this many standard deviations farther from their 20 neighbours
    than usual (2 is a good value); 0 keeps all."""
    min_opacity: float = 0.1
    """pointcloud: leave out Gaussians fainter than this."""


def export(options: Export) -> None:
    """Write a scene in another form."""
    source = scene_path(options.run)
    scene = load_scene(source)
    form, frames = options.format, options.frames
    if frames < 0 or frames > 10_000:
        raise UserError(f"--frames {frames}: choose 0..10000")
    if options.zip and form != "ply-sequence":
        raise UserError("--zip goes with --format ply-sequence")
    if options.layout != "minimal" and form != "ply-sequence":
        raise UserError(f"--layout goes with --format ply-sequence, not with {form}")
    if frames and form in ("html", "4dgs", "nerfstudio"):
        raise UserError(f"--frames goes with ply-sequence, pointcloud and video, not with {form}")

    def target(default: str) -> Path:
        return Path(options.out) if options.out else source.parent / default

    if form == "ply-sequence":
        from viewer.export.ply import write_sequence, write_sequence_zip

        written = target("ply.zip" if options.zip else "ply")
        write = write_sequence_zip if options.zip else write_sequence
        write(scene, written, frames or None, options.layout)
    elif form == "html":
        from viewer.page.html import write_player

        written = target("index.html")
        write_player(scene, written, *title_and_rate(source.parent))
    elif form == "4dgs":
        from viewer.page.payload import write_4dgs

        written = target("scene.4dgs")
        write_4dgs(scene, written, *title_and_rate(source.parent))
    elif form == "nerfstudio":
        from viewer.nerfstudio_plugin.export import write_nerfstudio

        written = write_nerfstudio(scene, grid_beside(source), target("nerfstudio"))
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
