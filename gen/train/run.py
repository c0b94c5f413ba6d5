"""The training loop that all stages share: a script brings a `Stage`, `train` does the rest.

A step's batch is drawn for all processes together, each takes its share, and gradients are
averaged, so that any number of processes takes the same steps.  A run goes on after its last
checkpoint with the batches it would have seen.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fourreal.atomic import remove_partials
from fourreal.errors import UserError
from gen import dist
from gen.data.batches import ClipBatch, Mapping, seeded
from gen.data.grid_batches import GridBatch
from gen.flow.rectified import add_noise, keep_known, sample_sigma
from gen.network.base import BaseModel
from gen.train.loop import (
    EMA,
    Optimisers,
    Progress,
    clip_gradients,
    cosine_rate,
    forget_log_after,
    learning_rate,
    load_checkpoint,
    save_checkpoint,
    save_sheet,
)
from gen.train.options import TrainOptions

WORDS = 40  # texts are padded or cut to this, so that a compiled model sees one shape
Batch = ClipBatch | GridBatch


@dataclass
class Samples:
    """What is shown of a model in training: figures by name and a sheet [R, C, H, W, 3]."""

    scalars: dict[str, float]
    sheet: Tensor
    texts: list[str]


class Stage(ABC):
    """What one script brings: a model (whose parameters with `requires_grad` are trained), data,
    a loss, samples and a way to save the result.  It is made alike on all processes."""

    script: str
    module: nn.Module
    blocks: nn.ModuleList  # sharded one by one under --shard

    @abstractmethod
    def batch_size(self, step: int) -> int:
        """Number of items of a step's batch, of all processes together."""

    @abstractmethod
    def draw(self, step: int, items: range, map_items: Mapping = map) -> Batch:
        """Those items of a step's batch."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch, step: int) -> Tensor:
        """Mean loss of a batch; `model` is `module`, perhaps wrapped."""

    @abstractmethod
    def sample(self) -> Samples:
        """Samples of `module` (all processes call this when parameters are sharded)."""

    @abstractmethod
    def save(self, state: dict[str, Tensor], folder: Path, how_made: dict[str, Any]) -> None:
        """Write the weights folder from the whole tensors of `module`."""

    def start(self) -> str:
        """One line of figures before the first step, if there are any."""
        return ""


@dataclass
class Corrupted:
    """A batch on its way into the model: clean and noised frames, known ones kept, sigma, ids."""

    clean: Tensor
    x: Tensor
    known: Tensor
    sigma_B: Tensor
    ids_BL: Tensor


def corrupt(
    batch: Batch, base: BaseModel, cfg: TrainOptions, step: int, device: torch.device
) -> Corrupted:
    """Fresh noise, noise levels and dropped texts, each item's by (seed, step, number) alone."""
    sigmas, noises, texts = [], [], []
    for i, text in zip(batch.items, batch.texts, strict=True):
        g = seeded(cfg.seed, step, i, 11)
        texts.append("" if float(torch.rand((), generator=g)) < cfg.text_drop else text)
        sigmas.append(sample_sigma(1, g, mean=cfg.sigma_mean))
        noises.append(torch.randn(batch.clean.shape[1:], generator=g))
    clean, known = batch.clean.to(device), batch.known.to(device)
    sigma = torch.cat(sigmas).to(device)
    x = keep_known(add_noise(clean, torch.stack(noises).to(device), sigma), clean, known)
    return Corrupted(clean, x, known, sigma, base.tokenizer.encode(texts, WORDS).to(device))


def pieces(stage: Stage, cfg: TrainOptions, step: int) -> list[range]:
    """This process's share of a step's batch, cut into micro-batches.

    Raises UserError when the processes cannot share it evenly.
    """
    try:
        mine = dist.share(stage.batch_size(step))
    except ValueError as error:
        raise UserError(f"{error}; choose batch sizes that do") from error
    size = cfg.micro_batch or len(mine)
    return [mine[i : i + size] for i in range(0, len(mine), size)]


def read_ahead(stage: Stage, plan: Iterator[tuple[int, range]], readers: int) -> Iterator[Batch]:
    """The batches of a plan in order; with readers > 0 the next one is read by that many threads
    while this one is in use."""
    if readers == 0:
        for step, items in plan:
            yield stage.draw(step, items)
        return
    with ThreadPoolExecutor(readers) as threads, ThreadPoolExecutor(1) as ahead:
        waiting: Future[Batch] | None = None
        for step, items in plan:
            coming = ahead.submit(stage.draw, step, items, threads.map)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()


def backward(
    stage: Stage, model: nn.Module, batches: Iterator[Batch], parts: list[range], step: int
) -> Tensor:
    """Gradients of one step, piece by piece; returns this process's mean loss."""
    total = sum(len(part) for part in parts)
    losses = []
    for part in parts:
        last = part is parts[-1]
        with nullcontext() if last else dist.without_gradient_sync(model):
            loss = stage.loss(model, next(batches), step) * (len(part) / total)
            loss.backward()
        losses.append(loss.detach())
    return torch.stack(losses).sum()


def wrap(stage: Stage, cfg: TrainOptions) -> nn.Module:
    """The stage's model for training: sharded, or under DDP, or as it is (one process)."""
    if cfg.shard:
        return dist.shard(stage.module, stage.blocks)
    compiled = getattr(cfg, "compile", False)
    model = torch.compile(stage.module) if compiled else stage.module
    return dist.wrap(model)  # type: ignore[arg-type]


class _Board:
    """TensorBoard scalars and pictures in OUT/tensorboard, from the first process alone; without
    the package, a line says that there are none."""

    def __init__(self, folder: Path, first: int):
        try:
            from torch.utils.tensorboard import SummaryWriter  # seconds to import
        except ImportError:
            dist.say("no TensorBoard files: pip install 'fourreal[train]' (log.jsonl is written)")
            self.writer = None
        else:
            self.writer = SummaryWriter(str(folder), purge_step=first + 1)

    def scalars(self, values: dict[str, float], step: int, group: str) -> None:
        if self.writer is None:
            return
        for name, value in values.items():
            self.writer.add_scalar(f"{group}/{name}", value, step)
        self.writer.flush()

    def samples(self, samples: Samples, step: int) -> None:
        if self.writer is None:
            return
        self.scalars(samples.scalars, step, "samples")
        r, c, h, w, _ = samples.sheet.shape
        sheet = ((samples.sheet.clamp(-1, 1) + 1) / 2).permute(0, 2, 1, 3, 4)
        self.writer.add_image(
            "samples", sheet.reshape(r * h, c * w, 3).float(), step, dataformats="HWC"
        )
        self.writer.add_text("samples", "\n\n".join(samples.texts), step)
        self.writer.flush()


def train(make: Callable[[torch.device], Stage], cfg: TrainOptions) -> None:
    """Train a stage to the end of its steps (or minutes), going on from the last checkpoint."""
    _, _, device = dist.setup()
    try:
        cfg.out.mkdir(parents=True, exist_ok=True)
        if dist.rank() == 0:
            remove_partials(cfg.out)
        _train(make(device), cfg, device)
    finally:
        dist.cleanup()


def _train(stage: Stage, cfg: TrainOptions, device: torch.device) -> None:
    checkpoint, log = cfg.out / "checkpoint.pt", cfg.out / "log.jsonl"
    leader = dist.rank() == 0
    model = wrap(stage, cfg)
    trained = [(k, p) for k, p in stage.module.named_parameters() if p.requires_grad]
    optimisers, ema = Optimisers(trained, cfg.optimiser, cfg.lr), EMA(trained)
    first = 0
    if checkpoint.exists():
        first = load_checkpoint(checkpoint, stage.module, optimisers, ema)
        dist.say(f"continuing after step {first}")
    elif cfg.init is not None:
        if not (cfg.init / "checkpoint.pt").exists():
            raise UserError(f"--init {cfg.init} holds no checkpoint.pt")
        load_checkpoint(
            cfg.init / "checkpoint.pt", stage.module, optimisers, ema, weights_only=True
        )
    together = dist.is_sharded(stage.module)  # then samples and checkpoints need all processes
    count = sum(p.numel() for _, p in trained) / 1e6
    how = "sharded" if together else "whole"
    dist.say(f"{count:.2f} M trained parameters, {dist.world()} process(es), {how}, {device}")
    if first == 0 and (leader or together):
        line = stage.start()
        if line:
            dist.say(line)
    board = None
    if leader:
        forget_log_after(log, first)
        board = _Board(cfg.out / "tensorboard", first)
    progress = Progress(cfg.steps, first, log)
    plan = ((s, part) for s in range(first, cfg.steps) for part in pieces(stage, cfg, s))
    batches = read_ahead(stage, plan, cfg.readers)
    saved, step = time.monotonic(), first
    while step < cfg.steps:
        loss = backward(stage, model, batches, pieces(stage, cfg, step), step)
        norm = clip_gradients([p for _, p in trained], cfg.clip_norm)
        if cfg.schedule == "cosine":
            rate = cosine_rate(step, cfg.steps, cfg.warmup)
        else:
            rate = learning_rate(step, cfg.steps, cfg.warmup, cfg.decay)
        optimisers.step(rate)
        ema.update()
        size = stage.batch_size(step)
        step += 1
        mean = float(dist.mean_over_ranks(loss))
        if board is not None:
            figures = progress.update(step, mean, float(norm), size)
            if figures:
                board.scalars({**figures, "lr": cfg.lr * rate}, step, "train")
        late = cfg.max_minutes < float("inf") and progress.minutes > cfg.max_minutes
        stop = cfg.max_minutes < float("inf") and dist.any_rank(late, device)
        last = step == cfg.steps or stop
        if (leader or together) and (step % cfg.sample_every == 0 or last):
            ema.swap()
            samples = stage.sample()
            ema.swap()
            if board is not None:
                _show(samples, step, cfg.out / "samples", board)
        due = time.monotonic() - saved > 60 * cfg.checkpoint_minutes
        due = dist.any_rank(due, device) if together else due
        due = due or bool(cfg.checkpoint_every and step % cfg.checkpoint_every == 0)
        if (leader or together) and (due or last):
            save_checkpoint(checkpoint, step, stage.module, optimisers, ema)
            saved = time.monotonic()
        if stop:
            dist.say(
                f"stopped after {progress.minutes:.1f} minutes at step {step}; run again to go on"
            )
            break
    if leader or together:
        ema.swap()
        state = dist.full(dict(stage.module.state_dict()))
        ema.swap()
        if leader:
            made = {"script": stage.script, "step": step, **cfg.how_made()}
            stage.save({k: v.cpu() for k, v in state.items()}, cfg.out / "weights", made)


def _show(samples: Samples, step: int, folder: Path, board: _Board) -> None:
    figures = "  ".join(f"{k} {v:.2f}" for k, v in samples.scalars.items())
    dist.say(f"step {step}  {figures}")
    path = folder / f"{step:06d}.png"
    save_sheet(samples.sheet, path)
    path.with_suffix(".txt").write_text("\n".join(samples.texts) + "\n", "utf-8")
    board.samples(samples, step)
