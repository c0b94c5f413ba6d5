"""Train the diffusion upsampler on rendered clips and on a base model's versions of them.

On one CPU core (about what made the bundled upsampler):
    python scripts/train_upsampler.py --out runs/up --base gen/weights --optimiser muon --lr 2e-3 \
        --use-frames 3 --picture-every 8 --warmup 30 --steps 1000
From the bundled one, with the asset world as `scripts/render_world.py --size 160x256` renders it:
    python scripts/train_upsampler.py --out runs/up --start gen/weights --base gen/weights \
        --world FINE --optimiser muon --lr 1e-3 --use-frames 2 --batch 6 --warmup 30 --steps 300
On GPUs (a batch is that of all processes together):
    torchrun --nproc-per-node 8 scripts/train_upsampler.py --out runs/up --size paper --batch 256

Running the same command again continues after the last checkpoint, with the batches it would have
seen. Samples (enlarged, upsampled, truth), `log.jsonl` and TensorBoard files land in --out, final
weights in --out/weights. Reported on held-out scenes: PSNR of the plain enlargement, of the
prediction from the flow's start, and of two sampler steps.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fourreal.errors import UserError
from fourreal.image_metrics import decibel
from gen.data.assets.captions import vocabulary
from gen.data.batches import HELD_OUT_SEED, Mapping, PoolConfig, seeded, trained_words
from gen.data.upsampling import (
    FACTOR,
    AssetClips,
    Inputs,
    UpsampleBatch,
    UpsamplePool,
    draw_upsample,
)
from gen.flow.rectified import (
    add_noise,
    keep_known,
    linear_sigmas,
    sample_sigma,
    velocity_loss,
    vivid_weights,
)
from gen.flow.samplers import sample_euler
from gen.network.base import BaseModel, grid_network, load_base, take_over
from gen.network.params import DiTParams
from gen.train.options import PerceptualOptions
from gen.train.perceptual import PerceptualTerm
from gen.train.presets import run_training
from gen.train.run import WORDS, Samples, Stage, train
from gen.upsample import (
    SHIFT,
    SOURCE_NOISE,
    UPSAMPLER_SIZES,
    UpsamplerModel,
    flow_source,
    load_upsampler,
    save_upsampler,
)


@dataclass(kw_only=True)
class TrainUpsamplerConfig(PerceptualOptions):
    """The upsampler: a clip model with the small clip as an input."""

    size: str = "bundled"
    base: Path | None = None  # weights whose look the inputs take; None: simulated blur and seams
    start: Path | None = None  # a weights folder whose upsampler is the start; new words are added
    start_share: float = 0.0  # of --start in the weights that are saved: between true and sharp
    world: Path | None = None  # the asset world at the target size, in shares of --inputs.assets
    batch: int = 8
    frames: int = 8  # frames of a rendered clip
    use_frames: int = 4  # train on this many of them a step
    picture_every: int = 0  # every so many steps a batch of `picture_batch` single frames
    picture_batch: int = 32
    inputs: Inputs = Inputs()
    sigma_mean: float = 1.2
    source_noise: float = SOURCE_NOISE  # around the enlarged clip, where the flow starts
    full_noise: float = 0.25  # the share of clips at sigma 1, where every sampler starts
    text_drop: float = 0.2
    vivid_weight: float = 0.0
    decay: float = 0.5
    pool: PoolConfig = field(default_factory=lambda: PoolConfig(8, 10, 5, 16, "narrow"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size not in UPSAMPLER_SIZES:
            names = ", ".join(UPSAMPLER_SIZES)
            raise ValueError(f"unknown size {self.size!r}; choose from {names}")
        if self.start is not None and self.init is not None:
            raise ValueError("give --start (a weights folder) or --init (a run), not both")
        if not 0 <= self.start_share < 1 or (self.start_share and self.start is None):
            raise ValueError("start_share must lie in 0..1, below 1, and needs --start")
        if not 1 <= self.use_frames <= self.frames or self.picture_batch < 1:
            raise ValueError("use_frames must be within 1..frames, picture_batch at least 1")
        params = self.params()
        if params.height % (2 * FACTOR) or params.width_px % (2 * FACTOR):
            raise ValueError(f"the resolution must be a multiple of {2 * FACTOR}")

    def params(self) -> DiTParams:
        return self.at_resolution(UPSAMPLER_SIZES[self.size])


def load_look(cfg: TrainUpsamplerConfig, device: torch.device) -> BaseModel | None:
    """The network whose look the inputs take: what follows given frames, or the base where there is
    no such network; UserError when it works at another size."""
    if cfg.base is None:
        return None
    base, _ = load_base(cfg.base, grid_network(cfg.base))
    params = cfg.params()
    wanted = params.height // FACTOR, params.width_px // FACTOR
    if (base.params.height, base.params.width_px) != wanted:
        raise UserError(
            f"--base works at {base.params.height}x{base.params.width_px}, the {cfg.size} "
            f"upsampler takes {wanted[0]}x{wanted[1]}; leave --base out"
        )
    return base.to(device)


class UpsamplerStage(Stage):
    """The upsampler, trained on single clips (two streams run it without further training)."""

    script = "train_upsampler.py"

    def __init__(self, cfg: TrainUpsamplerConfig, device: torch.device):
        self.cfg, self.device = cfg, device
        params, look = cfg.params(), load_look(cfg, device)
        torch.manual_seed(cfg.seed)
        words = trained_words(cfg.pool.world)
        if cfg.world is not None:
            words = sorted({*words, *vocabulary()})
        self.module: UpsamplerModel = UpsamplerModel(params, words).to(device)
        if cfg.start is not None:
            take_over(self.module, load_upsampler(cfg.start).model, cfg.start)
        self.begun = deepcopy(self.module.state_dict()) if cfg.start_share else None
        self.perceptual = PerceptualTerm(cfg)
        self.module.dit.gradient_checkpointing = cfg.gradient_checkpointing
        self.blocks = self.module.dit.blocks
        size = params.height, params.width_px
        self.pool = UpsamplePool(cfg.seed, cfg.frames, *size, cfg.pool, look, device)
        fixed = PoolConfig(4, 1, 1, 10**9, cfg.pool.world)
        held_out = UpsamplePool(HELD_OUT_SEED, cfg.frames, *size, fixed, look, device)
        self.assets: AssetClips | None = None
        as_drawn = Inputs(detail=0.0, from_base=1.0, max_level=0.0, given=0.0)
        use = min(3, cfg.use_frames)
        self.tests = {"": draw_upsample(held_out, HELD_OUT_SEED, 0, range(6), use, as_drawn)}
        if cfg.world is not None:
            clips = partial(AssetClips, cfg.world, frames=cfg.frames, height=size[0], width=size[1])
            self.assets = clips(seed=cfg.seed, base=look)
            unseen = clips(seed=HELD_OUT_SEED, base=look, held_out=True)
            alone = replace(as_drawn, assets=1.0)
            self.tests["_assets"] = draw_upsample(
                held_out, HELD_OUT_SEED, 0, range(6), use, alone, assets=unseen
            )

    def _single(self, step: int) -> bool:
        return self.cfg.picture_every > 0 and step % self.cfg.picture_every == 0

    def batch_size(self, step: int) -> int:
        return self.cfg.picture_batch if self._single(step) else self.cfg.batch

    def draw(self, step: int, items: range, map_items: Mapping = map) -> UpsampleBatch:
        cfg = self.cfg
        use = 1 if self._single(step) else cfg.use_frames
        return draw_upsample(
            self.pool, cfg.seed, step, items, use, cfg.inputs, map_items, self.assets
        )

    def _predict(
        self, model: nn.Module, batch: UpsampleBatch, texts: list[str], x: Tensor, sigma_B: Tensor
    ) -> Tensor:
        """Clean frames of a batch from noisy ones (its known frames put in)."""
        d = self.device
        known = batch.known.to(d)
        return model(
            keep_known(x, batch.clean.to(d), known),
            known,
            sigma_B,
            batch.mode.to(d),
            self.module.tokenizer.encode(texts, WORDS).to(d),
            batch.index.to(d),
            batch.low.to(d),
            batch.level.to(d),
            batch.picture_width,
        )

    def loss(self, model: nn.Module, batch: Any, step: int) -> Tensor:
        """Velocity loss on the unknown frames, and what `cfg.perceptual` asks for; noise and levels
        by (seed, step, number) alone."""
        cfg, device = self.cfg, self.device
        sigmas, noises, texts = [], [], []
        for i, text in zip(batch.items, batch.texts, strict=True):
            g = seeded(cfg.seed, step, i, 11)
            dropped, full = torch.rand(2, generator=g).tolist()
            texts.append("" if dropped < cfg.text_drop else text)
            sigma = sample_sigma(1, g, mean=cfg.sigma_mean)
            sigmas.append(torch.ones(1) if full < cfg.full_noise else sigma)
            noises.append(torch.randn(batch.clean.shape[1:], generator=g))
        clean, sigma_B = batch.clean.to(device), torch.cat(sigmas).to(device)
        noise = torch.stack(noises).to(device)
        x = add_noise(clean, flow_source(batch.low.to(device), noise, cfg.source_noise), sigma_B)
        with torch.autocast(device.type, torch.bfloat16, enabled=cfg.precision == "bf16"):
            out = self._predict(model, batch, texts, x, sigma_B)
        weight = vivid_weights(clean, cfg.vivid_weight)
        known = batch.known.to(device)
        loss = velocity_loss(out.float(), clean, sigma_B, known, weight)
        # At every level: the flow starts at the enlarged frames, so all show the picture.
        return loss + self.perceptual(out.float(), clean, ~known, step, batch.items[0])

    def upsampled(self, batch: UpsampleBatch, steps: int) -> Tensor:
        """Sampled clips [B, F, H, W, 3] in [-1, 1] of a batch."""

        def model(x: Tensor, sigma: Tensor) -> Tensor:
            return self._predict(self.module, batch, batch.texts, x, sigma.expand(len(x)))

        noise = torch.randn(batch.clean.shape, generator=seeded(6)).to(self.device)
        start = flow_source(batch.low.to(self.device), noise, self.cfg.source_noise)
        sigmas = linear_sigmas(steps, SHIFT).to(self.device)
        return sample_euler(model, start, sigmas).clamp(-1, 1).cpu()

    @torch.no_grad()
    def sample(self) -> Samples:
        """PSNR on held-out scenes as the base model draws them; enlarged, upsampled and true."""
        scalars: dict[str, float] = {}
        sheets, texts = [], []
        for name, test in self.tests.items():
            outs = {"one_step": self.upsampled(test, 1), "two_steps": self.upsampled(test, 2)}
            every = {"enlarged": test.low, **outs}
            scalars |= {k + name: psnr(x, test.clean) for k, x in every.items()}
            sheets.append(torch.cat([test.low.clamp(-1, 1), outs["one_step"], test.clean], dim=1))
            texts += test.texts[:4]
        return Samples(scalars, torch.cat([sheet[:4] for sheet in sheets]), texts)

    def save(self, state: dict[str, Tensor], folder: Path, how_made: dict[str, Any]) -> None:
        model = UpsamplerModel(self.module.params, self.module.tokenizer.words)
        if self.begun is not None:  # network interpolation, as in ESRGAN (arXiv:1809.00219, 3.4)
            share = self.cfg.start_share
            state = {k: torch.lerp(x, self.begun[k].to(x), share) for k, x in state.items()}
        model.load_state_dict(state)
        save_upsampler(model, folder, how_made, source_noise=self.cfg.source_noise, factor=FACTOR)


def psnr(a: Tensor, b: Tensor) -> float:
    """PSNR in dB of frames in [-1, 1]."""
    return float(decibel(float(((a.clamp(-1, 1) - b) / 2).square().mean())))


def main(cfg: TrainUpsamplerConfig) -> None:
    train(lambda device: UpsamplerStage(cfg, device), cfg)


if __name__ == "__main__":
    raise SystemExit(run_training(main, TrainUpsamplerConfig, {}, __doc__))
