"""Train the base clip model (text -> fixed-view or freeze-time clip), see docs/TRAINING.md.

On two CPU cores, first pictures, then clips (about what made the bundled `small` weights):
    python scripts/train_base.py --preset small-pictures --out runs/pictures
    python scripts/train_base.py --preset small-clips --init runs/pictures --out runs/clips
On GPUs (a batch is that of all processes together):
    torchrun --nproc-per-node 8 scripts/train_base.py --out runs/b --size bundled --batch 512

Running the same command again continues after the last checkpoint, with the batches it would have
seen. Sample pictures, `log.jsonl` and TensorBoard files land in --out, final weights in
--out/weights.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fourreal.atomic import atomic_file
from fourreal.image_metrics import decibel
from gen import dist
from gen.camera_move import save_camera_move
from gen.data.assets.cache import CachedClips
from gen.data.batches import (
    HELD_OUT_SEED,
    ClipBatch,
    ClipPool,
    Mapping,
    draw_clips,
    seeded,
    trained_words,
)
from gen.data.world.camera_move import mean_camera_move
from gen.data.world.captions import VOCABULARY
from gen.flow.rectified import keep_known, linear_sigmas, velocity_loss, vivid_weights
from gen.flow.samplers import sample_euler
from gen.network.base import (
    BASE,
    BaseModel,
    description,
    load_base,
    read_config,
    save_base,
    take_over,
    with_vocabulary,
)
from gen.network.text import split_words
from gen.train.flow_teacher import flow_loss
from gen.train.mix import Mixture, clip_mixture
from gen.train.options import TrainBaseConfig
from gen.train.perceptual import PerceptualTerm, settled
from gen.train.presets import BASE_PRESETS, run_training
from gen.train.run import WORDS, Samples, Stage, corrupt, train

LEVELS = (0.4, 0.7, 0.95)  # noise levels at which the clean prediction is scored


def vocabulary_of(cfg: TrainBaseConfig, sources: list[Mixture]) -> list[str]:
    """The words the model can learn: those of an earlier start, of --init, or of the data."""
    for folder in (cfg.out, cfg.init):
        if folder is not None and (folder / "checkpoint.pt").exists():
            path = folder / "vocabulary.json"
            return json.loads(path.read_text()) if path.exists() else list(VOCABULARY)
    words = {w for entry in VOCABULARY for w in split_words(entry)} if cfg.mix.procedural else set()
    if cfg.start is not None:
        words |= set(read_config(cfg.start, start_network(cfg))["vocabulary"])
    counts: Counter[str] = Counter()
    for source in sources:
        counts.update(source.word_counts())
    common = sorted(counts, key=lambda w: (-counts[w], w))[: cfg.vocabulary]
    return sorted(words | set(common))


def start_network(cfg: TrainBaseConfig) -> str:
    """Which network of the folder `cfg.start` is the start: the one that is trained, or the base
    where the folder has none of it."""
    assert cfg.start is not None
    return cfg.network if description(cfg.start, cfg.network).is_file() else BASE


class BaseStage(Stage):
    """The base model, clips and pictures in the ratios of `cfg.mix`."""

    script = "train_base.py"

    def __init__(self, cfg: TrainBaseConfig, device: torch.device):
        self.cfg, self.device = cfg, device
        self.clips = clip_mixture(cfg, cfg.frames, cfg.seed, device)
        self.pictures: Mixture | None = None
        if cfg.picture_every:
            self.pictures = clip_mixture(cfg, 1, cfg.seed + 1, device)
        self.sources = [self.clips] + ([self.pictures] if self.pictures else [])
        words = vocabulary_of(cfg, self.sources)
        if dist.rank() == 0:
            with atomic_file(cfg.out / "vocabulary.json") as path:
                path.write_text(json.dumps(words))
        torch.manual_seed(cfg.seed)
        self.module: BaseModel = BaseModel(cfg.params(), words).to(device)
        if cfg.start is not None:
            take_over(self.module, load_base(cfg.start, start_network(cfg))[0], cfg.start)
        self.perceptual = PerceptualTerm(cfg)
        self.module.dit.gradient_checkpointing = cfg.gradient_checkpointing
        self.blocks = self.module.dit.blocks
        self.clips.warn_of_unknown(self.module.tokenizer.words)
        held_out = clip_mixture(cfg, cfg.frames, HELD_OUT_SEED, device, held_out=32)
        self.test = draw_clips(held_out, HELD_OUT_SEED, 0, range(32))
        self.shown = draw_clips(held_out, HELD_OUT_SEED, 1, range(32 if cfg.frames == 1 else 10))
        if cfg.frames > 1:
            self.shown.known[:5] = False
            self.shown.known[5:] = torch.arange(cfg.frames) < 1
        self.tests = {"": self.test}
        if cfg.world is not None:
            size = self.module.params.height, self.module.params.width_px
            assets = CachedClips(cfg.world, *size, HELD_OUT_SEED, held_out=True, frames=cfg.frames)
            self.tests["_assets"] = draw_clips(assets, HELD_OUT_SEED, 0, range(32))
            self.shown = draw_clips(assets, HELD_OUT_SEED, 1, range(32 if cfg.frames == 1 else 10))

    def _as_pictures(self, step: int) -> bool:
        return self.pictures is not None and step % self.cfg.picture_every == 0

    def batch_size(self, step: int) -> int:
        return self.cfg.picture_batch if self._as_pictures(step) else self.cfg.batch

    def draw(self, step: int, items: range, map_items: Mapping = map) -> ClipBatch:
        cfg = self.cfg
        if self.pictures is not None and self._as_pictures(step):
            return draw_clips(self.pictures, cfg.seed + 1, step, items, map_items=map_items)
        uniform = cfg.first_frames == "uniform"
        return draw_clips(self.clips, cfg.seed, step, items, cfg.use_frames, uniform, map_items)

    def loss(self, model: nn.Module, batch: Any, step: int) -> Tensor:
        """Velocity loss on the unknown frames, and what `cfg.perceptual` asks for."""
        cfg, device = self.cfg, self.device
        c = corrupt(batch, self.module, cfg, step, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=cfg.precision == "bf16"):
            mode, index = batch.mode.to(device), batch.index.to(device)
            out, copied = model(c.x, c.known, c.sigma_B, mode, c.ids_BL, index)
        weight = vivid_weights(c.clean, cfg.vivid_weight)
        loss = velocity_loss(out.float(), c.clean, c.sigma_B, c.known, weight)
        if copied is not None:
            loss = loss + cfg.flow * flow_loss(copied[..., :2].float(), c.clean, c.known)
        asked = settled(c.sigma_B, c.known)
        return loss + self.perceptual(out.float(), c.clean, asked, step, batch.items[0])

    def _predict(self, batch: ClipBatch, x: Tensor, sigma: Tensor) -> Tensor:
        """Clean frames of a batch from noisy ones (its known frames put in)."""
        d = self.device
        known, ids = batch.known.to(d), self.module.tokenizer.encode(batch.texts, WORDS).to(d)
        x = keep_known(x, batch.clean.to(d), known)
        mode, index = batch.mode.to(d), batch.index.to(d)
        return self.module(x, known, sigma.expand(len(x)), mode, ids, index)[0]

    @torch.no_grad()
    def sample(self) -> Samples:
        """PSNR of the clean prediction on unknown frames at fixed levels; clips of some texts."""
        d, shown = self.device, self.shown
        scalars = {}
        for name, test in self.tests.items():
            clean, known = test.clean.to(d), test.known.to(d)
            noise = torch.randn(clean.shape, generator=seeded(5)).to(d)
            for level in LEVELS:
                x = (1 - level) * clean + level * noise
                out = self._predict(test, x, torch.tensor(level, device=d))
                error = ((out.clamp(-1, 1) - clean) / 2)[~known].square().mean()
                scalars[f"clean_psnr_{level}{name}"] = float(decibel(float(error)))

        def model(x: Tensor, sigma: Tensor) -> Tensor:
            out = self._predict(shown, x, sigma)
            return keep_known(out, shown.clean.to(d), shown.known.to(d))

        noise = torch.randn(shown.clean.shape, generator=seeded(6)).to(d)
        out = sample_euler(model, noise, linear_sigmas(8, 2.0).to(d))
        columns = out.shape[1] if out.shape[1] > 1 else 8
        return Samples(scalars, out.flatten(0, 1).unflatten(0, (-1, columns)), shown.texts)

    def save(self, state: dict[str, Tensor], folder: Path, how_made: dict[str, Any]) -> None:
        """A weights folder that knows only the words it was trained on."""
        model = BaseModel(self.module.params, self.module.tokenizer.words)
        model.load_state_dict(state)
        words = set(trained_words(self.cfg.pool.world)) if self.cfg.mix.procedural else set()
        for source in self.sources:
            words |= source.word_counts().keys()
        known = [w for w in model.tokenizer.words if w in words]
        save_base(with_vocabulary(model, known), folder, how_made, self.cfg.network)
        # Scenes for prompts of the asset world share the procedural world's camera move.
        alone = all(isinstance(s, (ClipPool, CachedClips)) for s in self.clips.sources)
        move = mean_camera_move(self.cfg.pool.world) if self.cfg.mix.procedural else None
        if alone and move is not None and self.cfg.network == BASE:
            save_camera_move(folder, *move)


def main(cfg: TrainBaseConfig) -> None:
    train(lambda device: BaseStage(cfg, device), cfg)


if __name__ == "__main__":
    raise SystemExit(run_training(main, TrainBaseConfig, BASE_PRESETS, __doc__))
