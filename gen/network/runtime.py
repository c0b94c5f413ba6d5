"""Where and how the network runs: seconds and memory change, the result only by rounding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, get_args

import torch
from torch import nn

from fourreal.console import warn
from fourreal.errors import UserError
from gen.network.dit import DiT

Precision = Literal["fp32", "bf16"]
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Runtime:
    """Device `auto` is CUDA where there is a device; `max_memory_gb` None means no bound.

    bf16 is for the blocks and mixers (see `DiT.run_blocks_in`); `compile` is `torch.compile` of
    the blocks, which costs a minute at first and is worth it for big sizes only.
    """

    device: str = "auto"
    precision: Precision = "fp32"
    compile: bool = False
    max_memory_gb: float | None = None

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise UserError(f"unknown precision {self.precision!r}; choose fp32 or bf16")
        if self.max_memory_gb is not None and not self.max_memory_gb > 0:
            raise UserError(f"--max-memory {self.max_memory_gb}: give a number of GB above 0")

    def torch_device(self) -> torch.device:
        """The device; UserError when it is not there."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise UserError("no CUDA device here; use the device 'cpu' or 'auto'")
        return torch.device(self.device)

    def prepare(self, model: Network) -> Network:
        """Move a model around a `dit` (base model or upsampler) to its device and precision, in
        place, before mixers are built for it."""
        device = self.torch_device()
        model = model.to(device).eval()
        dit = model.dit
        assert isinstance(dit, DiT)
        if self.precision == "bf16":
            if device.type == "cuda" and not torch.cuda.is_bf16_supported():
                raise UserError("this GPU has no bfloat16; use the precision fp32")
            if device.type == "cpu" and not cpu_has_bf16():
                warn("no bfloat16 arithmetic found in this CPU: bf16 saves memory here, not time")
            dit.run_blocks_in(torch.bfloat16)
        if self.compile:
            dit.compile_blocks()
        return model


def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU multiplies bfloat16 matrices natively (False where it cannot be known)."""
    try:
        words = cpuinfo.read_text().split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(words)
