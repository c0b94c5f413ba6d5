"""Train the diffusion upsampler on procedural clips and on a base model's versions of them.

On one CPU core (what made the bundled upsampler):
    python scripts/train_upsampler.py --out runs/up --base gen/weights --optimiser muon --lr 2e-3
On GPUs:
    torchrun --nproc-per-node 8 scripts/train_upsampler.py --out runs/up --size paper --batch 8

Running the same command again continues after the last checkpoint, with the batches it would have
seen. Samples (enlarged / upsampled / truth) and `log.jsonl` land in --out, final weights in
--out/weights. Reported on held-out scenes: PSNR of the plain enlargement, of the prediction from
pure noise, and of two sampler steps.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import torch
import tyro
from torch import Tensor

from gen import dist
from gen.console import say
from gen.errors import UserError
from gen.flow import add_noise, keep_known, linear_sigmas, sample_sigma, velocity_loss
from gen.model import BaseModel, load_base
from gen.sampling import sample_euler
from gen.train_data import HELD_OUT_SEED, PoolConfig, seeded, trained_words
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
from gen.upsample import SHIFT, UPSAMPLER_SIZES, UpsamplerModel, save_upsampler
from gen.upsample_data import FACTOR, UpsampleBatch, UpsamplePool

WORDS = 40  # texts are padded or cut to this


@dataclass
class TrainUpsamplerConfig:
    """Settings of one run; a batch is per process."""

    out: Path
    size: str = "bundled"
    base: Path | None = None  # weights whose look the inputs take; None: simulated blur and seams
    init: Path | None = None  # a run folder whose averaged weights are the start
    steps: int = 20_000
    batch: int = 8
    frames: int = 8  # frames of a rendered clip
    use_frames: int = 4  # train on this many of them a step
    picture_every: int = 0  # every so many steps a batch of `picture_batch` single frames
    picture_batch: int = 32
    detail: float = 0.3  # the share of batches from pictures twice as large
    from_base: float = 0.5  # the share of inputs drawn by --base
    max_level: float = 0.2  # of the noise added to half of the inputs, told to the network
    optimiser: Literal["adamw", "muon"] = "adamw"
    lr: float = 4e-4
    warmup: int = 500
    decay: float = 0.5  # the last share of the steps, in which the learning rate falls to 0
    clip_norm: float = 1.0
    sigma_mean: float = 1.2
    full_noise: float = 0.25  # the share of clips at sigma 1, where every sampler starts
    text_drop: float = 0.2
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    max_minutes: float = float("inf")
    checkpoint_minutes: float = 5.0
    sample_every: int = 200
    pool: PoolConfig = field(default_factory=lambda: PoolConfig(8, 10, 5, 16, "narrow"))

    def __post_init__(self) -> None:
        if self.size not in UPSAMPLER_SIZES:
            names = ", ".join(UPSAMPLER_SIZES)
            raise ValueError(f"unknown size {self.size!r}; choose from {names}")
        if self.steps < 1 or self.batch < 1 or not 1 <= self.use_frames <= self.frames:
            raise ValueError("steps and batch must be at least 1, use_frames within 1..frames")


def noisy_call(
    model: torch.nn.Module, net: UpsamplerModel, batch: UpsampleBatch, texts: list[str],
    x: Tensor, sigma: Tensor,
) -> Tensor:  # fmt: skip
    """The model's clean prediction for the noisy clips `x` of a batch (known frames put in)."""
    device = net.device
    known = batch.known.to(device)
    return model(
        keep_known(x, batch.clean.to(device), known),
        known,
        sigma,
        batch.mode.to(device),
        net.tokenizer.encode(texts, WORDS).to(device),
        batch.index.to(device),
        batch.low.to(device),
        batch.level.to(device),
        batch.picture_width,
    )


def training_loss(
    model: torch.nn.Module, net: UpsamplerModel, batch: UpsampleBatch, cfg: TrainUpsamplerConfig, g
) -> Tensor:
    """Velocity loss of one batch with fresh noise and levels from the generator `g`."""
    device, n = net.device, len(batch.texts)
    drop = torch.rand(n, generator=g) < cfg.text_drop
    texts = ["" if d else t for t, d in zip(batch.texts, drop, strict=True)]
    sigma = sample_sigma(n, g, mean=cfg.sigma_mean)
    sigma = torch.where(torch.rand(n, generator=g) < cfg.full_noise, 1.0, sigma).to(device)
    clean = batch.clean.to(device)
    x = add_noise(clean, torch.randn(clean.shape, generator=g).to(device), sigma)
    with torch.autocast(device.type, torch.bfloat16, enabled=cfg.precision == "bf16"):
        predicted = noisy_call(model, net, batch, texts, x, sigma)
    return velocity_loss(predicted.float(), clean, sigma, batch.known.to(device))


@torch.no_grad()
def sample_batch(net: UpsamplerModel, batch: UpsampleBatch, steps: int) -> Tensor:
    """Upsampled clips [B, F, H, W, 3] in [-1, 1] of a batch, none of their frames given."""
    device = net.device

    def model(x: Tensor, sigma: Tensor) -> Tensor:
        return noisy_call(net, net, batch, batch.texts, x, sigma.expand(len(x)))

    noise = torch.randn(batch.clean.shape, generator=seeded(6)).to(device)
    return sample_euler(model, noise, linear_sigmas(steps, SHIFT).to(device)).clamp(-1, 1)


def psnr(a: Tensor, b: Tensor) -> float:
    """PSNR in dB of frames in [-1, 1]."""
    return float(-10 * ((a.cpu().clamp(-1, 1) - b) / 2).square().mean().log10())


def held_out_batch(cfg: TrainUpsamplerConfig, base: BaseModel | None) -> UpsampleBatch:
    """Whole pictures of scenes never trained on, as the base model draws them if there is one."""
    params = UPSAMPLER_SIZES[cfg.size]
    fixed = PoolConfig(4, 1, 1, 10**9, cfg.pool.world)
    size = params.height, params.width_px
    pool = UpsamplePool(HELD_OUT_SEED, 0, cfg.frames, *size, fixed, base)
    use = min(3, cfg.use_frames)
    batch = pool.batch(0, 6, use, detail=0.0, from_base=1.0, max_level=0.0)
    batch.known[:] = False
    return batch


def load_look(cfg: TrainUpsamplerConfig) -> BaseModel | None:
    """The base model whose look the inputs take; UserError when it works at another size."""
    if cfg.base is None:
        return None
    base, _ = load_base(cfg.base)
    params = UPSAMPLER_SIZES[cfg.size]
    wanted = params.height // FACTOR, params.width_px // FACTOR
    if (base.params.height, base.params.width_px) != wanted:
        raise UserError(
            f"--base works at {base.params.height}x{base.params.width_px}, the {cfg.size} "
            f"upsampler takes {wanted[0]}x{wanted[1]}; leave --base out"
        )
    return base


def main(cfg: TrainUpsamplerConfig) -> None:
    rank, world, device = dist.setup()
    params = UPSAMPLER_SIZES[cfg.size]
    torch.manual_seed(cfg.seed)
    net = UpsamplerModel(params, trained_words(cfg.pool.world)).to(device)
    optimisers = Optimisers(net.named_parameters(), cfg.optimiser, cfg.lr)
    ema = EMA(net.named_parameters())
    cfg.out.mkdir(parents=True, exist_ok=True)
    checkpoint, first = cfg.out / "checkpoint.pt", 0
    if checkpoint.exists():
        first = load_checkpoint(checkpoint, net, optimisers, ema)
        say(f"continuing after step {first}")
    elif cfg.init is not None:
        if not (cfg.init / "checkpoint.pt").exists():
            raise UserError(f"--init {cfg.init} holds no checkpoint.pt")
        load_checkpoint(cfg.init / "checkpoint.pt", net, optimisers, ema, weights_only=True)
    model = dist.wrap(net)
    base = load_look(cfg)
    pool = UpsamplePool(
        cfg.seed, rank, cfg.frames, params.height, params.width_px, cfg.pool, base
    )  # fmt: skip
    test = held_out_batch(cfg, base)
    count = sum(p.numel() for p in net.parameters()) / 1e6
    say(f"{cfg.size}: {count:.2f} M parameters, {world} process(es), {device}")
    progress = Progress(cfg.steps, first, cfg.out / "log.jsonl")
    saved, step = time.monotonic(), first
    while step < cfg.steps:
        single = cfg.picture_every > 0 and step % cfg.picture_every == 0
        batch = pool.batch(
            step, cfg.picture_batch if single else cfg.batch, 1 if single else cfg.use_frames,
            detail=cfg.detail, from_base=cfg.from_base, max_level=cfg.max_level,
        )  # fmt: skip
        loss = training_loss(model, net, batch, cfg, seeded(cfg.seed, rank, step, 13))
        loss.backward()
        norm = clip_gradients(net.parameters(), cfg.clip_norm)
        optimisers.step(learning_rate(step, cfg.steps, cfg.warmup, cfg.decay))
        ema.update()
        step += 1
        mean = float(dist.mean_over_ranks(loss.detach()))
        if rank == 0:
            progress.update(step, mean, float(norm), len(batch.texts) * world)
        stop = dist.any_rank(progress.minutes > cfg.max_minutes, device)
        if rank == 0 and (step % cfg.sample_every == 0 or step == cfg.steps or stop):
            ema.swap()
            outs = [sample_batch(net, test, n) for n in (1, 2)]
            ema.swap()
            text = " / ".join(f"{psnr(x, test.clean):.2f}" for x in (test.low, *outs))
            say(f"step {step}  PSNR enlarged / one step / two steps: {text}")
            sheet = torch.cat([test.low[:4], outs[1][:4].cpu(), test.clean[:4]], dim=1)
            save_sheet(sheet, cfg.out / "samples" / f"{step:06d}.png", 1)
        due = time.monotonic() - saved > 60 * cfg.checkpoint_minutes
        if rank == 0 and (due or step == cfg.steps or stop):
            save_checkpoint(checkpoint, step, net, optimisers, ema)
            saved = time.monotonic()
        if stop:
            say(f"stopped after {progress.minutes:.1f} minutes at step {step}; run again to go on")
            break
    if rank == 0:
        ema.swap()
        how = {k: v.name if isinstance(v, Path) else v for k, v in asdict(cfg).items()}
        made = {"script": "train_upsampler.py", "step": step, **how}
        save_upsampler(net, cfg.out / "weights", made)
        ema.swap()
    dist.cleanup()


if __name__ == "__main__":
    try:
        main(tyro.cli(TrainUpsamplerConfig, description=__doc__))
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
