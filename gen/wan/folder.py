"""A local folder of Wan weights in diffusers' layout; nothing is ever downloaded.

The folder has `model_index.json` and one sub-folder a part: transformer, vae, text_encoder,
tokenizer, and perhaps scheduler.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from fourreal.errors import UserError
from gen.wan.lattice import LatentCodec, TimeStride
from gen.wan.model import WanModel
from gen.wan.params import DEFAULT_MODEL, MODELS, VaeParams, WanParams
from gen.wan.text import TextFeatures

PARTS = {
    "transformer": "WanTransformer3DModel",
    "vae": "AutoencoderKLWan",
    "text_encoder": "UMT5EncoderModel",
    "tokenizer": "",  # any that transformers' AutoTokenizer reads
}


def where_to_get() -> str:
    """Which repository to get, its size and licence, how."""
    small, large = DEFAULT_MODEL, MODELS["wan2.2-ti2v-5b"]
    return (
        f"get {small.repository} ({small.download_gb} GB, {small.licence}) or {large.repository} "
        f"({large.download_gb} GB, {large.licence}), for example with `hf download "
        f"{small.repository} --local-dir DIR`, and give --weights DIR"
    )


def check_installed() -> None:
    """UserError when the libraries of the extra `[wan]` are not there."""
    missing = [m for m in ("diffusers", "transformers") if importlib.util.find_spec(m) is None]
    if missing:
        raise UserError(f"Wan needs {' and '.join(missing)}; pip install -e '.[wan]'")


class WanFolder:
    """Checked on construction; parts are loaded when asked for.

    Raises:
        UserError: no folder given, parts missing, or a pipeline of another kind; the message says
            what to get.
    """

    def __init__(self, path: str | Path):
        if not str(path):
            raise UserError(f"Wan's weights are not in this package; {where_to_get()}")
        self.path = Path(path)
        if not self.path.is_dir():
            raise UserError(f"no folder {self.path}; Wan's weights: {where_to_get()}")
        absent = [part for part in PARTS if not (self.path / part).is_dir()]
        if absent:
            raise UserError(
                f"{self.path} has no {', '.join(absent)}, so it is no Wan model in diffusers' "
                f"layout; {where_to_get()}"
            )
        index = self._read("model_index.json") if self._has("model_index.json") else {}
        if index.get("boundary_ratio") is not None or (self.path / "transformer_2").is_dir():
            raise UserError(
                f"{self.path} is a Wan model of two experts (A14B); use a single one: "
                f"{where_to_get()}"
            )
        for part, kind in PARTS.items():
            if kind and (name := self._part_class(part)) not in ("", kind):
                raise UserError(f"{self.path / part} is a {name}, not a {kind}; {where_to_get()}")
        self.params = WanParams.from_config(
            {
                "image_dim": None, "added_kv_proj_dim": None, "freq_dim": 256,
                "rope_max_seq_len": 1024, "patch_size": (1, 2, 2), "text_dim": 4096,
                **self._read("transformer/config.json"),
            }
        )  # fmt: skip
        self.clean_tokens = bool(index.get("expand_timesteps", False))

    def _has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def _read(self, name: str) -> dict[str, Any]:
        try:
            return json.loads((self.path / name).read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"{self.path / name} is not readable ({error})") from None

    def _part_class(self, part: str) -> str:
        config = self._read(f"{part}/config.json")
        return config.get("_class_name") or (config.get("architectures") or [""])[0]

    @property
    def shift(self) -> float:
        """How far the noise levels of the steps are moved towards noise, as its makers say."""
        if not self._has("scheduler/scheduler_config.json"):
            return DEFAULT_MODEL.shift
        config = self._read("scheduler/scheduler_config.json")
        return float(config.get("flow_shift") or config.get("shift") or DEFAULT_MODEL.shift)

    @property
    def vae_params(self) -> VaeParams:
        """Sizes of the autoencoder."""
        config = {"scale_factor_spatial": 8, "base_dim": 96, **self._read("vae/config.json")}
        return VaeParams(
            channels=config["z_dim"],
            space=config["scale_factor_spatial"],
            encoder_width=config["base_dim"],
            decoder_width=config.get("decoder_base_dim") or config["base_dim"],
            residual=bool(config.get("is_residual", False)),
            pixel_patch=config.get("patch_size") or 1,
        )

    @property
    def pixels_a_token(self) -> int:
        """Frames must be multiples of this on both sides."""
        return self.vae_params.space * self.params.patch

    @property
    def fps(self) -> float:
        """Frames a second of the model's videos, by its makers' examples."""
        return 24.0 if self.clean_tokens else 16.0

    def count(self, part: str) -> int:
        """Number of parameters of a part, read from the headers of its files."""
        total = 0
        for file in sorted((self.path / part).glob("*.safetensors")):
            try:
                with safe_open(file, "pt") as tensors:
                    shapes = [tensors.get_slice(k).get_shape() for k in tensors.keys()]
            except SafetensorError as error:
                raise UserError(f"{file} is damaged ({error}); get it again") from None
            total += sum(math.prod(shape) for shape in shapes)
        if not total:
            raise UserError(f"{self.path / part} holds no .safetensors files; {where_to_get()}")
        return total

    def fingerprint(self) -> list[Any]:
        """What tells this folder from another one without reading its gigabytes."""
        files = sorted(p for p in self.path.rglob("*") if p.is_file() and ".cache" not in p.parts)
        configs = [p.read_text() for p in files if p.name == "config.json"]
        sizes = [[str(p.relative_to(self.path)), p.stat().st_size] for p in files]
        samples = [_sample_of(p) for p in files if p.suffix == ".safetensors"]
        return [sizes, configs, samples]

    def transformer(self, dtype: torch.dtype, lora_rank: int = 0) -> WanModel:
        """The reassembled transformer on the CPU, frozen."""
        check_installed()
        from diffusers import WanTransformer3DModel

        library = self._load(WanTransformer3DModel, "transformer", torch_dtype=dtype)
        return WanModel(library, lora_rank).eval().requires_grad_(False)

    def codec(self, time_stride: TimeStride, tiled: bool = False) -> LatentCodec:
        """The autoencoder (float32) on the CPU."""
        check_installed()
        from diffusers import AutoencoderKLWan

        vae = self._load(AutoencoderKLWan, "vae", torch_dtype=torch.float32)
        if tiled:
            vae.enable_tiling()
        return LatentCodec(vae.eval().requires_grad_(False), time_stride)

    def text(self, dtype: torch.dtype) -> TextFeatures:
        """Tokenizer and text encoder on the CPU."""
        check_installed()
        from transformers import AutoTokenizer, UMT5EncoderModel

        encoder: nn.Module = self._load(UMT5EncoderModel, "text_encoder", dtype=dtype)
        tokenizer = self._load(AutoTokenizer, "tokenizer")
        return TextFeatures(tokenizer, encoder.eval().requires_grad_(False))

    def _load(self, kind: Any, part: str, **options: Any) -> Any:
        safe = {} if part == "tokenizer" else {"use_safetensors": True}
        try:
            return kind.from_pretrained(
                str(self.path / part), local_files_only=True, **safe, **options
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise UserError(f"{self.path / part} cannot be loaded: {reason}") from error


def _sample_of(file: Path, pieces: int = 16, size: int = 4096) -> str:
    """A hash of the start of a weights file and of some pieces spread over it."""
    digest, length = hashlib.sha256(), file.stat().st_size
    with file.open("rb") as handle:
        for i in range(pieces):
            handle.seek(i * length // pieces)
            digest.update(handle.read(size))
    return digest.hexdigest()
