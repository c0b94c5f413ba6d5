"""A square comes out from behind another one: the canonical time does not show it."""

from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gen.grid import VideoGrid
from recon.config import preset
from recon.fit.checkpoint import Checkpoint
from recon.later.cells import LaterConfig
from recon.later.surface import Carrier, add_later_surface
from recon.motion.follow import FollowContext, FrameFlow, follow_later
from recon.motion.nodes import node_graph
from recon.motion.offsets import FreeOffsets
from recon.motion.rigidity import LocalTurns
from recon.reconstruct import fit_scene
from recon.render import render_scene
from tests.recon.scenes import column_from_depth, on_nodes, painted_planes, row_of_cameras
from tests.recon.test_checkpoint import Stopping

V, T, H, W = 5, 5, 48, 80
WALL, FRONT, HIDDEN = 3.0, 2.0, 2.3
STEP = 0.11  # that the hidden one moves from time to time
"""Where squares are and how: (depth, half side, shift at time t)."""


def squares(t):
    return ((WALL, np.inf, 0.0), (FRONT, 0.3, -0.05 * t), (HIDDEN, 0.2, STEP * t))


def planes(t):
    def square(k, half, shift):
        def paint(xy):
            x, y = xy[:, 0] - shift, xy[:, 1]
            wave = 0.15 * np.stack([np.sin(7 * x), np.cos(8 * y), np.sin(6 * x + y)], -1)
            ground = ((0.5, 0.5, 0.5), (0.8, 0.3, 0.2), (0.2, 0.3, 0.8))[k]
            return np.maximum(abs(x), abs(y)) < half, wave + ground

        return paint

    return [(z, square(k, half, shift)) for k, (z, half, shift) in enumerate(squares(t))]


@pytest.fixture(scope="module")
def footage():
    """frames [V, T, H, W, 3], depth [V, T, H, W], K, w2c."""
    K, w2c = row_of_cameras(V, H, W)
    return *painted_planes(K, w2c, T, H, W, planes), K, w2c


@pytest.fixture(scope="module")
def followed(footage):
    """Scene of time 0, motion of its nodes, which points are nodes: as after the following."""
    scene, chosen = on_nodes(*footage, FRONT, 7)
    motion = FreeOffsets(len(chosen), T, 0, 2.0)
    for t in range(T):
        motion.set_time(t, torch.tensor([[-0.05 * t, 0.0, 0.0]]).expand(len(chosen), 3))
    return scene, motion, chosen


def drawn(scene, motion, t, v):
    scene.node_offsets = torch.stack([motion(s).detach() for s in range(T)])
    return render_scene(scene, float(scene.times[t]), scene.w2c[v], scene.K[v]).rgb.numpy()


def test_what_comes_out_of_hiding_gets_points_where_it_is(footage, followed):
    frames = footage[0]
    before, motion, chosen = followed
    scene, moved, nodes = add_later_surface(before, motion, chosen, VideoGrid(frames))
    added = len(scene) - len(before)
    assert added > 100 and len(nodes) > len(chosen) and moved.nodes == len(nodes)
    t, v = T - 1, V // 2
    with torch.no_grad():
        places = scene.means + moved(t)[scene.node_index].mul(scene.node_weights[..., None]).sum(1)
    new = places[-added:].numpy()
    seen = scene.visibility[t, -added:].numpy() > 0.5
    assert np.median(np.abs(new[seen, 2] - HIDDEN)) < 0.15
    assert np.quantile(np.abs(new[seen, 0] - STEP * t), 0.9) < 0.35
    error = [
        np.square(drawn(*x, t, v) - frames[v, t]).mean() for x in ((before, motion), (scene, moved))
    ]
    assert error[1] < 0.5 * error[0]
    assert (moved(0) == 0).all()


def test_what_is_seen_already_stays_as_it_is_drawn(footage, followed):
    frames = footage[0]
    before, motion, chosen = followed
    scene, moved, _ = add_later_surface(before, motion, chosen, VideoGrid(frames))
    for v in range(V):
        a, b = drawn(before, motion, 0, v), drawn(scene, moved, 0, v)
        assert np.square(b - frames[v, 0]).mean() < 1.25 * np.square(a - frames[v, 0]).mean() + 1e-5


def test_nothing_is_added_where_all_is_drawn_well_or_too_few_views_know(footage, followed):
    frames = footage[0]
    scene, motion, chosen = followed
    same = np.repeat(frames[:, :1], T, 1)
    assert add_later_surface(scene, motion, chosen, VideoGrid(same))[0] is scene
    known = np.zeros((V, T), bool)
    known[0], known[:, 0] = True, True
    cross = VideoGrid(frames * known[..., None, None, None], known)
    assert add_later_surface(scene, motion, chosen, cross)[0] is scene
    few = LaterConfig(share=0.5)
    assert add_later_surface(scene, motion, chosen, VideoGrid(frames), few)[0] is scene


def test_places_are_carried_with_the_turn_of_the_nodes_around_them():
    rng = np.random.default_rng(0)
    nodes = rng.normal(size=(60, 3))
    angle = 0.9
    turn = np.array(
        [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    )
    motion = FreeOffsets(60, 3, 0, 50.0)
    for t in (1, 2):
        there = nodes @ np.linalg.matrix_power(turn, t).T + (0.1 * t, 0, 0)
        motion.set_time(t, torch.from_numpy(there - nodes).float())
    carrier = Carrier(motion, nodes)
    places = nodes[:5] @ turn.T + (0.1, 0, 0) + 0.3  # anywhere near them at time 1
    back = (places - (0.1, 0, 0)) @ turn
    want = back @ np.linalg.matrix_power(turn, 2).T + (0.2, 0, 0)
    assert np.allclose(carrier.carried(1, 2, places), want, atol=1e-3)
    assert np.allclose(carrier.carried(1, 0, places), back, atol=1e-3)


def test_what_is_found_is_followed_until_it_is_lost(footage):
    frames, depth, K, w2c = footage
    x, y = np.meshgrid(np.linspace(0.46, 0.6, 5), np.linspace(-0.14, 0.14, 7))
    nodes = np.stack([x.ravel(), y.ravel(), np.full(x.size, HIDDEN)], -1)  # at the last time
    turns = LocalTurns(torch.from_numpy(nodes), torch.from_numpy(node_graph(nodes)))
    every = np.ones(len(nodes), bool)
    targets = torch.from_numpy(frames)
    asked = []

    def moved(lost, unknown=()):
        motion = FreeOffsets(len(nodes), T, 0, 2.0)
        known = np.ones((V, T), bool)
        known[:, list(unknown)] = False
        seen = FollowContext(
            *(targets, known, K, w2c, 0),
            draw=lambda cell, _: SimpleNamespace(depth=torch.from_numpy(depth[cell])),
            refine=lambda t, views, steps: asked.append((t, len(views))),
            flow=FrameFlow(targets),
        )
        follow_later(motion, turns, nodes, seen, T - 1, every, lost)
        return [motion(t).detach().numpy() for t in range(T)]

    offsets = moved(lambda t: False)
    assert asked == [(3, V), (2, V), (1, V)]  # towards the canonical time, which is left alone
    off = offsets[3][:, :2] - (-STEP, 0)  # how far away it is, is left to the gradient steps
    assert np.median(np.linalg.norm(off, axis=1)) < 0.25 * STEP
    asked.clear()
    moved(lambda t: t == 2)
    assert asked == [(3, V), (2, V)]
    asked.clear()
    moved(lambda t: False, unknown=[2])
    assert asked == [(3, V)]


def fit(footage, later, checkpoint=None, knots=True):
    frames, depth, K, w2c = footage
    config = preset("debug")
    config.static_steps, config.floaters.steps, config.deformation.steps = 20, 4, 60
    if knots:
        config.deformation.most_stamps, config.deformation.knot_every = 3, 2
    config.deformation.later_surface = later
    column = column_from_depth(frames[:, 0], depth[:, 0], K, w2c, V // 2)
    return fit_scene(VideoGrid(frames), column, config, checkpoint=checkpoint)


def test_a_clip_is_fitted_better_and_goes_on_after_a_kill(footage, tmp_path):
    scene, report = fit(footage, later=True)
    without = fit(footage, later=False)[1]
    last = [np.mean([row[-1] for row in r["psnr_cells"]]) for r in (report, without)]
    assert scene.visibility is not None and last[0] > last[1] + 1.0
    with pytest.raises(KeyboardInterrupt):
        fit(footage, True, Stopping(tmp_path / "fit", "joint fit", 17))
    again = fit(footage, True, Checkpoint(tmp_path / "fit", "key"))[0]
    for field in fields(scene):
        a, b = getattr(scene, field.name), getattr(again, field.name)
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, field.name


def test_a_grid_of_few_times_is_fitted_better_too(footage):
    (scene, report), (_, without) = (fit(footage, later, knots=False) for later in (True, False))
    last = [np.mean([row[-1] for row in r["psnr_cells"]]) for r in (report, without)]
    assert scene.visibility is not None and last[0] > last[1] + 1.0
