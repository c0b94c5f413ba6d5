"""Training grids for the 4D stage: what a grid batch is, and the pool of procedural grids.

Shape legend: n scenes of a chunk, B grids of a batch, V views, T times, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from gen.data.batches import WORLDS, Mapping, Rendering, ScenePool, Source, randint, seeded
from gen.data.world.captions import caption
from gen.data.world.scene import SceneBatch
from gen.data.world.scene_sampling import sample_scenes
from gen.flow.windows import WINDOW


@dataclass
class Grid:
    """One training grid: uint8 frames [8, 8, H, W, 3] (row v: fixed-view video) and its text."""

    frames: Tensor
    text: str


@dataclass
class GridBatch:
    """clean [B,V,T,H,W,3] in [-1,1], texts [B], known [B,V,T], places of rows [V], columns [T].

    `items` are the numbers of the grids within the batch of all processes.
    """

    clean: Tensor
    texts: list[str]
    known: Tensor
    index_v: Tensor
    index_t: Tensor
    items: range


def sample_grid_known(b: int, v: int, t: int, g: Generator) -> Tensor:
    """Known cells [B, V, T]: row 0 and column 0 (70 %), with further rows and columns as windows
    have them (15 %), row 0 alone or column 0 alone (15 %)."""
    known = torch.zeros(b, v, t, dtype=torch.bool)
    for i in range(b):
        kind = float(torch.rand((), generator=g))
        if kind < 0.925:
            known[i, 0] = True
        if kind < 0.85 or kind >= 0.925:
            known[i, :, 0] = True
        if 0.70 <= kind < 0.85:
            more = torch.randint(0, 3, (2,), generator=g).tolist()
            known[i, : 1 + min(more[0], v - 2)] = True
            known[i, :, : 1 + min(more[1], t - 2)] = True
    return known


class GridPool(ScenePool[tuple[Tensor, SceneBatch]]):
    """Rendered 8 x 8 grids of procedural scenes."""

    def make(self, g: Generator) -> tuple[Tensor, SceneBatch]:
        scenes = sample_scenes(self.config.chunk, g, **WORLDS[self.config.world])
        ramp = torch.linspace(0, 1, WINDOW).expand(len(scenes), -1)
        rendering = Rendering(*self.size, device=self.device, shared=True)
        return rendering.frames(scenes, ramp, ramp), scenes

    def item(self, step: int, number: int) -> Grid:
        g = seeded(self.seed, step, number, 8)
        frames, scenes = self.pick(step, g)
        i = randint(len(frames), g)
        freeze = float(torch.rand((), generator=g)) < 0.3
        return Grid(frames[i], caption(scenes, g, i, freeze=freeze))


def draw_grids(
    source: Source[Grid],
    seed: int,
    step: int,
    items: range,
    views: int = WINDOW,
    times: int = WINDOW,
    map_items: Mapping = map,
) -> GridBatch:
    """Those grids of a step's batch, of views x times cells: the same places for the whole batch,
    row 0 and column 0 always among them.  map_items: `map`, or that of a pool of threads."""
    source.prepare(step)
    grids: list[Grid] = list(map_items(lambda i: source.item(step, i), items))
    g = seeded(seed, step, 6)

    def places(count: int) -> Tensor:
        rest = torch.randperm(WINDOW - 1, generator=g)[: count - 1].sort().values + 1
        return torch.cat([torch.zeros(1, dtype=torch.long), rest])

    index_v, index_t = places(views), places(times)
    known = [sample_grid_known(1, views, times, seeded(seed, step, i, 9)) for i in items]
    return GridBatch(
        torch.stack([grid.frames[index_v][:, index_t] for grid in grids]).float() / 127.5 - 1,
        [grid.text for grid in grids],
        torch.cat(known),
        index_v,
        index_t,
        items,
    )
