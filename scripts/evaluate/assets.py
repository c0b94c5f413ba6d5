"""Compare the asset renderer with renders of the same assets made elsewhere (Blender Cycles).

    python scripts/evaluate.py assets --data ../shared/data/grids --assets ../shared/data/assets \
        --json docs/benchmarks/assets.json

Every scene's cameras, times and placement are taken over; silhouettes, depth and tracks must agree.
DATA is in the layout of scripts/render_procedural.py, its meta.json naming asset and clip.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from fourreal.console import say
from fourreal.errors import UserError
from fourreal.script import run_script
from gen.data.assets.check import Reference, compare
from gen.data.assets.context import open_context
from scripts.evaluate.result_file import ResultFile

NOTES = (
    "iou: silhouettes of single cells (in a room: what stands above the floor); depth and track "
    "differences in asset radii (the stored depth is rounded to 0.00025); tracks: distance of the "
    "reference's tracks from the surface points they start on.",
    "fox_run: the keys of this clip are far apart, and Blender interpolates quaternions by their "
    "components where glTF asks for slerp; with Blender's rule tracks agree to 3e-7 there too.",
    "Fox by PixelMannen (CC0), rigged and animated by tomkranis (CC BY 4.0), converted by "
    "AsoboStudio and scurest (CC BY 4.0).",
)


@dataclass(frozen=True)
class EvaluateAssetsConfig:
    """What to compare."""

    data: Path = Path("../shared/data/grids")
    """Folder of scenes rendered elsewhere."""
    assets: Path = Path("../shared/data/assets")
    """Folder of the assets that they show."""
    n: int = 0
    """At most so many scenes; 0: all."""
    every: int = 1
    """Compare every so-manieth view and time."""
    tracks: int = 1024
    """Compare so many tracks."""
    device: int | None = None
    """Number of the EGL device; default: the driver's first."""
    json: Path | None = None
    """Result file, updated after every scene; scenes in it are not compared again."""

    def __post_init__(self) -> None:
        if self.every < 1 or self.tracks < 1 or self.n < 0:
            raise UserError("--every and --tracks must be at least 1, --n not negative")


def main(cfg: EvaluateAssetsConfig) -> None:
    """Compare all scenes."""
    folders = sorted(p.parent for p in cfg.data.glob("*/cameras.json"))
    folders = folders[: cfg.n] if cfg.n else folders
    if not folders:
        raise UserError(f"no scenes in {cfg.data}; expected SCENE/cameras.json and grids")
    context = open_context(cfg.device)
    results = ResultFile(cfg.json, "Asset renderer against Blender Cycles")
    for note in (*NOTES, f"OpenGL: {context.info['GL_RENDERER']}"):
        results.note(note)
    key = f"every {cfg.every}, {cfg.tracks} tracks"
    for folder in folders:
        if results.done(folder.name, "default", key):
            say(f"{folder.name}: done before")
            continue
        start, start_cpu = time.perf_counter(), time.process_time()
        reference = Reference.load(folder)
        views = list(range(0, len(reference.w2c), cfg.every))
        times = list(range(0, len(reference.seconds), cfg.every))
        scores = compare(context, reference, cfg.assets, views, times, cfg.tracks)
        scores["seconds"] = time.perf_counter() - start
        scores["seconds_cpu"] = time.process_time() - start_cpu
        results.add(folder.name, "default", scores, key)
        say(f"{folder.name}: " + ", ".join(f"{k} {v:.4g}" for k, v in scores.items()))
    context.release()


def command() -> int:
    """Run from the command line; the exit code."""
    return run_script(main, EvaluateAssetsConfig, __doc__)
