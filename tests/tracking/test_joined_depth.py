"""Depth that views agree on is joined: less noise, nothing mixed across edges, the rest kept."""

from dataclasses import replace

import numpy as np
import pytest

from tests.tracking.textured_room import arc, render_path
from tracking.depth.consistency import compare_views
from tracking.depth.dense import DepthConfig, settle
from tracking.depth.joined import joined
from tracking.depth.neighbours import neighbours
from tracking.depth.planes import TRUST

VIEWS, SIZE, NOISE = 5, (48, 72), 0.01
NEAR = neighbours(arc(VIEWS, 24.0), 4)


@pytest.fixture(scope="module")
def room():
    return render_path(arc(VIEWS, 24.0), SIZE)


@pytest.fixture(scope="module")
def K(room):
    return np.tile(room.K, (VIEWS, 1, 1))


def noisy(room):
    rng = np.random.default_rng(0)
    rho = (1.0 / room.depth).astype(np.float32)
    return rho, rho * (1 + NOISE * rng.normal(0, 1, rho.shape)).astype(np.float32)


def spread(rho, truth):
    return float(np.abs(rho / truth - 1).mean())


def test_noise_that_views_do_not_share_is_averaged_out(room, K):
    truth, rho = noisy(room)
    out = joined(rho, np.ones_like(rho), K, room.w2c, NEAR, 0.04)
    assert spread(out, truth) < 0.6 * spread(rho, truth)


def test_exact_depth_stays_as_it_is_at_edges_too(room, K):
    truth, _ = noisy(room)
    out = joined(truth, np.ones_like(truth), K, room.w2c, NEAR, 0.03)
    assert np.quantile(np.abs(out / truth - 1), 0.99) < 0.01
    assert np.abs(out / truth - 1).max() < 0.03


def test_a_view_that_sees_something_else_has_no_say(room, K):
    truth, rho = noisy(room)
    rho[[0, 1, 3, 4]] = 1.3 * truth[[0, 1, 3, 4]]
    out = joined(rho, np.ones_like(rho), K, room.w2c, NEAR, 0.03)
    same = compare_views(rho[2], rho, 2, NEAR[2], K, room.w2c, 0.05)[0] == 0
    assert same.mean() > 0.8
    np.testing.assert_array_equal(out[2][same], rho[2][same])


def test_what_is_not_trusted_or_is_kept_stays_and_the_untrusted_is_not_heard(room, K):
    truth, rho = noisy(room)
    trust, kept = np.ones_like(rho), np.zeros(rho.shape, bool)
    trust[2, :24], kept[2, 24:] = 0.2, True
    out = joined(rho, trust, K, room.w2c, NEAR, 0.04, kept)
    np.testing.assert_array_equal(out[2], rho[2])
    assert spread(out[1], truth[1]) < 0.7 * spread(rho[1], truth[1])  # kept is heard
    trust[:] = 0.2
    trust[2] = 1.0
    out = joined(rho, trust, K, room.w2c, NEAR, 0.04)
    np.testing.assert_array_equal(out, rho)


def test_dense_depth_is_joined_where_it_was_matched_but_not_on_planes_put_in(room, K, monkeypatch):
    truth, rho = noisy(room)
    cost, margin = np.zeros_like(rho), np.ones_like(rho)
    plane = np.zeros(rho.shape, bool)
    plane[:, :, :10] = True

    def with_planes(rho, trust, *_):
        return rho, np.where(plane, np.float32(TRUST), trust)

    monkeypatch.setattr("tracking.depth.dense.put_on_planes", with_planes)
    monkeypatch.setattr("tracking.depth.dense.lifted", lambda rho, trust, *_: (rho, trust))

    def settled(together):
        config = replace(DepthConfig(), together=together)
        return settle(rho, cost, margin, room.frames, K, room.w2c, config)[0]

    alone, both = settled(0), settled(DepthConfig().together)
    matched = ~plane
    assert spread(both[matched], truth[matched]) < 0.75 * spread(alone[matched], truth[matched])
    np.testing.assert_allclose(both[plane], alone[plane], rtol=2e-3)  # but for the filling beside
