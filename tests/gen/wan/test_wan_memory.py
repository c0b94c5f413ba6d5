"""Estimated memory lies above what is measured; the sizes of the published models are right."""

from __future__ import annotations

import pytest
import torch

from gen.errors import UserError
from gen.sync import SyncParams
from gen.wan.lattice import LatentCodec
from gen.wan.memory import (
    HEADROOM,
    WanWork,
    clip_bytes,
    fused_bytes,
    plan_for,
    plan_of,
    resident_bytes,
    vae_bytes,
)
from gen.wan.model import WanModel
from gen.wan.params import MODELS, VaeParams, WanParams
from gen.wan.two_stream import WanTwoStream
from tests.gen.test_memory import peak_bytes

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
        estimate = resident_bytes(work()) + clips * clip_bytes(work())
        assert peaks[-1] < estimate < 4 * peaks[-1]
    assert peaks[0] < peaks[1]


def test_estimate_bounds_the_fused_mixer():
    peak = peak_bytes(lambda: model("fused")(*window()))
    estimate = resident_bytes(work()) + fused_bytes(work())
    assert peak < estimate < 4 * peak


@pytest.mark.parametrize("residual", [False, True])
def test_estimate_bounds_the_autoencoder(residual):
    from diffusers import AutoencoderKLWan

    params = VaeParams(16, 16, 8, 12, True, 2) if residual else VAE
    vae = AutoencoderKLWan(**params.library_config(), num_res_blocks=2).eval()
    codec, job = LatentCodec(vae), work(vae=params, times=9)
    z = torch.randn(3, 16, 96 // params.space, 128 // params.space)
    peak = peak_bytes(lambda: codec.decode_clip(z, 9))
    assert peak < vae_bytes(job, tiled=False) < 5 * peak


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
    job = WanWork(**{**vars(job), "lora_rank": 32})
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
    assert "clip(s) at a time" in str(plans[-1])
    with pytest.raises(UserError, match="fused"):
        plan_for(WanWork(**{**vars(job), "mixer": "fused"}), 5.0)


def test_weights_are_counted():
    small = WanWork.of(MODELS["wan2.1-t2v-1.3b"], 8, 9, 288, 512)
    held = (small.transformer + small.text) * 2 + small.autoencoder * 4
    plan = plan_of(small, False, False, None)
    assert min(plan.parts.values()) * 1e9 > HEADROOM * held
    assert plan_of(small, True, False, None).parts["transformer"] < plan.parts["transformer"]
