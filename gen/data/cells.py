"""Training cells for completion: hidden cells of any grids, with what the rules say of them.

Shape legend: N cells of a batch, K candidates, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from gen.completion.flow import to_first
from gen.completion.model import frames_of, places
from gen.completion.rules import candidates
from gen.data.batches import Mapping, Source, seeded
from gen.data.grid_batches import Grid

CHANGED = 0.04  # of 0..1: a pixel that moves over time differs by more from its view's first frame


@dataclass
class CellBatch:
    """candidates [N, K, 3, H, W], hints [N, J, H, W], corner and clean [N, 3, H, W], in [-1, 1];
    place [N, 2]; changed [N, H, W]: pixels that change over time; items: the grids' numbers."""

    candidates: Tensor
    hints: Tensor
    corner: Tensor
    place: Tensor
    clean: Tensor
    changed: Tensor
    items: range

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the network takes."""
        return self.candidates, self.hints, self.corner, self.place


def varied(cells_VTHWC: NDArray[np.uint8], g: Generator) -> NDArray[np.uint8]:
    """The same grid mirrored, with views or times reversed and other colours, by chance."""
    cells = cells_VTHWC
    flip = torch.rand(6, generator=g)
    if flip[0] < 0.5:
        cells = cells[:, :, :, ::-1]
    if flip[1] < 0.5:
        cells = cells[::-1]
    if flip[2] < 0.3:
        cells = cells[:, ::-1]
    if flip[3] < 0.5:
        cells = cells[..., torch.randperm(3, generator=g).numpy()]
    if flip[4] < 0.15:
        cells = 255 - cells
    if flip[5] < 0.5:
        low, high = (torch.rand(2, generator=g) * torch.tensor([0.3, -0.3])).tolist()
        cells = (cells * np.float32(1 + high - low) + np.float32(255 * low)).astype(np.uint8)
    return np.ascontiguousarray(cells)


def cells_of(grid_VTHWC: NDArray[np.uint8], count: int, g: Generator) -> tuple[Tensor, ...]:
    """`count` random hidden cells of a grid: the fields of `CellBatch` but the last."""
    views, times = grid_VTHWC.shape[:2]
    pick = torch.randperm((views - 1) * (times - 1), generator=g)[:count]
    cells = torch.stack([1 + pick // (times - 1), 1 + pick % (times - 1)], 1)
    row, column = frames_of(grid_VTHWC[0]), frames_of(grid_VTHWC[:, 0])
    moves = to_first(grid_VTHWC[:, 0]), to_first(grid_VTHWC[0])
    said, hints = candidates(row, column, *moves, cells)
    clean = frames_of(grid_VTHWC[cells[:, 0], cells[:, 1]])
    still = column[cells[:, 0]]
    changed = ((clean - still).abs() / 2).amax(1) > CHANGED
    corner = row[:1].expand(len(cells), -1, -1, -1)
    return said, hints, corner, places(cells), clean, changed


def draw_cells(
    source: Source[Grid], seed: int, step: int, items: range, count: int,
    vary: bool = True, map_items: Mapping = map,
) -> CellBatch:  # fmt: skip
    """`count` cells of each of those grids of a step's batch."""
    source.prepare(step)

    def one(number: int):
        g = seeded(seed, step, number, 12)
        grid = source.item(step, number).frames.numpy()
        return cells_of(varied(grid, g) if vary else grid, count, g)

    fields = [torch.cat(part) for part in zip(*map_items(one, items), strict=True)]
    said, hints, corner, place, clean, changed = fields
    return CellBatch(said, hints, corner, place, clean, changed, items)
