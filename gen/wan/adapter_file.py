"""The adapter of a Wan model as one small safetensors file: mixer and low-rank matrices.

The base is not in it. Metadata says what it was trained for; see docs/FORMATS.md.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fourreal.atomic import atomic_file
from fourreal.errors import UserError
from gen.sync.mixers import SyncParams
from gen.sync.names import MixerName
from gen.sync.streams import Output
from gen.wan.lattice import TimeStride
from gen.wan.model import WanModel
from gen.wan.params import WanParams
from gen.wan.two_stream import WanTwoStream

FORMAT = "fourreal-wan-adapter"


@dataclass(frozen=True)
class AdapterConfig:
    """What is needed to build an adapter again, and for which base and lattice it was trained."""

    params: WanParams
    mixer: MixerName = "soft"
    rank: int | None = 64
    layers: tuple[int, ...] | None = None
    lora_rank: int = 0
    time_stride: TimeStride = 4
    how_made: dict[str, Any] = field(default_factory=dict)

    @property
    def sync(self) -> SyncParams:
        return SyncParams(self.mixer, self.rank, self.layers)


def training_free(
    params: WanParams, mixer: MixerName, time_stride: TimeStride = 4
) -> AdapterConfig:
    """The adapter that needs no file: Eq. 12-13 (the low-rank part, which is 0, kept smallest)."""
    return AdapterConfig(params, mixer, rank=1, time_stride=time_stride)


def save_adapter(path: Path, state: dict[str, Tensor], config: AdapterConfig) -> None:
    """Write the tensors (bfloat16) of `WanTwoStream.state_dict()` and their configuration."""
    tensors = {k: v.detach().cpu().to(torch.bfloat16).contiguous() for k, v in state.items()}
    metadata = {"format": FORMAT, "version": "1", "config": json.dumps(asdict(config))}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, metadata)
        temporary.chmod(0o644)  # safetensors makes files that only their owner can read


def read_adapter(path: str | Path) -> tuple[AdapterConfig, dict[str, Tensor]]:
    """The configuration and float32 tensors of a file; UserError when it is no adapter."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no adapter at {path}; scripts/train_4d.py --base wan makes one")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT or metadata.get("version") != "1":
                raise ValueError("its metadata are of another kind")
            state = {k: file.get_tensor(k).float() for k in file.keys()}
        config = json.loads(metadata["config"])
        layers = config["layers"]
        config["layers"] = None if layers is None else tuple(layers)
        return AdapterConfig(**{**config, "params": WanParams(**config["params"])}), state
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no adapter for Wan ({error})") from error


def build_two_stream(
    model: WanModel,
    config: AdapterConfig,
    state: dict[str, Tensor] | None = None,
    output: Output = "mean",
) -> WanTwoStream:
    """The 4D model with an adapter (`state` None: untrained, hence training-free).

    model: reassembled with the adapter's `lora_rank`.
    Raises UserError when the adapter is for another base.
    """
    if config.params != model.params:
        own, other = (
            f"{p.depth} blocks of {p.width} with {p.channels} channels"
            for p in (model.params, config.params)
        )
        raise UserError(f"the adapter is for a Wan model of {other}, the weights are of {own}")
    two_stream = WanTwoStream(model, config.sync, output)
    if state is not None:
        parameters = two_stream.adapter_parameters()
        if parameters.keys() != state.keys():
            raise UserError("the adapter's tensors do not fit its configuration; train it again")
        with torch.no_grad():
            for key, parameter in parameters.items():
                parameter.copy_(state[key])
    return two_stream
