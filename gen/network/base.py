"""The base model as one module: tokenizer + text encoder + DiT, saved and loaded together.

A weights folder holds `config.json` (size, vocabulary, resolution, how it was made) and one or
more `base-*.safetensors` shards; see `docs/FORMATS.md`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fourreal.atomic import atomic_file
from fourreal.errors import UserError
from fourreal.health import require_finite
from fourreal.read_text import read_json
from gen.network.dit import DiT
from gen.network.params import DiTParams
from gen.network.text import SPECIAL, TextEncoder, Tokenizer

SHARD_BYTES = 14_000_000
# Networks of a weights folder: of clips and grids, of first frames, of what follows given frames.
BASE, PICTURE, CLIP = "base", "picture", "clip"
CAMERA_MOVE = "cameras.json"  # beside a base whose world has one, see gen.camera_move
COPY = "dit.copy."  # names of the head that only some networks have
# What fields of a wrong type or value lead to where a network is built of them.
DAMAGED = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RuntimeError)


class BaseModel(nn.Module):
    """Text-conditioned clip model; frames in [-1, 1]."""

    def __init__(self, params: DiTParams, vocabulary: Sequence[str]):
        super().__init__()
        self.params = params
        self.tokenizer = Tokenizer(vocabulary)
        self.text = TextEncoder(len(self.tokenizer), params.text_width)
        self.dit = DiT(params)

    @property
    def device(self) -> torch.device:
        return self.dit.head_out.weight.device

    def encode_text(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Features [B, L, D] and mask [B, L] of the prompts; '' is the unconditional one."""
        return self.text(self.tokenizer.encode(prompts).to(self.device))

    def forward(
        self,
        x_BFHWC: Tensor,
        known_BF: Tensor,
        sigma_B: Tensor,
        mode_B: Tensor,
        ids_BL: Tensor,
        index_F: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Clean frames from noisy ones, and what they copy; see `DiT.predict`."""
        text, mask = self.text(ids_BL)
        return self.dit.predict(x_BFHWC, known_BF, sigma_B, mode_B, text, mask, index_F)


def with_vocabulary(model: BaseModel, words: Sequence[str]) -> BaseModel:
    """A copy that knows only `words` (those it was really trained on); the rest is the same.

    Raises ValueError when a word is not in the model's vocabulary.
    """
    old = model.tokenizer
    new = BaseModel(model.params, words)
    missing = [w for w in new.tokenizer.words if w not in old.words]
    if missing:
        raise ValueError(f"words outside the vocabulary: {', '.join(missing)}")
    state = dict(model.state_dict())
    place = {word: SPECIAL + i for i, word in enumerate(old.words)}
    rows = [*range(SPECIAL), *(place[w] for w in new.tokenizer.words)]
    state["text.embedding.weight"] = state["text.embedding.weight"][rows]
    new.load_state_dict(state)
    return new


def take_over(model: BaseModel, old: BaseModel, folder: Path) -> None:
    """Give a model the weights of another, read from `folder`: all of the network, and the words
    that both know; words that are new to it keep their fresh embeddings, and a head that copies
    is fresh where the other has none.

    UserError when the network has another shape.
    """
    own, given = model.state_dict(), old.state_dict()
    name = "text.embedding.weight"
    table = own[name].clone()
    table[:SPECIAL] = given[name][:SPECIAL]
    for i, word in enumerate(old.tokenizer.words):
        if word in model.tokenizer.words:
            table[SPECIAL + model.tokenizer.words.index(word)] = given[name][SPECIAL + i]
    try:
        fresh = {k: v for k, v in own.items() if k.startswith(COPY)}
        model.load_state_dict({**fresh, **given, name: table})
    except RuntimeError as error:
        raise UserError(f"--start {folder} is a network of another shape; choose its --size") from (
            error
        )


def save_shards(folder: Path, name: str, state: dict[str, Tensor], dtype=torch.bfloat16) -> int:
    """Write `name-00.safetensors`, ... of at most 14 MB each; returns the number of bytes."""
    parts: list[dict[str, Tensor]] = [{}]
    size = total = 0
    for key, value in state.items():
        tensor = value.detach().cpu().to(dtype).contiguous()
        size += tensor.nbytes
        total += tensor.nbytes
        if size > SHARD_BYTES and parts[-1]:
            parts.append({})
            size = tensor.nbytes
        parts[-1][key] = tensor
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{name}-[0-9][0-9].safetensors"):
        old.unlink()
    for i, part in enumerate(parts):
        with atomic_file(folder / f"{name}-{i:02d}.safetensors") as path:
            save_file(part, path)
            path.chmod(0o644)  # safetensors makes files that only their owner can read
    return total


def shards(folder: Path, name: str) -> list[Path]:
    """The files of `save_shards`, in order; UserError when there are none."""
    paths = sorted(folder.glob(f"{name}-[0-9][0-9].safetensors"))
    if not paths:
        raise UserError(f"no {name} weights in {folder}; expected {name}-00.safetensors")
    return paths


def load_shards(folder: Path, name: str) -> dict[str, Tensor]:
    """Join the shards of `save_shards` in float32; UserError when there are none."""
    state: dict[str, Tensor] = {}
    for path in shards(folder, name):
        state |= {k: v.float() for k, v in load_file(path).items()}
    require_finite(f"weights '{name}' in {folder}", state, "they cannot be used")
    return state


def check_claim(folder: Path, name: str, params: DiTParams) -> None:
    """Refuse a configuration of a network far larger than its shards, before it is built.

    Raises ValueError.
    """
    for field, value in asdict(params).items():
        if isinstance(value, int) and not 0 <= value <= 1 << 14:
            raise ValueError(f"{field} {value}: expected at most {1 << 14}")
    held = sum(p.stat().st_size for p in shards(folder, name))
    least = 8 * params.depth * params.width**2  # bytes of attention alone, in half precision
    if least > held:
        raise ValueError(f"{least >> 20} MB of weights are described, {held >> 20} MB are there")


def description(folder: Path, name: str = BASE) -> Path:
    """The file that describes a network of a weights folder: `config.json` for the base."""
    return Path(folder) / ("config.json" if name == BASE else f"{name}.json")


def grid_network(folder: Path) -> str:
    """Name of the network that a folder's mixers are trained on: that of what follows given frames,
    or the base where there is none."""
    return CLIP if description(folder, CLIP).is_file() else BASE


def copy_network(made: Path, name: str, target: Path) -> None:
    """Copy a network's or a mixer's shards, if it has been written, and what describes it (with
    the base its camera move); shards in `target` that are left of an earlier, larger one go."""
    if not (made / f"{name}-00.safetensors").is_file():
        return
    files = shards(made, name)
    target.mkdir(parents=True, exist_ok=True)
    beside = [made / CAMERA_MOVE] if name == BASE else []
    for path in [*files, description(made, name), *beside]:
        if path.is_file():
            with atomic_file(target / path.name) as temporary:
                shutil.copyfile(path, temporary)
    for old in shards(target, name)[len(files) :]:
        old.unlink()


def save_base(model: BaseModel, folder: Path, how_made: dict[str, Any], name: str = BASE) -> None:
    """Write a network into a weights folder: bf16 shards, then what describes it."""
    save_shards(folder, name, model.state_dict())
    config = {
        "format": "fourreal-weights",
        "version": 1,
        "params": asdict(model.params),
        "vocabulary": model.tokenizer.words,
        "how_made": how_made,
    }
    with atomic_file(description(folder, name)) as path:
        path.write_text(json.dumps(config, indent=1) + "\n")


def read_config(folder: Path, name: str = BASE) -> dict[str, Any]:
    """What describes a network of a weights folder; UserError when it is missing or of another
    kind."""
    path = description(folder, name)
    if not path.is_file():
        raise UserError(f"{folder} holds no weights ({path.name} is missing)")
    try:
        config = read_json(path)
        if config["format"] != "fourreal-weights" or config["version"] != 1:
            raise ValueError("unknown format or version")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} does not describe weights: {error}") from error
    return config


def training_world(config: dict[str, Any]) -> str | None:
    """The procedural world that the weights of a configuration were trained on, if it says so."""
    return config["how_made"].get("pool", {}).get("world")


def load_base(folder: Path, name: str = BASE) -> tuple[BaseModel, dict[str, Any]]:
    """A model of a weights folder in float32 and eval mode, and its configuration.

    Raises UserError when the folder is not one or its tensors do not fit its configuration.
    """
    config = read_config(folder, name)
    try:
        params = DiTParams(**config["params"])
        check_claim(Path(folder), name, params)
        model = BaseModel(params, config["vocabulary"])
        model.load_state_dict(load_shards(Path(folder), name))
    except (*DAMAGED, SafetensorError) as error:
        raise UserError(f"the weights in {folder} do not fit together: {error}") from error
    return model.eval().requires_grad_(False), config
