"""What scores completed grids: identities that hold whatever the model does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fourreal.image_metrics import PSNR_CAP
from fourreal.image_metrics import ssim as other_ssim
from gen.data.world.procedural import render
from gen.data.world.scene_sampling import sample_scenes
from scripts.evaluate.grid_methods import additive, copy_nearest
from scripts.evaluate.metrics.bootstrap import interval, resamples
from scripts.evaluate.metrics.epipolar import (
    epipolar_errors,
    epipolar_summary,
    find_keypoints,
    match,
    sampson_error,
    scored_times,
)
from scripts.evaluate.metrics.truth import (
    SceneScore,
    paired_gain,
    pooled_psnr,
    score_grid,
    ssim,
    static_pixels,
    summary,
)

V, T, H, W = 4, 5, 16, 24
NOTHING_STATIC = np.zeros((V, H, W), bool)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, np.float32)


def test_the_truth_scores_the_cap_and_a_known_error_its_decibels():
    truth = 0.8 * noise(V, T, H, W, 3)
    static = np.ones((V, H, W), bool)
    best = summary([score_grid(truth, truth, static)] * 2)
    for name in ("psnr", "psnr_changing", "psnr_rows", "psnr_columns", "static_psnr"):
        assert best[name] == PSNR_CAP
    assert best["ssim"] == pytest.approx(1) and best["psnr_lo"] == best["psnr_hi"] == PSNR_CAP
    off = truth + 0.1
    off[0], off[:, 0] = 5.0, 5.0  # given cells are not scored
    worse = summary([score_grid(off, truth, NOTHING_STATIC)])
    for name in ("psnr", "psnr_changing", "psnr_rows", "psnr_columns"):
        assert worse[name] == pytest.approx(20, abs=1e-4)
    assert worse["static_psnr"] is None and worse["psnr_lo"] is None
    with pytest.raises(ValueError, match="at least 2"):
        score_grid(truth[:1], truth[:1], static[:1])


def test_rows_and_columns_are_clips_of_their_own():
    truth = np.zeros((V, T, H, W, 3), np.float32)
    out = truth.copy()
    out[2, 1:] = 0.1  # one fixed-view clip is 20 dB off, the other two are exact
    got = summary([score_grid(out, truth, NOTHING_STATIC)])
    assert got["psnr_rows"] == pytest.approx((20 + 2 * PSNR_CAP) / 3)
    column = 20 + 10 * np.log10(3)  # a third of every freeze-time clip is off
    assert got["psnr_columns"] == pytest.approx(column)
    turned = summary(
        [score_grid(out.swapaxes(0, 1), truth.swapaxes(0, 1), np.zeros((T, H, W)) > 0)]
    )
    assert turned["psnr_columns"] == pytest.approx(got["psnr_rows"])
    assert turned["psnr_rows"] == pytest.approx(got["psnr_columns"])


def test_changing_pixels_are_those_that_change_over_time():
    truth = np.full((V, T, H, W, 3), 0.5, np.float32)
    truth[:, 2:, :4] = 0.9
    out = truth.copy()
    out[:, 1:, 8:] += 0.1  # wrong only where nothing changes
    got = summary([score_grid(out, truth, NOTHING_STATIC)])
    assert got["psnr_changing"] == PSNR_CAP and got["psnr"] < 30
    still = summary([score_grid(truth[:, :2], truth[:, :2], NOTHING_STATIC)])
    assert still["psnr_changing"] is None


def test_static_pixels_move_neither_in_depth_nor_in_colour():
    colour = np.full((V, T, H, W, 3), 0.5, np.float32)
    depth = np.full((V, T, H, W), 3.0)
    depth[..., :2] = np.inf  # sky
    colour[1, 3, 0, 0] += 0.1  # a shadow passes
    depth[2, 4, 1, 5] = 2.5  # a surface of the same colour passes
    depth[3, 2, 2, 0] = 4.0  # something appears before the sky
    want = np.ones((V, H, W), bool)
    want[1, 0, 0] = want[2, 1, 5] = want[3, 2, 0] = False
    np.testing.assert_array_equal(static_pixels(colour, depth), want)


def test_static_background_of_a_true_scene_does_not_flicker():
    scenes = sample_scenes(1, torch.Generator().manual_seed(3), motions="bounce")
    ramp = torch.linspace(0, 1, 4)
    out = render(scenes, ramp, ramp, 40, 64, samples=2, want_depth=True)
    assert out.depth is not None
    frames = out.rgb[0].numpy()
    static = static_pixels(frames, out.depth[0].numpy())
    assert 0.3 < static.mean() < 0.99
    true = summary([score_grid(frames, frames, static)])
    assert true["flicker"] == pytest.approx(0, abs=0.2)
    flashing = frames.copy()
    flashing[:, ::2] += 10 / 255
    flashed = summary([score_grid(flashing, frames, static)])
    assert flashed["flicker"] == pytest.approx(10, abs=0.3)
    assert flashed["static_psnr"] < 35


def test_baselines_are_exact_where_their_assumption_holds():
    row, column = 0.5 * noise(1, T, H, W, 3), 0.5 * noise(V, 1, H, W, 3, seed=1)
    column[0], row[:, 0] = row[0, 0], row[0, 0]
    sums = np.clip(row + column - row[:, :1], 0, 1)
    np.testing.assert_allclose(additive(sums), sums, atol=1e-6)
    constant = np.broadcast_to(noise(1, 1, H, W, 3), (V, T, H, W, 3))
    np.testing.assert_array_equal(copy_nearest(constant), constant)
    hidden = sums.copy()
    hidden[1:, 1:] = np.nan  # what is not given is not read
    for method in (additive, copy_nearest):
        np.testing.assert_array_equal(method(hidden), method(sums))
    copied = copy_nearest(sums)
    np.testing.assert_array_equal(copied[3, 1], sums[3, 0])
    np.testing.assert_array_equal(copied[1, 3], sums[0, 3])


def test_ssim_agrees_with_the_other_implementation():
    a, b = noise(30, 40, 3), noise(30, 40, 3, seed=1)
    for other in (a, b, 0.7 * a + 0.3 * b):
        assert ssim(a, other) == pytest.approx(other_ssim(a, other), abs=1e-4)


def scores(n: int, scale: float = 1.0, seed: int = 0) -> list[SceneScore]:
    rng = np.random.default_rng(seed)
    return [
        SceneScore(scale * e, scale * 100 * e, 100, e, 100, 0.9, 20.0, 21.0, 1.0)
        for e in rng.lognormal(-4, 0.7, n)
    ]


def test_bootstrap_intervals_bracket_the_figure_and_shrink_with_more_scenes():
    widths = []
    for repeats in (1, 4, 30):
        got = summary(scores(6) * repeats)
        assert got["psnr_lo"] < got["psnr"] < got["psnr_hi"]
        assert got["psnr_changing_lo"] < got["psnr_changing"] < got["psnr_changing_hi"]
        widths.append(got["psnr_hi"] - got["psnr_lo"])
    assert widths[0] > widths[1] > widths[2] > 0
    assert summary(scores(24)) == summary(scores(24))
    assert interval(np.array([np.nan, 1.0])) == (None, None)


def test_bootstrap_covers_the_true_mean_about_as_often_as_it_says():
    hits = 0
    truth = -10 * np.log10(np.exp(-4 + 0.7**2 / 2))
    for seed in range(200):
        errors = np.array([s.error for s in scores(24, seed=seed)])
        low, high = interval(pooled_psnr(errors[resamples(24)], np.ones((2000, 24))))
        hits += low <= truth <= high
    assert 0.83 <= hits / 200 <= 0.99


def test_paired_gain_sees_through_the_spread_between_scenes():
    error = [s.changing_error for s in scores(12)]
    worse = [10 * e for e in error]
    assert paired_gain(error, worse, [100] * 12) == pytest.approx((10, 10, 10))
    assert paired_gain(error, error, [100] * 12) == (0, 0, 0)
    assert paired_gain(error[:1], worse[:1], [100]) == (pytest.approx(10), None, None)


def true_views(move: str, views: int = 4):
    """Frames [V,2,H,W,3] of one scene, intrinsics and cameras."""
    generator = torch.Generator().manual_seed(5)
    scenes = sample_scenes(1, generator, camera_move=move, floor="checkered", relation="beside")
    u, t = torch.linspace(0, 0.4, views), torch.linspace(0, 1, 2)
    out = render(scenes, u, t, 40, 64, samples=2)
    return out.rgb[0].numpy(), out.K[0].double().numpy(), out.w2c[0].double().numpy()


def test_sampson_error_is_small_for_true_cameras_and_large_for_others():
    frames, K, w2c = true_views("rise")
    true = epipolar_summary(epipolar_errors(frames, K, w2c))
    assert true["sampson_px"] < 0.3 and true["matches"] > 10
    _, _, elsewhere = true_views("arc_left")
    wrong = epipolar_summary(epipolar_errors(frames, K, elsewhere))
    assert wrong["sampson_px"] > 3 * true["sampson_px"] and wrong["sampson_px"] > 0.6
    assert wrong["matches"] == true["matches"]


def test_sampson_error_of_exact_points():
    _, K, w2c = true_views("arc_left", 2)
    points = np.random.default_rng(0).uniform(-1, 1, (20, 3))
    uv = []
    for k, m in zip(K, w2c, strict=True):
        p = (points @ m[:3, :3].T + m[:3, 3]) @ k.T
        uv.append(p[:, :2] / p[:, 2:])
    cameras = (K[0], K[1]), (w2c[0], w2c[1])
    assert sampson_error(uv[0], uv[1], *cameras).max() < 1e-5  # cameras come in float32
    # Across the epipolar lines (nearly horizontal here) an offset of 1 px is 1 / sqrt 2 of Sampson.
    off = sampson_error(uv[0], uv[1] + [0, 1.0], *cameras)
    np.testing.assert_allclose(off, np.sqrt(0.5), atol=0.1)


def test_no_matches_no_error():
    grey = np.full((3, 4, 40, 64, 3), 0.5, np.float32)
    _, K, w2c = true_views("arc_left", 3)
    got = epipolar_summary(epipolar_errors(grey, K, w2c))
    assert got == {"sampson_px": None, "matches": 0}
    assert len(match(find_keypoints(grey[0, 0]), find_keypoints(grey[1, 0]))[0]) == 0
    still = np.repeat(w2c[:1], 3, 0)  # one camera: no epipolar geometry
    assert epipolar_summary(epipolar_errors(grey, K, still)) == {
        "sampson_px": None,
        "matches": None,
    }
    assert scored_times(2) == [1] and scored_times(8)[-1] == 7
