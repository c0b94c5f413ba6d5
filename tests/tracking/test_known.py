"""Cameras that are given: unlike lenses, sparse points on epipolar lines, chance, colours."""

import cv2
import numpy as np
import pytest

from fourreal.cameras import project, relative_pose, transform
from tests.tracking.textured_room import arc, render_path
from tracking.cameras.bundle import Observations
from tracking.cameras.known import (
    common_pixels,
    fundamental,
    in_one_camera,
    points_of_pair,
    sparse_points,
    working_cameras,
)
from tracking.column import track_column
from tracking.depth.colours import as_seen, evened, view_colours
from tracking.flow.optical import linked_flow


@pytest.fixture(scope="module")
def room():
    return render_path(arc())


def oblong(room, view):
    """The room's frames, one view's picture squeezed and shifted, and the intrinsics of that."""
    frames, K = room.frames.copy(), np.tile(room.K, (len(room.frames), 1, 1)).reshape(-1, 3, 3)
    K = K[: len(frames)]
    h, w = frames.shape[1:3]
    A = np.array([[0.85, 0, 0.08 * w], [0, 1.1, -0.05 * h], [0, 0, 1.0]])
    K[view] = A @ K[view]
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    warp = np.linalg.inv(half) @ A @ half
    frames[view] = cv2.warpPerspective(frames[view], warp, (w, h), borderMode=cv2.BORDER_REPLICATE)
    return frames, K


def test_pixels_of_any_lens_are_seen_as_one_camera_sees_them():
    rng = np.random.default_rng(0)
    K_V = np.array(
        [[[200, 0, 70], [0, 230, 50], [0, 0, 1]], [[150, 0, 60], [0, 150, 45], [0, 0, 1]]]
    )
    K = np.array([[180.0, 0, 64], [0, 180.0, 48], [0, 0, 1]])
    points = np.concatenate([rng.uniform(-1, 1, (20, 2)), rng.uniform(2, 4, (20, 1))], 1)
    view = rng.integers(0, 2, 20)
    uv = np.stack([project(p[None], K_V[v])[0][0] for p, v in zip(points, view, strict=True)])
    np.testing.assert_allclose(common_pixels(uv, view, K_V, K), project(points, K)[0], atol=1e-9)
    obs = Observations(view, uv, np.arange(20), view, uv)
    assert in_one_camera(obs, np.tile(K, (2, 1, 1)), 180.0, np.array([64.0, 48.0])) is obs


def test_rays_meet_at_the_point_and_lines_hold_it(room):
    rng = np.random.default_rng(1)
    K = np.asarray(room.K, np.float64).reshape(-1, 3, 3)[0]
    a, b = room.w2c[0], room.w2c[2]
    front = np.linalg.inv(a) @ np.array([0, 0, 2.0, 1])
    points = front[:3] + rng.uniform(-0.3, 0.3, (30, 3))
    x, y = project(transform(a, points), K)[0], project(transform(b, points), K)[0]
    np.testing.assert_allclose(points_of_pair(x, y, K, K, a, b, 0.1), points, atol=1e-6)
    F = fundamental(K, K, relative_pose(a, b))
    one = np.ones((30, 1))
    off = np.einsum("ni,ij,nj->n", np.concatenate([y, one], 1), F, np.concatenate([x, one], 1))
    assert np.abs(off).max() < 1e-9 * np.abs(F).max() * 1e4


def test_a_view_with_another_lens_keeps_true_depth(room):
    frames, K = oblong(room, 1)
    column = track_column(frames, K=K, w2c=room.w2c)
    assert column.parallax and not any("stand-in" in n for n in column.notes)
    others = [v for v in range(len(frames)) if v != 1]
    error = np.abs(column.depth[others] / room.depth[others] - 1)
    assert np.median(error) < 0.03


@pytest.mark.slow
def test_chance_is_told_from_agreement(room):
    pairs = linked_flow(room.frames)
    K = working_cameras(pairs, np.asarray(room.K).reshape(-1, 3, 3)[:1].repeat(len(room.frames), 0))
    true = sparse_points(pairs, K, room.w2c)
    assert true.holds and len(true.points) > 2 * true.by_chance
    turned = room.w2c.copy()
    rng = np.random.default_rng(2)
    for v in range(len(turned)):
        q, _ = np.linalg.qr(rng.standard_normal((3, 3)))
        turned[v, :3, :3] = q * np.sign(np.linalg.det(q))
        turned[v, :3, 3] = rng.standard_normal(3)
    assert not sparse_points(pairs, K, turned).holds


def test_colours_of_views_are_made_alike_and_back(room):
    frames = room.frames.copy()
    K = np.asarray(room.K, np.float64).reshape(-1, 3, 3)[:1].repeat(len(frames), 0)
    near = [[u for u in (v - 1, v + 1) if 0 <= u < len(frames)] for v in range(len(frames))]
    trust = np.ones(room.depth.shape, np.float32)
    rho = (1.0 / room.depth).astype(np.float32)
    assert view_colours(frames, rho, trust, K, room.w2c, 0, near) is None
    maps = np.tile(np.array([1.0, 0.0]), (len(frames), 3, 1))
    maps[2] = [[1.3, -0.05], [1.2, 0.02], [0.8, 0.05]]
    changed = np.stack([as_seen(f, m) for f, m in zip(frames, maps, strict=True)])
    np.testing.assert_allclose(evened(changed, maps), frames, atol=1e-5)
    found = view_colours(changed, rho, trust, K, room.w2c, 0, near)
    assert found is not None
    np.testing.assert_allclose(found[0], [[1, 0]] * 3)
    assert np.abs(evened(changed, found) - frames).mean() < 0.01


def test_an_exposure_that_drifts_is_a_gain_and_keeps_its_contrast():
    room = render_path(arc(5, 24.0))
    K = np.broadcast_to(room.K, (5, 3, 3))
    drift = np.linspace(0.7, 1.0, 5)
    rng = np.random.default_rng(0)
    frames = room.frames * drift[:, None, None, None]
    frames = (frames + 0.04 * rng.standard_normal(frames.shape)).clip(0, 1).astype(np.float32)
    rho, trust = 1 / room.depth, np.ones_like(room.depth)
    maps = view_colours(
        frames, rho, trust, K, room.w2c, 2, [[1], [0, 2], [1, 3], [2, 4], [3]], True
    )
    assert maps is not None
    np.testing.assert_allclose(maps[..., 0], np.tile(drift[2] / drift, (3, 1)).T, rtol=0.07)
