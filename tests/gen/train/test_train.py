"""Both training scripts at debug size: resume is exact, only what should be trained is trained."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fourreal.errors import UserError
from gen.data.assets.cache import HELD_OUT
from gen.data.batches import WORLDS, ClipPool, PoolConfig, draw_clips, sample_known, seeded
from gen.data.grid_batches import GridPool, draw_grids, sample_grid_known
from gen.network.base import load_base
from gen.sync.mixer_file import load_two_stream
from gen.train.loop import EMA, Optimisers, cosine_rate, learning_rate
from gen.train.mix import grid_mixture
from gen.train.muon import Muon, orthogonalise
from gen.train.options import ClipMix, GridMix, Train4DConfig, TrainBaseConfig
from gen.train.run import _Board
from scripts.train_4d import main as train_4d
from scripts.train_base import main as train_base
from tests.gen.data.test_asset_world import fill_cache

SMALL_POOL = PoolConfig(chunk=4, keep=2, start=1, steps_per_chunk=2, world="narrow")
ROOT = Path(__file__).parents[3]


def base_options(out: Path, steps: int, **changes) -> TrainBaseConfig:
    settings = dict(
        size="debug", batch=4, frames=4, use_frames=3, picture_every=2, picture_batch=4,
        optimiser="muon", warmup=2, decay=0.0, sample_every=100, pool=SMALL_POOL,
    )  # fmt: skip
    return TrainBaseConfig(out=out, steps=steps, **(settings | changes))


def base_run(out: Path, steps: int, **changes) -> dict[str, torch.Tensor]:
    train_base(base_options(out, steps, **changes))
    return torch.load(out / "checkpoint.pt", weights_only=True)["model"]


def run_4d(base: Path, out: Path, steps: int, **changes) -> dict[str, torch.Tensor]:
    settings = dict(
        mixer="soft", rank=4, batch=2, views=3, times=3, sample_every=100, decay=0.0,
        pool=PoolConfig(2, 2, 1, 2),
    )  # fmt: skip
    train_4d(Train4DConfig(base=base / "weights", out=out, steps=steps, **(settings | changes)))
    return torch.load(out / "checkpoint.pt", weights_only=True)["model"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("base")
    base_run(out, 5)
    return out


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_base_resumes_exactly(trained, tmp_path):
    base_run(tmp_path, 3)
    resumed = base_run(tmp_path, 5)
    straight = torch.load(trained / "checkpoint.pt", weights_only=True)["model"]
    assert equal(resumed, straight)
    assert not equal(base_run(tmp_path / "seed", 5, seed=1), straight)


def test_reading_ahead_changes_nothing_and_pieces_next_to_nothing(trained, tmp_path):
    straight = torch.load(trained / "checkpoint.pt", weights_only=True)["model"]
    assert equal(base_run(tmp_path / "ahead", 5, readers=2), straight)
    first = base_run(tmp_path / "whole", 1, optimiser="adamw")
    pieces = base_run(tmp_path / "pieces", 1, optimiser="adamw", micro_batch=3)
    # AdamW's first step is lr * sign(gradient): compare the averages of the gradients instead.
    grads = [
        torch.load(tmp_path / x / "checkpoint.pt", weights_only=True)["optimisers"][0]["state"]
        for x in ("whole", "pieces")
    ]
    assert first.keys() == pieces.keys()
    for a, b in zip(grads[0].values(), grads[1].values(), strict=True):
        assert torch.allclose(a["exp_avg"], b["exp_avg"], atol=1e-6)


def test_base_leaves_weights_log_samples_and_tensorboard(trained):
    base, config = load_base(trained / "weights")
    assert config["how_made"]["step"] == 5 and base.params.width == 64
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 5 and {"loss", "grad_norm", "clips_per_second"} <= log[-1].keys()
    assert list((trained / "samples").glob("*.png"))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(trained / "tensorboard")).Reload().Tags()
    assert {"train/loss", "train/grad_norm", "train/lr"} <= set(board["scalars"])
    assert "samples" in board["images"]


def test_base_can_start_from_another_run_at_another_resolution(trained, tmp_path):
    started = base_run(tmp_path, 1, init=trained, lr=0.0, resolution="32x48", sample_every=1)
    ema = torch.load(trained / "checkpoint.pt", weights_only=True)["ema"]
    assert all(torch.equal(started[k], v) for k, v in ema.items())
    params = load_base(tmp_path / "weights")[0].params
    assert (params.height, params.width_px) == (32, 48)


def test_a_foreign_checkpoint_is_refused(trained, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes((trained / "checkpoint.pt").read_bytes()[:2000])
    with pytest.raises(UserError, match="another --out"):
        base_run(tmp_path, 6)
    with pytest.raises(UserError, match="--init"):
        base_run(tmp_path / "new", 1, init=tmp_path / "nothing")


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_last_checkpoint(trained, tmp_path):
    command = [
        sys.executable, "scripts/train_base.py", "--out", str(tmp_path), "--size", "debug",
        "--batch", "4", "--frames", "4", "--use-frames", "3", "--picture-every", "2",
        "--picture-batch", "4", "--optimiser", "muon", "--warmup", "2", "--decay", "0",
        "--pool.chunk", "4", "--pool.keep", "2", "--pool.start", "1", "--pool.steps-per-chunk", "2",
        "--pool.world", "narrow", "--checkpoint-every", "2", "--steps", "100000",
    ]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    run = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    checkpoint, deadline = tmp_path / "checkpoint.pt", time.monotonic() + 120
    while not checkpoint.exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    step = torch.load(checkpoint, weights_only=True)["step"]
    assert step >= 2 and step % 2 == 0
    if step < 5:  # else the kill came late and there is nothing to compare with
        straight = torch.load(trained / "checkpoint.pt", weights_only=True)["model"]
        assert equal(base_run(tmp_path, 5), straight)
    assert not list(tmp_path.glob(".partial-*"))


@pytest.mark.parametrize("mixer", ["soft", "sequential"])
def test_4d_resumes_exactly_and_trains_the_mixer_alone(trained, tmp_path, mixer):
    run_4d(trained, tmp_path / "a", 1, mixer=mixer)
    resumed = run_4d(trained, tmp_path / "a", 3, mixer=mixer)
    straight = run_4d(trained, tmp_path / "b", 3, mixer=mixer)
    assert equal(resumed, straight)
    frozen = load_base(trained / "weights")[0].state_dict()
    assert all(torch.equal(straight[f"base.{k}"], v) for k, v in frozen.items())
    assert any(v.abs().sum() > 0 for k, v in straight.items() if "up.weight" in k)
    assert load_file(tmp_path / "b" / "weights" / f"{mixer}-00.safetensors")
    moves = [(out / "weights" / "cameras.json").read_bytes() for out in (trained, tmp_path / "b")]
    assert moves[0] == moves[1]  # the world's one camera move goes along with the weights


def test_4d_goes_on_from_a_mixer(trained, tmp_path):
    run_4d(trained, tmp_path / "a", 2)
    weights = tmp_path / "a" / "weights"
    before = load_file(weights / "soft-00.safetensors")
    run_4d(trained, tmp_path / "b", 1, start=weights, lr=0.0)
    assert equal(before, load_file(tmp_path / "b" / "weights" / "soft-00.safetensors"))
    with pytest.raises(UserError, match="does not go"):
        run_4d(trained, tmp_path / "c", 1, start=weights, rank=3)


def test_4d_takes_the_wide_scenes_of_the_asset_world_alone_or_beside_the_others(trained, tmp_path):
    fill_cache(tmp_path, [0, 1, HELD_OUT])
    fill_cache(tmp_path, [5, 6], look="wide")
    shares = ((dict(assets=0, wide=1), {"wide"}), (dict(assets=1, wide=1), {"prompt", "wide"}))
    for shares_of, expected in shares:
        cfg = Train4DConfig(
            base=trained / "weights", out=tmp_path / "o", world=tmp_path,
            mix=GridMix(procedural=0, **shares_of),
        )  # fmt: skip
        mixture = grid_mixture(cfg, 16, 24, 0, "cpu")
        looks = {"" if mixture.item(0, n).text else "wide" for n in range(20)}
        assert looks == {"" if look == "prompt" else look for look in expected}


def test_4d_tunes_the_base_too_on_mixed_grids(trained, tmp_path):
    mix = GridMix(procedural=1, pseudo4d=1)
    after = run_4d(trained, tmp_path, 2, train="all", layers=(1,), mix=mix, readers=1)
    before = load_base(trained / "weights")[0].state_dict()
    moved = [k for k, v in before.items() if not torch.equal(after[f"base.{k}"], v)]
    assert any(k.startswith("dit.blocks.0") for k in moved) and any("text" in k for k in moved)
    ups = {k: v for k, v in after.items() if "mixer" in k and k.endswith("up.weight")}
    trained_mixers = {k.split(".")[-3] for k, v in ups.items() if v.any()}
    assert trained_mixers == {"1"}  # of blocks 0 and 1
    base, config = load_base(tmp_path / "weights")  # base and mixer: a whole weights folder
    assert config["how_made"]["then"]["train"] == "all"
    model, made = load_two_stream(base, tmp_path / "weights", "soft")
    assert made["layers"] == [1]
    run_4d(trained, tmp_path / "none", 1, train="all", mixer="none")
    assert (tmp_path / "none" / "weights" / "base-00.safetensors").exists()


def test_4d_refuses_what_does_not_go_with_the_base(trained, tmp_path):
    with pytest.raises(UserError, match="layers"):
        run_4d(trained, tmp_path, 1, layers=(7,))
    with pytest.raises(UserError, match="multiple"):
        run_4d(trained, tmp_path, 1, resolution="30x50")


def test_items_depend_on_step_and_number_alone():
    def fresh():
        return ClipPool(0, 4, 16, 24, SMALL_POOL)

    one = fresh()
    for step in range(6):
        last = draw_clips(one, 0, step, range(4), 3)
    again = draw_clips(fresh(), 0, 5, range(2, 4), 3)
    assert torch.equal(last.clean[2:], again.clean) and last.texts[2:] == again.texts
    assert torch.equal(last.known[2:], again.known) and torch.equal(last.index, again.index)
    assert not torch.equal(last.clean[0], last.clean[1])
    pool = GridPool(0, 16, 24, PoolConfig(2, 2, 1, 2))
    grids = draw_grids(pool, 0, 3, range(2), 3, 4)
    assert grids.clean.shape == (2, 3, 4, 16, 24, 3)
    assert grids.index_v[0] == 0 and grids.index_t[0] == 0
    second = draw_grids(pool, 0, 3, range(1, 2), 3, 4)
    assert torch.equal(grids.clean[1:], second.clean) and torch.equal(grids.known[1:], second.known)


def test_clips_and_grids_know_what_they_should():
    g = seeded(0)
    canonical = torch.rand(400, generator=g) < 0.5
    mode = torch.arange(400) % 2
    known = sample_known(torch.arange(8), canonical, mode, g)
    assert not known.all(1).any()
    assert known[~canonical, 0].all()
    from_text = ~known.any(1)
    assert not from_text[~canonical].any()
    assert 0.3 < from_text[canonical & (mode == 0)].float().mean() < 0.7
    counts = sample_known(torch.arange(8), canonical, mode, g, uniform=True).sum(1)
    shares = torch.bincount(counts, minlength=5) / 400
    assert counts.max() == 4 and shares.min() > 0.12 and shares.max() < 0.28
    grid = sample_grid_known(400, 4, 5, g)
    crosses = grid[:, 0].all(1) & grid[:, :, 0].all(1)
    assert 0.75 < crosses.float().mean() < 0.95
    assert not grid.flatten(1).all(1).any() and grid[:, 0, 0].all()


def test_narrow_world_keeps_what_the_main_job_needs():
    world = WORLDS["narrow"]
    assert len(world["shapes"]) >= 4 and len(world["colours"]) >= 6 and len(world["motions"]) >= 5


def test_options_are_checked(tmp_path):
    good = base_options(tmp_path, 1)
    for wrong in (
        {"batch": 0}, {"size": "huge"}, {"resolution": "36:64"}, {"resolution": "17x24"},
        {"mix": ClipMix(0, 0, 0)}, {"mix": ClipMix(dynamic=1)}, {"dynamic": tmp_path},
        {"text_drop": 2.0}, {"compile": True, "shard": True},
    ):  # fmt: skip
        with pytest.raises(ValueError):
            replace(good, **wrong)
    four = Train4DConfig(out=tmp_path, base=tmp_path)
    for wrong in (
        {"mixer": "none"}, {"views": 9}, {"grids": tmp_path}, {"videos": tmp_path},
        {"mix": GridMix(grids=1)}, {"mix": GridMix(procedural=-1)}, {"mix": GridMix(wide=1)},
    ):  # fmt: skip
        with pytest.raises(ValueError):
            replace(four, **wrong)


def test_schedules_and_average():
    factors = [learning_rate(s, 100, 10, 0.5) for s in range(101)]
    assert factors[0] == 0.1 and factors[20] == 1.0 and factors[75] == 0.5 and factors[100] == 0
    cosine = [cosine_rate(s, 110, 10) for s in range(111)]
    assert cosine[0] == 0.1 and cosine[10] == 1.0 and cosine[110] == 0
    assert cosine[60] == pytest.approx(0.5) and cosine[10:] == sorted(cosine[10:], reverse=True)
    p = torch.nn.Parameter(torch.zeros(2))
    ema = EMA([("p", p)])
    with torch.no_grad():
        p.fill_(1.0)
    ema.update()
    assert 0.3 < ema.average["p"][0] < 0.7
    ema.swap()
    assert p[0] < 1.0
    ema.swap()
    assert p[0] == 1.0


def test_muon_orthogonalises_and_takes_matrices_only():
    torch.manual_seed(0)
    singular = torch.linalg.svdvals(orthogonalise(torch.randn(3, 8, 20)))
    assert singular.min() > 0.5 and singular.max() < 1.3
    with pytest.raises(ValueError, match="matrices"):
        Muon([torch.nn.Parameter(torch.zeros(3))], lr=0.1)
    with pytest.raises(ValueError, match="optimiser"):
        Optimisers([], "sgd", 0.1)


def test_without_tensorboard_a_line_says_so_and_training_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    board = _Board(tmp_path, 0)
    board.scalars({"loss": 1.0}, 1, "train")
    assert "fourreal[train]" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
