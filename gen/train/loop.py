"""The parts of a training loop: optimisers, schedules, EMA, checkpoints, the progress line.

Everything works on whole and on sharded parameters (`gen.dist.shard`); checkpoints always
hold whole tensors, so that a run may go on with any number of processes.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from fourreal.atomic import atomic_file
from fourreal.console import say
from fourreal.errors import UserError
from gen import dist
from gen.dist import warn
from gen.train.muon import Muon


def learning_rate(step: int, steps: int, warmup: int, decay: float) -> float:
    """Factor of the learning rate: linear warm-up, constant, linear to 0 in the last `decay`."""
    left = (steps - step) / max(1.0, decay * steps)
    return max(0.0, min((step + 1) / max(1, warmup), 1.0, left))


def cosine_rate(step: int, steps: int, warmup: int) -> float:
    """Factor of the learning rate: linear warm-up, then half a cosine to 0 (supplement 1.1)."""
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    return 0.5 * (1 + math.cos(math.pi * done))


class Optimisers:
    """AdamW for everything, or Muon for the block matrices and AdamW for the rest."""

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]], name: str, lr: float):
        if name not in ("adamw", "muon"):
            raise ValueError(f"got optimiser {name!r}, expected 'adamw' or 'muon'")
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for key, p in named:
            in_block = "blocks." in key or ".layers." in key
            (matrices if name == "muon" and p.dim() == 2 and in_block and min(p.shape) > 16
             else rest).append(p)  # fmt: skip
        self.lr = lr
        self.all: list[torch.optim.Optimizer] = []
        if rest:
            self.all.append(torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), weight_decay=0.0))
        if matrices:
            self.all.append(Muon(matrices, lr=lr))

    def step(self, factor: float) -> None:
        """One update at `factor` times the base learning rate; gradients are cleared."""
        for optimiser in self.all:
            for group in optimiser.param_groups:
                group["lr"] = self.lr * factor
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        return [o.state_dict() for o in self.all]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Restore whole tensors, sharded where their parameters are."""
        for optimiser, state in zip(self.all, states, strict=True):
            params = [p for group in optimiser.param_groups for p in group["params"]]
            for i, values in state["state"].items():
                state["state"][i] = {
                    k: dist.like(v, params[i]) if v.shape == params[i].shape else v
                    for k, v in values.items()
                }
            optimiser.load_state_dict(state)


class EMA:
    """Running average of parameters with decay 1 - (1 + n)^(-2/3), capped at 0.9999."""

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]]):
        self.source = dict(named)
        self.average: dict[str, Tensor] = {k: p.detach().clone() for k, p in self.source.items()}
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        decay = min(0.9999, 1 - (1 + self.updates) ** (-2 / 3))
        for key, p in self.source.items():
            self.average[key].lerp_(p, 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the parameters with their average (call again to go back)."""
        for key, p in self.source.items():
            current = p.detach().clone()
            p.copy_(self.average[key])
            self.average[key] = current


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Scale gradients down to a joint norm of `limit`; returns the norm before."""
    parameters = [p for p in parameters if p.grad is not None]
    norm = dist.full(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
    nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return norm


def save_checkpoint(
    path: Path, step: int, module: nn.Module, optimisers: Optimisers, ema: EMA
) -> None:
    """Write everything a resumed run needs, atomically (batches depend on the step alone).

    Only the first process writes; all must call when parameters are sharded.
    """
    state = {
        "step": step,
        "model": dist.full(dict(module.state_dict())),
        "optimisers": dist.full(optimisers.state_dict()),
        "ema": dist.full(ema.average),
        "ema_updates": ema.updates,
    }
    if dist.rank() == 0:
        with atomic_file(path) as temporary:
            torch.save(state, temporary)


def load_checkpoint(
    path: Path, module: nn.Module, optimisers: Optimisers, ema: EMA, *, weights_only: bool = False
) -> int:
    """Restore a checkpoint, returns its step; `weights_only` takes the averaged weights alone, as
    the start of another run.

    Raises UserError when it is of another model or not readable.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if weights_only:
            _start_from(state["ema"], path, ema)
            return 0
        own = module.state_dict()
        if own.keys() != state["model"].keys():
            raise ValueError("its parameters have other names")
        for key, value in state["model"].items():
            dist.copy_into(own[key], value)
        optimisers.load_state_dict(state["optimisers"])
        for key, value in state["ema"].items():
            dist.copy_into(ema.average[key], value)
        ema.updates = int(state["ema_updates"])
        return int(state["step"])
    except (OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} does not fit this run ({error}); use the options it was made with, or another "
            "--out"
        ) from error


def _start_from(average: dict[str, Tensor], path: Path, ema: EMA) -> None:
    for key, p in ema.source.items():
        if key in average:
            dist.copy_into(p, average[key])
            dist.copy_into(ema.average[key], average[key])
        else:
            warn(f"{path} has no {key}: it starts untrained")


def forget_log_after(path: Path, step: int) -> None:
    """Drop the lines of a log that belong to steps a resumed run takes again."""
    if not path.exists():
        return
    lines = [x for x in path.read_text().splitlines() if x.endswith("}")]
    kept = [x for x in lines if json.loads(x)["step"] <= step]
    with atomic_file(path) as temporary:
        temporary.write_text("".join(x + "\n" for x in kept))


def save_sheet(frames_RCHWC: Tensor, path: Path, enlarge: int = 3) -> None:
    """A contact sheet of frames in [-1, 1], R rows of C, as PNG."""
    picture = ((frames_RCHWC.clamp(-1, 1) + 1) * 127.5).cpu().numpy().astype(np.uint8)
    r, c, h, w, _ = picture.shape
    picture = picture.transpose(0, 2, 1, 3, 4).reshape(r * h, c * w, 3)
    picture = picture.repeat(enlarge, 0).repeat(enlarge, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture[..., ::-1])


class Progress:
    """One line every few seconds: step, loss, gradient norm, clips a second, time left."""

    def __init__(self, steps: int, first: int, log: Path, every_seconds: float = 20.0):
        self.steps, self.first, self.log = steps, first, log
        self.every = every_seconds
        self.start = self.last = time.monotonic()
        self.loss = self.norm = self.clips = 0.0
        self.count = 0

    @property
    def minutes(self) -> float:
        return (time.monotonic() - self.start) / 60

    def update(self, step: int, loss: float, norm: float, clips: int) -> dict[str, float] | None:
        """Count one step; returns the means since the last line when it prints one.

        Raises UserError when the loss is not finite.
        """
        self.loss += loss
        self.norm += norm
        self.clips += clips
        self.count += 1
        now = time.monotonic()
        if now - self.last < self.every and step < self.steps and math.isfinite(loss):
            return None
        seconds = now - self.last
        done = step - self.first
        left = (self.steps - step) * (now - self.start) / max(1, done)
        means = {
            "loss": self.loss / self.count,
            "grad_norm": self.norm / self.count,
            "clips_per_second": self.clips / seconds,
        }
        say(
            f"step {step}/{self.steps}  loss {means['loss']:.4f}  grad {means['grad_norm']:.3f}  "
            f"{means['clips_per_second']:.1f} clips/s  {seconds / self.count:.2f} s/step  "
            f"left {left / 60:.1f} min"
        )
        with self.log.open("a") as f:
            f.write(json.dumps({"step": step, **means}) + "\n")
        if not math.isfinite(loss):
            raise UserError(f"the loss is {loss} at step {step}; lower --lr")
        self.last = now
        self.loss = self.norm = self.clips = 0.0
        self.count = 0
        return means
