"""Pieces of the geometry on their own: bundle adjustment, filling, sweep kernels, gates."""

import numpy as np
import pytest

from fourreal.cameras import project, transform, unproject
from scripts.evaluate.tracking_scores import align_similarity, camera_errors
from tests.tracking.textured_room import arc, render_path
from tracking.cameras.bundle import Observations, Solution, refine, triangulate
from tracking.cameras.fallbacks import interpolate_missing
from tracking.cameras.rotation import best_rotation
from tracking.depth.blank import blank_backdrop
from tracking.depth.consistency import compare_views, reproject
from tracking.depth.fill import fill_inverse_depth
from tracking.flow.optical import (
    FlowConfig,
    central_flow,
    linked_flow,
    pixel_grid,
    sharpen,
    working_size,
)


@pytest.fixture(scope="module")
def observations():
    """300 points seen by 5 cameras with 0.2 px noise and 5 % wrong matches."""
    rng = np.random.default_rng(1)
    w2c = arc(5, 30.0)
    w2c = w2c @ np.linalg.inv(w2c[2])
    K = np.array([[240.0, 0, 128], [0, 240, 72], [0, 0, 1]])
    uv = rng.uniform([20, 15], [236, 129], (300, 2))
    z = rng.uniform(2.0, 5.0, 300)
    points = unproject(uv, z, K)
    track, view, seen = [], [], []
    for v in (0, 1, 3, 4):
        there, _ = project(transform(w2c[v], points), K)
        track.append(np.arange(300))
        view.append(np.full(300, v))
        seen.append(there + rng.normal(0, 0.2, there.shape))
    seen = np.concatenate(seen)
    wrong = rng.random(len(seen)) < 0.05
    seen[wrong] += rng.uniform(-30, 30, (int(wrong.sum()), 2))
    obs = Observations(np.full(300, 2), uv, np.concatenate(track), np.concatenate(view), seen)
    return obs, w2c, z, np.array([128.0, 72.0])


def test_bundle_finds_focal_cameras_and_depth(observations):
    obs, w2c, z, centre = observations
    rng = np.random.default_rng(0)
    focal = 240.0 * 1.15
    shift = w2c[:, :3, 3] + rng.normal(0, 0.05, (5, 3))
    shift[2] = 0.0
    registered = np.ones(5, bool)
    rho = np.maximum(triangulate(obs, w2c[:, :3, :3], shift, focal, centre, registered), 0.05)
    start = Solution(w2c[:, :3, :3], shift, focal, rho, np.empty(0), np.inf, registered)
    found = refine(obs, start, centre, 2)
    assert found.focal == pytest.approx(240.0, rel=0.02)
    errors = camera_errors(found.w2c, w2c)
    assert errors["rotation_deg"] < 0.2 and errors["centre_percent"] < 1.0
    scale = np.median(z * found.inverse_depth)
    assert np.median(np.abs(z * found.inverse_depth / scale - 1)) < 0.01


def test_a_fifth_of_the_scene_that_moves_does_not_bend_the_cameras(observations):
    """The points of one corner shift by 12 px in every other view."""
    obs, w2c, _, centre = observations
    uv = obs.uv.copy()
    moving = obs.anchor_uv[obs.track, 0] < 62
    assert 0.15 < moving.mean() < 0.25
    uv[moving & (obs.view % 2 == 0)] += (12.0, 0.0)
    bent = Observations(obs.anchor, obs.anchor_uv, obs.track, obs.view, uv)
    registered = np.ones(5, bool)
    rotation, shift = w2c[:, :3, :3], w2c[:, :3, 3]
    rho = np.maximum(triangulate(bent, rotation, shift, 240.0, centre, registered), 0.05)
    start = Solution(rotation, shift, 240.0, rho, np.empty(0), np.inf, registered)
    found = refine(bent, start, centre, 2)
    assert found.focal == pytest.approx(240.0, rel=0.03)
    assert camera_errors(found.w2c, w2c)["rotation_deg"] < 0.3


def test_triangulation_is_exact_without_noise(observations):
    obs, w2c, z, centre = observations
    points = unproject(obs.anchor_uv, z, np.array([[240.0, 0, 128], [0, 240, 72], [0, 0, 1]]))
    exact = Observations(obs.anchor, obs.anchor_uv, obs.track, obs.view, obs.uv.copy())
    for v in (0, 1, 3, 4):
        camera = transform(w2c[v], points)
        exact.uv[obs.view == v] = camera[:, :2] / camera[:, 2:] * 240.0 + centre
    rho = triangulate(exact, w2c[:, :3, :3], w2c[:, :3, 3], 240.0, centre, np.ones(5, bool))
    np.testing.assert_allclose(1.0 / rho, z, rtol=1e-6)


def test_fill_keeps_what_is_known_and_stops_at_colour_edges():
    image = np.zeros((24, 32, 3), np.float32)
    image[:, 16:] = 1.0
    rho = np.full((24, 32), 0.5, np.float32)
    rho[:, 16:] = 2.0
    confidence = np.zeros((24, 32), np.float32)
    confidence[8:16, 2:6] = confidence[8:16, 26:30] = 1.0
    filled = fill_inverse_depth(rho, confidence, image)
    assert filled[:, :15].max() < 0.7 and filled[:, 17:].min() > 1.5
    assert filled[:, 2:14] == pytest.approx(0.5, rel=0.05)


def test_fill_of_nothing_is_constant():
    filled = fill_inverse_depth(np.ones((8, 8)), np.zeros((8, 8)), np.zeros((8, 8, 3)))
    assert (filled == 1).all()


def test_true_depth_agrees_between_views_and_violates_nothing():
    room = render_path(arc(3, 12.0), (48, 64))
    rho = (1.0 / room.depth).astype(np.float32)
    K = np.broadcast_to(room.K, (3, 3, 3))
    agree, violate = compare_views(rho[1], rho, 1, [0, 2], K, room.w2c, 0.03)
    assert (agree >= 1).mean() > 0.9
    assert (violate > 0).mean() < 0.02
    _, violate = compare_views(rho[1] * 2, rho, 1, [0, 2], K, room.w2c, 0.03)
    assert (violate > 0).mean() > 0.7


def test_reprojection_into_the_same_camera_is_the_identity():
    rho = np.random.default_rng(0).uniform(0.2, 2, (8, 10)).astype(np.float32)
    K = np.array([[10.0, 0, 5], [0, 10, 4], [0, 0, 1]])
    uv, there = reproject(rho, K, K, np.eye(4))
    np.testing.assert_allclose(uv, pixel_grid(8, 10), atol=1e-4)
    np.testing.assert_allclose(there, rho, rtol=1e-5)


def test_flow_gate_passes_right_matches_only():
    room = render_path(arc(3, 12.0))
    pairs = linked_flow(room.frames)
    central_flow(pairs, 0)
    h, w = pairs.size
    move = room.w2c[2] @ np.linalg.inv(room.w2c[0])
    uv, _ = reproject((1.0 / room.depth[0]).astype(np.float32), room.K, room.K, move)
    grid = pixel_grid(*room.frames.shape[1:3])
    flow = pairs.flow[0, 2][1::2, 1::2] / 2  # working frames are twice as large
    valid = pairs.valid[0, 2][1::2, 1::2]
    assert (h, w) == (144, 192) and valid.mean() > 0.3
    error = np.linalg.norm(grid + flow - uv, axis=-1)[valid]
    assert np.median(error) < 0.5 and (error < 2.0).mean() > 0.95


def test_sharpened_flow_is_nearer_to_the_truth():
    room = render_path(arc(2, 6.0))
    pairs = linked_flow(room.frames)
    move = room.w2c[1] @ np.linalg.inv(room.w2c[0])
    uv, _ = reproject((1.0 / room.depth[0]).astype(np.float32), room.K, room.K, move)
    truth = uv - pixel_grid(*room.frames.shape[1:3])

    def error() -> float:
        off = np.linalg.norm(pairs.flow[0, 1][1::2, 1::2] / 2 - truth, axis=-1)
        return float(off[pairs.valid[0, 1][1::2, 1::2]].mean())

    rough = error()
    sharpen(pairs)
    assert error() < 0.9 * rough < 0.5


def test_working_size_is_bounded():
    config = FlowConfig()
    assert working_size(144, 256, config) == (288, 512)
    assert working_size(1080, 1920, config) == (360, 640)
    assert working_size(480, 640, config) == (480, 640)


def test_best_rotation_recovers_a_turn():
    centre, focal = np.array([64.0, 36.0]), 100.0
    turn = arc(2, 10.0)[1, :3, :3] @ arc(2, 10.0)[0, :3, :3].T
    x = np.random.default_rng(0).uniform([0, 0], [128, 72], (100, 2))
    ray = np.concatenate([(x - centre) / focal, np.ones((100, 1))], 1) @ turn.T
    y = ray[:, :2] / ray[:, 2:] * focal + centre
    np.testing.assert_allclose(best_rotation(x, y, focal, centre), turn, atol=1e-6)


def test_missing_cameras_lie_between_their_neighbours():
    w2c = arc(3, 20.0)
    broken = w2c.copy()
    broken[1] = np.eye(4)
    fixed = interpolate_missing(broken, np.array([True, False, True]))
    assert camera_errors(fixed, w2c)["rotation_deg"] < 0.5


def test_similarity_alignment():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(6, 3))
    turn = arc(1)[0, :3, :3]
    b = 2.5 * a @ turn.T + np.array([1.0, -2.0, 0.5])
    scale, rotation, shift = align_similarity(a, b)
    assert scale == pytest.approx(2.5)
    np.testing.assert_allclose(rotation, turn, atol=1e-9)
    np.testing.assert_allclose(shift, [1.0, -2.0, 0.5], atol=1e-9)


def test_flat_backdrops_are_found_and_rooms_are_not():
    frames = np.ones((3, 40, 60, 3), np.float32)
    frames[:, 10:30, 20:40] = 0.2
    frames[:, 15:20, 25:30] = 1.0  # a white patch inside the object is no backdrop
    mask = blank_backdrop(frames)
    assert mask is not None and mask[:, :9].all() and not mask[:, 10:30, 20:40].any()
    assert blank_backdrop(render_path(arc(2)).frames) is None
