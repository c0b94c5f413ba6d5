"""Train the synchronisation layers of the two-stream 4D model on procedural grids; base frozen.

On two CPU cores (what made the bundled mixers):
    python scripts/train_4d.py --base runs/clips/weights --out runs/soft --mixer soft --steps 600
On GPUs:
    torchrun --nproc-per-node 8 scripts/train_4d.py --base runs/b/weights --out runs/soft --batch 6

Row 0 and column 0 are given (sometimes one of them, sometimes more); the loss is on the other
cells. Running the same command again continues after the last checkpoint. `--train all` tunes the
base as well (the paper trains the synchronisation layers only).
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import torch
import tyro
from torch import Tensor, nn

from gen import dist
from gen.console import say
from gen.errors import UserError
from gen.flow import (
    add_noise,
    keep_known,
    linear_sigmas,
    sample_sigma,
    velocity_loss,
    vivid_weights,
)
from gen.model import BaseModel, load_base, save_base
from gen.sampling import sample_euler
from gen.sync import MixerName, SyncParams
from gen.train_data import HELD_OUT_SEED, PoolConfig, seeded
from gen.train_grids import GridBatch, GridPool
from gen.train_loop import (
    EMA,
    Optimisers,
    Progress,
    clip_gradients,
    learning_rate,
    load_checkpoint,
    save_checkpoint,
    save_sheet,
)
from gen.two_stream import TwoStream
from gen.weights_file import save_mixer


@dataclass
class Train4DConfig:
    """Settings of one run; a batch is per process."""

    base: Path  # a weights folder of train_base.py
    out: Path
    mixer: MixerName = "soft"
    rank: int | None = 64  # None: full matrices
    train: Literal["sync", "all"] = "sync"
    steps: int = 20_000
    batch: int = 6
    views: int = 4  # of 8: a random choice of this many a step
    times: int = 4
    big_every: int = 0  # every so many steps one whole 8 x 8 grid instead
    optimiser: Literal["adamw", "muon"] = "adamw"
    lr: float = 1e-3
    warmup: int = 50
    decay: float = 0.4
    clip_norm: float = 1.0
    sigma_mean: float = 0.8
    text_drop: float = 0.1
    vivid_weight: float = 2.0
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    gradient_checkpointing: bool = False
    max_minutes: float = float("inf")
    checkpoint_minutes: float = 5.0
    sample_every: int = 100
    pool: PoolConfig = field(default_factory=lambda: PoolConfig(32, 8, 2, 16))

    def __post_init__(self) -> None:
        if self.mixer == "none" and self.train == "sync":
            raise ValueError("mixer 'none' has nothing to train")


class GridModel(nn.Module):
    """Text encoder and two-stream model as one module, so that DDP sees one forward."""

    def __init__(self, base: BaseModel, two_stream: TwoStream):
        super().__init__()
        self.base, self.two_stream = base, two_stream

    def forward(
        self, x: Tensor, known: Tensor, sigma: Tensor, ids: Tensor, iv: Tensor, it: Tensor
    ) -> Tensor:
        text, mask = self.base.text(ids)
        return self.two_stream(x, known, sigma, text, mask, iv, it)


def training_loss(model: nn.Module, base: BaseModel, batch: GridBatch, cfg: Train4DConfig, g):
    """Velocity loss on the unknown cells of one batch, with fresh noise from `g`."""
    device = base.device
    drop = torch.rand(len(batch.texts), generator=g) < cfg.text_drop
    texts = ["" if d else t for t, d in zip(batch.texts, drop, strict=True)]
    ids = base.tokenizer.encode(texts).to(device)
    sigma = sample_sigma(len(texts), g, mean=cfg.sigma_mean, device=device)
    noise = torch.randn(batch.clean.shape, generator=g).to(device)
    clean, known = batch.clean.to(device), batch.known.to(device)
    x = keep_known(add_noise(clean, noise, sigma), clean, known)
    with torch.autocast(device.type, torch.bfloat16, enabled=cfg.precision == "bf16"):
        out = model(x, known, sigma, ids, batch.index_v.to(device), batch.index_t.to(device))
    flat = clean.flatten(1, 2)
    weight = vivid_weights(flat, cfg.vivid_weight)
    return velocity_loss(out.float().flatten(1, 2), flat, sigma, known.flatten(1), weight)


@torch.no_grad()
def sample_grids(model: GridModel, batch: GridBatch, steps: int = 6) -> Tensor:
    """Grids [B, V, T, H, W, 3] sampled from the known cells and texts of a batch."""
    device = model.base.device
    clean, known = batch.clean.to(device), batch.known.to(device)
    ids = model.base.tokenizer.encode(batch.texts).to(device)
    iv, it = batch.index_v.to(device), batch.index_t.to(device)

    def predict(x: Tensor, sigma: Tensor) -> Tensor:
        return model(keep_known(x, clean, known), known, sigma.expand(len(x)), ids, iv, it)

    noise = torch.randn(clean.shape, generator=seeded(6)).to(device)
    return sample_euler(predict, noise, linear_sigmas(steps, 2.0).to(device))


def grid_psnr(out: Tensor, batch: GridBatch) -> float:
    """PSNR (dB) of the completed cells."""
    clean, known = batch.clean.to(out.device), batch.known.to(out.device)
    return float(-10 * ((out.clamp(-1, 1) - clean) / 2)[~known].square().mean().log10())


def main(cfg: Train4DConfig) -> None:
    rank, world, device = dist.setup()
    base, base_config = load_base(cfg.base)
    base = base.to(device)
    torch.manual_seed(cfg.seed)
    two_stream = TwoStream(base.dit, SyncParams(cfg.mixer, cfg.rank)).to(device)
    base.dit.gradient_checkpointing = cfg.gradient_checkpointing
    model = GridModel(base, two_stream)
    if cfg.train == "all":
        base.requires_grad_(True)
    trained = [(k, p) for k, p in model.named_parameters() if p.requires_grad]
    optimisers = Optimisers(trained, cfg.optimiser, cfg.lr)
    ema = EMA(trained)
    cfg.out.mkdir(parents=True, exist_ok=True)
    checkpoint, first = cfg.out / "checkpoint.pt", 0
    if checkpoint.exists():
        first = load_checkpoint(checkpoint, model, optimisers, ema)
        say(f"continuing after step {first}")
    wrapped = dist.wrap(model)
    height, width = base.params.height, base.params.width_px
    pool = GridPool(cfg.seed, rank, height, width, cfg.pool)
    held_out = GridPool(HELD_OUT_SEED, 0, height, width, PoolConfig(4, 1, 1, 10**9, cfg.pool.world))
    test = held_out.batch(0, 4, 8, 8)
    test.known[:] = False
    test.known[:, 0] = test.known[:, :, 0] = True
    count = sum(p.numel() for _, p in trained) / 1e6
    say(f"{cfg.mixer}: {count:.2f} M trained parameters, {world} process(es), {device}")
    if first == 0:
        say(f"step 0  grid PSNR {grid_psnr(sample_grids(model, test), test):.2f} (training-free)")
    progress = Progress(cfg.steps, first, cfg.out / "log.jsonl")
    saved, step = time.monotonic(), first
    while step < cfg.steps:
        if cfg.big_every and step % cfg.big_every == 0:
            batch = pool.batch(step, 1, 8, 8)
        else:
            batch = pool.batch(step, cfg.batch, cfg.views, cfg.times)
        loss = training_loss(wrapped, base, batch, cfg, seeded(cfg.seed, rank, step, 12))
        loss.backward()
        norm = clip_gradients([p for _, p in trained], cfg.clip_norm)
        optimisers.step(learning_rate(step, cfg.steps, cfg.warmup, cfg.decay))
        ema.update()
        step += 1
        mean = float(dist.mean_over_ranks(loss.detach()))
        if rank == 0:
            progress.update(step, mean, float(norm), len(batch.texts) * world)
        stop = dist.any_rank(progress.minutes > cfg.max_minutes, device)
        if rank == 0 and (step % cfg.sample_every == 0 or step == cfg.steps or stop):
            ema.swap()
            out = sample_grids(model, test)
            ema.swap()
            say(f"step {step}  grid PSNR {grid_psnr(out, test):.2f}")
            save_sheet(out[:2].flatten(0, 1), cfg.out / "samples" / f"{step:06d}.png")
            save_sheet(batch_rows(test), cfg.out / "samples" / "truth.png")
        due = time.monotonic() - saved > 60 * cfg.checkpoint_minutes
        if rank == 0 and (due or step == cfg.steps or stop):
            save_checkpoint(checkpoint, step, model, optimisers, ema)
            saved = time.monotonic()
        if stop:
            say(f"stopped after {progress.minutes:.1f} minutes at step {step}; run again to go on")
            break
    if rank == 0:
        ema.swap()
        how = {k: v.name if isinstance(v, Path) else v for k, v in asdict(cfg).items()}
        made = {"script": "train_4d.py", "step": step, **how}
        save_mixer(two_stream, cfg.out / "weights", cfg.mixer, made)
        if cfg.train == "all":
            save_base(base, cfg.out / "weights", {**base_config["how_made"], "then": made})
        ema.swap()
    dist.cleanup()


def batch_rows(batch: GridBatch) -> Tensor:
    return batch.clean[:2].flatten(0, 1)


if __name__ == "__main__":
    try:
        main(tyro.cli(Train4DConfig, description=__doc__))
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
