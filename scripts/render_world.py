"""Render the asset world: scenes of animated animals and characters for training, into a cache.

    python scripts/render_world.py --assets ASSETS --out CACHE --look prompt --n 400 --workers 2
    python scripts/render_world.py --assets ASSETS --out CACHE --look wide --n 400 --workers 2
    python scripts/render_world.py --assets ASSETS --out CACHE --pictures --n 8000
    python scripts/render_world.py --assets ASSETS --out CACHE --held-out --n 24

ASSETS holds the files named in gen/data/assets/menagerie.py. A scene is 8 views x 8 times in one
PNG file, with what it shows beside it; scenes that are there already are not rendered again, so the
command can be interrupted and called again with a larger --n. `prompt` scenes share the procedural
world's camera and lens and have captions; `wide` ones have any camera arc, ground, walls and
colours, for completion. --held-out renders scenes kept for evaluation: of clips never trained on.
Needs the extra [render] and OpenGL through EGL: a GPU, or software.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fourreal.atomic import remove_partials
from fourreal.console import progress, say
from fourreal.errors import UserError
from fourreal.script import run_script
from gen.data.assets.cache import HELD_OUT, PICTURES, scene_path, write_scene
from gen.data.assets.context import open_context
from gen.data.assets.scenes import TIMES, VIEWS, Look, sample_scene
from gen.data.assets.stage import Troupe, render_scene


@dataclass(frozen=True)
class RenderWorldConfig:
    """What to render, and where to."""

    assets: Path
    """Folder of the training assets (.glb)."""
    out: Path
    """The cache."""
    pictures: bool = False
    """First cells alone, of many more scenes of look prompt: for the network of first frames."""
    look: Look = "prompt"
    """prompt: with captions, the trained camera; wide: any camera and ground."""
    n: int = 400
    """Scenes the cache shall hold of this look."""
    held_out: bool = False
    """Scenes for evaluation instead, of clips that are never trained on."""
    size: str = "80x128"
    """Cell size, height x width; training uses central parts at its own size."""
    samples: int = 2
    """Colour samples per pixel and axis."""
    workers: int = 1
    """Processes."""
    seed: int = 0
    device: int | None = None
    """Number of the EGL device; default: the driver's first."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[1-9]\d{0,3}x[1-9]\d{0,3}", self.size):
            raise UserError(f"--size must look like 80x128 (height x width); got {self.size!r}")
        if self.pictures and (self.held_out or self.look != "prompt"):
            raise UserError("--pictures are scenes of look prompt that are trained on")
        if self.n < 1 or self.workers < 1 or not 1 <= self.samples <= 8:
            raise UserError("--n and --workers must be at least 1, --samples in 1..8")

    def numbers(self) -> list[int]:
        """The scenes that are missing."""
        first = HELD_OUT if self.held_out else 0
        wanted = range(first, first + self.n)
        return [i for i in wanted if not self.path(i).exists()]

    def path(self, number: int) -> Path:
        """Where a scene goes."""
        return scene_path(self.out, self.kind, number)

    @property
    def kind(self) -> str:
        """The sub-folder."""
        return PICTURES if self.pictures else self.look


def work(cfg: RenderWorldConfig, share: int) -> int:
    """Render this process's share of the missing scenes; returns their number."""
    # Mesa's software renderer starts a thread per core in every process; ours are the processes.
    os.environ.setdefault("LP_NUM_THREADS", "1")
    height, width = (int(x) for x in cfg.size.split("x"))
    troupe = Troupe(cfg.assets)
    repertoire = troupe.repertoire(cfg.held_out)
    context = open_context(cfg.device)
    mine = [n for n in cfg.numbers() if n % cfg.workers == share]
    for number in progress(mine, f"scenes ({share + 1} of {cfg.workers})"):
        rng = np.random.default_rng([cfg.seed, number, ("prompt", "wide").index(cfg.look)])
        scene = sample_scene(repertoire, cfg.look, rng)
        counts = (1, 1) if cfg.pictures else (VIEWS, TIMES)
        cells = render_scene(context, troupe, scene, height, width, cfg.samples, *counts)
        write_scene(cfg.path(number), scene, cells)
    context.release()
    return len(mine)


def main(cfg: RenderWorldConfig) -> None:
    """Render what is missing, on several processes."""
    Troupe(cfg.assets)  # says what is missing before any process starts
    missing = len(cfg.numbers())
    cfg.out.mkdir(parents=True, exist_ok=True)
    if (cfg.out / cfg.kind).is_dir():
        remove_partials(cfg.out / cfg.kind)
    if cfg.workers == 1:
        work(cfg, 0)
    else:
        with multiprocessing.get_context("spawn").Pool(cfg.workers) as pool:
            pool.starmap(work, [(cfg, share) for share in range(cfg.workers)])
    say(f"{missing} scenes rendered, {cfg.n} of kind '{cfg.kind}' in {cfg.out}")


if __name__ == "__main__":
    sys.exit(run_script(main, RenderWorldConfig, __doc__))
