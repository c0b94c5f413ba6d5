"""Write procedural scenes as ground-truth grids that the evaluation scripts read.

    python scripts/render_procedural.py --out outputs/procedural --n 4 --size 144x256

Each scene gets a folder with grid_HxW.npz (rgb uint8, depth_u16 = 4000 z, 65535 = background),
cameras.json, tracks.npz and meta.json; 2 held-out views and 3 held-out times follow the input.
"""

from __future__ import annotations

import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from fourreal.console import say
from fourreal.errors import UserError
from fourreal.script import run_script
from gen.data.truth_files import write_truth
from gen.data.world.grid import scene_truth
from gen.data.world.scene import attributes_of
from gen.data.world.scene_sampling import sample_scenes


@dataclass(frozen=True)
class Config:
    """Which scenes to render."""

    out: Path
    """Folder to write; one sub-folder a scene."""
    n: int = 4
    """Number of scenes."""
    size: str = "144x256"
    """Frame size, height x width."""
    views: int = 8
    """Input views."""
    times: int = 8
    """Input times."""
    heldout_views: int = 2
    heldout_times: int = 3
    points: int = 4096
    """Tracked points."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", self.size):
            raise UserError(f"--size must look like 144x256 (height x width); got {self.size!r}")
        if self.n < 1 or self.views < 2 or self.times < 2:
            raise UserError("--n must be at least 1, --views and --times at least 2")


def main(config: Config) -> None:
    height, width = (int(x) for x in config.size.split("x"))
    for i in range(config.n):
        seed = config.seed + i
        scene = sample_scenes(
            1, torch.Generator().manual_seed(seed), camera_move=("arc_left", "arc_right")
        )
        truth = scene_truth(
            scene, config.views, config.times, (height, width), heldout_views=config.heldout_views,
            heldout_times=config.heldout_times, points=config.points, seed=seed,
        )  # fmt: skip
        meta = {"seed": seed, "attributes": asdict(attributes_of(scene))}
        write_truth(truth, config.out / f"scene{seed:03d}", "z up, floor at 0", meta)
        say(f"{config.out / f'scene{seed:03d}'}: {truth.prompt}")


if __name__ == "__main__":
    sys.exit(run_script(main, Config, __doc__))
