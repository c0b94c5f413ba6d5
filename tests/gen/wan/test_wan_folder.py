"""Weights come from a local folder alone, and what is wrong with it is said."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from fourreal.errors import UserError
from gen.flow.samplers import sample_euler
from gen.network.dit import Mode
from gen.wan.adapter_file import (
    AdapterConfig,
    build_two_stream,
    read_adapter,
    save_adapter,
    training_free,
)
from gen.wan.folder import WanFolder
from gen.wan.params import MODELS
from gen.wan.path import clean_from_velocity, timestep, velocity_target
from gen.wan.text import in_mode
from tests.gen.wan.tiny import PARAMS, T, V, lattice, library_model, two_stream


def test_a_saved_model_is_read_back(folder):
    found = WanFolder(folder)
    assert found.params == PARAMS and found.shift == 3.0 and not found.clean_tokens
    x, known, sigma, *texts = lattice()
    model = build_two_stream(found.transformer(torch.float32), training_free(PARAMS, "soft"))
    with torch.no_grad():
        torch.testing.assert_close(
            model(x, known, sigma, *texts), two_stream("soft", rank=1)(x, known, sigma, *texts)
        )
    assert found.codec(4).decode_clip(torch.zeros(1, 16, 2, 2), 1).shape == (1, 16, 16, 3)


def test_parts_that_must_stay_exact_stay_in_float32(folder):
    model = WanFolder(folder).transformer(torch.bfloat16)
    assert model.dtype == torch.bfloat16
    assert model.scale_shift_table.dtype == torch.float32
    assert model.condition_embedder.time_embedder.linear_1.weight.dtype == torch.float32
    x, known, sigma, text, _ = lattice()
    with torch.no_grad():
        out = model(x[:, 0], timestep(sigma)[:, None].expand(-1, T), text)
    assert out.dtype == torch.bfloat16 and out.isfinite().all()


def test_words_are_encoded_once_and_padded_with_zeros(folder):
    text = WanFolder(folder).text(torch.float32)
    features = text(["a red ball", "", "a red ball"])
    assert features.shape == (3, 512, 16)
    assert torch.equal(features[0], features[2]) and not torch.equal(features[0], features[1])
    words = features[0].abs().sum(-1) > 0
    assert 3 <= words.sum() < 10 and words[: int(words.sum())].all()
    text.encoder = None  # what was asked before needs no encoder
    assert torch.equal(text([""])[0], features[1])


def test_each_stream_is_told_its_kind_of_clip():
    row, column = (in_mode("a  red ball", mode) for mode in Mode)
    assert row.startswith("a red ball. ") and "still" in row and "frozen" in column
    assert in_mode("", Mode.FREEZE_TIME) in column


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_without_weights_the_error_says_what_to_get(name, tmp_path):
    with pytest.raises(UserError) as caught:
        WanFolder(str(tmp_path / name) if name else "")
    for model in MODELS.values():
        assert model.repository in str(caught.value) and model.licence in str(caught.value)
    assert "GB" in str(caught.value) and "hf download" in str(caught.value)


def broken(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    return copy


def test_a_folder_of_another_kind_is_refused(folder, tmp_path):
    copy = broken(folder, tmp_path)
    config = json.loads((copy / "transformer/config.json").read_text())
    (copy / "transformer/config.json").write_text(json.dumps({**config, "image_dim": 8}))
    with pytest.raises(UserError, match="image-to-video"):
        WanFolder(copy)
    (copy / "transformer/config.json").write_text(json.dumps({**config, "in_channels": 36}))
    with pytest.raises(UserError, match="36 channels"):
        WanFolder(copy)
    (copy / "transformer/config.json").write_text(json.dumps(config))
    (copy / "vae/config.json").write_text(json.dumps({"_class_name": "AutoencoderKL"}))
    with pytest.raises(UserError, match="AutoencoderKLWan"):
        WanFolder(copy)
    shutil.rmtree(copy / "vae")
    with pytest.raises(UserError, match="has no vae"):
        WanFolder(copy)


def test_two_experts_are_refused(folder, tmp_path):
    copy = broken(folder, tmp_path)
    (copy / "model_index.json").write_text(json.dumps({"boundary_ratio": 0.9}))
    with pytest.raises(UserError, match="two experts"):
        WanFolder(copy)


def test_a_damaged_file_is_one_sentence(folder, tmp_path):
    copy = broken(folder, tmp_path)
    (weights,) = (copy / "transformer").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="transformer cannot be loaded"):
        WanFolder(copy).transformer(torch.float32)


def test_the_fingerprint_tells_weights_apart(folder, tmp_path):
    copy = broken(folder, tmp_path)
    assert WanFolder(copy).fingerprint() == WanFolder(folder).fingerprint()
    library_model(seed=5).save_pretrained(copy / "transformer")
    assert WanFolder(copy).fingerprint() != WanFolder(folder).fingerprint()


def test_an_adapter_comes_back_as_it_was(tmp_path):
    model = two_stream("soft", noise=0.1, lora_rank=2, layers=(1,))
    with torch.no_grad():
        for p in model.adapter_parameters().values():
            p.copy_(p.to(torch.bfloat16))
    config = AdapterConfig(PARAMS, "soft", 4, (1,), 2, 1, {"steps": 3})
    save_adapter(tmp_path / "adapter.safetensors", model.state_dict(), config)
    again, state = read_adapter(tmp_path / "adapter.safetensors")
    assert again == config
    other = build_two_stream(two_stream("none", lora_rank=2).model, again, state).eval()
    args = lattice()
    with torch.no_grad():
        torch.testing.assert_close(other(*args), model(*args))
    assert (tmp_path / "adapter.safetensors").stat().st_size < 100_000


def test_an_adapter_that_does_not_fit_is_refused(tmp_path):
    model = two_stream("hard")
    config = AdapterConfig(PARAMS, "hard", 4)
    wrong = {k: v for k, v in model.state_dict().items() if "own" not in k}
    with pytest.raises(UserError, match="do not fit"):
        build_two_stream(model.model, config, wrong)
    with pytest.raises(UserError, match="2 blocks of 24"):
        large = AdapterConfig(MODELS["wan2.1-t2v-1.3b"].params)
        build_two_stream(model.model, large)
    with pytest.raises(UserError, match="no adapter at"):
        read_adapter(tmp_path / "nothing")
    (tmp_path / "text").write_text("no")
    with pytest.raises(UserError, match="no adapter for Wan"):
        read_adapter(tmp_path / "text")


def test_our_steps_are_those_of_the_librarys_flow_scheduler():
    """Signs and scales meet in gen.wan.path: same levels, same model, same latents."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    sigmas = torch.tensor([1.0, 0.8, 0.5, 0.2, 0.0])
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=sigmas[:-1].tolist())
    assert torch.allclose(scheduler.timesteps, timestep(sigmas[:-1]))
    noise = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))

    def velocity(x, t):
        return torch.sin(x) + t / 1000

    x = noise
    for t in scheduler.timesteps:
        x = scheduler.step(velocity(x, t), t, x).prev_sample
    ours = sample_euler(
        lambda x, s: clean_from_velocity(x, velocity(x, timestep(s)), s.reshape(1)), noise, sigmas
    )
    torch.testing.assert_close(ours, x)
    clean = torch.zeros(V, 3)
    at = 0.3 * noise[:1] + 0.7 * clean
    back = clean_from_velocity(at, velocity_target(clean, noise[:1]), torch.tensor([0.3]))
    torch.testing.assert_close(back, clean)
