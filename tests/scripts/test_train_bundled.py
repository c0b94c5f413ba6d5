"""The command that drives all stages of training: its plan, its order, what it leaves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fourreal.errors import UserError
from gen.completion.blend import load_blend
from gen.completion.model import has_completion
from gen.network.base import (
    BaseModel,
    copy_network,
    load_base,
    load_shards,
    save_shards,
    take_over,
)
from gen.train.options import ClipMix, TrainBaseConfig
from scripts import train_base, train_bundled
from scripts.train_bundled import PlannedStage, TrainBundledConfig, plan, steps_behind, steps_done
from tests.gen.data.test_asset_world import fill_cache
from tests.gen.train.test_train import SMALL_POOL


def names(size: str, **changes) -> list[str]:
    return [s.name for s in plan(TrainBundledConfig(Path("w"), Path("o"), size=size, **changes))]


def test_stages_come_in_the_order_they_need_each_other():
    mixers = ["soft", "hard", "sequential", "fused"]
    assert names("small") == [
        "completion", "pictures", "clips", "base", "picture", "clip", *mixers, "upsampler"
    ]  # fmt: skip
    large = plan(TrainBundledConfig(Path("w"), Path("o"), size="bundled"))
    by_name = {s.name: s.config for s in large}
    assert list(by_name)[:4] == ["completion", "pictures", "clips", "base"]
    assert by_name["clips"].init == by_name["pictures"].out
    assert by_name["base"].init == by_name["clips"].out
    assert by_name["clips"].params().height == 40 and by_name["base"].params().height == 72
    assert by_name["picture"].start == Path("o/base/weights")
    assert by_name["picture"].frames == 1 and by_name["picture"].network == "picture"
    assert by_name["clip"].frames == 8 and by_name["clip"].params().copies
    mixers = [by_name[m] for m in train_bundled.TRAINED_MIXERS]
    assert len({m.steps for m in mixers}) == 1  # all mixers are trained equally
    assert all(m.base == Path("o/clip/weights") for m in mixers)


def test_longer_stretches_every_stage():
    once = plan(TrainBundledConfig(Path("w"), Path("o")))
    twice = plan(TrainBundledConfig(Path("w"), Path("o"), longer=2.0))
    assert all(b.config.steps == 2 * a.config.steps for a, b in zip(once, twice, strict=True))


def test_steps_behind_count_only_training_on_this_world(tmp_path):
    path = tmp_path / "config.json"
    assert steps_behind(path) == 0
    path.write_text(json.dumps({"how_made": {"step": 700, "script": "train_base.py"}}))
    assert steps_behind(path) == 0
    path.write_text(json.dumps({"how_made": {"step": 50, "start": "weights", "trained_steps": 20}}))
    assert steps_behind(path) == 70


def test_mistakes_are_named(tmp_path):
    with pytest.raises(UserError, match="render_world"):
        train_bundled.main(TrainBundledConfig(tmp_path / "none", tmp_path))
    with pytest.raises(UserError, match="no such stage: sofft"):
        train_bundled.main(TrainBundledConfig(tmp_path, tmp_path, stages=("sofft",)))
    with pytest.raises(UserError, match="positive"):
        TrainBundledConfig(tmp_path, tmp_path, minutes=0)


def test_weights_are_gathered_whole_and_without_what_an_earlier_network_left(tmp_path):
    made, target = tmp_path / "soft" / "weights", tmp_path / "weights"
    target.mkdir()
    copy_network(made, "soft", target)
    assert not list(target.iterdir())  # it is not there yet
    half = 5_000_000  # two bytes each: more than one shard for two of them
    large = {name: torch.zeros(half) for name in ("a", "b")}
    save_shards(made, "soft", large)
    (made / "soft.json").write_text("{}")
    save_shards(target, "hard", {"c": torch.ones(2)})
    copy_network(made, "soft", target)
    assert set(load_shards(target, "soft")) == {"a", "b"} and (target / "soft.json").is_file()
    save_shards(made, "soft", {"a": torch.ones(3)})
    copy_network(made, "soft", target)
    assert set(load_shards(target, "soft")) == {"a"} and set(load_shards(target, "hard")) == {"c"}


def test_a_base_goes_on_where_it_stopped_and_knows_new_words(tmp_path, monkeypatch):
    """Two calls of the command at debug size; then weights that start a run with another world."""
    world = tmp_path / "world"
    fill_cache(world, [0, 1, 900_000])
    config = TrainBaseConfig(
        out=tmp_path / "runs" / "base", size="debug", batch=4, frames=4, use_frames=3, steps=2,
        optimiser="muon", warmup=2, decay=0.0, sample_every=100, pool=SMALL_POOL,
    )  # fmt: skip
    stage = PlannedStage("base", config, train_base.main)
    monkeypatch.setattr(train_bundled, "plan", lambda cfg: [stage])
    cfg = TrainBundledConfig(world, tmp_path / "runs", minutes=5)
    train_bundled.main(cfg)
    assert steps_done(config.out) == 2
    train_bundled.main(cfg)  # nothing left to do
    assert steps_done(config.out) == 2
    made = tmp_path / "runs" / "weights"
    old = json.loads((made / "config.json").read_text())["vocabulary"]
    assert "horse" not in old and (made / "cameras.json").is_file()
    assert has_completion(made) and load_blend(made) is not None  # as they ship

    more = replace(
        config, out=tmp_path / "more", start=made, world=world, steps=1, frames=8,
        mix=ClipMix(procedural=1.0, assets=1.0), trained_steps=2,
    )  # fmt: skip
    train_base.main(more)
    new = json.loads((tmp_path / "more" / "weights" / "config.json").read_text())
    assert {"horse", "galloping", *old} <= set(new["vocabulary"])
    assert steps_behind(tmp_path / "more" / "weights" / "config.json") == 3


def test_pictures_of_the_asset_world_are_trained_on(tmp_path):
    world = tmp_path / "world"
    fill_cache(world, [0, 1, 900_000])
    config = TrainBaseConfig(
        out=tmp_path / "pictures", size="debug", batch=4, frames=1, steps=1, sample_every=100,
        pool=SMALL_POOL, world=world, mix=ClipMix(procedural=1.0, assets=1.0),
    )  # fmt: skip
    train_base.main(config)
    assert steps_done(config.out) == 1
    samples = (tmp_path / "pictures" / "samples").glob("*.txt")
    assert "horse" in (text := next(samples).read_text()) or "knight" in text or "fish" in text


def test_a_start_keeps_the_network_and_the_words_it_knows(tmp_path):
    out = tmp_path / "base"
    config = TrainBaseConfig(
        out=out, size="debug", batch=4, frames=4, steps=1, sample_every=100, pool=SMALL_POOL
    )
    train_base.main(config)
    old, _ = load_base(out / "weights")
    words = [*old.tokenizer.words, "zebra"]
    model = BaseModel(old.params, words)
    take_over(model, old, out / "weights")
    for word in old.tokenizer.words:
        a, b = (m.text.embedding.weight[m.tokenizer.encode([word])[0, 0]] for m in (old, model))
        assert torch.equal(a, b)
    assert torch.equal(old.dit.head_out.weight, model.dit.head_out.weight)
    with pytest.raises(UserError, match="another shape"):
        take_over(BaseModel(replace(old.params, depth=1), words), old, out / "weights")
