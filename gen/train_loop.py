"""What both training scripts share: optimisers, schedule, EMA, checkpoints, the progress line."""

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

from gen.atomic import atomic_file
from gen.console import say, warn
from gen.muon import Muon


def learning_rate(step: int, steps: int, warmup: int, decay: float) -> float:
    """Factor of the learning rate: linear warm-up, constant, linear to 0 in the last `decay`."""
    left = (steps - step) / max(1.0, decay * steps)
    return max(0.0, min((step + 1) / max(1, warmup), 1.0, left))


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
        for optimiser, state in zip(self.all, states, strict=True):
            optimiser.load_state_dict(state)


class EMA:
    """Running average of parameters with decay 1 - (1 + n)^(-2/3), capped at 0.9999."""

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]]):
        self.source = dict(named)
        self.average = {k: p.detach().clone() for k, p in self.source.items()}
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
    return nn.utils.clip_grad_norm_(list(parameters), limit)


def save_checkpoint(
    path: Path, step: int, module: nn.Module, optimisers: Optimisers, ema: EMA
) -> None:
    """Write everything a resumed run needs, atomically (batches depend on the step alone)."""
    state = {
        "step": step,
        "model": module.state_dict(),
        "optimisers": optimisers.state_dict(),
        "ema": ema.average,
        "ema_updates": ema.updates,
    }
    with atomic_file(path) as temporary:
        torch.save(state, temporary)


def load_checkpoint(
    path: Path, module: nn.Module, optimisers: Optimisers, ema: EMA, *, weights_only: bool = False
) -> int:
    """Restore a checkpoint, returns its step; `weights_only` takes the averaged weights alone, as
    the start of another run."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    if weights_only:
        with torch.no_grad():
            for key, p in ema.source.items():
                if key in state["ema"]:
                    p.copy_(state["ema"][key])
                    ema.average[key].copy_(p)
                else:
                    warn(f"{path} has no {key}: it starts untrained")
        return 0
    module.load_state_dict(state["model"])
    optimisers.load_state_dict(state["optimisers"])
    for key, value in state["ema"].items():
        ema.average[key].copy_(value)
    ema.updates = int(state["ema_updates"])
    return int(state["step"])


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

    def update(self, step: int, loss: float, norm: float, clips: int) -> None:
        self.loss += loss
        self.norm += norm
        self.clips += clips
        self.count += 1
        now = time.monotonic()
        if now - self.last < self.every and step < self.steps:
            return
        seconds = now - self.last
        done = step - self.first
        left = (self.steps - step) * (now - self.start) / max(1, done)
        loss_mean, norm_mean = self.loss / self.count, self.norm / self.count
        say(
            f"step {step}/{self.steps}  loss {loss_mean:.4f}  grad {norm_mean:.3f}  "
            f"{self.clips / seconds:.1f} clips/s  {seconds / self.count:.2f} s/step  "
            f"left {left / 60:.1f} min"
        )
        with self.log.open("a") as f:
            f.write(json.dumps({"step": step, "loss": loss_mean, "grad_norm": norm_mean}) + "\n")
        if not math.isfinite(loss_mean):
            raise FloatingPointError(f"the loss is {loss_mean} at step {step}; lower --lr")
        self.last = now
        self.loss = self.norm = self.clips = 0.0
        self.count = 0
