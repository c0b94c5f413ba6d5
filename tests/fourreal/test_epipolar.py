"""Epipolar geometry: exact matches are on their lines, others as far off as a reference says."""

import numpy as np

from fourreal.cameras import (
    intrinsics_from_fov,
    look_at,
    project,
    relative_pose,
    transform,
)
from fourreal.epipolar import fundamental, sampson, sampson_slopes
from scripts.evaluate.metrics.epipolar import sampson_error

K = intrinsics_from_fov(50, 72, 96), intrinsics_from_fov(60, 72, 96)
W2C = look_at((0, 0, -3), (0, 0, 0)), look_at((0.7, -0.2, -2.8), (0, 0.1, 0))


def seen():
    """Pixels [N, 2] of points in both pictures, and their fundamental matrix."""
    xyz = np.random.default_rng(0).uniform(-0.5, 0.5, (40, 3))
    x, y = (project(transform(m, xyz), k)[0] for m, k in zip(W2C, K, strict=True))
    return x, y, fundamental(*K, relative_pose(*W2C))


def test_exact_matches_lie_on_their_lines():
    x, y, F = seen()
    assert np.abs(sampson(F, x, y)).max() < 1e-9


def test_what_is_off_is_off_as_far_as_the_reference_says_whatever_the_matrix_is_scaled_by():
    x, y, F = seen()
    y = y + np.random.default_rng(1).normal(0, 1.5, y.shape)
    off = np.abs(sampson(F, x, y))
    assert off.max() > 1
    assert np.allclose(off, sampson_error(x, y, K, W2C), rtol=1e-4)
    assert np.allclose(sampson(-7 * F, x, y), -sampson(F, x, y))


def test_errors_are_counted_in_the_pixels_that_are_asked_for():
    """In pictures that were enlarged, an error is as many times as large."""
    x, y, F = seen()
    y = y + 1.0
    double = np.diag([0.5, 0.5, 1.0])
    enlarged = double.T @ F @ double
    assert np.allclose(sampson(enlarged, 2 * x, 2 * y), 2 * sampson(F, x, y))
    assert np.allclose(sampson(enlarged, 2 * x, 2 * y, 2.0, np.full(len(y), 2.0)), sampson(F, x, y))


def test_slopes_are_how_the_distance_changes_with_the_matrix():
    x, y, F = seen()
    y = y + np.random.default_rng(1).normal(0, 1.5, y.shape)
    off, slopes = sampson_slopes(np.repeat(F[None], len(x), 0), x, y)
    assert np.allclose(off, sampson(F, x, y))
    for i, j in np.ndindex(3, 3):
        small = np.zeros((3, 3))
        small[i, j] = 1e-6 * np.abs(F).max() / np.abs(x).max() ** 2
        change = sampson(F + small, x, y) - sampson(F - small, x, y)
        assert np.allclose(change / (2 * small[i, j]), slopes[:, i, j], rtol=1e-5, atol=1e-2)
        assert np.abs(slopes[:, i, j]).max() > 1
