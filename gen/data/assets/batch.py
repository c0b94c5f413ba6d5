"""Which scenes a folder of animated assets gives, and one scene as a folder on disk.

A scene is one clip of one asset. Its camera angle and background, where they are left to chance,
are drawn from the seed and the scene's name, so a scene does not depend on its neighbours.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fourreal.atomic import atomic_folder
from fourreal.contact_sheet import grid_picture
from fourreal.errors import UserError
from fourreal.video_io import write_image
from gen.data.assets.grid import AssetShot, asset_truth
from gen.data.gltf.animation import Clip
from gen.data.gltf.asset import Asset
from gen.data.truth_files import write_truth
from gen.data.world.grid import GroundTruth
from gen.grid import VideoGrid

SUFFIXES = (".glb", ".gltf")
WORLD = "z up, front along -y, the motion's box centred at 0 and inside the unit sphere"
MAX_CAPTION = 300


def find_assets(path: Path) -> list[Path]:
    """The .glb and .gltf files at `path`: itself, or all in a folder and below it, sorted.

    Raises:
        UserError: there are none.
    """
    if path.is_file():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise UserError(f"no .glb or .gltf files in {path}")
    return found


def choose_clips(asset: Asset, wanted: str) -> list[Clip]:
    """The clips named by `wanted`: "first" or "all" that move, or those whose name contains it.

    Raises:
        UserError: the asset has no such clip that moves.
    """
    lasting = [c for c in asset.clips if c.seconds > 0]
    moving = [c for c in lasting if c.moves]
    if not moving:
        raise UserError(f"{asset.name} has no animation")
    if wanted in ("first", "all"):
        return moving[:1] if wanted == "first" else moving
    chosen = [c for c in lasting if wanted.lower() in c.name.lower()]
    if not chosen:
        names = ", ".join(c.name for c in lasting[:8])
        raise UserError(f"{asset.name} has no clip like {wanted!r}; it has {names}"[:300])
    return chosen


def words(name: str) -> str:
    """A file's or clip's name as lower-case words: "Rig|Gallop_Jump" -> "gallop jump"."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.split("|")[-1])
    return " ".join(re.findall(r"[a-z0-9]+", spaced.lower()))


def scene_name(relative: Path, clip: Clip) -> str:
    """A folder name for a clip of the asset at `relative` (to the folder that was searched)."""
    parts = [*relative.parent.parts, relative.stem, clip.name.split("|")[-1]]
    return "_".join(filter(None, (re.sub(r"[^A-Za-z0-9]+", "-", p).strip("-") for p in parts)))


def caption(path: Path, clip: Clip) -> str:
    """The first line of NAME.txt beside the asset, else the words of its name and clip."""
    beside = path.with_suffix(".txt")
    if beside.is_file():
        with beside.open(encoding="utf-8", errors="replace") as handle:
            line = handle.readline(MAX_CAPTION).strip()
        if line:
            return line
    return f"{words(path.stem)}, {words(clip.name)}"


@dataclass(frozen=True)
class Chance:
    """What is drawn per scene: `azimuth` of the arc's middle, a plain `background` colour."""

    seed: int = 0
    azimuth: bool = True
    background: bool = False

    def apply(self, shot: AssetShot, name: str) -> AssetShot:
        """The shot of the scene called `name`."""
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        angle, colour = float(rng.uniform(-180, 180)), rng.uniform(0.05, 0.95, 3)
        if self.azimuth:
            shot = replace(shot, circle=replace(shot.circle, azimuth=angle))
        if self.background:
            shot = replace(shot, background=(float(colour[0]), float(colour[1]), float(colour[2])))
        return replace(shot, seed=int.from_bytes(digest[8:12], "little"))


def is_done(folder: Path, key: str) -> bool:
    """Whether `folder` holds the scene made from this key.

    Raises:
        UserError: it holds something that is no scene of ours.
    """
    if not folder.exists() or not any(folder.iterdir()):
        return False
    try:
        found = json.loads((folder / "meta.json").read_text()).get("key")
    except (OSError, ValueError, AttributeError):
        found = None
    if not isinstance(found, str):
        raise UserError(f"{folder} holds other files; choose another --out, nothing was touched")
    return found == key


def film(
    context: Any, asset: Asset, clip: Clip, shot: AssetShot, prompt: str
) -> tuple[GroundTruth, dict[str, Any], dict[str, Any]]:
    """Film a clip; also the entries that its meta.json and its cameras.json get besides."""
    truth, placement, seconds = asset_truth(context, asset, clip, shot, prompt)
    meta = {
        "asset": asset.name,
        "clip": clip.name,
        **asdict(shot.circle),
        "background": list(shot.background),
        "notes": list(asset.notes),
    }
    cameras = {
        "frame_times": [float(s) for s in seconds],
        "normalisation": {
            "centre": list(placement.centre),
            "radius": placement.radius,
            "note": "world = (zup(glTF) - centre) / radius, zup = (x, -z, y)",
        },
    }
    return truth, meta, cameras


def write_scene_folder(
    folder: Path, truth: GroundTruth, meta: dict[str, Any], cameras: dict[str, Any]
) -> None:
    """Write a scene atomically: the ground-truth files, the input cells as a grid folder of ours
    (`grid/`), and all cells in one picture (`sheet.png`, views down, times across)."""
    V, T = truth.views, truth.steps
    step = (cameras["frame_times"][T - 1] - cameras["frame_times"][0]) / (T - 1)
    grid = VideoGrid(
        frames=truth.rgb[:V, :T],
        times=truth.times[:T],
        K=truth.K[:V],
        w2c=truth.w2c[:V],
        fps=min(max(1 / max(step, 1e-6), 1.0), 120.0),
        prompt=truth.prompt,
    )
    with atomic_folder(folder) as out:
        write_truth(truth, out, WORLD, meta, cameras)
        grid.save(out / "grid")
        write_image(out / "sheet.png", grid_picture(truth.rgb))
