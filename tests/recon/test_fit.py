import numpy as np
import pytest
import torch

from fourreal.errors import UserError
from fourreal.image_metrics import psnr, ssim
from gen.grid import VideoGrid
from recon.config import FitConfig, as_in_paper, preset
from recon.motion_stage import fit_motion
from recon.quality import cell_quality
from recon.reconstruct import fit_canonical, fit_scene, fit_static
from recon.render import render_cells
from scripts.evaluate.truth_grid import align_cameras
from tests.recon.scenes import column_from_depth, moving_square

FRAMES, DEPTH, K, W2C = moving_square()


def settings(**deformation) -> FitConfig:
    config = preset("debug")
    config.static_steps, config.floaters.steps = 80, 20
    config.deformation.steps = 150
    for name, value in deformation.items():
        setattr(config.deformation, name, value)
    return config


def column():
    return column_from_depth(FRAMES[:, 0], DEPTH[:, 0], K, W2C, 1)


@pytest.fixture(scope="module")
def fitted():
    return fit_scene(VideoGrid(FRAMES), column(), settings())


def test_whole_grid_is_reproduced(fitted):
    scene, report = fitted
    assert report["psnr_input"] > 27
    assert report["points"] == len(scene)
    assert set(report["seconds"]) == {"canonical", "static", "motion", "scoring"}
    assert np.shape(report["psnr_cells"]) == (3, 3)


def test_still_things_stay_still(fitted):
    scene, _ = fitted
    last = scene.offsets()[-1].norm(dim=1)
    wall = scene.means[:, 2] > 2.6
    assert last[wall].quantile(0.9) < 0.02 < last[~wall].median()


def test_cross_fit_beats_copying():
    known = np.zeros((3, 3), bool)
    known[0], known[:, 0] = True, True
    frames = FRAMES * known[:, :, None, None, None]
    scene, report = fit_scene(VideoGrid(frames, known=known), column(), settings())
    assert report["psnr_input"] > 27 and report["psnr_cells"][1][1] is None
    drawn = render_cells(scene)
    ours = np.mean([psnr(drawn[v, t], FRAMES[v, t]) for v in (1, 2) for t in (1, 2)])
    copied = np.mean([psnr(FRAMES[v, 0], FRAMES[v, t]) for v in (1, 2) for t in (1, 2)])
    assert ours > copied + 2


def test_one_time_gives_a_static_scene():
    scene, report = fit_scene(VideoGrid(FRAMES[:, :1]), column(), settings())
    assert report["psnr_input"] > 25 and len(scene.times) == 1
    assert torch.equal(scene.at(0.7).means, scene.means)


def test_same_seed_same_scene():
    config = settings(steps=5)
    config.static_steps, config.floaters.steps = 5, 5
    runs = [fit_scene(VideoGrid(FRAMES), column(), config)[0] for _ in range(2)]
    assert torch.equal(runs[0].means, runs[1].means)
    assert torch.equal(runs[0].node_offsets, runs[1].node_offsets)


def test_a_moving_thing_before_a_plain_background():
    frames, depth = FRAMES.copy(), DEPTH.copy()
    frames[DEPTH > 2.5], depth[DEPTH > 2.5] = 1.0, np.nan
    column = column_from_depth(frames[:, 0], np.nan_to_num(depth[:, 0], nan=9.0), K, W2C, 1)
    scene, report = fit_scene(VideoGrid(frames), column, settings(steps=60))
    assert report["psnr_input"] > 20 and np.allclose(scene.background, 1)
    assert scene.offsets()[-1].norm(dim=1).median() > 0.05


def test_gaussians_get_shapes_unless_they_must_stay_round(fitted):
    config = settings(steps=60)
    config.anisotropic = False
    scene, report = fit_scene(VideoGrid(FRAMES), column(), config)
    assert report["psnr_input"] > 24
    assert scene.log_stretch is None and fitted[0].log_stretch.abs().max() > 0.05


def test_only_frames_that_disagree_are_compensated(fitted):
    assert not fitted[0].view_offsets.any()
    shifted = column()
    shifted.tracks.uv[2] += (1.0, 0.0)  # as if that frame showed all of it a pixel further right
    scene = fit_canonical(VideoGrid(FRAMES), shifted, settings())
    assert scene.view_offsets[2].any() and not scene.view_offsets[1].any()


def angle_deg(a, b) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(a[:3, :3].T @ b[:3, :3]) - 1) / 2, -1, 1))))


def test_the_joint_fit_turns_a_wrong_camera_back_and_keeps_given_ones():
    turn = np.eye(4)
    turn[:3, :3] = torch.matrix_exp(torch.tensor([[0, -0.04, 0], [0.04, 0, 0], [0, 0, 0]]))
    wrong = W2C.copy()
    wrong[2] = turn @ wrong[2]
    column = column_from_depth(FRAMES[:, 0], DEPTH[:, 0], K, wrong, 1)
    config = settings(steps=200)
    config.static_steps = 0  # which would do it too
    config.rates.pose = 1e-3
    scene, _ = fit_scene(VideoGrid(FRAMES), column, config)
    left = angle_deg(scene.w2c[2].double().numpy(), W2C[2])
    assert left < 0.5 * angle_deg(wrong[2], W2C[2])
    scene, _ = fit_scene(VideoGrid(FRAMES, K=K, w2c=wrong), column, config)
    assert np.allclose(scene.w2c.numpy(), wrong, atol=1e-6)


def test_scenes_of_few_points_take_more_steps():
    config = FitConfig(few_points=1000, most_steps=3.0)
    assert [config.scaled(100, n) for n in (5000, 1000, 500, 10, 0)] == [100, 100, 200, 300, 300]
    assert preset("debug").scaled(100, 10) == 100


def test_the_quick_preset_takes_half_the_steps_at_higher_rates():
    quick, full = preset("quick"), preset("cpu")
    assert (quick.static_steps, quick.deformation.steps, quick.floaters.steps) == (
        full.static_steps // 2, full.deformation.steps // 2, full.floaters.steps // 2,
    )  # fmt: skip
    assert quick.rates.means == 1.5 * full.rates.means and quick.rates.final == full.rates.final
    assert quick.few_points == full.few_points and quick.device == "cpu"


@pytest.mark.slow
def test_the_gpu_preset_is_the_papers_network_on_every_point():
    config = preset("gpu")
    assert config.device == "cuda"
    deformation = config.deformation
    assert (deformation.kind, deformation.mlp_width, deformation.mlp_depth) == (
        "mlp-points", 256, 8,
    )  # fmt: skip
    config.device, config.static_steps, config.floaters.steps = "cpu", 20, 5
    deformation.steps = 6
    scene, _ = fit_scene(VideoGrid(FRAMES[:, :2]), column(), config)
    assert scene.node_offsets.shape[1] == len(scene)  # every point is a node of its own


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlp", "mlp-points"])
def test_networks_fit_too(kind):
    scene, report = fit_scene(VideoGrid(FRAMES), column(), settings(kind=kind, steps=60))
    assert report["psnr_input"] > 24
    assert scene.offsets()[-1].norm(dim=1).max() > 0.05


def test_the_papers_method_fits_the_network_alone():
    config = settings(steps=200)
    as_in_paper(config)
    config.deformation.mlp_width, config.deformation.mlp_depth = 64, 3
    grid = VideoGrid(FRAMES)
    before = fit_canonical(grid, column(), config)
    after = fit_motion(before, grid, config)
    for name in ("means", "log_scales", "opacity_logits", "colors", "w2c"):
        assert torch.equal(getattr(before, name), getattr(after, name)), name
    assert after.offset_frame == "literal" and after.log_stretch is None and after.shade is None
    assert after.node_offsets.shape[1] == len(after) == len(before)
    first, last = (cell_quality(s, grid)["psnr_input"] for s in (before, after))
    assert last > first + 0.3


def test_known_motion_is_where_nodes_start():
    def shifted(scene, points):
        along = np.arange(len(scene.times)) - scene.canonical_time
        return np.repeat(0.05 * along[:, None, None] * [1.0, 0.5, 0], len(points), axis=1)

    config = settings(steps=1, later_surface=False)
    scene, _ = fit_scene(VideoGrid(FRAMES), column(), config, known_motion=shifted)
    expected = torch.from_numpy(shifted(scene, scene.node_offsets[0])).float()
    moved = scene.node_offsets[-1].norm(dim=1) > 1e-6  # what stands still does not
    assert moved.any()
    assert torch.allclose(scene.node_offsets[:, moved], expected[:, moved], atol=0.01)


def test_tracks_of_another_grid_are_refused():
    with pytest.raises(UserError, match="track"):
        fit_scene(VideoGrid(FRAMES[:2]), column(), settings())


def test_alignment_recovers_a_similarity():
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    moved = W2C.copy()
    for v in range(3):
        centre = 2.5 * turn @ (-W2C[v, :3, :3].T @ W2C[v, :3, 3]) + (1, 2, 3)
        moved[v, :3, :3] = W2C[v, :3, :3] @ turn.T
        moved[v, :3, 3] = -moved[v, :3, :3] @ centre
    found = align_cameras(W2C, moved)
    assert found.scale == pytest.approx(2.5)
    assert np.allclose(found.camera(W2C[1]), moved[1])


def test_metrics():
    a = np.full((8, 8, 3), 0.5, np.float32)
    assert psnr(a, a) == 60 and ssim(a, a) == pytest.approx(1)
    assert psnr(a, a + 0.1) == pytest.approx(20, abs=1e-3)
    mask = np.zeros((8, 8), bool)
    assert np.isnan(psnr(a, a, mask))


def test_given_cameras_are_fitted_only_where_matches_moved_them():
    config = settings()
    config.static_steps, config.floaters.steps = 10, 5
    grid = VideoGrid(FRAMES[:, :1], K=K, w2c=W2C)
    kept = fit_static(fit_canonical(grid, column(), config), grid, config)
    np.testing.assert_array_equal(kept.w2c.numpy(), W2C.astype(np.float32))
    moved = column()
    moved.w2c = W2C.copy()
    moved.w2c[0, 0, 3] += 0.01
    fitted = fit_static(fit_canonical(grid, moved, config), grid, config)
    assert np.abs(fitted.w2c.numpy()[0] - moved.w2c[0]).max() > 1e-5
