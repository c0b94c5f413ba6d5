"""The command `export`: a scene in the forms other programs take.

Whatever is heavy to import is imported where it is used, so that `--help` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from tyro.conf import Positional

from fourreal.console import say
from fourreal.errors import UserError
from pipeline.scene_file import grid_beside, open_scene, scene_path, title_and_rate

if TYPE_CHECKING:
    from recon.scene import Scene4D
    from viewer.player_scene import PlayerScene

Format = Literal[
    "ply-sequence",
    "html",
    "4dgs",
    "fourreal",
    "usd",
    "glb",
    "spz",
    "sog",
    "splatv",
    "video",
    "nerfstudio",
    "pointcloud",
]
Layout = Literal["minimal", "full"]
_FILES = {"glb": ".glb", "spz": ".spz", "sog": ".sog"}  # one file per moment
_SEVERAL = ("ply-sequence", "pointcloud", "4dgs", "usd", *_FILES)  # of --times
_MOST = 10_000


@dataclass
class Export:
    """Write a run's scene in another form."""

    run: Positional[str]
    """Folder of the run, or a file: scene.safetensors, .fr4d, .4dgs, a player's .html."""
    format: Format = "ply-sequence"
    """ply-sequence: one Gaussian .ply per time; html: the self-contained player; 4dgs: the open
    container; fourreal: the player's bare payload (.fr4d); usd: one animated OpenUSD file; glb,
    spz, sog: glTF, SPZ or SOG, one file per time; splatv: for gsplat.js and splaTV; video: an mp4;
    nerfstudio: a folder for ns-viewer, ns-render and ns-export; pointcloud: plain coloured points
    (needs Open3D)."""
    out: str = ""
    """Where to; by default inside the run folder, or beside the file."""
    times: str = ""
    """all: every time of the grid (the default; 4dgs and usd, which know straight lines only, also
    those half-way between where motion is curved); N: so many, evenly spaced."""
    time: float | None = None
    """0..1: only this moment, as one file (ply-sequence, glb, spz, sog)."""
    frames: int = 0
    """Number of frames of a sequence (as --times N) or video; 0: one per time of the grid (video:
    48)."""
    path: Literal["orbit", "spiral", "input"] = "orbit"
    """Camera path of a video."""
    zip: bool = False
    """Write a ply-sequence as one zip file instead of a folder."""
    layout: Layout = "minimal"
    """ply-sequence: the 14 properties that most viewers ask for, or all 62 of the reference
    implementation (zero normals and higher harmonics) for readers of that fixed layout."""
    split: bool = False
    """html: the page and its scene as two files, for web servers."""
    codec: Literal["deflate", "zstd"] = "deflate"
    """4dgs: compression; browsers read deflate only."""
    outliers: float = 0.0
    """pointcloud: remove points this many standard deviations farther from their 20 neighbours
    than usual (2 is a good value); 0 keeps all."""
    min_opacity: float = 0.1
    """pointcloud: leave out Gaussians fainter than this."""

    def moments(self) -> int | None:
        """Number of moments of a sequence; None: the stored ones.

        Raises:
            UserError: options that do not go together, or numbers out of range.
        """
        if self.frames < 0 or self.frames > _MOST:
            raise UserError(f"--frames {self.frames}: choose 0..{_MOST}")
        if self.zip and self.format != "ply-sequence":
            raise UserError("--zip goes with --format ply-sequence")
        if self.layout != "minimal" and self.format != "ply-sequence":
            raise UserError(f"--layout goes with --format ply-sequence, not with {self.format}")
        if self.split and self.format != "html":
            raise UserError("--split goes with --format html")
        if self.codec != "deflate" and self.format != "4dgs":
            raise UserError("--codec goes with --format 4dgs")
        if self.frames and self.format not in (*_SEVERAL, "video"):
            raise UserError(
                f"--frames goes with {', '.join(_SEVERAL)} and video, not with {self.format}"
            )
        if self.time is not None:
            if self.format not in ("ply-sequence", *_FILES):
                raise UserError(
                    f"--time goes with ply-sequence, glb, spz and sog, not with {self.format}"
                )
            if not 0 <= self.time <= 1:
                raise UserError(f"--time {self.time:g}: choose 0..1")
            if self.times or self.frames or self.zip:
                raise UserError("--time writes one moment; leave out --times, --frames and --zip")
        if not self.times:
            return self.frames or None
        if self.format not in _SEVERAL:
            raise UserError(f"--times goes with {', '.join(_SEVERAL)}, not with {self.format}")
        if self.times == "all":
            return None
        if not self.times.isdecimal() or not 1 <= int(self.times) <= _MOST:
            raise UserError(f"--times {self.times}: choose all or 1..{_MOST}")
        return int(self.times)


def export(options: Export) -> None:
    """Write a scene in another form.

    Raises:
        UserError: no scene there, options that do not go together, or something that the form
            needs is missing.
    """
    frames = options.moments()
    source = scene_path(options.run)
    scene = open_scene(source)
    shared = source.suffix != ".safetensors"

    def target(default: str) -> Path:
        if options.out:
            return Path(options.out)
        return source.parent / (f"{source.stem}-{default}" if shared else default)

    written = _WRITERS[options.format](options, scene, source, target, frames)
    say(f"wrote {written}")


def _labels(scene: Scene4D | PlayerScene, source: Path) -> tuple[str, float]:
    """Title and rate: of the run, or those that the file brings along."""
    if source.suffix == ".safetensors":
        return title_and_rate(source.parent, len(scene.times))
    from viewer.player_scene import PlayerScene

    player = PlayerScene.from_scene(scene)
    return player.prompt or player.name, player.fps


def _with_nodes(scene: Scene4D | PlayerScene) -> Scene4D:
    """For what draws a scene of ours."""
    from recon.scene import Scene4D
    from viewer.read.any_scene import as_scene

    return scene if isinstance(scene, Scene4D) else as_scene(scene)


def _ply(options: Export, scene: Any, source: Path, target: Any, frames: int | None) -> Path:
    from viewer.export.ply import write_frame, write_sequence, write_sequence_zip

    if options.time is not None:
        from viewer.export.per_moment import write_moment

        written = target("scene.ply")
        write_layout = partial(write_frame, layout=options.layout)
        write_moment(scene, written, ".ply", options.time, write_layout)
        return written
    written = target("ply.zip" if options.zip else "ply")
    write = write_sequence_zip if options.zip else write_sequence
    write(scene, written, frames, options.layout)
    return written


def _per_moment(options: Export, scene: Any, source: Path, target: Any, frames: int | None) -> Path:
    """glb, spz, sog."""
    from viewer.export.per_moment import write_all, write_moment

    suffix = _FILES[options.format]
    if options.time is not None:
        written = target(f"scene{suffix}")
        write_moment(scene, written, suffix, options.time)
        return written
    written = target(options.format)
    write_all(scene, written, suffix, frames)
    return written


def _html(options: Export, scene: Any, source: Path, target: Any, frames: int | None) -> Path:
    from viewer.page.html import write_player

    written = target("index.html")
    write_player(scene, written, *_labels(scene, source), split=options.split)
    return written


def _open_4dgs(options: Export, scene: Any, source: Path, target: Any, frames: int | None) -> Path:
    from viewer.export.open_4dgs import write_open_4dgs

    written = target("scene.4dgs")
    write_open_4dgs(scene, written, *_labels(scene, source), frames=frames, codec=options.codec)
    return written


def _payload(options: Export, scene: Any, source: Path, target: Any, frames: int | None) -> Path:
    from viewer.page.payload import write_fr4d

    written = target("scene.fr4d")
    write_fr4d(scene, written, *_labels(scene, source))
    return written


def _usd(options: Export, scene: Any, source: Path, target: Any, frames: int | None) -> Path:
    from viewer.export.usd import write_usd

    written = target("scene.usdc")
    write_usd(scene, written, *_labels(scene, source), frames=frames)
    return written


def _splatv(options: Export, scene: Any, source: Path, target: Any, frames: int | None) -> Path:
    from viewer.export.splatv import write_splatv

    written = target("scene.splatv")
    write_splatv(scene, written)
    return written


def _video(options: Export, scene: Any, source: Path, target: Any, frames: int | None) -> Path:
    from viewer.export.video import write_camera_video

    written = target(f"{options.path}.mp4")
    write_camera_video(_with_nodes(scene), written, path=options.path, frames=frames or 48)
    return written


def _nerfstudio(options: Export, scene: Any, source: Path, target: Any, frames: int | None) -> Path:
    from viewer.nerfstudio_plugin.export import write_nerfstudio

    written = write_nerfstudio(_with_nodes(scene), grid_beside(source), target("nerfstudio"))
    say(f"look: ns-viewer --load-config {written}")
    return written


def _points(options: Export, scene: Any, source: Path, target: Any, frames: int | None) -> Path:
    from viewer.export.pointcloud import write_pointclouds

    written = target("points")
    write_pointclouds(scene, written, frames, options.outliers, options.min_opacity)
    return written


_WRITERS = {
    "ply-sequence": _ply,
    "html": _html,
    "4dgs": _open_4dgs,
    "fourreal": _payload,
    "usd": _usd,
    "glb": _per_moment,
    "spz": _per_moment,
    "sog": _per_moment,
    "splatv": _splatv,
    "video": _video,
    "nerfstudio": _nerfstudio,
    "pointcloud": _points,
}
assert set(_WRITERS) == set(get_args(Format))
