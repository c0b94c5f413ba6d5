"""Held-out pairs of input videos on disk, and the grids that methods complete from them.

OUT/inputs/NAME.npz is a whole true grid with its cameras, OUT/grids/METHOD/NAME.npz what a method
made of its row 0, column 0 and caption. Beside each folder a .json says what it was made from: what
is there is kept, but never mixed with something else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fourreal.atomic import atomic_file
from fourreal.console import progress, say
from fourreal.errors import UserError
from fourreal.stage_key import content_hash
from gen.bundled import GridGenerator
from gen.generate import GenerateConfig
from gen.grid import VideoGrid
from scripts.evaluate.grid_methods import LEARNED, completion, network_files, weights_key
from scripts.evaluate.held_out import TrueGrid, held_out_grids, trained_world
from scripts.evaluate.metrics.grid_set import save_true_grid
from scripts.evaluate.result_file import command_line

COMMANDS = "commands.txt"


@dataclass(frozen=True)
class Pairs:
    """Which pairs: n of a world (None: what the weights were trained on), views x times cells."""

    out: Path
    n: int | None = None  # 200 with a GPU, 24 without
    world: str | None = None
    views: int = 8
    times: int = 8
    grid_steps: int = GenerateConfig.grid_steps
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n is not None and self.n < 1:
            raise UserError(f"--n must be at least 1; got {self.n}")
        if self.views < 2 or self.times < 2:
            raise UserError("--views and --times must be at least 2: there is nothing to complete")


def note_command(out: Path) -> None:
    """Add the running command to those that made what lies in `out`."""
    path = out / COMMANDS
    known = path.read_text().splitlines() if path.is_file() else []
    if command_line() not in known:
        with atomic_file(path) as temporary:
            temporary.write_text("\n".join([*known, command_line()]) + "\n")


def pair_name(number: int) -> str:
    """The file name of a pair, without suffix."""
    return f"pair{number:03d}"


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


def write_inputs(pairs: Pairs, generator: GridGenerator) -> list[TrueGrid]:
    """The true grids, written where they are missing.  UserError when others lie there."""
    assert generator.folder is not None
    n = pairs.n or (200 if generator.base.device.type == "cuda" else 24)
    world = trained_world(generator.folder, pairs.world)
    cells, size, folder = (pairs.views, pairs.times), generator.size, pairs.out / "inputs"
    settings = {"n": n, "world": world, "seed": pairs.seed, "cells": [*cells], "size": [*size]}
    claim(folder, settings)
    say(f"rendering {n} held-out scenes of the world '{world}'")
    grids = held_out_grids(world, n, pairs.seed, cells, size)
    for i, grid in enumerate(grids):
        path = folder / f"{pair_name(i)}.npz"
        if not path.exists():
            save_true_grid(path, grid)
    return grids


def write_method(
    method: str, grids: list[TrueGrid], pairs: Pairs, generator: GridGenerator, called: str = ""
) -> Path:
    """Complete every pair with a method; returns its folder, called like the method by default."""
    assert generator.folder is not None
    folder = pairs.out / "grids" / (called or method)
    made_by = content_hash(*network_files(generator.folder))
    learned = {"networks": made_by, "steps": pairs.grid_steps} if method in LEARNED else {}
    claim(folder, {"method": method, "mixer": weights_key(method, generator), **learned})
    complete = completion(method, generator, pairs.grid_steps)
    for i in progress(range(len(grids)), called or method):
        path = folder / f"{pair_name(i)}.npz"
        if path.exists():
            continue
        frames = complete(grids[i], pairs.seed * 1000 + i)
        VideoGrid(frames.astype(np.float32), prompt=grids[i].prompt).save_npz(path)
    say(f"{folder}: {len(grids)} grids")
    return folder
