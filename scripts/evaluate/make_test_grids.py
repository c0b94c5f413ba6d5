"""Write held-out pairs of input videos and the grids that the methods complete from them.

    python scripts/make_test_grids.py --out outputs/pairs --n 24 --methods soft hard none
    python scripts/evaluate_paper.py --grids outputs/pairs/grids --inputs outputs/pairs/inputs

Pairs are true renders of held-out procedural scenes, of which a method sees row 0, column 0 and the
caption (200 of them with a GPU, 24 without). OUT/inputs/NAME.npz is the whole true grid with its
cameras, OUT/grids/METHOD/NAME.npz what a method made. What is there already is kept, so an
interrupted run goes on and methods can be added.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from gen.errors import UserError
from gen.generate import load_bundled
from gen.grid_methods import BASELINES, LEARNED
from gen.metrics.pairs import Pairs, note_command, write_inputs, write_method
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
    grid_steps: int = Pairs.grid_steps
    seed: int = 0
    device: str = "auto"
    """cpu or cuda; auto: a GPU where there is one."""

    def __post_init__(self) -> None:
        known = (*BASELINES, *LEARNED)
        unknown = [m for m in self.methods if m not in known]
        if unknown:
            raise UserError(f"unknown method {unknown[0]!r}; choose from {', '.join(known)}")


def main(cfg: TestGridsConfig) -> None:
    pairs = Pairs(cfg.out, cfg.n, cfg.world, cfg.views, cfg.times, cfg.grid_steps, cfg.seed)
    generator = load_bundled(cfg.weights, Runtime(device=cfg.device))
    grids = write_inputs(pairs, generator)
    for name in cfg.methods:
        write_method(name, grids, pairs, generator)
    note_command(cfg.out)


if __name__ == "__main__":
    sys.exit(run_script(main, TestGridsConfig, __doc__))
