"""Render animated glTF assets as ground-truth grids: the paper's animated-Objaverse recipe.

    python scripts/render_assets.py --assets assets/ --out outputs/assets --size 144x256

ASSETS is a .glb or .gltf file, or a folder that is searched with all below it. Every clip that is
chosen becomes a folder with what scripts/render_procedural.py writes (grid_HxW.npz, cameras.json,
tracks.npz, meta.json), the input cells as a grid folder (grid/) and a picture of all cells
(sheet.png). Cameras stand on a circle around the asset. The caption is the first line of NAME.txt
beside the asset, else the words of its name and clip. An asset that cannot be used is reported and
left out; scenes that are there already are not rendered again. Needs the extra [render] and OpenGL
through EGL: a GPU, or software (apt-get install libegl1 libgl1 libgl1-mesa-dri).
"""

from __future__ import annotations

import re
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `scripts` is not installed

from fourreal.atomic import remove_partials  # noqa: E402
from fourreal.console import progress, say, warn  # noqa: E402
from fourreal.errors import UserError  # noqa: E402
from fourreal.script import run_script  # noqa: E402
from fourreal.stage_key import content_hash  # noqa: E402
from gen.data.assets.batch import (  # noqa: E402
    Chance,
    caption,
    choose_clips,
    film,
    find_assets,
    is_done,
    scene_name,
    write_scene_folder,
)
from gen.data.assets.cameras import Circle  # noqa: E402
from gen.data.assets.context import open_context  # noqa: E402
from gen.data.assets.grid import AssetShot  # noqa: E402
from gen.data.gltf.asset import load_asset  # noqa: E402
from scripts.evaluate.result_file import ResultFile  # noqa: E402

RECIPE = 1  # raised when the same settings would give other pictures


@dataclass(frozen=True)
class RenderAssetsConfig:
    """Which assets to render, and how."""

    assets: Path
    """A .glb or .gltf file, or a folder of them."""
    out: Path
    """Folder to write; one sub-folder a scene."""
    clips: str = "first"
    """"first" or "all" of those that move, or a part of the clips' names."""
    n: int = 0
    """At most so many assets; 0: all."""
    size: str = "144x256"
    """Frame size, height x width."""
    views: int = 8
    """Input views on the arc."""
    times: int = 8
    """Input times of the clip."""
    heldout_views: int = 0
    """Further views half-way between neighbours, 4 degrees higher or lower."""
    heldout_times: int = 0
    """Further times half-way between neighbours."""
    seconds: float | None = None
    """Length of the stretch of a clip that is filmed, from its start; default: all of it."""
    arc: float = 70.0
    """Degrees between the first and the last view; 360: all around."""
    azimuth: float | None = None
    """Middle of the arc in degrees, 0: the front; drawn per scene when not given."""
    elevation: float = 12.0
    """Height of the cameras in degrees above the horizon."""
    fov: float = 35.0
    """Vertical field of view in degrees."""
    background: str = "white"
    """"white", "random" (a plain colour per scene) or R,G,B in 0..255."""
    cull: bool = False
    """Hide back faces of single-sided materials, as glTF says; by default both faces show."""
    samples: int = 3
    """Colour samples per pixel along each axis."""
    points: int = 4096
    """Tracked points."""
    seed: int = 0
    device: int | None = None
    """Number of the EGL device; default: the driver's first."""
    json: Path | None = None
    """Result file: seconds per scene."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[1-9]\d{0,3}x[1-9]\d{0,3}", self.size):
            raise UserError(f"--size must look like 144x256 (height x width); got {self.size!r}")
        if self.views < 2 or self.times < 2 or self.views * self.times > 4096:
            raise UserError("--views and --times must be at least 2, together at most 4096 cells")
        if min(self.heldout_views, self.heldout_times, self.n) < 0:
            raise UserError("--heldout-views, --heldout-times and --n cannot be negative")
        if not 1 <= self.samples <= 8 or not 1 <= self.points <= 1_000_000:
            raise UserError("--samples must lie in 1..8 and --points in 1..1000000")
        if self.seconds is not None and not self.seconds > 0:
            raise UserError("--seconds must be positive")
        self.shot()

    def shot(self) -> AssetShot:
        """The settings that all scenes share."""
        height, width = (int(x) for x in self.size.split("x"))
        try:
            circle = Circle(self.azimuth or 0.0, self.arc, self.elevation, self.fov)
        except ValueError as error:
            raise UserError(str(error).removeprefix("Circle: ")) from None
        return AssetShot(
            size=(height, width), views=self.views, times=self.times,
            heldout_views=self.heldout_views, heldout_times=self.heldout_times, circle=circle,
            seconds=self.seconds, samples=self.samples, background=colour_of(self.background),
            cull=self.cull, points=self.points, seed=self.seed,
        )  # fmt: skip

    def chance(self) -> Chance:
        """What is drawn per scene."""
        return Chance(self.seed, self.azimuth is None, self.background == "random")


def colour_of(background: str) -> tuple[float, float, float]:
    """The colour in 0..1 that --background names; white where it is drawn later."""
    if background in ("white", "random"):
        return (1.0, 1.0, 1.0)
    numbers = re.fullmatch(r"(\d{1,3}),(\d{1,3}),(\d{1,3})", background)
    if not numbers or max(int(n) for n in numbers.groups()) > 255:
        raise UserError(f'--background must be "white", "random" or R,G,B; got {background!r}')
    r, g, b = (int(n) / 255 for n in numbers.groups())
    return (r, g, b)


def render_asset(
    cfg: RenderAssetsConfig, path: Path, relative: Path, context: Any, results: ResultFile
) -> int:
    """Render the chosen clips of one asset; returns how many scenes it has now."""
    asset = load_asset(path)
    for note in asset.notes:
        warn(f"{path.name}: {note}")
    clips = choose_clips(asset, cfg.clips)
    for clip in clips:
        name = scene_name(relative, clip)
        shot, prompt = cfg.chance().apply(cfg.shot(), name), caption(path, clip)
        key = content_hash(RECIPE, path, clip.name, asdict(shot), prompt)
        if is_done(cfg.out / name, key):
            say(f"{name}: done before")
            continue
        start, start_cpu = time.perf_counter(), time.process_time()
        truth, meta, cameras = film(context, asset, clip, shot, prompt)
        write_scene_folder(cfg.out / name, truth, {**meta, "key": key}, cameras)
        spent = time.perf_counter() - start
        seen = truth.tracks["visible"].any((0, 1)).mean()
        cells = truth.rgb.shape[0] * truth.rgb.shape[1]
        row = {"cells": cells, "seconds": spent, "seconds_cpu": time.process_time() - start_cpu}
        results.add(name, "default", {**row, "tracks_seen": float(seen)})
        say(f"{cfg.out / name}: {prompt} ({cells} cells in {spent:.1f} s)")
    return len(clips)


def main(cfg: RenderAssetsConfig) -> None:
    """Render all assets, reporting those that cannot be used."""
    paths = find_assets(cfg.assets)
    paths = paths[: cfg.n] if cfg.n else paths
    context = open_context(cfg.device)
    results = ResultFile(cfg.json, "Rendered assets")
    results.note(f"OpenGL: {context.info['GL_RENDERER']}")
    cfg.out.mkdir(parents=True, exist_ok=True)
    remove_partials(cfg.out)
    scenes, failed = 0, []
    root = cfg.assets if cfg.assets.is_dir() else cfg.assets.parent
    for path in progress(paths, "assets"):
        try:
            scenes += render_asset(cfg, path, path.relative_to(root), context, results)
        except UserError as error:
            warn(f"{path.name} is left out: {error}")
            failed.append(path.name)
        except Exception as error:  # one strange asset must not end a long batch
            warn(f"{path.name} is left out: {type(error).__name__}: {error}")
            failed.append(path.name)
    context.release()
    if not scenes:
        raise UserError(f"none of the {len(paths)} assets could be rendered; see the warnings")
    say(f"{scenes} scenes from {len(paths) - len(failed)} of {len(paths)} assets in {cfg.out}")


if __name__ == "__main__":
    sys.exit(run_script(main, RenderAssetsConfig, __doc__))
