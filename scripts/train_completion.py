"""Train the completion network: row 0 and column 0 of any footage -> the whole grid.

    python scripts/train_completion.py --out runs/completion --world CACHE --max-minutes 30

CACHE is what scripts/render_world.py makes. Grids come from it (both looks), from the procedural
world and from its clips under a path of warps (pseudo-4D), in the ratios of --mix.*; --videos
FOLDER warps captioned videos as well. Running the same command again continues after the last
checkpoint. Reported on held-out scenes: PSNR of the network and of the better rule, over all pixels
and over those that change over time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fourreal.image_metrics import decibel
from gen.completion.model import load_completion, save_completion
from gen.completion.network import CompletionNet, CompletionParams
from gen.data.assets.cache import CachedGrids
from gen.data.batches import HELD_OUT_SEED, Clip, ClipPool, Mapping, PoolConfig, Source
from gen.data.cells import CellBatch, draw_cells
from gen.data.grid_batches import Grid, GridPool
from gen.data.pseudo4d import AffineRange, Pseudo4D, enlarged
from gen.data.video_folder import VideoFolder
from gen.flow.windows import WINDOW
from gen.network.dit import Mode
from gen.train.mix import Mixture
from gen.train.options import TrainOptions, parse_resolution
from gen.train.presets import run_training
from gen.train.run import Samples, Stage, train

RULES = {"column": 1, "additive": 2, "moved": 6}  # reported beside the network


@dataclass(frozen=True)
class CompletionMix:
    """How often each source is drawn, relative to the others."""

    wide: float = 1.0  # the cache's scenes with any camera and ground
    prompt: float = 0.4  # the cache's captioned scenes
    procedural: float = 0.3
    pseudo4d: float = 0.2  # procedural clips (or --videos) under warps


@dataclass(kw_only=True)
class TrainCompletionConfig(TrainOptions):
    """The completion network."""

    world: Path  # cache of scripts/render_world.py
    start: Path | None = None  # a weights folder whose completion network is the start
    videos: Path | None = None  # captioned videos with motion to warp instead of procedural clips
    mix: CompletionMix = CompletionMix()
    widths: tuple[int, int, int] = CompletionParams.widths
    blocks: int = CompletionParams.blocks
    batch: int = 4  # grids
    cells: int = 8  # of each
    resolution: str = "40x64"
    changing_weight: float = 3.0  # extra loss weight of pixels that change over time
    lr: float = 2e-3
    warmup: int = 50
    decay: float = 0.5
    sample_every: int = 200
    pool: PoolConfig = field(default_factory=lambda: PoolConfig(24, 8, 2, 24))

    def params(self) -> CompletionParams:
        return CompletionParams(self.widths, self.blocks)


def grid_source(cfg: TrainCompletionConfig, device: torch.device) -> Mixture[Grid]:
    """The grids in the ratios of `cfg.mix`."""
    size, mix, seed = parse_resolution(cfg.resolution), cfg.mix, cfg.seed
    sources: list[tuple[Source[Grid], float]] = []
    if mix.wide:
        sources.append((CachedGrids(cfg.world, *size, seed, ("wide",)), mix.wide))
    if mix.prompt:
        sources.append((CachedGrids(cfg.world, *size, seed + 1, ("prompt",)), mix.prompt))
    if mix.procedural:
        sources.append((GridPool(seed, *size, cfg.pool, device), mix.procedural))
    if mix.pseudo4d:
        large, pool = enlarged(*size), cfg.pool
        clips: Source[Clip] = ClipPool(seed + 2, WINDOW, *large, pool, device, only=Mode.DYNAMIC)
        if cfg.videos is not None:
            clips = VideoFolder(cfg.videos, Mode.DYNAMIC, WINDOW, *large, seed + 2)
        ranges = AffineRange(0.3, 12.0, 0.2, 10.0)
        sources.append((Pseudo4D(clips, *size, seed, ranges), mix.pseudo4d))
    return Mixture(sources, seed)


def squared_error(made: Tensor, batch: CellBatch) -> tuple[Tensor, Tensor]:
    """Mean squared error of 0..1 colours: of all pixels, and of those that change over time."""
    error = ((made.clamp(-1, 1) - batch.clean) / 2).square().mean(1)
    return error.mean(), error[batch.changed].mean()


class CompletionStage(Stage):
    """The completion network on cells of all kinds of grids."""

    script = "train_completion.py"

    def __init__(self, cfg: TrainCompletionConfig, device: torch.device):
        self.cfg, self.device = cfg, device
        torch.manual_seed(cfg.seed)
        net = CompletionNet(cfg.params())
        if cfg.start is not None:
            net = load_completion(cfg.start).net.train().requires_grad_(True)
        self.module: CompletionNet = net.to(device)
        self.blocks = nn.ModuleList()
        self.grids = grid_source(cfg, device)
        size = parse_resolution(cfg.resolution)
        held_out = CachedGrids(cfg.world, *size, HELD_OUT_SEED, ("wide", "prompt"), held_out=True)
        self.test = draw_cells(held_out, HELD_OUT_SEED, 0, range(24), 8, vary=False)

    def batch_size(self, step: int) -> int:
        return self.cfg.batch

    def draw(self, step: int, items: range, map_items: Mapping = map) -> CellBatch:  # type: ignore[override]
        return draw_cells(
            self.grids, self.cfg.seed, step, items, self.cfg.cells, map_items=map_items
        )

    def loss(self, model: nn.Module, batch: Any, step: int) -> Tensor:
        """Mean squared error, pixels that change over time weighing more."""
        d = self.device
        made = model(*(x.to(d) for x in batch.inputs))
        weight = 1 + self.cfg.changing_weight * batch.changed.to(d).float()
        error = (made - batch.clean.to(d)).square().mean(1)
        return (error * weight).mean() / weight.mean()

    @torch.no_grad()
    def sample(self) -> Samples:
        """PSNR on held-out scenes, beside the better of the column frame and the additive rule."""
        test, d = self.test, self.device
        parts = zip(*(x.split(32) for x in test.inputs), strict=True)
        made = torch.cat([self.module(*(x.to(d) for x in part)).cpu() for part in parts])
        tried = {"network": made, **{n: test.candidates[:, i] for n, i in RULES.items()}}
        scalars = {}
        for name, frames in tried.items():
            every, moving = squared_error(frames, test)
            scalars[f"{name}_psnr"] = float(decibel(float(every)))
            scalars[f"{name}_psnr_changing"] = float(decibel(float(moving)))
        parts = [test.candidates[:, i] for i in (0, 1, 4, 5, 6)]
        shown = [frames[::8] for frames in (*parts, made, test.clean)]
        sheet = torch.stack(shown, 1).permute(0, 1, 3, 4, 2)
        names = "row, column, row moved, column moved, changes moved, made, truth"
        return Samples(scalars, sheet, [names])

    def start(self) -> str:
        figures = self.sample().scalars
        return "step 0  " + "  ".join(f"{k} {v:.2f}" for k, v in figures.items())

    def save(self, state: dict[str, Tensor], folder: Path, how_made: dict[str, Any]) -> None:
        net = CompletionNet(self.module.params)
        net.load_state_dict(state)
        save_completion(net, folder, parse_resolution(self.cfg.resolution), how_made)


def main(cfg: TrainCompletionConfig) -> None:
    train(lambda device: CompletionStage(cfg, device), cfg)


if __name__ == "__main__":
    raise SystemExit(run_training(main, TrainCompletionConfig, {}, __doc__))
