"""Whole clips: curves through fewer knots than times, fitted to all times, resumed after a kill."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from gen import frame_files
from gen.grid import VideoGrid
from recon.config import preset
from recon.fit.checkpoint import Checkpoint
from recon.motion.curve import curve_at, straight
from recon.motion.knots import KnotOffsets, choose_knots, places
from recon.motion.offsets import FreeOffsets
from recon.reconstruct import fit_scene
from tests.recon.scenes import column_from_depth, moving_square
from tests.recon.test_checkpoint import Stopping

TIMES, HOME = 9, 4


@pytest.mark.parametrize(("times", "home"), [(25, 0), (25, 24), (40, 20), (120, 1), (150, 149)])
def test_knots_hold_both_ends_and_the_canonical_time(times, home):
    knots = choose_knots(times, home, most=24, every=3)
    assert {0, home, times - 1} <= set(knots.tolist())
    assert 24 <= len(knots) <= max(24, times / 3 + 2)
    assert np.diff(knots).min() >= 1 and np.diff(knots).max() <= 4
    assert len(choose_knots(24, 0, most=24, every=3)) == 24


@pytest.mark.parametrize("curved", [True, False])
def test_what_is_fitted_between_knots_is_what_a_scene_draws_there(curved):
    stamps = torch.tensor([0.0, 0.1, 0.25, 0.6, 1.0])
    free = FreeOffsets(6, 5, 2, 10.0)
    for k in range(5):
        free.set_time(k, torch.randn(6, 3, generator=torch.Generator().manual_seed(k)))
    knots = KnotOffsets(free, stamps.tolist(), curved)
    values = torch.stack([knots(k) for k in range(5)]).detach()
    for t in np.linspace(0, 1, 23).tolist():
        if curved:
            want = curve_at(stamps, values, knots.slopes(), t)
        else:
            want = straight(stamps, values, t)
        place = places(stamps.tolist(), [t])[0]
        assert torch.allclose(knots(place), want, atol=1e-5), t
    assert bool((knots(2) == 0).all())


def test_a_straight_path_stays_straight_and_even_on_uneven_knots():
    stamps = torch.tensor([0.0, 0.1, 0.25, 0.6, 1.0])
    free = FreeOffsets(1, 5, 0, 100.0)
    for k, t in enumerate(stamps):
        free.set_time(k, t * torch.tensor([[1.0, -2.0, 0.5]]))
    slopes = KnotOffsets(free, stamps.tolist()).slopes()
    assert torch.allclose(slopes, torch.tensor([1.0, -2.0, 0.5]).expand(5, 1, 3), atol=1e-3)


@pytest.fixture(scope="module")
def clip():
    return moving_square(times=TIMES)


def fit(clip, checkpoint=None, grid=None):
    frames, depth, K, w2c = clip
    config = preset("debug")
    config.static_steps, config.floaters.steps, config.deformation.steps = 12, 4, 60
    config.deformation.most_stamps = 5
    column = column_from_depth(frames[:, HOME], depth[:, HOME], K, w2c, 1)
    grid = grid or VideoGrid(frames, shared=(0, HOME))
    return fit_scene(grid, column, config, checkpoint=checkpoint)


def alike(a, b):
    for field in fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        assert torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y, field.name


@pytest.fixture(scope="module")
def undisturbed(clip):
    return fit(clip)


def test_all_times_are_fitted_through_fewer_knots(clip, undisturbed):
    scene, report = undisturbed
    assert len(scene.times) == 5 and scene.canonical_time == 2
    cells = np.array(report["psnr_cells"])
    assert cells.shape == (3, TIMES)
    at_knots = choose_knots(TIMES, HOME, 5, 3)
    between = np.setdiff1d(np.arange(TIMES), at_knots)
    assert cells[:, between].mean() > cells[:, at_knots].mean() - 1.0
    still = np.array([[np.mean((clip[0][v, t] - clip[0][v, HOME]) ** 2) for t in (0, TIMES - 1)]
                      for v in range(3)])  # fmt: skip
    assert cells[:, [0, -1]].mean() > -10 * np.log10(still.mean()) + 3


def test_a_killed_fit_of_a_clip_ends_like_an_undisturbed_one(tmp_path, clip, undisturbed):
    with pytest.raises(KeyboardInterrupt):
        fit(clip, Stopping(tmp_path / "fit", "joint fit", 17))
    alike(fit(clip, Checkpoint(tmp_path / "fit", "key"))[0], undisturbed[0])


def test_frames_that_stay_in_their_files_give_the_same_scene(tmp_path, clip, monkeypatch):
    VideoGrid(clip[0], shared=(0, HOME)).save(tmp_path / "grid")
    held = VideoGrid.load(tmp_path / "grid")
    monkeypatch.setattr(frame_files, "_MUCH", 0)
    read = VideoGrid.load(tmp_path / "grid")
    assert isinstance(read.frames, frame_files.FrameFiles)
    alike(fit(clip, grid=read)[0], fit(clip, grid=held)[0])
