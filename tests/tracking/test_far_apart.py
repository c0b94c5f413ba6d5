"""Depth of views that are far apart: a neighbour that fits is enough, and views have to agree."""

import cv2
import numpy as np
import pytest

from tests.tracking.textured_room import arc, render_path
from tracking.depth.dense import DepthConfig, settle
from tracking.depth.fill import fill_inverse_depth
from tracking.depth.slanted import Others, refine_inverse_depth
from tracking.depth.sweep import cost_volume, with_gray


@pytest.fixture(scope="module")
def room():
    return render_path(arc(5, 30.0), (48, 72))


def test_three_neighbours_that_see_something_else_do_not_outvote_one_that_fits(room):
    K = np.tile(room.K, (5, 1, 1))
    rng = np.random.default_rng(0)
    noise = rng.random((5, 48, 72, 3)).astype(np.float32)
    grain = 0.1 * rng.normal(0, 1, (5, 48, 72, 3)).astype(np.float32)
    images = np.stack([with_gray(np.clip(f, 0, 1)) for f in room.frames + grain])
    for v in (0, 3, 4):
        images[v] = with_gray(cv2.GaussianBlur(noise[v], (0, 0), 1.5))
    truth = 1.0 / room.depth[2]
    planes = np.linspace(0.15, 0.8, 60)
    cost = cost_volume(images, 2, [0, 1, 3, 4], K, room.w2c, planes)
    off = np.abs(planes[cost.argmin(-1)] / truth - 1)[8:-8, 16:-16]
    assert (off < 0.05).mean() > 0.55  # 0.46 where the two best of them have a say


def test_where_nothing_can_be_matched_depth_goes_where_neighbours_have_it(room):
    K = np.tile(room.K, (5, 1, 1))
    images = np.stack([with_gray(np.full((48, 72, 3), 0.5, np.float32))] * 5)
    rho = (1.0 / room.depth).astype(np.float32)
    start = np.full_like(rho[2], 0.9 * np.median(rho[2]))

    def off(others):
        found, _ = refine_inverse_depth(
            start, images, 2, [1, 3], K, room.w2c, (0.1, 1.0), step=0.01, others=others
        )
        return float((np.abs(found / rho[2] - 1)[6:-6, 12:-12] < 0.03).mean())

    assert off(None) < 0.3
    assert off(Others(rho, rho[2], 0.03)) > 0.9


def test_what_many_views_agree_on_is_trusted_though_the_pictures_differ(room):
    K = np.tile(room.K, (5, 1, 1))
    rho = (1.0 / room.depth).astype(np.float32)
    cost, margin = np.full_like(rho, 0.38), np.ones_like(rho)
    _, trust = settle(rho, cost, margin, room.frames, K, room.w2c, DepthConfig())
    assert np.median(trust[2]) > 0.6
    alone = rho.copy()
    alone[[0, 3, 4]] *= 0.5  # one neighbour is left that agrees
    _, trust = settle(alone, cost, margin, room.frames, K, room.w2c, DepthConfig())
    assert np.median(trust[2]) < 0.3


def test_filling_goes_on_from_what_is_nearly_the_result():
    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.random((40, 50, 3)).astype(np.float32), (0, 0), 3)
    rho = (1.0 + cv2.GaussianBlur(rng.random((40, 50)).astype(np.float32), (0, 0), 4)).astype("f4")
    weight = (rng.random((40, 50)) < 0.1).astype(np.float32)
    filled = fill_inverse_depth(rho, weight, image)
    again = fill_inverse_depth(rho, weight, image, start=filled)
    assert np.abs(again / filled - 1).max() < 1e-3
