"""A machine that cannot do what is asked: no room, no permission, no memory; and broken numbers."""

import resource
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from fourreal.run_folder import RunFolder
from gen.network.base import BaseModel, save_base
from gen.network.params import SIZES
from tests.bad_inputs.case import BadInput
from tests.bad_inputs.grids import frames, npz

TITLE = "The machine, and numbers that are not finite"
GRID = "grid grid.npz --out run"
UNFINISHED = r"run(/\.lock|/run\.yaml)?"  # what the same command goes on from


def large() -> None:
    npz(rgb=frames(size=(48, 64)))


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may become larger than 4 kB, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def in_use() -> Iterator[None]:
    run = RunFolder("run", {"kind": "grid"})
    try:
        yield
    finally:
        run.close()


def no_memory() -> AbstractContextManager:
    return patch("gen.grid.VideoGrid.save", side_effect=MemoryError)


def torch_without_memory() -> AbstractContextManager:
    """The error that torch itself raises."""
    return patch("gen.grid.VideoGrid.save", side_effect=lambda _: torch.empty(1 << 50))


def weights_with_nan() -> None:
    """A weights folder with one value that is not a number."""
    torch.manual_seed(0)
    model = BaseModel(SIZES["debug"], ["a", "red", "ball"])
    with torch.no_grad():
        model.text.embedding.weight[1, 1] = np.nan
    save_base(model, Path("weights"), {})


CASES = [
    BadInput("the disk is full", GRID, r"no space left", large, full_disk, UNFINISHED),
    BadInput("a folder that cannot be written", "grid grid.npz --out /proc/run",
             r"cannot write to /proc/run", large),
    BadInput("another run uses the folder", GRID, r"in use by another run", large, in_use,
             UNFINISHED),
    BadInput("out of memory", GRID, r"out of memory; .*--size", large, no_memory, UNFINISHED),
    BadInput("torch is out of memory", GRID, r"out of memory; .*--pick-views", large,
             torch_without_memory, UNFINISHED),
    BadInput("weights that hold NaN", "prompt 'a red ball' --weights weights --untrained-sync",
             r"'text.embedding.weight' holds a value that is not finite", weights_with_nan),
]  # fmt: skip
