"""Cameras from noisy 3-D tracks: per-frame scale, depth noise and outliers must not matter."""

import numpy as np
import pytest

from fourreal.cameras import camera_centres, intrinsics_from_fov, project, transform, unproject
from tests.tracking.textured_room import arc
from tracking.cameras.from_tracks import cameras_from_tracks, weighted_similarity
from tracking.tracks import Tracks


def synthetic(noise: float, outliers: float, scale: float, seed: int = 0):
    """Tracks of 2000 points over 7 frames: depth noise, outliers, one scale per frame."""
    rng = np.random.default_rng(seed)
    size, n = (144, 256), 2000
    K = intrinsics_from_fov(55.0, *size)
    w2c = arc(7, 40.0)
    w2c = w2c @ np.linalg.inv(w2c[3])
    query = rng.uniform([0, 0], [256, 144], (n, 2))
    points = unproject(query, rng.uniform(2.0, 5.0, n), K)
    uv, z = [], []
    scales = scale ** np.linspace(-1, 1, 7)
    for v in range(7):
        here, depth = project(transform(w2c[v], points), K)
        here = here + rng.normal(0, 0.3, here.shape) * (v != 3)
        depth = depth * (1 + noise * rng.normal(size=n)) * scales[v] / scales[3]
        wrong = (rng.random(n) < outliers) & (v != 3)
        here[wrong] = rng.uniform([0, 0], [256, 144], (int(wrong.sum()), 2))
        depth[wrong] *= rng.uniform(0.5, 2.0, int(wrong.sum()))
        uv.append(here)
        z.append(np.maximum(depth, 0.1))
    ones = np.ones((7, n))
    tracks = Tracks(
        np.stack(uv), np.stack(z), ones > 0, ones, np.full(n, 3), query, np.zeros((n, 3)),
        np.broadcast_to(K, (7, 3, 3)), np.broadcast_to(np.eye(4), (7, 4, 4)), 3, size,
        np.zeros(n) > 0,
    )  # fmt: skip
    return tracks, w2c, scales


@pytest.mark.parametrize(
    ("noise", "outliers", "scale", "limit"),
    [(0.03, 0.1, 1.0, 0.5), (0.05, 0.2, 1.1, 1.0), (0.1, 0.3, 1.2, 2.0)],
)
def test_translation_error(noise, outliers, scale, limit):
    """DESIGN's synthetic table: PnP after Sim(3) stays near 0.2, 0.4, 1.6 % of the path."""
    tracks, truth, scales = synthetic(noise, outliers, scale)
    w2c, found = cameras_from_tracks(tracks)
    a, b = camera_centres(w2c), camera_centres(truth)
    path = np.linalg.norm(b[-1] - b[0])
    assert 100 * np.linalg.norm(a - b, axis=1).mean() / path < limit
    np.testing.assert_allclose(found, scales / scales[3], rtol=0.03)


def test_pixels_settle_what_noisy_depth_leaves_open():
    tracks, truth, _ = synthetic(0.05, 0.2, 1.1)
    b = camera_centres(truth)
    errors = []
    for pnp in (False, True):
        w2c, _ = cameras_from_tracks(tracks, pnp=pnp)
        errors.append(np.linalg.norm(camera_centres(w2c) - b, axis=1).mean())
    assert errors[1] < 0.7 * errors[0], errors


def test_similarity_is_exact_without_noise():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(50, 3))
    rotation = arc(2, 40.0)[0, :3, :3]
    b = 1.7 * a @ rotation.T + np.array([0.1, 0.2, 3.0])
    s, r, t = weighted_similarity(a, b, rng.random(50))
    assert s == pytest.approx(1.7)
    np.testing.assert_allclose(r, rotation, atol=1e-10)
    np.testing.assert_allclose(t, [0.1, 0.2, 3.0], atol=1e-10)
