"""The upsampler at debug size: what it starts as, sizes, windows, memory, files and training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fourreal.errors import UserError
from fourreal.video_io import resize_frames
from gen.bundled import weights_folder
from gen.data.assets.cache import HELD_OUT
from gen.data.batches import PoolConfig, seeded
from gen.data.upsampling import Inputs, base_version, disturb, draw_upsample, shrink
from gen.grid import VideoGrid
from gen.limits import Work, clip_bytes, resident_bytes
from gen.network.base import BaseModel, save_shards
from gen.network.dit import Mode
from gen.network.params import SIZES
from gen.network.runtime import Runtime
from gen.train import perceptual
from gen.upsample import (
    UPSAMPLER_SIZES,
    Upsampler,
    UpsamplerModel,
    coordinate_width,
    enlarge,
    load_upsampler,
    save_upsampler,
    split_grid,
)
from pipeline.generate import at_size, choose_upsampler
from scripts.evaluate.held_out import held_out_grids
from scripts.train_upsampler import TrainUpsamplerConfig, UpsamplerStage, psnr
from scripts.train_upsampler import main as train_upsampler
from tests.gen.data.test_asset_world import fill_cache
from tests.gen.train.test_picture import little_lpips

PARAMS = UPSAMPLER_SIZES["debug"]


def untrained() -> UpsamplerModel:
    torch.manual_seed(0)
    return UpsamplerModel(PARAMS, ["red", "cube"])


def perturbed() -> UpsamplerModel:
    """A network whose head is not zero any more."""
    model = untrained()
    torch.nn.init.normal_(model.dit.head_out.weight, std=0.02)
    return model


def low_grid(views: int, times: int, h: int = 8, w: int = 12) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.uniform(0, 1, (views, times, h, w, 3)).astype(np.float32)


def bytes_of(model: UpsamplerModel, views: int, times: int, clips: int) -> int:
    """What a window of views x times cells takes with so many clips at once, and a little."""
    work = Work(model.params, views, times, 32, 48)
    parameters = sum(p.numel() for p in model.parameters())
    return resident_bytes(work, parameters) + clips * clip_bytes(work) + 100


def plain(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """The bicubically enlarged grid in 0..1."""
    return (enlarge(torch.from_numpy(frames) * 2 - 1, height, width).numpy() + 1) / 2


@pytest.mark.parametrize("size", [(32, 48), (26, 42), (40, 64)])
def test_untrained_upsampling_is_the_plain_enlargement(size):
    frames = low_grid(2, 3)
    out = Upsampler(untrained()).grid(frames, size, "a red cube", steps=2)
    assert out.shape == (2, 3, *size, 3)
    assert np.allclose(out, plain(frames, *size), atol=1e-5)


def test_a_trained_network_changes_the_enlargement_by_seed_and_prompt():
    upsampler = Upsampler(perturbed())
    frames = low_grid(2, 2)
    out = upsampler.grid(frames, (32, 48), "red", seed=1)
    assert np.abs(out - plain(frames, 32, 48)).mean() > 1e-3
    assert np.array_equal(out, upsampler.grid(frames, (32, 48), "red", seed=1))
    assert not np.array_equal(out, upsampler.grid(frames, (32, 48), "red", seed=2))
    assert 0 <= out.min() and out.max() <= 1
    assert upsampler.size == (32, 48)
    assert upsampler.grid(frames).shape == (2, 2, 32, 48, 3)


def test_other_sizes_are_resized_from_the_trained_enlargement():
    frames = low_grid(2, 2)
    upsampler = Upsampler(perturbed(), factor=4)
    trained = upsampler.grid(frames, (32, 48), seed=1)
    assert np.array_equal(trained, Upsampler(perturbed()).grid(frames, (32, 48), seed=1))
    for size in ((16, 24), (64, 96)):
        expected = resize_frames(trained, *size)
        assert np.array_equal(upsampler.grid(frames, size, seed=1), expected)


def test_few_clips_at_once_give_the_same_result():
    upsampler, frames = Upsampler(perturbed()), low_grid(4, 5)
    whole, clips = split_grid(upsampler.model, 4, 5, (32, 48))
    assert len(whole) == 1 and clips is None
    bound = bytes_of(upsampler.model, 4, 5, clips=2) / 1e9
    parts, clips = split_grid(upsampler.model, 4, 5, (32, 48), bound)
    assert len(parts) == 1 and clips == 2
    one = upsampler.grid(frames, (32, 48), seed=3)
    few = upsampler.grid(frames, (32, 48), seed=3, max_memory_gb=bound)
    assert np.allclose(one, few, atol=1e-5)


def test_a_small_bound_means_smaller_windows_and_is_refused_by_nobody(capsys):
    upsampler = Upsampler(perturbed())
    bound = bytes_of(upsampler.model, 4, 4, clips=1) / 1e9
    parts, clips = split_grid(upsampler.model, 8, 8, (32, 48), bound)
    assert len(parts) > 1 and {len(p.views) for p in parts} == {4} and clips == 1
    covered = {(v, t) for p in parts for v in p.views for t in p.times}
    assert len(covered) == 64
    assert capsys.readouterr().err == ""
    split_grid(upsampler.model, 8, 8, (32, 48), 1e-6)
    assert "warning" in capsys.readouterr().err


@pytest.mark.parametrize("views,times", [(1, 1), (1, 11), (10, 2)])
def test_long_and_thin_grids_are_covered(views, times):
    frames = low_grid(views, times)
    reports = []
    out = Upsampler(perturbed()).grid(
        frames, (32, 48), steps=1, report=lambda name, i, n: reports.append((i, n))
    )
    assert (np.abs(out - plain(frames, 32, 48)).mean((2, 3, 4)) > 1e-4).all()
    assert reports[-1][0] == reports[-1][1] == len(reports)


def test_coordinates_count_low_resolution_pixels():
    assert coordinate_width(64, 256) == 256
    assert coordinate_width(64, 512) == 512
    assert coordinate_width(128, 512) == 256


@pytest.mark.parametrize("size", [(4, 48), (32, 6)])
def test_shrinking_and_other_shapes_are_refused(size):
    with pytest.raises(UserError, match="smaller"):
        Upsampler(untrained()).grid(low_grid(1, 1), size)
    with pytest.raises(UserError, match="grid"):
        Upsampler(untrained()).grid(low_grid(1, 1)[0])


def test_sizes_are_what_they_promise():
    with torch.device("meta"):
        counts = {
            name: sum(p.numel() for p in UpsamplerModel(params, ["red"]).parameters())
            for name, params in UPSAMPLER_SIZES.items()
        }
    assert counts["bundled"] <= 4e6
    assert 500e6 < counts["paper"] < 700e6
    paper = UPSAMPLER_SIZES["paper"]
    assert (paper.height, paper.width_px, paper.patch) == (288, 512, 16)


def test_saved_weights_come_back(tmp_path):
    model = perturbed()
    save_upsampler(model, tmp_path, {"step": 3}, steps=4, level=0.1, source_noise=0.3, default=True)
    loaded = load_upsampler(tmp_path)
    assert (loaded.steps, loaded.level, loaded.source_noise, loaded.default) == (4, 0.1, 0.3, True)
    assert loaded.how_made == {"step": 3}
    for key, value in model.state_dict().items():
        assert torch.allclose(value, loaded.model.state_dict()[key], rtol=1e-2, atol=1e-6)


def test_bfloat16_changes_the_result_by_rounding(tmp_path):
    save_upsampler(perturbed(), tmp_path, {})
    frames = low_grid(2, 2)
    whole = load_upsampler(tmp_path).grid(frames, (32, 48))
    half = load_upsampler(tmp_path, Runtime(precision="bf16")).grid(frames, (32, 48))
    assert 0 < np.abs(whole - half).mean() < 0.01


def test_missing_or_broken_weights_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="no upsampler"):
        load_upsampler(tmp_path)
    save_upsampler(untrained(), tmp_path, {})
    save_shards(tmp_path, "upsampler", {"text.x": torch.zeros(2)})
    with pytest.raises(UserError, match="does not fit"):
        load_upsampler(tmp_path)
    (tmp_path / "upsampler.json").write_text(json.dumps({"format": "something"}))
    with pytest.raises(UserError, match="does not fit"):
        load_upsampler(tmp_path)


def test_shrinking_undoes_flat_enlargement_and_disturbance_stays_small():
    low = torch.rand(2, 3, 10, 16, 3, generator=seeded(1)) * 2 - 1
    big = low.repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert torch.allclose(shrink(big, 4), low, atol=1e-5)
    flat = torch.zeros(40, 1, 16, 16, 3)
    change = disturb(flat, seeded(2)).abs().amax((1, 2, 3, 4))
    assert (change == 0).any() and 0 < change.max() < 0.3


def small_run(out: Path, **changes) -> TrainUpsamplerConfig:
    settings = dict(
        size="debug", batch=4, frames=4, use_frames=2, picture_every=3, picture_batch=4,
        optimiser="muon", lr=2e-3, warmup=2, decay=0.0, sample_every=100,
        pool=PoolConfig(chunk=2, keep=2, start=1, steps_per_chunk=2, world="narrow"),
    )  # fmt: skip
    return TrainUpsamplerConfig(out=out, **(settings | changes))


def run(out: Path, steps: int, **changes) -> dict[str, torch.Tensor]:
    train_upsampler(small_run(out, steps=steps, **changes))
    return torch.load(out / "checkpoint.pt", weights_only=True)["model"]


def test_training_resumes_exactly_and_leaves_weights(tmp_path):
    run(tmp_path / "a", 3)
    resumed, straight = run(tmp_path / "a", 5), run(tmp_path / "b", 5)
    assert all(torch.equal(resumed[k], v) for k, v in straight.items())
    assert load_file(tmp_path / "a" / "weights" / "upsampler-00.safetensors")
    upsampler = load_upsampler(tmp_path / "a" / "weights")
    assert upsampler.how_made["step"] == 5 and not upsampler.default
    assert list((tmp_path / "a" / "samples").glob("*.png"))


def test_the_asset_world_is_mixed_in_and_a_start_is_taken_over(tmp_path):
    """Clips of the cache come in the asked share, whole; the new run starts as the old one ended
    and knows the words of both worlds."""
    run(tmp_path / "a", 2)
    fill_cache(tmp_path / "world", [0, 1, HELD_OUT], size=(32, 48))
    config = small_run(
        tmp_path / "b", steps=1, start=tmp_path / "a" / "weights", world=tmp_path / "world",
        inputs=Inputs(detail=0.0, from_base=0.0, max_level=0.0, given=0.0, assets=0.5),
    )  # fmt: skip
    stage = UpsamplerStage(config, torch.device("cpu"))
    old = load_upsampler(tmp_path / "a" / "weights").model
    assert torch.equal(stage.module.dit.head_out.weight, old.dit.head_out.weight)
    assert {*old.tokenizer.words, "horse"} <= set(stage.module.tokenizer.words)
    batch = stage.draw(1, range(24))
    # Every frame of the cache is of one colour, which procedural ones never are.
    flat = (batch.clean.amax((2, 3)) == batch.clean.amin((2, 3))).all(-1).all(-1)
    assert 4 < int(flat.sum()) < 20
    assert set(stage.tests) == {"", "_assets"}
    parts = [stage.draw(1, range(12)), stage.draw(1, range(12, 24))]
    assert torch.equal(torch.cat([p.clean for p in parts]), batch.clean)
    with pytest.raises(ValueError, match="not both"):
        small_run(tmp_path, steps=1, start=tmp_path, init=tmp_path)
    with pytest.raises(ValueError, match="needs --start"):
        small_run(tmp_path, steps=1, start_share=0.5)


def test_what_is_saved_lies_between_the_start_and_the_end(tmp_path):
    run(tmp_path / "a", 1)
    name, start = "upsampler-00.safetensors", tmp_path / "a" / "weights"
    saved = [load_file(start / name)]
    for share in (0.0, 0.25):
        out = tmp_path / str(share)
        run(out, 2, start=start, start_share=share)
        saved.append(load_file(out / "weights" / name))
    a, b, between = (x["dit.head_out.weight"].float() for x in saved)
    assert not torch.equal(a, b)
    assert torch.allclose(between, 0.25 * a + 0.75 * b, atol=2e-3)


def test_a_batch_split_over_processes_is_the_same_batch(tmp_path):
    stage = UpsamplerStage(small_run(tmp_path, steps=1), torch.device("cpu"))
    whole = stage.draw(1, range(4))
    parts = [stage.draw(1, range(2)), stage.draw(1, range(2, 4))]
    for name in ("clean", "low", "level"):
        joined = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(joined, getattr(whole, name))
    with torch.no_grad():
        losses = [float(stage.loss(stage.module, part, 1)) for part in parts]
        joined_loss = float(stage.loss(stage.module, whole, 1))
    assert joined_loss == pytest.approx(sum(losses) / 2, rel=1e-5)


def test_details_are_parts_of_pictures_twice_as_large(tmp_path):
    pool = UpsamplerStage(small_run(tmp_path, steps=1), torch.device("cpu")).pool
    plain = Inputs(detail=0.0, from_base=0.0, max_level=0.0, given=0.0)
    whole = draw_upsample(pool, 0, 1, range(2), 2, plain)
    part = draw_upsample(pool, 0, 1, range(2), 2, replace(plain, detail=1.0))
    assert whole.clean.shape == part.clean.shape == whole.low.shape == (2, 2, 32, 48, 3)
    assert (whole.picture_width, part.picture_width) == (64 * 4, 64 * 8)
    assert not whole.known.any() and (whole.level == 0).all()
    large = pool.item(1, 0).frames[part.index].float() / 127.5 - 1
    distances = [
        float((large[:, y : y + 32, x : x + 48] - part.clean[0]).abs().max())
        for y in range(0, 33, 4)
        for x in range(0, 49, 4)
    ]
    assert min(distances) == 0


def test_training_reduces_the_loss_and_sharpens(tmp_path):
    stage = UpsamplerStage(small_run(tmp_path, text_drop=0.0, frames=2), torch.device("cpu"))
    net, batch = stage.module, stage.tests[""]
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    losses = []
    for step in range(60):
        loss = stage.loss(net, batch, step)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    with torch.no_grad():
        out = stage.upsampled(batch, 1)
    assert psnr(out, batch.clean) > psnr(batch.low, batch.clean) + 0.5


def test_a_perceptual_term_looks_at_what_is_upsampled(tmp_path, monkeypatch):
    monkeypatch.setattr(perceptual, "load_lpips", little_lpips)
    config = small_run(tmp_path, steps=1, inputs=Inputs(given=0.0))
    plain = UpsamplerStage(config, torch.device("cpu"))
    batch = plain.draw(1, range(2))
    seen = UpsamplerStage(replace(config, perceptual=0.5), torch.device("cpu"))
    losses = [stage.loss(stage.module, batch, 1) for stage in (plain, seen)]
    assert losses[1] > losses[0] + 1e-3
    nothing_open = replace(batch, known=torch.ones_like(batch.known))
    assert seen.loss(seen.module, nothing_open, 1) == plain.loss(plain.module, nothing_open, 1)


@pytest.mark.parametrize("copies", [False, True])
def test_a_network_that_copies_is_given_the_first_frame(copies):
    torch.manual_seed(0)
    network = BaseModel(replace(SIZES["debug"], copies=copies), ["red", "ball"])
    torch.nn.init.normal_(network.dit.head_out.weight, std=0.02)
    low = torch.rand(2, 3, *network.params.frame_size, 3) * 2 - 1
    mode = torch.tensor([int(Mode.DYNAMIC), int(Mode.FREEZE_TIME)])
    made = base_version(network, low, ["red ball"] * 2, mode, seeded(1))
    off = (made - low).abs().amax((2, 3, 4)) > 1e-3
    assert off[:, 0].tolist() == [not copies] * 2 and bool(off[:, 1:].all())


def test_a_base_model_of_another_size_is_refused(tmp_path):
    weights = Path(__file__).parents[2] / "gen" / "weights"
    with pytest.raises(UserError, match="works at 40x64"):
        run(tmp_path, 1, base=weights)


def test_generated_grids_are_upsampled_when_the_weights_say_so(tmp_path, capsys):
    grid = VideoGrid(low_grid(2, 2))
    assert choose_upsampler("auto", tmp_path) is None
    with pytest.raises(UserError, match="no upsampler"):
        choose_upsampler("on", tmp_path)
    save_upsampler(perturbed(), tmp_path, {}, default=False)
    assert choose_upsampler("auto", tmp_path) is None
    upsampler = choose_upsampler("on", tmp_path)
    assert upsampler is not None and choose_upsampler("off", tmp_path) is None
    out = at_size(grid, (32, 40), upsampler, seed=4)
    assert out.frames.shape == (2, 2, 32, 40, 3)
    assert "cropped to 8x10 and upsampled to 32x40" in capsys.readouterr().out
    assert np.allclose(out.frames, upsampler.grid(grid.frames[..., 1:11, :], (32, 40), seed=4))
    assert "resized" in (at_size(grid, (6, 8), upsampler), capsys.readouterr().out)[1]
    save_upsampler(perturbed(), tmp_path, {}, default=True)
    assert choose_upsampler("auto", tmp_path, Runtime(max_memory_gb=1)).max_memory_gb == 1


def test_what_stands_still_stays_still():
    still = np.broadcast_to(low_grid(1, 1), (2, 3, 8, 12, 3)).copy()
    out = Upsampler(perturbed()).grid(still, (32, 48), seed=5)
    assert np.abs(out - plain(still, 32, 48)).mean() > 1e-3
    assert np.abs(out - out[:1, :1]).mean() < 0.1 * np.abs(out - plain(still, 32, 48)).mean()


def test_the_bundled_upsampler_beats_resizing_on_scenes_it_never_saw():
    upsampler = load_upsampler(weights_folder())
    error = np.zeros(2)
    for truth in held_out_grids("narrow", 4, 0, (2, 2), upsampler.size):
        low = resize_frames(truth.frames, 40, 64)
        made = upsampler.grid(low, prompt=truth.prompt), resize_frames(low, *upsampler.size)
        error += [float(((out - truth.frames) ** 2).mean()) for out in made]
    assert upsampler.default and error[0] < error[1]
