"""The 4D stage over Wan: only the adapter is trained (mixer, and low-rank matrices of columns).

Grids of any source of `gen.train.mix` are encoded on the way; row 0 and column 0 of the lattice
are given (sometimes one of them, sometimes more), the loss is on the velocity of the others.

Shape legend: B grids, V views, T times, L latent times, C channels, h w latent pixels.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fourreal.errors import UserError
from fourreal.image_metrics import decibel
from gen.data.batches import HELD_OUT_SEED, Mapping, seeded
from gen.data.grid_batches import GridBatch, draw_grids, sample_grid_known
from gen.flow.rectified import add_noise, keep_known, linear_sigmas, sample_sigma
from gen.flow.samplers import keyed_noise, sample_euler
from gen.flow.windows import WINDOW
from gen.network.dit import Mode
from gen.train.mix import grid_mixture
from gen.train.options import Train4DConfig, parse_resolution
from gen.train.run import Samples, Stage
from gen.wan.adapter_file import AdapterConfig, build_two_stream, save_adapter
from gen.wan.folder import WanFolder
from gen.wan.lattice import fitting_size
from gen.wan.path import velocity_target
from gen.wan.text import in_mode
from gen.wan.two_stream import WanTwoStream

RESOLUTION = "480x832"
SAMPLE_STEPS = 6


class WanStage(Stage):
    """The two streams over Wan, grids in the ratios of `cfg.mix`."""

    script = "train_4d.py --base wan"

    def __init__(self, cfg: Train4DConfig, device: torch.device):
        """UserError when the weights are not there or the resolution does not fit them."""
        self.cfg, self.device = cfg, device
        folder = WanFolder(cfg.weights or "")
        size = parse_resolution(cfg.resolution or RESOLUTION)
        fitting = fitting_size(*size, folder.pixels_a_token)
        if fitting != size:
            raise UserError(
                f"--resolution {cfg.resolution}: sides must be multiples of "
                f"{folder.pixels_a_token}, for example {fitting[0]}x{fitting[1]}"
            )
        dtype = torch.bfloat16 if cfg.precision == "bf16" else torch.float32
        torch.manual_seed(cfg.seed)
        self.adapter = AdapterConfig(
            folder.params, cfg.mixer, cfg.rank, cfg.layers, cfg.wan.lora_rank, cfg.wan.time_stride
        )
        model = folder.transformer(dtype, cfg.wan.lora_rank)
        model.gradient_checkpointing = cfg.gradient_checkpointing
        try:
            self.module: WanTwoStream = build_two_stream(model, self.adapter).to(device)
        except ValueError as error:
            raise UserError(f"{cfg.weights} does not go with these options: {error}") from error
        self.blocks = model.blocks
        self.codec = folder.codec(cfg.wan.time_stride)
        self.codec.vae.to(device)
        self.text = folder.text(dtype)
        self.text.encoder.to(device)
        self.grids = grid_mixture(cfg, *size, cfg.seed, device)
        held_out = grid_mixture(cfg, *size, HELD_OUT_SEED, device, held_out=1)
        self.test = self._cut(draw_grids(held_out, HELD_OUT_SEED, 0, range(1), cfg.views))

    def _big(self, step: int) -> bool:
        return self.cfg.big_every > 0 and step % self.cfg.big_every == 0

    def batch_size(self, step: int) -> int:
        return self.cfg.big_batch if self._big(step) else self.cfg.batch

    def draw(self, step: int, items: range, map_items: Mapping = map) -> GridBatch:
        """Frames of a row stay neighbours where a latent spans several of them."""
        cfg, big = self.cfg, self._big(step)
        views = WINDOW if big else cfg.views
        times = WINDOW if big or cfg.wan.time_stride > 1 else cfg.times
        batch = draw_grids(self.grids, cfg.seed, step, items, views, times, map_items=map_items)
        return batch if big else self._cut(batch)

    def _cut(self, batch: GridBatch) -> GridBatch:
        return replace(batch, clean=batch.clean[:, :, : self.cfg.times])

    def words(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Features for rows and for columns; an empty text is no condition."""
        row, column = (
            self.text([in_mode(t, mode) if t else "" for t in texts]).to(self.device)
            for mode in (Mode.DYNAMIC, Mode.FREEZE_TIME)
        )
        return row, column

    def loss(self, model: nn.Module, batch: Any, step: int) -> Tensor:
        """Mean squared velocity error of the unknown latents, grid by grid."""
        cfg, device = self.cfg, self.device
        clean = torch.stack([self.codec.encode_grid(grid) for grid in batch.clean])
        v, latents = clean.shape[1:3]
        texts, sigmas, noises, knowns = [], [], [], []
        for i, text in zip(batch.items, batch.texts, strict=True):
            g = seeded(cfg.seed, step, i, 11)
            texts.append("" if float(torch.rand((), generator=g)) < cfg.text_drop else text)
            sigmas.append(sample_sigma(1, g, mean=cfg.sigma_mean))
            noises.append(torch.randn(clean.shape[1:], generator=g))
            knowns.append(sample_grid_known(1, v, latents, seeded(cfg.seed, step, i, 9)))
        clean, noise = clean.to(device), torch.stack(noises).to(device)
        sigma, known = torch.cat(sigmas).to(device), torch.cat(knowns).to(device)
        x = keep_known(add_noise(clean, noise, sigma), clean, known)
        with torch.autocast(device.type, torch.bfloat16, enabled=cfg.precision == "bf16"):
            velocity = model(x, known, sigma, *self.words(texts))
        error = (velocity.float() - velocity_target(clean, noise)).square().mean((-3, -2, -1))
        unknown = ~known
        return ((error * unknown).sum((1, 2)) / unknown.sum((1, 2)).clamp(min=1)).mean()

    @torch.no_grad()
    def sample(self) -> Samples:
        """A completed test grid and the PSNR of its completed frames."""
        truth, device = self.test.clean[0], self.device
        lattice, known = self.codec.encode_cross(truth[0], truth[:, 0])
        clean, known = lattice[None].to(device), known[None].to(device)
        words = self.words(self.test.texts)

        def predict(x: Tensor, sigma: Tensor) -> Tensor:
            # Through the module's forward, where sharded parameters are gathered.
            return self.module.clean(x, clean, known, sigma.reshape(1), *words).float()

        with torch.autocast(device.type, torch.bfloat16, enabled=self.cfg.precision == "bf16"):
            noise = keyed_noise(tuple(clean.shape), 6).to(device)
            out = sample_euler(predict, noise, linear_sigmas(SAMPLE_STEPS, 3.0).to(device))
        frames = self.codec.decode_grid(out[0].float(), truth.shape[1]).clamp(-1, 1)
        error = ((frames - truth) / 2)[1:, 1:].square().mean()
        sheet = torch.cat([frames, truth], 1)  # completed and true frames side by side
        return Samples({"grid_psnr": float(decibel(float(error)))}, sheet, self.test.texts)

    def start(self) -> str:
        return f"step 0  grid_psnr {self.sample().scalars['grid_psnr']:.2f} (training-free)"

    def save(self, state: dict[str, Tensor], folder: Path, how_made: dict[str, Any]) -> None:
        """One file: what `--adapter` takes."""
        config = replace(self.adapter, how_made=how_made)
        save_adapter(folder / "adapter.safetensors", state, config)
