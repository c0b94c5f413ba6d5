"""Write held-out pairs of input videos and the grids that the methods complete from them.

    python scripts/make_test_grids.py --out outputs/pairs --n 24 --methods soft hard none
    python scripts/evaluate_paper.py --grids outputs/pairs/grids --inputs outputs/pairs/inputs

Pairs are true renders of held-out procedural scenes, of which a method sees row 0, column 0 and the
caption (200 of them with a GPU, 24 without). OUT/inputs/NAME.npz is the whole true grid with its
cameras, OUT/grids/METHOD/NAME.npz what a method made. What is there already is kept, so an
interrupted run goes on and methods can be added.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gen.atomic import atomic_file
from gen.console import progress, say
from gen.errors import UserError
from gen.generate import GenerateConfig, GridGenerator, load_bundled
from gen.grid import VideoGrid
from gen.grid_methods import BASELINES, LEARNED, completion, weights_key
from gen.held_out import TrueGrid, held_out_grids, trained_world
from gen.metrics.test_set import save_true_grid
from gen.run_folder import content_hash
from gen.runtime import Runtime
from gen.script import run_script


@dataclass
class TestGridsConfig:
    """Which pairs, which methods, of which weights."""

    __test__ = False  # not a test case

    out: Path
    """Folder to write."""
    n: int | None = None
    """Pairs: 200 with a GPU, 24 without."""
    methods: tuple[str, ...] = ("copy_nearest", "additive", "none", "soft")
    """Methods of gen/grid_methods.py."""
    weights: Path | None = None
    """A weights folder; the package's own when left out."""
    world: str | None = None
    """Part of the procedural world; default: what the weights were trained on."""
    views: int = 8
    times: int = 8
    grid_steps: int = GenerateConfig.grid_steps
    seed: int = 0
    device: str = "auto"
    """cpu or cuda; auto: a GPU where there is one."""

    def __post_init__(self) -> None:
        known = (*BASELINES, *LEARNED)
        unknown = [m for m in self.methods if m not in known]
        if unknown:
            raise UserError(f"unknown method {unknown[0]!r}; choose from {', '.join(known)}")
        if self.n is not None and self.n < 1:
            raise UserError(f"--n must be at least 1; got {self.n}")
        if self.views < 2 or self.times < 2:
            raise UserError("--views and --times must be at least 2: there is nothing to complete")


def pair_name(number: int) -> str:
    """The file name of a pair, without suffix."""
    return f"pair{number:03d}"


def write_inputs(cfg: TestGridsConfig, generator: GridGenerator) -> list[TrueGrid]:
    """The true grids, written where they are missing.  UserError when others lie there."""
    assert generator.folder is not None
    n = cfg.n or (200 if generator.base.device.type == "cuda" else 24)
    world = trained_world(generator.folder, cfg.world)
    settings = {"n": n, "world": world, "seed": cfg.seed, "cells": [cfg.views, cfg.times],
                "size": list(generator.size)}  # fmt: skip
    claim(cfg.out / "inputs", settings)
    say(f"rendering {n} held-out scenes of the world '{world}'")
    grids = held_out_grids(world, n, cfg.seed, (cfg.views, cfg.times), generator.size)
    for i, grid in enumerate(grids):
        path = cfg.out / "inputs" / f"{pair_name(i)}.npz"
        if not path.exists():
            save_true_grid(path, grid)
    return grids


def claim(folder: Path, made_from: dict[str, Any]) -> None:
    """Note beside a folder what its grids are made from.  UserError when it was something else."""
    note = folder.with_name(f"{folder.name}.json")
    if note.is_file():
        before = json.loads(note.read_text())
        if before != made_from:
            raise UserError(
                f"{folder} holds grids made from something else ({before}, now {made_from}); "
                "delete it or choose another --out"
            )
        return
    with atomic_file(note) as temporary:
        temporary.write_text(json.dumps(made_from) + "\n")


def write_method(
    name: str, grids: list[TrueGrid], cfg: TestGridsConfig, generator: GridGenerator,
    called: str = "",
) -> Path:  # fmt: skip
    """Complete every pair with a method; returns the folder, called like the method by default."""
    assert generator.folder is not None
    folder = cfg.out / "grids" / (called or name)
    base = content_hash(*sorted(generator.folder.glob("base-*.safetensors")))
    learned = {"base": base, "steps": cfg.grid_steps} if name in LEARNED else {}
    claim(folder, {"method": name, "mixer": weights_key(name, generator), **learned})
    complete = completion(name, generator, cfg.grid_steps)
    for i in progress(range(len(grids)), called or name):
        path = folder / f"{pair_name(i)}.npz"
        if path.exists():
            continue
        frames = complete(grids[i], cfg.seed * 1000 + i)
        VideoGrid(frames.astype(np.float32), prompt=grids[i].prompt).save_npz(path)
    say(f"{folder}: {len(grids)} grids")
    return folder


def main(cfg: TestGridsConfig) -> None:
    generator = load_bundled(cfg.weights, Runtime(device=cfg.device))
    grids = write_inputs(cfg, generator)
    for name in cfg.methods:
        write_method(name, grids, cfg, generator)


if __name__ == "__main__":
    sys.exit(run_script(main, TestGridsConfig, __doc__))
