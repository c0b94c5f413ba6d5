"""Write held-out pairs of input videos and the grids that the methods complete from them.

    python scripts/evaluate.py pairs --out outputs/pairs --n 24 --methods soft hard none
    python scripts/evaluate.py paper --grids outputs/pairs/grids --inputs outputs/pairs/inputs

Pairs are true renders of held-out procedural scenes, of which a method sees row 0, column 0 and the
caption (200 of them with a GPU, 24 without). OUT/inputs/NAME.npz is the whole true grid with its
cameras, OUT/grids/METHOD/NAME.npz what a method made. What is there already is kept, so an
interrupted run goes on and methods can be added.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fourreal.errors import UserError
from fourreal.script import run_script
from gen.bundled import load_bundled
from gen.network.runtime import Runtime
from scripts.evaluate.grid_methods import BASELINES, LEARNED
from scripts.evaluate.metrics.pairs import Pairs, note_command, write_inputs, write_method


@dataclass
class PairsConfig:
    """Which pairs, which methods, of which weights."""

    out: Path
    """Folder to write."""
    n: int | None = None
    """Pairs: 200 with a GPU, 24 without."""
    methods: tuple[str, ...] = ("copy_nearest", "additive", "none", "soft")
    """Methods of scripts/evaluate/grid_methods.py."""
    weights: Path | None = None
    """A weights folder; the package's own when left out."""
    world: str | None = None
    """Part of the procedural world; default: what the weights were trained on."""
    views: int = 8
    times: int = 8
    grid_steps: int = Pairs.grid_steps
    seed: int = 0
    device: str = "auto"
    """cpu or cuda; auto: a GPU where there is one."""

    def __post_init__(self) -> None:
        known = (*BASELINES, *LEARNED)
        unknown = [m for m in self.methods if m not in known]
        if unknown:
            raise UserError(f"unknown method {unknown[0]!r}; choose from {', '.join(known)}")


def main(cfg: PairsConfig) -> None:
    pairs = Pairs(cfg.out, cfg.n, cfg.world, cfg.views, cfg.times, cfg.grid_steps, cfg.seed)
    generator = load_bundled(cfg.weights, Runtime(device=cfg.device))
    grids = write_inputs(pairs, generator)
    for name in cfg.methods:
        write_method(name, grids, pairs, generator)
    note_command(cfg.out)


def command() -> int:
    """Run from the command line; the exit code."""
    return run_script(main, PairsConfig, __doc__)
