"""What every generator of grids takes, gives and is: one configuration, one protocol.

`gen.bundled` is the generator over our own small model, `gen.wan.generate` the one over Wan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from fourreal.console import Report
from fourreal.errors import UserError
from gen.flow.samplers import SAMPLERS
from gen.grid import VideoGrid
from gen.grid_file import MAX_CELLS
from gen.sync.mixers import Drop
from gen.sync.names import MIXERS, MixerName
from gen.sync.streams import Output


@dataclass(frozen=True)
class GenerateConfig:
    """How a grid is made; `guidance` acts on what is made from text alone.

    The values are those of the bundled model; other models say theirs beside their generator.
    """

    views: int = 8
    times: int = 8
    size: tuple[int, int] | None = None  # height, width of the frames; None: the model's own
    steps: int = 12
    grid_steps: int = 6  # more say no more: row and column are given
    sampler: str = "euler"
    shift: float = 2.0  # moves the noise levels of the steps towards noise
    picture_first: bool = True  # text -> first frame -> fixed-view clip, instead of at once
    guidance: float = 2.0
    motion_guidance: float = 2.0  # of a fixed-view clip whose first frame is given
    guidance_interval: tuple[float, float] = (0.1, 1.0)
    mixer: MixerName = "soft"
    untrained_sync: bool = False  # the training-free mixer instead of the trained one
    drop_sync: Drop = "none"  # switch the mixer's first or last third of layers off
    output: Output = "mean"
    still: bool = True  # take small changes out of a fixed-view clip made from text
    blend: bool = True  # mix in what completion says of filled cells, where the weights have it
    seed: int = 0
    fps: float = 8.0

    def __post_init__(self) -> None:
        if self.mixer not in MIXERS:
            raise UserError(f"unknown mixer {self.mixer!r}; choose from {', '.join(MIXERS)}")
        if self.sampler not in SAMPLERS:
            raise UserError(f"unknown sampler {self.sampler!r}; choose from {', '.join(SAMPLERS)}")
        if self.drop_sync not in get_args(Drop):
            raise UserError(f"unknown drop_sync {self.drop_sync!r}; choose none, first or last")
        if self.views < 1 or self.times < 1 or self.views * self.times > MAX_CELLS:
            raise UserError(
                f"a grid of {self.views} views x {self.times} times is not possible; at most "
                f"{MAX_CELLS} cells are"
            )
        if self.steps < 1 or self.grid_steps < 1:
            raise UserError("the number of steps must be at least 1")


@dataclass
class GeneratedGrid:
    """The grid and the clips it was made from: fixed_view [T,H,W,3], freeze_time [V,H,W,3]."""

    grid: VideoGrid
    fixed_view: NDArray[np.float32]
    freeze_time: NDArray[np.float32]


class Fills(Protocol):
    """Completes grids of footage; a pure function of its arguments and the seed."""

    def complete_grid(
        self,
        row: NDArray[np.float32],
        column: NDArray[np.float32],
        prompt: str = "",
        config: GenerateConfig | None = None,
        report: Report | None = None,
    ) -> GeneratedGrid:
        """Fill the grid between a fixed-view clip [T, H, W, 3] and a freeze-time clip [V, H, W, 3]
        (RGB in 0..1). Both start with the same frame; they are resized to the model's size."""
        ...


class Generator(Fills, Protocol):
    """Makes whole grids; every method is a pure function of its arguments and the seed."""

    def from_prompt(
        self, prompt: str, config: GenerateConfig | None = None, report: Report | None = None
    ) -> GeneratedGrid:
        """Text -> fixed-view clip -> freeze-time clip -> grid. UserError: unusable words."""
        ...


def check_clips(row: NDArray[np.float32], column: NDArray[np.float32]) -> None:
    """Refuse clips that are not of one size. Raises UserError."""
    if row.ndim != 4 or column.ndim != 4 or row.shape[1:] != column.shape[1:]:
        raise UserError(
            f"the clips must be [frames, height, width, 3] of one size; got {row.shape} and "
            f"{column.shape}"
        )


def window_report(report: Report | None, name: str, window: int, windows_total: int):
    """What a sampler calls after each step of a window, or None when nobody wants to know."""
    if report is None:
        return None
    return lambda i, n, clean: report(name, window * n + i + 1, n * windows_total)
