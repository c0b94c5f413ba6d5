"""Estimated memory lies above what is measured; the sizes of the published models are right."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from fourreal.errors import UserError
from gen.sync.mixers import SyncParams
from gen.wan.memory import (
    HEADROOM,
    WanWork,
    block_bytes,
    fit_lines,
    fused_bytes,
    plan_for,
    plan_of,
    resident_bytes,
    vae_bytes,
)
from gen.wan.model import WanModel
from gen.wan.params import MODELS, VaeParams, WanParams
from gen.wan.two_stream import WanTwoStream
from scripts.tools.gpu_wan import random_model
from tests.gen.test_memory import peak_bytes
from tests.gen.wan.live_bytes import live_bytes

PARAMS = WanParams(64, 2, 2, 192, 16, 16)
VAE = VaeParams(16, 8, 12, 12)


def work(**changes) -> WanWork:
    settings = dict(
        params=PARAMS, vae=VAE, transformer=0, autoencoder=0, text=0, views=4, times=17,
        height=96, width=128, rank=4, value_bytes=4,
    )  # fmt: skip
    return WanWork(**(settings | changes))


def model(mixer: str) -> WanTwoStream:
    from diffusers import WanTransformer3DModel

    library = WanTransformer3DModel(**PARAMS.library_config())
    return WanTwoStream(WanModel(library), SyncParams(mixer, 4)).eval()


def window():
    known = torch.zeros(1, 4, 5, dtype=torch.bool)
    text = torch.randn(1, 512, 16)
    return torch.randn(1, 4, 5, 16, 12, 16), known, torch.tensor([0.5]), text, text


@pytest.mark.parametrize("mixer", ["soft", "hard"])
def test_estimate_bounds_what_the_transformer_takes(mixer):
    two_stream, args, peaks = model(mixer), window(), []
    for clips in (1, 5):
        two_stream.clips_at_once = clips
        peaks.append(peak_bytes(lambda: two_stream(*args)))
        estimate = resident_bytes(work()) + block_bytes(work(), clips)
        assert peaks[-1] < estimate < 4 * peaks[-1]
    assert peaks[0] < peaks[1]


def test_estimate_bounds_the_fused_mixer():
    peak = peak_bytes(lambda: model("fused")(*window()))
    estimate = resident_bytes(work()) + fused_bytes(work())
    assert peak < estimate < 4 * peak


def no_attention(query, key, value, **_):
    """The memory of attention that keeps no products, and nothing else of it."""
    return torch.empty_like(query)


def test_estimate_bounds_the_transformer_at_full_size(monkeypatch):
    """Counted on the meta device, where nothing is computed."""
    card = MODELS["wan2.1-t2v-1.3b"]
    job = replace(WanWork.of(card, 8, 9, 480, 832), lora_rank=32)
    with torch.device("meta"):
        two_stream = random_model(card, "meta")
        x = torch.empty(1, 8, 3, 16, 60, 104)
        known = torch.zeros(1, 8, 3, dtype=torch.bool)
        text, sigma = torch.empty(1, 512, 4096), torch.empty(1)
    # Kernels for attention never hold the products of queries and keys; the meta device would.
    monkeypatch.setattr(F, "scaled_dot_product_attention", no_attention)
    peak = live_bytes(lambda: two_stream(x, known, sigma, text, text))
    estimate = resident_bytes(job) + block_bytes(job, None)
    assert peak < estimate < 3 * peak


@pytest.mark.parametrize("name", list(MODELS))
def test_estimate_bounds_the_autoencoder_at_full_size(name):
    from diffusers import AutoencoderKLWan

    card = MODELS[name]
    job = WanWork.of(card, 8, 9, 288, 512)
    with torch.device("meta"):
        vae = AutoencoderKLWan(**card.vae.library_config())
        z = torch.empty(1, card.vae.channels, 3, 288 // card.vae.space, 512 // card.vae.space)
        video = torch.empty(1, 3, 9, 288, 512)
    decode, encode = live_bytes(lambda: vae.decode(z)), live_bytes(lambda: vae.encode(video))
    assert max(decode, encode) < vae_bytes(job, tiled=False) < 3 * max(decode, encode)


@pytest.mark.parametrize("name", list(MODELS))
def test_published_sizes_are_those_of_the_configurations(name):
    from diffusers import AutoencoderKLWan, WanTransformer3DModel

    card = MODELS[name]
    with torch.device("meta"):
        transformer = WanTransformer3DModel(**card.params.library_config())
        vae = AutoencoderKLWan(**card.vae.library_config())
        mixer = WanTwoStream(WanModel(transformer, 32), SyncParams("soft", 64))
    for module, millions in ((transformer, card.transformer_millions), (vae, card.vae_millions)):
        assert sum(p.numel() for p in module.parameters()) / 1e6 == pytest.approx(millions, 1e-4)
    job = WanWork.of(card, 8, 9, 288, 512)
    job = replace(job, lora_rank=32)
    trained = sum(p.numel() for p in mixer.adapter_parameters().values())
    assert trained == job.adapter_parameters() < 0.03 * card.transformer_millions * 1e6


def test_size_of_the_text_encoder():
    from transformers import UMT5Config, UMT5EncoderModel

    config = UMT5Config(
        d_ff=10240, d_kv=64, d_model=4096, num_heads=64, num_layers=24, vocab_size=256384,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    with torch.device("meta"):
        encoder = UMT5EncoderModel(config)
    count = sum(p.numel() for p in encoder.parameters()) / 1e6
    assert count == pytest.approx(next(iter(MODELS.values())).text_millions, 1e-4)


def test_less_memory_is_taken_step_by_step(capsys):
    job = WanWork.of(MODELS["wan2.1-t2v-1.3b"], 8, 9, 480, 832)
    everything = plan_for(job, None)
    assert everything == plan_of(job, False, False, None) == plan_for(job, 1000)
    plans, bound = [everything], everything.gigabytes
    while not capsys.readouterr().err:
        bound = plans[-1].gigabytes * 0.999
        plans.append(plan_for(job, bound))
    assert plans[1].offload and any(p.tiled for p in plans) and plans[-1].clips_at_once == 1
    assert all(a.gigabytes > b.gigabytes for a, b in zip(plans[:-2], plans[1:-1], strict=True))
    assert "clip(s) at a time" in str(plans[-1]) and plans[-1].text_on_cpu
    with pytest.raises(UserError, match="fused"):
        plan_for(replace(job, mixer="fused"), 5.0)


def test_weights_are_counted():
    small = WanWork.of(MODELS["wan2.1-t2v-1.3b"], 8, 9, 288, 512)
    held = (small.transformer + small.text) * 2 + small.autoencoder * 4
    plan = plan_of(small, False, False, None)
    assert min(plan.parts.values()) * 1e9 > HEADROOM * held
    assert plan_of(small, True, False, None).parts["transformer"] < plan.parts["transformer"]


def test_doctor_says_what_fits():
    for free, said in ((None, "no CUDA"), (3.0, "does not fit"), (140.0, "; fits the 140 GB")):
        lines = fit_lines(free)
        assert len(lines) == len(MODELS) and all(said in line for line in lines)
