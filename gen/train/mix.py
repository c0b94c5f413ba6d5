"""Several sources of training items as one, drawn in given ratios (flags `--mix.*`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Generic, TypeVar

import torch

from gen.data.assets.cache import CachedClips, CachedGrids, CachedPictures, CachedScenes
from gen.data.batches import Clip, ClipPool, PoolConfig, Source, seeded
from gen.data.grid_batches import Grid, GridPool
from gen.data.grid_folder import GridFolder
from gen.data.pseudo4d import Pseudo4D, enlarged
from gen.data.video_folder import VideoFolder
from gen.dist import warn
from gen.flow.windows import WINDOW
from gen.network.dit import Mode
from gen.train.options import Train4DConfig, TrainBaseConfig

Item = TypeVar("Item")


class Mixture(Generic[Item]):
    """Items of several sources; which one an item comes from depends on (seed, step, number)."""

    def __init__(self, sources: Sequence[tuple[Source[Item], float]], seed: int):
        """sources: with their weights; ValueError when there are none."""
        if not sources:
            raise ValueError("a mixture needs a source of positive weight")
        self.sources = [s for s, _ in sources]
        self.weights = torch.tensor([float(w) for _, w in sources])
        self.seed = seed

    def which(self, step: int, number: int) -> int:
        """Index of the source of an item."""
        g = seeded(self.seed, step, number, 20)
        return int(torch.multinomial(self.weights, 1, generator=g))

    def prepare(self, step: int) -> None:
        for source in self.sources:
            source.prepare(step)

    def item(self, step: int, number: int) -> Item:
        return self.sources[self.which(step, number)].item(step, number)

    def word_counts(self) -> Counter[str]:
        """How often each word occurs in the captions of the folders among the sources."""
        counts: Counter[str] = Counter()
        for source in self.sources:
            if isinstance(source, Pseudo4D):
                source = source.clips
            if isinstance(source, (VideoFolder, GridFolder, CachedScenes)):
                counts.update(source.word_counts())
        return counts

    def warn_of_unknown(self, vocabulary: Sequence[str]) -> None:
        """Say how many words of the captions a model does not know."""
        unknown = sorted(self.word_counts().keys() - set(vocabulary))
        if unknown:
            some = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
            warn(f"{len(unknown)} words of the captions are not known and ignored: {some}")


def clip_mixture(
    cfg: TrainBaseConfig,
    frames: int,
    seed: int,
    device: torch.device | str,
    held_out: int = 0,
) -> Mixture[Clip]:
    """The clips (frames = 1: pictures) that the options ask for.

    held_out: that many procedural scenes alone, for a seed never trained on (where nothing
    procedural is trained: fixed draws of the folders).
    """
    params, mix, pool = cfg.params(), cfg.mix, _pool(cfg.pool, held_out)
    height, width = params.height, params.width_px
    sources: list[tuple[Source[Clip], float]] = []
    if mix.procedural:
        clips = ClipPool(seed, frames, height, width, pool, device)
        sources.append((clips, mix.procedural))
    for folder, mode, weight in (
        (cfg.dynamic, Mode.DYNAMIC, mix.dynamic),
        (cfg.static, Mode.FREEZE_TIME, mix.static),
    ):
        if folder is not None and weight and not (held_out and sources):
            sources.append((VideoFolder(folder, mode, frames, height, width, seed), weight))
    if cfg.world is not None and mix.assets and not (held_out and sources):
        assets: CachedScenes
        if frames == 1 and CachedPictures.there(cfg.world):
            assets = CachedPictures(cfg.world, height, width, seed)
        else:
            assets = CachedClips(cfg.world, height, width, seed, frames=frames)
        sources.append((assets, mix.assets))
    return Mixture(sources, seed)


def _pool(pool: PoolConfig, held_out: int) -> PoolConfig:
    return PoolConfig(held_out, 1, 1, 10**9, pool.world) if held_out else pool


def grid_mixture(
    cfg: Train4DConfig,
    height: int,
    width: int,
    seed: int,
    device: torch.device | str,
    held_out: int = 0,
) -> Mixture[Grid]:
    """The grids that the options ask for; held_out as in `clip_mixture`."""
    mix, pool = cfg.mix, _pool(cfg.pool, held_out)
    sources: list[tuple[Source[Grid], float]] = []
    if mix.procedural:
        sources.append((GridPool(seed, height, width, pool, device), mix.procedural))
        if held_out:
            return Mixture(sources, seed)
    if mix.pseudo4d:
        size = enlarged(height, width)
        clips: Source[Clip]
        if cfg.videos is None:
            clips = ClipPool(seed + 1, WINDOW, *size, pool, device, only=Mode.DYNAMIC)
        else:
            clips = VideoFolder(cfg.videos, Mode.DYNAMIC, WINDOW, *size, seed + 1)
        sources.append((Pseudo4D(clips, height, width, seed), mix.pseudo4d))
    if cfg.grids is not None and mix.grids:
        sources.append((GridFolder(cfg.grids, height, width, seed), mix.grids))
    if cfg.world is not None and mix.assets:
        sources.append((CachedGrids(cfg.world, height, width, seed), mix.assets))
    if cfg.world is not None and mix.wide:
        sources.append((CachedGrids(cfg.world, height, width, seed, ("wide",)), mix.wide))
    return Mixture(sources, seed)
