"""A bar swings about its end, further than it is wide, before a wall."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recon.later.lost_parts import recover_lost
from recon.motion.follow import FollowContext, FrameFlow
from recon.motion.registration import Found, Registration
from recon.raster.rasterize import rasterize
from tests.recon.scenes import on_nodes, painted_planes, row_of_cameras

V, T, H, W = 5, 3, 60, 96
WALL, BAR = 3.0, 2.0
LONG, WIDE = 0.7, 0.07  # length of the bar and half its width
SWUNG = 1.0  # radians, at time 1; at time 2 the bar is where it was
HINGE = np.array([-0.1, -0.3])


def turn(angle):
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def angle_at(t):
    return 0.8 + SWUNG * (t == 1)


def planes(t):
    def wall(xy):
        paint = 0.45 + 0.1 * np.sin(7 * xy @ [[1, 0.5, 0.2], [0.3, 1, 0.6]])
        return np.ones(len(xy), bool), paint

    def bar(xy):
        along, across = ((xy - HINGE) @ turn(angle_at(t))).T
        hit = (abs(across) < WIDE) & (along > 0) & (along < LONG)
        return hit, np.array([0.8, 0.3, 0.2]) + 0.1 * np.sin(9 * along)[:, None]

    return (WALL, wall), (BAR, bar)


@pytest.fixture(scope="module")
def bar():
    """frames [V, T, H, W, 3], depth [V, T, H, W], K, w2c."""
    K, w2c = row_of_cameras(V, H, W)
    return *painted_planes(K, w2c, T, H, W, planes), K, w2c


@pytest.fixture(scope="module")
def moving(bar):
    """Scene whose bar hangs on nodes, their places, and what they are followed in."""
    frames, _, K, w2c = bar
    scene, chosen = on_nodes(*bar, BAR, 3)

    def draw(cell, offsets_M3):
        v, t = cell
        now = scene.node_offsets.clone()
        now[t] = offsets_M3
        moved = replace(scene, node_offsets=now)
        return rasterize(moved.at(float(scene.times[t])), scene.camera(v), scene.background)

    targets = torch.from_numpy(frames)
    known = np.ones((V, T), bool)
    context = FollowContext(
        *(targets, known, K, w2c, 0), draw=draw, refine=lambda *_: None, flow=FrameFlow(targets)
    )
    return scene, scene.means.numpy()[chosen], context


def swung(places):
    out = places.copy()
    out[:, :2] = (places[:, :2] - HINGE) @ turn(SWUNG).T + HINGE
    return out


def test_a_bar_that_swung_away_is_found_where_it_is(moving):
    scene, nodes, context = moving
    recover = recover_lost(scene, context, nodes, np.ones(len(nodes), bool))
    offsets = recover(1, np.zeros_like(nodes))
    error = np.linalg.norm((nodes + offsets - swung(nodes))[:, :2], axis=1)
    away = np.linalg.norm((swung(nodes) - nodes)[:, :2], axis=1)
    assert away.max() > 4 * WIDE
    assert error.mean() < 0.35 * away.mean() and np.quantile(error, 0.9) < 0.4 * away.max()


def test_one_view_alone_finds_it_in_its_picture(moving):
    """How far away it is, it cannot tell; the bar swings in a plane across its rays."""
    scene, nodes, context = moving
    one = np.zeros((V, T), bool)
    one[:, 0], one[0] = True, True
    recover = recover_lost(scene, replace(context, known=one), nodes, np.ones(len(nodes), bool))
    offsets = recover(1, np.zeros_like(nodes))
    error = np.linalg.norm((nodes + offsets - swung(nodes))[:, :2], axis=1)
    away = np.linalg.norm((swung(nodes) - nodes)[:, :2], axis=1)
    assert error.mean() < 0.5 * away.mean()
    assert (recover(2, np.zeros_like(nodes)) == 0).all()  # drawn well


def test_what_is_drawn_well_stays_where_it_is(moving):
    scene, nodes, context = moving
    recover = recover_lost(scene, context, nodes, np.ones(len(nodes), bool))
    assert (recover(2, np.zeros_like(nodes)) == 0).all()


def test_what_makes_nothing_better_is_taken_back(moving):
    """A part of the wall changes its colour: nothing has moved there."""
    scene, nodes, context = moving
    frames = context.frames.clone()
    frames[:, 2, 5:20, 70:90] = torch.tensor([0.1, 0.9, 0.1])
    recover = recover_lost(scene, replace(context, frames=frames), nodes, np.ones(len(nodes), bool))
    assert np.abs(recover(2, np.zeros_like(nodes))).max() < WIDE


def test_few_views_recover_nothing(moving):
    scene, nodes, context = moving
    few = np.zeros((V, T), bool)
    few[:, 0], few[:3] = True, True
    every = np.ones(len(nodes), bool)
    assert recover_lost(scene, replace(context, known=few), nodes, every) is None
    assert recover_lost(scene, context, nodes, np.arange(len(nodes)) < 5) is None  # hardly moves
    few[3, 2] = True
    recover = recover_lost(scene, replace(context, known=few), nodes, every)
    assert (recover(1, np.zeros_like(nodes)) == 0).all()


def rod(count=120):
    """A rod along x with a block at its start, and its colours."""
    rng = np.random.default_rng(0)
    block = rng.uniform((-0.4, -0.3, -0.3), (0, 0.3, 0.3), (count, 3))
    arm = rng.uniform((0, -0.05, -0.05), (1, 0.05, 0.05), (count, 3))
    return np.concatenate([block, arm]), np.arange(2 * count) >= count


def test_a_rod_goes_as_a_whole_to_where_it_was_found():
    nodes, arm = rod()
    registration = Registration(nodes, np.full_like(nodes, 0.5))
    there = nodes.copy()
    there[arm, :2] = nodes[arm, :2] @ turn(0.9).T
    found = Found(there[arm][::2], np.full((60, 3), 0.5))
    offsets = registration.fit(np.zeros_like(nodes), (~arm).astype(float), arm, found, 0.01)
    error = np.linalg.norm(nodes + offsets - there, axis=1)
    assert error[~arm].max() < 0.1 and np.median(error[arm]) < 0.06
    length = np.ptp((nodes + offsets)[arm] @ [np.cos(0.9), np.sin(0.9), 0])
    assert 0.8 < length < 1.2


def test_what_is_of_another_colour_does_not_pull():
    nodes, arm = rod()
    registration = Registration(nodes, np.full_like(nodes, 0.8))
    found = Found(nodes[arm] + (0, 0.4, 0), np.zeros((arm.sum(), 3)))
    offsets = registration.fit(np.zeros_like(nodes), np.ones(len(nodes)), arm, found, 0.01)
    assert np.abs(offsets).max() < 0.02
