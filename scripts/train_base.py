"""Train the base clip model (text -> fixed-view or freeze-time clip) on the procedural world.

On two CPU cores, first pictures, then clips (what made the bundled `small` weights):
    python scripts/train_base.py --out runs/images --size small --frames 1 --batch 128 --steps 2000
    python scripts/train_base.py --out runs/clips --size small --init runs/images --steps 1500
On GPUs:
    torchrun --nproc-per-node 8 scripts/train_base.py --out runs/b --size bundled --batch 64

Running the same command again continues after the last checkpoint, with the batches it would have
seen. Sample pictures and `log.jsonl` land in --out, final weights in --out/weights.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from torch import Tensor

from gen import dist
from gen.console import say
from gen.data.captions import VOCABULARY
from gen.dit import SIZES
from gen.errors import UserError
from gen.flow import (
    add_noise,
    keep_known,
    linear_sigmas,
    sample_sigma,
    velocity_loss,
    vivid_weights,
)
from gen.model import BaseModel, save_base, with_vocabulary
from gen.sampling import sample_euler
from gen.train_data import (
    HELD_OUT_SEED,
    ClipBatch,
    ClipPool,
    PoolConfig,
    seeded,
    trained_words,
)
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


@dataclass
class TrainBaseConfig:
    """Settings of one run; a batch is per process."""

    out: Path
    size: str = "small"
    init: Path | None = None  # a run folder whose averaged weights are the start
    steps: int = 20_000
    batch: int = 32
    frames: int = 8  # frames of a rendered clip; 1: pictures only
    use_frames: int | None = None  # train on this many of them a step (always the first)
    picture_every: int = 0  # every so many steps a batch of pictures, `picture_batch` of them
    picture_batch: int = 128
    optimiser: Literal["adamw", "muon"] = "adamw"
    lr: float = 4e-4
    warmup: int = 500
    decay: float = 0.3  # the last share of the steps, in which the learning rate falls to 0
    clip_norm: float = 1.0
    sigma_mean: float = 0.8
    text_drop: float = 0.1
    vivid_weight: float = 2.0  # extra loss weight of saturated pixels (the objects)
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    max_minutes: float = float("inf")
    checkpoint_minutes: float = 5.0
    sample_every: int = 250
    pool: PoolConfig = PoolConfig()

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ValueError(f"unknown size {self.size!r}; choose from {', '.join(SIZES)}")
        if self.steps < 1 or self.batch < 1 or self.frames < 1:
            raise ValueError("steps, batch and frames must be at least 1")


WORDS = 40  # texts are padded or cut to this, so that a compiled model sees one shape


def training_loss(
    model: torch.nn.Module, base: BaseModel, batch: ClipBatch, cfg: TrainBaseConfig, g
) -> Tensor:
    """Velocity loss of one batch with fresh noise and levels from the generator `g`."""
    device = base.device
    drop = torch.rand(len(batch.texts), generator=g) < cfg.text_drop
    texts = ["" if d else t for t, d in zip(batch.texts, drop, strict=True)]
    ids = base.tokenizer.encode(texts, WORDS).to(device)
    sigma = sample_sigma(len(texts), g, mean=cfg.sigma_mean, device=device)
    noise = torch.randn(batch.clean.shape, generator=g).to(device)
    clean, known = batch.clean.to(device), batch.known.to(device)
    x = keep_known(add_noise(clean, noise, sigma), clean, known)
    with torch.autocast(device.type, torch.bfloat16, enabled=cfg.precision == "bf16"):
        predicted = model(x, known, sigma, batch.mode.to(device), ids, batch.index.to(device))
    weight = vivid_weights(clean, cfg.vivid_weight)
    return velocity_loss(predicted.float(), clean, sigma, known, weight)


@torch.no_grad()
def clean_psnr(base: BaseModel, batch: ClipBatch, levels=(0.4, 0.7, 0.95)) -> list[float]:
    """PSNR (dB) of the clean prediction on unknown frames at fixed noise levels."""
    device = base.device
    noise = torch.randn(batch.clean.shape, generator=seeded(5)).to(device)
    ids = base.tokenizer.encode(batch.texts, WORDS).to(device)
    clean, known = batch.clean.to(device), batch.known.to(device)
    result = []
    for level in levels:
        sigma = torch.full((len(clean),), level, device=device)
        x = keep_known(add_noise(clean, noise, sigma), clean, known)
        out = base(x, known, sigma, batch.mode.to(device), ids, batch.index.to(device))
        error = ((out.clamp(-1, 1) - clean) / 2)[~known].square().mean()
        result.append(float(-10 * error.log10()))
    return result


@torch.no_grad()
def sample_sheet(base: BaseModel, batch: ClipBatch, path: Path, steps: int = 8) -> None:
    """One clip a row (pictures: a mosaic) sampled from the batch's texts and known frames."""
    device = base.device
    clean, known = batch.clean.to(device), batch.known.to(device)
    ids = base.tokenizer.encode(batch.texts, WORDS).to(device)
    mode, index = batch.mode.to(device), batch.index.to(device)

    def model(x: Tensor, sigma: Tensor) -> Tensor:
        out = base(keep_known(x, clean, known), known, sigma.expand(len(x)), mode, ids, index)
        return keep_known(out, clean, known)

    noise = torch.randn(clean.shape, generator=seeded(6)).to(device)
    out = sample_euler(model, noise, linear_sigmas(steps, 2.0).to(device))
    columns = out.shape[1] if out.shape[1] > 1 else 8
    save_sheet(out.flatten(0, 1).unflatten(0, (-1, columns)), path)
    path.with_suffix(".txt").write_text("\n".join(batch.texts) + "\n")


def main(cfg: TrainBaseConfig) -> None:
    rank, world, device = dist.setup()
    params = SIZES[cfg.size]
    height, width = params.height, params.width_px
    torch.manual_seed(cfg.seed)
    base = BaseModel(params, VOCABULARY).to(device)
    optimisers = Optimisers(base.named_parameters(), cfg.optimiser, cfg.lr)
    ema = EMA(base.named_parameters())
    cfg.out.mkdir(parents=True, exist_ok=True)
    checkpoint = cfg.out / "checkpoint.pt"
    first = 0
    if checkpoint.exists():
        first = load_checkpoint(checkpoint, base, optimisers, ema)
        say(f"continuing after step {first}")
    elif cfg.init is not None:
        if not (cfg.init / "checkpoint.pt").exists():
            raise UserError(f"--init {cfg.init} holds no checkpoint.pt")
        load_checkpoint(cfg.init / "checkpoint.pt", base, optimisers, ema, weights_only=True)
    model = dist.wrap(torch.compile(base) if cfg.compile else base)  # type: ignore[arg-type]
    pool = ClipPool(cfg.seed, rank, cfg.frames, height, width, cfg.pool)
    pictures = None
    if cfg.picture_every:
        pictures = ClipPool(cfg.seed + 1, rank, 1, height, width, cfg.pool)
    fixed = PoolConfig(64, 1, 1, 10**9, cfg.pool.world)
    held_out = ClipPool(HELD_OUT_SEED, 0, cfg.frames, height, width, fixed)
    test = held_out.batch(0, 32)
    show = held_out.batch(1, 32 if cfg.frames == 1 else 10)
    if cfg.frames > 1:
        show.known[:5] = False
        show.known[5:] = torch.arange(cfg.frames) < 1
    count = sum(p.numel() for p in base.parameters()) / 1e6
    say(f"{cfg.size}: {count:.2f} M parameters, {world} process(es), {device}")
    progress = Progress(cfg.steps, first, cfg.out / "log.jsonl")
    saved = time.monotonic()
    step = first
    while step < cfg.steps:
        as_pictures = pictures is not None and step % cfg.picture_every == 0
        if as_pictures:
            batch = pictures.batch(step, cfg.picture_batch)
        else:
            batch = pool.batch(step, cfg.batch, cfg.use_frames)
        loss = training_loss(model, base, batch, cfg, seeded(cfg.seed, rank, step, 11))
        loss.backward()
        norm = clip_gradients(base.parameters(), cfg.clip_norm)
        optimisers.step(learning_rate(step, cfg.steps, cfg.warmup, cfg.decay))
        ema.update()
        step += 1
        mean = float(dist.mean_over_ranks(loss.detach()))
        if rank == 0:
            progress.update(step, mean, float(norm), len(batch.texts) * world)
        stop = dist.any_rank(progress.minutes > cfg.max_minutes, device)
        if rank == 0 and (step % cfg.sample_every == 0 or step == cfg.steps or stop):
            ema.swap()
            psnr = clean_psnr(base, test)
            sample_sheet(base, show, cfg.out / "samples" / f"{step:06d}.png")
            ema.swap()
            text = " / ".join(f"{p:.2f}" for p in psnr)
            say(f"step {step}  clean PSNR at sigma .4/.7/.95: {text}")
        due = time.monotonic() - saved > 60 * cfg.checkpoint_minutes
        if rank == 0 and (due or step == cfg.steps or stop):
            save_checkpoint(checkpoint, step, base, optimisers, ema)
            saved = time.monotonic()
        if stop:
            say(f"stopped after {progress.minutes:.1f} minutes at step {step}; run again to go on")
            break
    if rank == 0:
        ema.swap()
        how = {k: v.name if isinstance(v, Path) else v for k, v in asdict(cfg).items()}
        known = with_vocabulary(base, trained_words(cfg.pool.world))
        save_base(known, cfg.out / "weights", {"script": "train_base.py", "step": step, **how})
        ema.swap()
    dist.cleanup()


if __name__ == "__main__":
    try:
        main(tyro.cli(TrainBaseConfig, description=__doc__))
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
