"""Depth of views far apart: one neighbour that fits is enough, those that agree make it sure."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.tracking.textured_room import QUICK_DEPTH, arc, at_angles, render_path
from tracking.depth import dense
from tracking.depth.dense import (
    DepthConfig,
    dense_depth,
    far_from_all,
    inverse_depth_ranges,
    settle,
)
from tracking.depth.neighbours import neighbours
from tracking.depth.slanted import refine_inverse_depth
from tracking.depth.sweep import cost_volume, with_gray

NEVER = replace(DepthConfig(), wide_deg=1e9)


@pytest.fixture(scope="module")
def room():
    return render_path(arc(5, 30.0), (48, 72))


def ranges_of(room):
    near, far = room.depth.min((1, 2)), np.minimum(room.depth, 12.0).max((1, 2))
    return np.stack([0.6 / far, 1.3 / near], 1)


def test_a_view_is_far_from_all_where_the_nearest_is():
    room = render_path(at_angles(np.array([0.0, 10.0, 30.0, 60.0])), (24, 36))
    near = neighbours(room.w2c, 2)
    far = far_from_all(near, room.w2c, ranges_of(room), DepthConfig().wide_deg)
    assert far.tolist() == [False, False, True, True]


def one_that_fits(room):
    """Images [5, H, W, 4] of which the view after the middle shows the room, three noise."""
    rng = np.random.default_rng(0)
    noise = rng.random((5, 48, 72, 3)).astype(np.float32)
    grain = 0.1 * rng.normal(0, 1, (5, 48, 72, 3)).astype(np.float32)
    images = np.stack([with_gray(np.clip(f, 0, 1)) for f in room.frames + grain])
    for v in (0, 3, 4):
        images[v] = with_gray(cv2.GaussianBlur(noise[v], (0, 0), 1.5))
    return images


def test_three_neighbours_that_see_something_else_do_not_outvote_one_that_fits(room):
    K, images = np.tile(room.K, (5, 1, 1)), one_that_fits(room)
    truth, planes = 1.0 / room.depth[2], np.linspace(0.15, 0.8, 60)

    def right(keep):
        cost = cost_volume(images, 2, [0, 1, 3, 4], K, room.w2c, planes, keep=keep)
        off = np.abs(planes[cost.argmin(-1)] / truth - 1)[8:-8, 16:-16]
        return (off < 0.05).mean()

    assert right(keep=0) > 0.55 > 0.5 > right(keep=2)


def test_nor_in_the_refinement(room):
    K, images = np.tile(room.K, (5, 1, 1)), one_that_fits(room)
    truth = (1.0 / room.depth[2]).astype(np.float32)

    def right(keep):
        found, _ = refine_inverse_depth(
            truth, images, 2, [0, 1, 3, 4], K, room.w2c, (0.1, 1.0), step=0.01, keep=keep
        )
        return (np.abs(found / truth - 1)[8:-8, 16:-16] < 0.05).mean()

    assert right(keep=0) > 0.53 > right(keep=2)


def test_what_no_neighbour_sees_costs_the_same_at_any_depth(room):
    images = np.stack([with_gray(f) for f in room.frames])
    K, planes = np.tile(room.K, (5, 1, 1)), np.linspace(3.0, 6.0, 5)  # before all cameras' eyes
    aside = room.w2c.copy()
    aside[[0, 1], 0, 3] += 50.0
    cost = cost_volume(images, 2, [0, 1], K, aside, planes, keep=0)
    assert np.ptp(cost) < 1e-5 and cost.max() < 0.61


def test_what_many_views_agree_on_is_trusted_though_the_pictures_differ(room):
    K, far = np.tile(room.K, (5, 1, 1)), np.ones(5, bool)
    rho = (1.0 / room.depth).astype(np.float32)
    cost, margin = np.full_like(rho, 0.38), np.ones_like(rho)

    def trust(rho, far):
        return np.median(
            settle(rho, cost, margin, room.frames, K, room.w2c, DepthConfig(), far=far)[1][2]
        )

    assert trust(rho, far) > 0.6
    alone = rho.copy()
    alone[[0, 3, 4]] *= 0.5  # one neighbour is left that agrees
    assert trust(alone, far) < 0.3


def test_what_all_neighbours_agree_on_is_sure_though_little_around_is(room, monkeypatch):
    """A face before a plain wall: neighbours agree on every part of it, and on nothing beside."""
    K, w2c, far = np.tile(room.K, (3, 1, 1)), room.w2c[1:4], np.ones(3, bool)
    monkeypatch.setattr(dense, "put_on_planes", lambda rho, trust, *_: (rho, trust))
    rho = (1.0 / room.depth[1:4]).astype(np.float32)
    there = np.zeros(rho[1].shape, bool)
    there[np.arange(len(there)) % 7 < 3] = True
    rho[1][~there] *= 0.5
    nothing, clear = np.zeros_like(rho), np.ones_like(rho)
    trust = settle(rho, nothing, clear, room.frames[1:4], K, w2c, DepthConfig(), far=far)[1][1]
    middle = there & (np.abs(np.arange(there.shape[1]) - there.shape[1] / 2) < 15)
    assert (trust[middle] > 0.6).mean() > 0.8


def test_views_near_each_other_are_matched_as_ever(room):
    K = np.tile(room.K, (5, 1, 1))
    ranges = inverse_depth_ranges(np.array([[0.0, 0.0, 0.3], [0.0, 1.0, 2.5]]), room.w2c)
    usual, without = (
        dense_depth(room.frames, K, room.w2c, ranges, config) for config in (DepthConfig(), NEVER)
    )
    np.testing.assert_array_equal(usual[0], without[0])


def test_grain_is_not_sure_by_chance():
    room = render_path(arc(4, 60.0), (96, 144))
    rng = np.random.default_rng(0)
    grain = np.stack([cv2.GaussianBlur(rng.random((96, 144, 3)), (0, 0), 2.0) for _ in range(4)])
    grain = np.clip(0.1 * (grain - 0.5) / grain.std() + 0.5, 0, 1).astype(np.float32)
    K = np.tile(room.K, (4, 1, 1))

    def sure(frames, config):
        trust = dense_depth(frames, K, room.w2c, ranges_of(room), config)[1]
        return (trust > 0.3).mean()

    by_chance = replace(QUICK_DEPTH, chance=-1.0)
    assert sure(grain, QUICK_DEPTH) < 0.08 < 0.16 < sure(grain, by_chance)
    assert sure(room.frames, QUICK_DEPTH) > 0.9 * sure(room.frames, by_chance) > 0.5
