"""Training grids of the procedural world for the 4D stage; the pool rule of `gen.train_data`.

Shape legend: n scenes of a chunk, B grids of a batch, V views, T times, H W pixels.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from gen.data.captions import caption
from gen.data.procedural import render
from gen.data.scene_sampling import sample_scenes
from gen.data.world import SceneBatch
from gen.train_data import WORLDS, PoolConfig, seeded, to_uint8
from gen.windows import WINDOW


@dataclass
class GridBatch:
    """clean [B,V,T,H,W,3] in [-1,1], texts [B], known [B,V,T], places of rows [V], columns [T]."""

    clean: Tensor
    texts: list[str]
    known: Tensor
    index_v: Tensor
    index_t: Tensor


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


class GridPool:
    """Batches of views x times sub-grids of rendered 8 x 8 grids, reproducible by step."""

    def __init__(
        self, seed: int, rank: int, height: int, width: int, config: PoolConfig, samples: int = 2
    ):
        self.seed, self.rank, self.size, self.config = seed, rank, (height, width), config
        self.samples = samples
        self._chunks: OrderedDict[int, tuple[Tensor, SceneBatch]] = OrderedDict()

    def _chunks_at(self, step: int) -> list[tuple[Tensor, SceneBatch]]:
        c = self.config
        last = c.start + step // c.steps_per_chunk
        wanted = range(max(0, last - c.keep), last)
        for k in list(self._chunks):
            if k not in wanted:
                del self._chunks[k]
        for k in wanted:
            if k not in self._chunks:
                scenes = sample_scenes(
                    c.chunk, seeded(self.seed, self.rank, k, 4), **WORLDS[c.world]
                )
                ramp = torch.linspace(0, 1, WINDOW)
                rgb = render(scenes, ramp, ramp, *self.size, samples=self.samples).rgb
                self._chunks[k] = to_uint8(rgb), scenes
        return [self._chunks[k] for k in wanted]

    def batch(self, step: int, n: int, views: int, times: int) -> GridBatch:
        """n grids of views x times cells; row 0 and column 0 are always among them."""
        chunks = self._chunks_at(step)
        g = seeded(self.seed, self.rank, step, 8)

        def places(count: int) -> Tensor:
            rest = torch.randperm(WINDOW - 1, generator=g)[: count - 1].sort().values + 1
            return torch.cat([torch.zeros(1, dtype=torch.long), rest])

        index_v, index_t = places(views), places(times)
        grids, texts = [], []
        for which in torch.randint(0, len(chunks), (n,), generator=g).tolist():
            frames, scenes = chunks[which]
            i = int(torch.randint(0, len(frames), (1,), generator=g))
            grids.append(frames[i][index_v][:, index_t])
            freeze = float(torch.rand((), generator=g)) < 0.3
            texts.append(caption(scenes, g, i, freeze=freeze))
        clean = torch.stack(grids).float() / 127.5 - 1
        known = sample_grid_known(n, views, times, g)
        return GridBatch(clean, texts, known, index_v, index_t)
