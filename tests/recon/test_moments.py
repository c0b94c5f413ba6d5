"""Few views, too much motion to follow: a geometry per time, visible at its time alone."""

import copy

import numpy as np
import pytest
import torch

from gen.grid import VideoGrid
from recon.config import preset
from recon.fit.checkpoint import Checkpoint
from recon.moments import change_over_time, fit_moments, joined, measured_times, needs_moments
from recon.reconstruct import fit_canonical
from recon.render import render_scene
from tests.tracking.textured_room import at_angles, render_path, texture
from tracking.column import track_column


@pytest.fixture(scope="module")
def moments():
    """Two views, three times; at every time the box stands elsewhere."""
    w2c = at_angles(np.array([-4.0, 4.0]))
    rooms = [render_path(w2c, shifts=np.full(2, s)) for s in (0.0, 0.9, -0.6)]
    frames = np.stack([room.frames for room in rooms], 1)
    K = np.broadcast_to(rooms[0].K, (2, 3, 3))
    return VideoGrid(frames, K=K, w2c=w2c), rooms


@pytest.fixture(scope="module")
def tracked(moments):
    grid, _ = moments
    return track_column(grid.freeze_time, K=grid.K, w2c=grid.w2c)


@pytest.fixture
def column(tracked):
    """Of the first time; a test may write to it."""
    return copy.deepcopy(tracked)


def test_what_flow_can_follow_is_no_reason():
    picture = texture(3)[:72, :96]
    slow = np.stack([np.roll(picture, k, 1) for k in range(4)])
    assert not change_over_time(slow).too_much
    torn = np.stack([texture(30 + k)[:72, :96] for k in range(4)])
    change = change_over_time(torn)
    assert change.too_much and change.changed > 0.5


def test_many_views_are_followed(moments, column):
    grid, _ = moments
    four = VideoGrid(
        np.concatenate([grid.frames, grid.frames]),
        K=np.concatenate([grid.K] * 2), w2c=np.concatenate([grid.w2c] * 2),
    )  # fmt: skip
    assert not needs_moments(four, column)


def test_motion_that_nothing_follows_is_said(moments, column, capsys):
    """Every time shows other textures in the same place."""
    grid, _ = moments
    frames = np.array(grid.frames)
    for t in (0, 2):
        frames[:, t] = texture(40 + t)[:72, :96]
    capsys.readouterr()
    assert needs_moments(VideoGrid(frames, K=grid.K, w2c=grid.w2c), column)
    assert "every time gets a geometry of its own from its 2 views" in capsys.readouterr().err


def test_a_time_that_shows_something_else_is_left_to_its_neighbours(moments, column, capsys):
    grid, _ = moments
    frames = np.array(grid.frames)
    frames[:, 2] = np.stack([texture(50 + v)[:72, :96] for v in range(2)])
    config = preset("debug")
    config.static_steps = config.floaters.steps = 0
    wrong = VideoGrid(frames, K=grid.K, w2c=grid.w2c)
    scene = fit_moments(wrong, column, config, lambda g, c, f: fit_canonical(g, c, f))
    said = capsys.readouterr().err
    assert "time 2: " in said and "agree with the given cameras" in said
    assert "the times beside it stand in" in said
    assert scene.visibility is not None and bool((scene.visibility.sum(0) >= 1).all())


def test_every_time_has_its_own_geometry_and_only_that(moments, column):
    grid, rooms = moments
    config = preset("debug")
    config.static_steps = config.floaters.steps = 0
    scene = fit_moments(grid, column, config, lambda g, c, f: fit_canonical(g, c, f))
    assert scene.visibility is not None
    assert set(scene.visibility.unique().tolist()) == {0.0, 1.0}
    assert bool((scene.visibility.sum(0) == 1).all())
    for t, room in enumerate(rooms):
        out = render_scene(scene, float(grid.times[t]), grid.w2c[0], grid.K[0])
        error = np.abs(out.depth.numpy() / room.depth[0] - 1)[8:-8, 8:-8]
        assert np.median(error) < 0.03
        apart = [np.abs(out.rgb.numpy() - grid.frames[0, k]).mean() for k in range(grid.T)]
        assert int(np.argmin(apart)) == t
    assert measured_times(grid) == [0, 1, 2]


def test_times_that_were_fitted_before_a_kill_are_kept(moments, column, tmp_path):
    grid, _ = moments
    config = preset("debug")
    config.floaters.steps = 0
    fitted: list[int] = []

    def fit_one(moment, tracks, settings, until=99):
        if len(fitted) == until:
            raise KeyboardInterrupt
        fitted.append(len(fitted))
        return fit_canonical(moment, tracks, settings)

    whole = fit_moments(grid, column, config, fit_one)
    fitted.clear()
    with pytest.raises(KeyboardInterrupt):
        fit_moments(
            grid, column, config, lambda *a: fit_one(*a, until=2), Checkpoint(tmp_path, "key")
        )
    again = fit_moments(grid, column, config, fit_one, Checkpoint(tmp_path, "key"))
    assert len(fitted) == 3
    for name in ("means", "log_scales", "opacity_logits", "colors", "visibility"):
        assert torch.equal(getattr(again, name), getattr(whole, name)), name


def test_a_time_without_depth_shows_the_nearest(moments, column):
    grid, _ = moments
    config = preset("debug")
    config.floaters.steps = 0
    one = VideoGrid(grid.freeze_time[:, None], K=grid.K, w2c=grid.w2c)
    part = fit_canonical(one, column, config)
    scene = joined([(0, part), (2, part)], grid, column)
    n = len(part)
    assert scene.visibility is not None
    assert torch.equal(scene.visibility[1, :n] + scene.visibility[1, n:], torch.ones(n))
