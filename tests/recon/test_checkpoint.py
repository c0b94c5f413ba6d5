"""A fit that was stopped goes on where it was, and ends with the same bits."""

from dataclasses import fields

import pytest
import torch

from fourreal.health import NotFinite
from gen.grid import VideoGrid
from recon.config import preset
from recon.fit.checkpoint import Checkpoint
from recon.reconstruct import fit_scene
from tests.recon.scenes import column_from_depth, moving_square

FRAMES, DEPTH, K, W2C = moving_square()


def settings():
    config = preset("debug")
    config.static_steps, config.floaters.steps, config.deformation.steps = 12, 4, 24
    return config


def fit(checkpoint=None, config=None):
    column = column_from_depth(FRAMES[:, 0], DEPTH[:, 0], K, W2C, 1)
    return fit_scene(VideoGrid(FRAMES), column, config or settings(), checkpoint=checkpoint)[0]


@pytest.fixture(scope="module")
def undisturbed():
    return fit()


class Stopping(Checkpoint):
    """Keeps every step, and is interrupted before one of them."""

    def __init__(self, folder, run, step):
        super().__init__(folder, "key", every=0.0)
        self.stop = run, step

    def maybe_keep(self, fit, name, step, queue, rng):
        if (name, step) == self.stop:
            raise KeyboardInterrupt
        super().maybe_keep(fit, name, step, queue, rng)


@pytest.mark.parametrize(("run", "step"), [("static fit", 7), ("joint fit", 1), ("joint fit", 17)])
def test_stopped_fit_ends_like_an_undisturbed_one(tmp_path, undisturbed, run, step):
    with pytest.raises(KeyboardInterrupt):
        fit(Stopping(tmp_path / "fit", run, step))
    kept = Checkpoint(tmp_path / "fit", "key")
    assert kept.has(run) and kept.scene("cpu")[0] == {"s": "canonical", "j": "static"}[run[0]]
    again = fit(kept)
    for field in fields(again):
        a, b = getattr(again, field.name), getattr(undisturbed, field.name)
        same = torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        assert same, field.name
    kept.done()
    assert not (tmp_path / "fit").exists()


def test_state_of_other_inputs_or_damaged_is_not_used(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(Stopping(tmp_path / "fit", "static fit", 3))
    assert Checkpoint(tmp_path / "fit", "other key").scene("cpu") is None
    file = tmp_path / "fit" / "phase.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert Checkpoint(tmp_path / "fit", "key").scene("cpu") is None


def test_values_that_are_not_finite_are_named(tmp_path):
    config = settings()
    config.rates.colors = float("inf")
    with pytest.raises(NotFinite, match=r"static fit, step 1: 'colors' .* last good state"):
        fit(Checkpoint(tmp_path / "fit", "key", every=0.0), config)
