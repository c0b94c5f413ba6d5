"""Wan's classes at the smallest size that has everything, with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from gen.sync.mixers import SyncParams
from gen.wan.model import WanModel
from gen.wan.params import WanParams
from gen.wan.two_stream import WanTwoStream

PARAMS = WanParams(
    width=24, depth=2, heads=2, hidden=32, channels=16, text_width=16, frequencies=256,
    rope_length=32,
)  # fmt: skip
V, T, H, W = 3, 4, 4, 6  # a lattice in latent pixels
WORDS = 9


def library_model(seed: int = 0):
    """diffusers' transformer in float32, every parameter random (a fresh one has zeros)."""
    from diffusers import WanTransformer3DModel

    torch.manual_seed(seed)
    model = WanTransformer3DModel(**PARAMS.library_config())
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.eval()


def tiny_vae(seed: int = 0):
    from diffusers import AutoencoderKLWan

    torch.manual_seed(seed)
    return AutoencoderKLWan(base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1).eval()


def two_stream(
    mixer: str = "none", rank: int | None = 4, output: str = "mean", noise: float = 0.0,
    lora_rank: int = 0, layers: tuple[int, ...] | None = None,
) -> WanTwoStream:  # fmt: skip
    """A 4D model; noise: how far its adapter is from an untrained one."""
    torch.manual_seed(0)
    model = WanTwoStream(
        WanModel(library_model(), lora_rank), SyncParams(mixer, rank, layers), output
    ).eval()
    torch.manual_seed(7)
    with torch.no_grad():
        for p in model.adapter_parameters().values():
            p.add_(noise * torch.randn_like(p))
    return model


def lattice(b: int = 2, seed: int = 3):
    """Inputs of `WanTwoStream.forward`: row 0 and column 0 known, texts of the two streams."""
    g = torch.Generator().manual_seed(seed)
    known = torch.zeros(b, V, T, dtype=torch.bool)
    known[:, 0] = known[:, :, 0] = True
    x = torch.randn(b, V, T, PARAMS.channels, H, W, generator=g)
    texts = torch.randn(2, b, WORDS, PARAMS.text_width, generator=g)
    return x, known, torch.rand(b, generator=g), texts[0], texts[1]


def save_folder(folder: Path) -> Path:
    """A whole model in diffusers' layout: transformer, vae, text_encoder, tokenizer, scheduler."""
    from diffusers import UniPCMultistepScheduler
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

    library_model().save_pretrained(folder / "transformer")
    tiny_vae().save_pretrained(folder / "vae")
    torch.manual_seed(2)
    config = UMT5Config(
        vocab_size=64, d_model=PARAMS.text_width, d_kv=8, d_ff=32, num_layers=1, num_heads=2
    )
    UMT5EncoderModel(config).save_pretrained(folder / "text_encoder")
    words = ["<pad>", "</s>", "<unk>", *"a red ball bouncing camera scene still moment".split()]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder / "tokenizer")
    UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    ).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "WanPipeline"}))
    return folder
