"""What the reader of asset clips compares, and what it makes of them."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest
import torch

from fourreal.errors import UserError
from gen.data.assets.cache import HELD_OUT, CachedScenes, scene_path, write_scene
from gen.data.assets.captions import Said, caption, parse_asset_prompt, vocabulary
from gen.data.assets.scenes import TIMES, VIEWS, sample_scene
from gen.network.base import BaseModel, save_base
from gen.network.params import SIZES
from scripts.evaluate import prompts as evaluate_prompts
from scripts.evaluate.metrics.asset_prompts import (
    AssetReader,
    _gradients,
    features,
    marks,
    shares,
)
from scripts.evaluate.prompts import EvaluatePromptsConfig
from tests.gen.data.test_asset_world import REPERTOIRE

# Stand-ins for renders: every subject a shape, every coat a colour, every action a motion.
COATS = {"brown": (120, 70, 40), "white": (240, 240, 235), "black": (30, 30, 30),
         "orange": (240, 120, 30), "blue": (50, 90, 210)}  # fmt: skip
BOXES = {"horse": (12, 30), "clownfish": (14, 12), "knight": (28, 10)}
SPEED = {"gallop": 3, "eat": 0, "idle": 0, "swim": 2, "walk": 1, "jump": 0}


def drawn(scene) -> np.ndarray:
    actor = scene.actors[0]
    rng = np.random.default_rng(zlib.crc32(repr(scene).encode()))
    cells = np.full((VIEWS, TIMES, 40, 64, 3), 150, np.uint8)
    cells += rng.integers(0, 12, cells.shape, dtype=np.uint8)
    h, w = BOXES[actor.subject]
    colour = COATS.get(actor.coat or "", (150, 200, 150))
    for t in range(TIMES):
        x, y = 14 + SPEED[actor.action] * t, 6 if actor.action == "jump" and t % 4 == 2 else 8
        y += 3 * (t % 2) * (actor.action == "eat")
        cells[:, t, y : y + h, x : x + w] = colour
    return cells


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    for n in [*range(110), *range(HELD_OUT, HELD_OUT + 14)]:
        scene = sample_scene(REPERTOIRE, "prompt", np.random.default_rng([3, n]))
        write_scene(scene_path(folder, scene.look, n), scene, drawn(scene))
    return folder


@pytest.fixture(scope="module")
def reader(cache):
    return AssetReader.of(cache)


def test_gradients_tell_edges_and_not_brightness():
    flat, edge = np.full((40, 64, 3), 90, np.uint8), np.full((40, 64, 3), 90, np.uint8)
    edge[:, 30:] = 200
    assert not _gradients(flat).any()
    assert np.allclose(_gradients(edge), _gradients(edge + 20), atol=1e-5)
    assert np.abs(_gradients(edge) - _gradients(edge.transpose(1, 0, 2)[:40].repeat(2, 1)[:, :64])
                  ).max() > 0.1  # fmt: skip


@pytest.mark.slow
def test_shapes_colours_and_motions_are_read_back(cache, reader):
    held = CachedScenes(cache, 40, 64, 0, held_out=True)
    single = [i for i, s in enumerate(held.scenes) if len(s.actors) == 1]
    asked = [parse_asset_prompt(caption(held.scenes[i])) for i in single]
    seen = [reader.read(held.frames[i, 0]) for i in single]
    share = shares([marks(a, s) for a, s in zip(asked, seen, strict=True)])
    assert share["subject"] >= 0.9 and share["coat"] >= 0.6 and share["action"] >= 0.7
    assert all(s["action"] in reader.actions[s["subject"]] for s in seen)


def test_what_was_not_asked_for_is_not_marked():
    seen = {"subject": "horse", "coat": "brown", "action": "walk"}
    row = marks(Said("horse", None, "gallop", None, None), seen)
    assert row == {"subject": True, "coat": None, "action": False}
    assert shares([row, row])["coat"] is None and shares([row])["subject"] == 1.0


def test_features_are_of_one_length(cache):
    held = CachedScenes(cache, 40, 64, 0, held_out=True)
    lengths = {tuple(len(v) for v in features(f[0]).values()) for f in held.frames[:3]}
    assert len(lengths) == 1


def test_too_few_scenes_are_named(tmp_path):
    scene = sample_scene(REPERTOIRE, "prompt", np.random.default_rng(0))
    write_scene(scene_path(tmp_path, scene.look, 0), scene, drawn(scene))
    with pytest.raises(UserError, match="render more"):
        AssetReader.of(tmp_path)


@pytest.mark.slow
def test_prompts_are_drawn_scored_and_shown(cache, reader, tmp_path, monkeypatch):
    monkeypatch.setattr(AssetReader, "of", lambda folder: {cache: reader}[folder])
    torch.manual_seed(0)
    weights = tmp_path / "weights"
    save_base(BaseModel(SIZES["debug"], vocabulary()), weights, {})
    cfg = EvaluatePromptsConfig(
        n=3, assets=cache, weights=weights, steps=1, json=tmp_path / "prompts.json",
        sheet=tmp_path / "sheet.png", device="cpu",
    )  # fmt: skip
    evaluate_prompts.main(cfg)
    rows = json.loads(cfg.json.read_text())["results"]["prompts_assets"]
    assert rows["truth"]["subject"] >= 0.6 and 0 <= rows["default"]["subject"] <= 1
    assert rows["default"]["seconds"] > 0 and cfg.sheet.exists()
    before = cfg.json.read_text()
    evaluate_prompts.main(cfg)  # done before
    assert cfg.json.read_text() == before
    many = EvaluatePromptsConfig(n=99, assets=cache, weights=weights, steps=1, device="cpu")
    with pytest.raises(UserError, match="render more"):
        evaluate_prompts.main(many)
