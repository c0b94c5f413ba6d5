"""Both training scripts at debug size: resume is exact, only what should be trained is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gen.model import load_base
from gen.muon import Muon, orthogonalise
from gen.train_data import WORLDS, ClipPool, PoolConfig, sample_known, seeded
from gen.train_grids import GridPool, sample_grid_known
from gen.train_loop import EMA, Optimisers, learning_rate
from scripts.train_4d import Train4DConfig
from scripts.train_4d import main as train_4d
from scripts.train_base import TrainBaseConfig
from scripts.train_base import main as train_base

SMALL_POOL = PoolConfig(chunk=4, keep=2, start=1, steps_per_chunk=2, world="narrow")


def base_run(out: Path, steps: int, **changes) -> dict[str, torch.Tensor]:
    settings = dict(
        size="debug", batch=4, frames=4, use_frames=3, picture_every=2, picture_batch=4,
        optimiser="muon", warmup=2, decay=0.0, sample_every=100, pool=SMALL_POOL,
    )  # fmt: skip
    train_base(TrainBaseConfig(out=out, steps=steps, **(settings | changes)))
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


def test_base_leaves_weights_log_and_samples(trained):
    base, config = load_base(trained / "weights")
    assert config["how_made"]["step"] == 5 and base.params.width == 64
    assert (trained / "log.jsonl").exists()
    assert list((trained / "samples").glob("*.png"))


def test_base_can_start_from_another_run(trained, tmp_path):
    started = base_run(tmp_path, 1, init=trained, lr=0.0)
    ema = torch.load(trained / "checkpoint.pt", weights_only=True)["ema"]
    assert all(torch.equal(started[k], v) for k, v in ema.items())


@pytest.mark.parametrize("mixer", ["soft", "sequential"])
def test_4d_resumes_exactly_and_trains_the_mixer_alone(trained, tmp_path, mixer):
    def run(out: Path, steps: int):
        train_4d(
            Train4DConfig(
                base=trained / "weights", out=out, mixer=mixer, rank=4, steps=steps, batch=1,
                views=3, times=3, sample_every=100, decay=0.0, pool=PoolConfig(2, 2, 1, 2),
            )
        )  # fmt: skip
        return torch.load(out / "checkpoint.pt", weights_only=True)["model"]

    run(tmp_path / "a", 1)
    resumed, straight = run(tmp_path / "a", 3), run(tmp_path / "b", 3)
    assert equal(resumed, straight)
    frozen = load_base(trained / "weights")[0].state_dict()
    assert all(torch.equal(straight[f"base.{k}"], v) for k, v in frozen.items())
    assert any(v.abs().sum() > 0 for k, v in straight.items() if "up.weight" in k)
    assert load_file(tmp_path / "b" / "weights" / f"{mixer}-00.safetensors")


def test_pools_depend_on_the_step_alone():
    def fresh():
        return ClipPool(0, 0, 4, 16, 24, SMALL_POOL)

    one = fresh()
    for step in range(6):
        last = one.batch(step, 3, 3)
    again = fresh().batch(5, 3, 3)
    assert torch.equal(last.clean, again.clean) and last.texts == again.texts
    assert torch.equal(last.known, again.known)
    grids = GridPool(0, 0, 16, 24, PoolConfig(2, 2, 1, 2)).batch(3, 2, 3, 4)
    assert grids.clean.shape == (2, 3, 4, 16, 24, 3)
    assert grids.index_v[0] == 0 and grids.index_t[0] == 0


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
    grid = sample_grid_known(400, 4, 5, g)
    crosses = grid[:, 0].all(1) & grid[:, :, 0].all(1)
    assert 0.75 < crosses.float().mean() < 0.95
    assert not grid.flatten(1).all(1).any() and grid[:, 0, 0].all()


def test_narrow_world_keeps_what_the_main_job_needs():
    world = WORLDS["narrow"]
    assert len(world["shapes"]) >= 4 and len(world["colours"]) >= 6 and len(world["motions"]) >= 5


def test_schedule_and_average():
    factors = [learning_rate(s, 100, 10, 0.5) for s in range(101)]
    assert factors[0] == 0.1 and factors[20] == 1.0 and factors[75] == 0.5 and factors[100] == 0
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
