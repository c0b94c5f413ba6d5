"""Train the synchronisation layers of the two-stream 4D model, see docs/TRAINING.md.

On two CPU cores (about what made the bundled soft mixer):
    python scripts/train_4d.py --preset small --base runs/clips/weights --out runs/soft
On GPUs (a batch is that of all processes together):
    torchrun --nproc-per-node 8 scripts/train_4d.py --base runs/b/weights --out runs/soft --batch 48

Row 0 and column 0 are given (sometimes one of them, sometimes more); the loss is on the other
cells. Running the same command again continues after the last checkpoint. `--train all` tunes the
base as well (the paper trains the synchronisation layers only). --out/weights is a whole weights
folder: base and mixer.

Over Wan (docs/WAN.md), training synchronisation and low-rank matrices of the column stream;
--out/weights/adapter.safetensors is what `run_pipeline.py --adapter` takes:
    torchrun --nproc-per-node 8 scripts/train_4d.py --base wan --weights DIR --out runs/wan \
        --batch 8 --views 8 --times 8 --precision bf16 --gradient-checkpointing --shard
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fourreal.errors import UserError
from fourreal.image_metrics import decibel
from gen.data.assets.cache import CachedGrids
from gen.data.batches import HELD_OUT_SEED, Mapping, seeded
from gen.data.grid_batches import GridBatch, draw_grids
from gen.flow.rectified import keep_known, linear_sigmas, velocity_loss, vivid_weights
from gen.flow.samplers import sample_euler
from gen.flow.windows import WINDOW
from gen.network.base import (
    BASE,
    CAMERA_MOVE,
    BaseModel,
    copy_network,
    grid_network,
    load_base,
    save_base,
)
from gen.sync.mixer_file import load_mixer, save_mixer
from gen.sync.mixers import Mixer, SyncParams
from gen.sync.two_stream import TwoStream
from gen.train.mix import grid_mixture
from gen.train.options import Train4DConfig
from gen.train.presets import PRESETS_4D, run_training
from gen.train.run import WORDS, Samples, Stage, corrupt, train


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


class GridStage(Stage):
    """The two-stream model on a base, grids in the ratios of `cfg.mix`."""

    script = "train_4d.py"

    def __init__(self, cfg: Train4DConfig, device: torch.device):
        self.cfg, self.device = cfg, device
        self.network = grid_network(cfg.base)
        base, self.base_config = load_base(cfg.base, self.network)
        torch.manual_seed(cfg.seed)
        try:
            base.params = base.dit.params = cfg.at_resolution(base.params)
            self.sync = SyncParams(cfg.mixer, cfg.rank, cfg.layers)
            two_stream = TwoStream(base.dit, self.sync)
            if cfg.start is not None:
                load_mixer(two_stream, cfg.start, cfg.mixer)
        except (ValueError, RuntimeError) as error:
            raise UserError(f"--base {cfg.base} does not go with these options: {error}") from error
        base.dit.gradient_checkpointing = cfg.gradient_checkpointing
        base.requires_grad_(cfg.train == "all")
        self.module: GridModel = GridModel(base, two_stream).to(device)
        self.blocks = base.dit.blocks
        size = base.params.height, base.params.width_px
        self.grids = grid_mixture(cfg, *size, cfg.seed, device)
        self.grids.warn_of_unknown(base.tokenizer.words)
        held_out = grid_mixture(cfg, *size, HELD_OUT_SEED, device, held_out=4)
        self.test = draw_grids(held_out, HELD_OUT_SEED, 0, range(4))
        self.test.known[:] = False
        self.test.known[:, 0] = self.test.known[:, :, 0] = True
        self.tests = {"": self.test}
        if cfg.world is not None:
            assets = CachedGrids(cfg.world, *size, HELD_OUT_SEED, held_out=True)
            self.tests["_assets"] = draw_grids(assets, HELD_OUT_SEED, 0, range(4))
            self.tests["_assets"].known[:] = self.test.known

    def _big(self, step: int) -> bool:
        return self.cfg.big_every > 0 and step % self.cfg.big_every == 0

    def batch_size(self, step: int) -> int:
        return self.cfg.big_batch if self._big(step) else self.cfg.batch

    def draw(self, step: int, items: range, map_items: Mapping = map) -> GridBatch:
        cells = (WINDOW, WINDOW) if self._big(step) else (self.cfg.views, self.cfg.times)
        return draw_grids(self.grids, self.cfg.seed, step, items, *cells, map_items=map_items)

    def loss(self, model: nn.Module, batch: Any, step: int) -> Tensor:
        """Velocity loss on the unknown cells."""
        cfg, device = self.cfg, self.device
        c = corrupt(batch, self.module.base, cfg, step, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=cfg.precision == "bf16"):
            iv, it = batch.index_v.to(device), batch.index_t.to(device)
            out = model(c.x, c.known, c.sigma_B, c.ids_BL, iv, it)
        clean, known = c.clean.flatten(1, 2), c.known.flatten(1)
        weight = vivid_weights(clean, cfg.vivid_weight)
        return velocity_loss(out.float().flatten(1, 2), clean, c.sigma_B, known, weight)

    @torch.no_grad()
    def sample(self, steps: int = 6) -> Samples:
        """Completed test grids and the PSNR of their completed cells."""
        scalars = {}
        for name, test in self.tests.items():
            out, clean, scalars[f"grid_psnr{name}"] = self._completed(test, steps)
        sheet = torch.cat([out[:2], clean[:2]], 3)  # completed and true cells side by side
        return Samples(scalars, sheet.flatten(0, 1), test.texts)

    def _completed(self, test: GridBatch, steps: int) -> tuple[Tensor, Tensor, float]:
        """Test grids completed, their true cells, the PSNR of the completed ones."""
        d = self.device
        clean, known = test.clean.to(d), test.known.to(d)
        ids = self.module.base.tokenizer.encode(test.texts, WORDS).to(d)
        iv, it = test.index_v.to(d), test.index_t.to(d)

        def predict(x: Tensor, sigma: Tensor) -> Tensor:
            x = keep_known(x, clean, known)
            return self.module(x, known, sigma.expand(len(x)), ids, iv, it)

        noise = torch.randn(clean.shape, generator=seeded(6)).to(d)
        out = sample_euler(predict, noise, linear_sigmas(steps, 2.0).to(d)).clamp(-1, 1)
        error = ((out - clean) / 2)[~known].square().mean()
        return out, clean, float(decibel(float(error)))

    def start(self) -> str:
        figures = self.sample().scalars.items()
        return "step 0  " + "  ".join(f"{k} {v:.2f}" for k, v in figures) + " (training-free)"

    def save(self, state: dict[str, Tensor], folder: Path, how_made: dict[str, Any]) -> None:
        """The network (tuned or as it was), the base beside it where there is one, and the mixer:
        together a weights folder."""
        own = self.module.base
        base = BaseModel(own.params, own.tokenizer.words)
        base.load_state_dict({k[5:]: v for k, v in state.items() if k.startswith("base.")})
        made = self.base_config["how_made"]
        made = {**made, "then": how_made} if self.cfg.train == "all" else made
        save_base(base, folder, made, self.network)
        if self.network != BASE:
            copy_network(self.cfg.base, BASE, folder)
        elif (self.cfg.base / CAMERA_MOVE).is_file():
            shutil.copyfile(self.cfg.base / CAMERA_MOVE, folder / CAMERA_MOVE)
        if self.cfg.mixer == "none":
            return
        two_stream, name = TwoStream(base.dit, self.sync), "two_stream.mixer."
        assert isinstance(two_stream.mixer, Mixer)
        two_stream.mixer.load_state_dict(
            {k[len(name) :]: v for k, v in state.items() if k.startswith(name)}
        )
        save_mixer(two_stream, folder, self.cfg.mixer, how_made)


def main(cfg: Train4DConfig) -> None:
    if cfg.on_wan:
        from gen.wan.train_stage import WanStage

        train(lambda device: WanStage(cfg, device), cfg)
    else:
        train(lambda device: GridStage(cfg, device), cfg)


if __name__ == "__main__":
    raise SystemExit(run_training(main, Train4DConfig, PRESETS_4D, __doc__))
