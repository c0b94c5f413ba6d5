"""Motion error against exact tracks, on a scene whose motion is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fourreal.cameras import invert, project, transform
from fourreal.errors import UserError
from recon.motion.curve import spline_slopes
from recon.scene import Scene4D
from scripts.evaluate.motion_error import motion_error
from scripts.evaluate.true_motion import motion_seen_by_one, true_motion
from scripts.evaluate.truth_grid import TrueTracks, TruthGrid
from tests.recon.scenes import tiny_scene

VIEWS, STEPS, POINTS = 3, 4, 80


@pytest.fixture
def scene() -> Scene4D:
    """Points around (0, 0, 2) that move as one node does; the cameras look along z."""
    base = tiny_scene(n=POINTS, times=STEPS, views=VIEWS, nodes=1)
    base.w2c[1, :3, 3] = torch.tensor([-0.1, 0.1, 0.0])
    offsets = torch.tensor([[0.0, 0, 0], [0.1, 0, 0.2], [0.2, 0.1, 0.3], [0.3, 0.1, 0.5]])
    return replace(
        base,
        node_offsets=offsets[:, None],
        node_slopes=spline_slopes(base.times, offsets[:, None]),
        node_index=torch.zeros(POINTS, 1, dtype=torch.long),
        node_weights=torch.ones(POINTS, 1),
        opacity_logits=torch.full((POINTS,), 2.0),
    )


def truth_of(scene: Scene4D) -> TruthGrid:
    """The scene's own motion as the truth, in a world twice as large, turned and shifted."""
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    xyz = scene.means.numpy() + scene.offsets().numpy().astype(np.float64)
    there = 2 * xyz @ turn.T + (1.0, -2.0, 0.5)
    c2w = invert(scene.w2c.numpy().astype(np.float64))
    c2w[:, :3, :3] = turn @ c2w[:, :3, :3]
    c2w[:, :3, 3] = 2 * c2w[:, :3, 3] @ turn.T + (1.0, -2.0, 0.5)
    blank = np.zeros((VIEWS, STEPS, 4, 4, 3))
    tracks = TrueTracks(there, np.ones((VIEWS, STEPS, POINTS), bool))
    K = scene.K.numpy().astype(np.float64)
    return TruthGrid(
        *("toy", blank, blank[..., 0], K, invert(c2w), scene.times.numpy(), VIEWS, STEPS),
        tracks=tracks,
    )


def test_exact_motion_has_no_error_and_none_has_all_of_it(scene):
    truth = truth_of(scene)
    assert motion_error(scene, truth)["epe"] < 0.1
    frozen = replace(scene, node_offsets=torch.zeros(STEPS, 1, 3), node_slopes=None)
    assert motion_error(frozen, truth)["epe"] == pytest.approx(100, abs=0.1)


def test_errors_are_told_apart_by_the_rays_of_the_fixed_view(scene):
    truth = truth_of(scene)
    flat = scene.node_offsets.clone()
    flat[..., 2] = 0  # the first camera looks along z: what it cannot see is missing
    found = motion_error(replace(scene, node_offsets=flat), truth)
    assert found["epe_along"] > 70 and found["epe_across"] < 0.4 * found["epe_along"]
    flat = scene.node_offsets * torch.tensor([0.0, 0.0, 1.0])
    found = motion_error(replace(scene, node_offsets=flat), truth)
    assert found["epe_across"] > 2 * found["epe_along"]


def test_without_tracks_there_is_no_figure(scene):
    truth = replace(truth_of(scene), tracks=None)
    assert set(motion_error(scene, truth).values()) == {None}


def test_true_motion_is_that_of_the_tracks_in_the_scenes_own_world(scene):
    truth = truth_of(scene)
    found = true_motion(truth)(scene, scene.means.numpy())
    assert np.allclose(found, scene.offsets().numpy(), atol=1e-4)
    with pytest.raises(UserError, match=r"tracks\.npz"):
        true_motion(replace(truth, tracks=None))


def test_one_view_knows_where_points_are_in_its_picture(scene):
    truth = truth_of(scene)
    truth.tracks.visible[0, :, ::4] = False
    points, true = scene.means.double().numpy(), scene.offsets().double().numpy()
    found = motion_seen_by_one(truth)(scene, points)
    K, w2c = scene.cameras()
    for t in range(1, STEPS):
        uv, where = (project(transform(w2c[0], points + x[t]), K[0])[0] for x in (found, true))
        off, way = np.linalg.norm(uv - where, axis=1), np.linalg.norm(true[t])
        assert np.median(off) < 1e-3  # most tracks around a point are seen
        error = np.linalg.norm(found[t] - true[t], axis=1)
        assert np.median(error) < 0.5 * way  # what is seen to grow comes nearer
    with pytest.raises(UserError, match=r"tracks\.npz"):
        motion_seen_by_one(replace(truth, tracks=None))
