"""Numbers that are not finite, and grids that hold nothing to go by, through the command line."""

import numpy as np
import pytest
import torch

import run_pipeline
from fourreal.health import NotFinite
from gen.data.world.grid import make_grid
from gen.flow.samplers import sample_euler, sample_heun
from recon.fit.scene_fit import JointFit
from recon.scene import Scene4D

SIZE = (32, 48)


@pytest.fixture(scope="module")
def frames():
    grid, _, _ = make_grid(seed=5, V=3, T=2, size=SIZE)
    return grid.frames


def run(monkeypatch, tmp_path, frames, *options):
    monkeypatch.chdir(tmp_path)
    np.savez("grid.npz", rgb=(np.clip(frames, 0, 1) * 255).astype(np.uint8))
    return run_pipeline.main(
        ["grid", "grid.npz", "--out", "run", "--preset", "debug", *map(str, options)]
    )


def test_fit_stops_at_the_first_nan_and_goes_on_later(monkeypatch, tmp_path, capsys, frames):
    loss, calls = JointFit.loss, []

    def broken(*args):
        calls.append(1)
        return loss(*args) * (float("nan") if len(calls) == 8 else 1.0)

    monkeypatch.setattr(JointFit, "loss", broken)
    assert run(monkeypatch, tmp_path, frames) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "error: static fit, step 7: 'loss of view" in last
    assert "the last good state is the scene after the canonical phase, run/fit" in last
    monkeypatch.setattr(JointFit, "loss", loss)
    assert run(monkeypatch, tmp_path, frames) == 0
    assert "going on after the canonical phase" in capsys.readouterr().out
    assert not (tmp_path / "run" / "fit").exists()


@pytest.mark.parametrize("sampler", [sample_euler, sample_heun])
def test_denoising_stops_at_the_first_nan(sampler):
    def model(x, sigma):
        return x * float("nan") if sigma < 0.5 else x

    with pytest.raises(NotFinite, match="denoising, step 3 of 4: 'predicted frames'"):
        sampler(model, torch.ones(2, 3), torch.tensor([1.0, 0.75, 0.4, 0.2, 0.0]))


PLAIN = {
    "all black": lambda f: np.zeros_like(f),
    "one colour": lambda f: np.zeros_like(f) + np.float32([0.8, 0.2, 0.1]),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_grids_are_refused_by_name(monkeypatch, tmp_path, capsys, frames, name):
    assert run(monkeypatch, tmp_path, PLAIN[name](frames)) == 2
    last = capsys.readouterr().err.splitlines()[-1]  # bars leave the terminal's signs before it
    assert last.endswith(
        "error: nothing but plain background in the freeze-time clip; nothing to build"
    )


DEGENERATE = {
    "the same picture everywhere": lambda f: np.tile(f[:1, :1], (3, 2, 1, 1, 1)),
    "two views of one time": lambda f: f[:2, :1],
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_grids_without_anything_to_go_by_still_make_a_scene(monkeypatch, tmp_path, frames, name):
    given = DEGENERATE[name](frames)
    assert run(monkeypatch, tmp_path, given) == 0
    scene = Scene4D.load(tmp_path / "run" / "scene.safetensors")
    assert len(scene) > 0 and len(scene.times) == given.shape[1]
    assert (tmp_path / "run" / "index.html").stat().st_size > 1000


@pytest.mark.slow
def test_noise_ends_with_the_reason_and_makes_a_scene_only_when_told_to(
    monkeypatch, tmp_path, capsys, frames
):
    noise = np.random.default_rng(0).random(frames.shape, np.float32)
    assert run(monkeypatch, tmp_path, noise) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "error: cameras could not be recovered" in last and "--allow-stand-in" in last
    assert not (tmp_path / "run" / "scene.safetensors").exists()
    assert run(monkeypatch, tmp_path, noise, "--allow-stand-in") == 0
    assert len(Scene4D.load(tmp_path / "run" / "scene.safetensors")) > 0
