"""Trained mixers in a weights folder: `<mixer>-NN.safetensors` beside `<mixer>.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from fourreal.atomic import atomic_file
from fourreal.errors import UserError
from fourreal.read_text import read_json
from gen.network.base import DAMAGED, BaseModel, load_shards, save_shards
from gen.sync.mixers import Drop, NoSync, SyncParams, layers_without
from gen.sync.names import MixerName
from gen.sync.two_stream import Output, TwoStream

_SAID = {True: "copies from first frames", False: "does not copy from first frames"}


def of_a_copying_network(folder: Path, mixer: MixerName) -> bool:
    """Whether a folder's mixer was trained on a network that copies from first frames; False where
    there is none, or its description cannot be read, which is told where it is loaded."""
    try:
        return _copies(read_json(Path(folder) / f"{mixer}.json"))
    except ValueError:
        return False


def _copies(config: dict[str, Any]) -> bool:
    return bool(config.get("copies", False))


def save_mixer(model: TwoStream, folder: Path, mixer: MixerName, how_made: dict[str, Any]) -> None:
    """Write the mixer's tensors (bf16) and what is needed to build it again."""
    if isinstance(model.mixer, NoSync):
        raise ValueError("mixer 'none' has no weights")
    save_shards(folder, mixer, model.mixer.state_dict())
    params = model.mixer.params
    config = {
        "format": "fourreal-mixer",
        "version": 1,
        "mixer": mixer,
        "rank": params.rank,
        "layers": None if params.layers is None else list(params.layers),
        "copies": model.dit.params.copies,
        "how_made": how_made,
    }
    with atomic_file(folder / f"{mixer}.json") as path:
        path.write_text(json.dumps(config, indent=1) + "\n")


def load_mixer(model: TwoStream, folder: Path, mixer: MixerName) -> None:
    """Fill a model with the tensors of a mixer's files.

    UserError: there are none; RuntimeError, ValueError: they are of other shapes.
    """
    if isinstance(model.mixer, NoSync):
        raise ValueError("mixer 'none' has no weights")
    model.mixer.load_state_dict(load_shards(folder, mixer))


def load_two_stream(
    base: BaseModel,
    folder: Path,
    mixer: MixerName,
    output: Output = "mean",
    drop: Drop = "none",
) -> tuple[TwoStream, dict[str, Any]]:
    """The 4D model in eval mode with a trained mixer, and the mixer's configuration.

    `drop` switches the first or the last third of its layers off.
    Raises UserError when the folder has no such mixer or it does not fit the base model, which
    must copy from first frames if that which it was trained on did.
    """
    path = Path(folder) / f"{mixer}.json"
    if not path.is_file():
        raise UserError(f"no trained {mixer} mixer in {folder}; use another, or an untrained one")
    try:
        config = read_json(path)
        layers = config["layers"]
        if not 0 < int(config["rank"] or 1) <= base.params.width:
            raise ValueError(f"rank {config['rank']}: expected at most {base.params.width}")
        if _copies(config) != base.params.copies:
            raise ValueError("it is of a network that " + _SAID[_copies(config)])
        trained = range(base.params.depth) if layers is None else layers
        kept = set(layers_without(base.params.depth, drop))
        sync = SyncParams(mixer, config["rank"], tuple(i for i in trained if i in kept))
        model = TwoStream(base.dit, sync, output)
        load_mixer(model, Path(folder), mixer)
    except (*DAMAGED, IndexError, SafetensorError) as error:
        raise UserError(f"the {mixer} mixer in {folder} does not fit: {error}") from error
    return model.to(base.device).eval().requires_grad_(False), config
