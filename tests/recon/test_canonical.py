import numpy as np
import pytest

from fourreal.errors import UserError
from fourreal.image_metrics import psnr
from recon.canonical.build import build_canonical, lifted, plain_background
from recon.canonical.compensation import disagreement_px, view_offsets
from recon.config import CanonicalConfig
from recon.render import render_scene
from tests.recon.scenes import column_from_depth, moving_square

FRAMES, DEPTH, K, W2C = moving_square()
TIMES = np.linspace(0, 1, 3).astype("f4")


def column():
    return column_from_depth(FRAMES[:, 0], DEPTH[:, 0], K, W2C, 1)


def test_aggregated_points_draw_the_frames():
    scene = build_canonical(FRAMES[:, 0], column(), CanonicalConfig(), TIMES)
    for v in range(3):
        image = render_scene(scene, 0.0, scene.w2c[v], scene.K[v]).rgb.numpy()
        inner = (slice(1, -1), slice(1, -1))  # nothing lies beyond the image's edge
        assert psnr(image[inner], FRAMES[v, 0][inner]) > 20


def test_what_nothing_covers_has_the_colour_of_most_of_the_frames():
    scene = build_canonical(FRAMES[:, 0], column(), CanonicalConfig(), TIMES)
    away = np.array(W2C[0])
    away[:3, :3] = np.diag([-1.0, 1, -1]) @ away[:3, :3]  # looks at nothing
    image = render_scene(scene, 0.0, away, scene.K[0]).rgb.numpy()
    assert np.allclose(image, np.median(FRAMES[:, 0].reshape(-1, 3), 0), atol=1e-5)


def test_flat_blocks_become_wider_points():
    fine = build_canonical(FRAMES[:, 0], column(), CanonicalConfig(flat=0.0), TIMES)
    merged = build_canonical(FRAMES[:, 0], column(), CanonicalConfig(flat=0.2), TIMES)
    assert len(merged) < 0.8 * len(fine)
    ratio = merged.log_scales.exp().max() / fine.log_scales.exp().max()
    assert 1.9 < ratio < 4.2
    quality = [
        psnr(
            render_scene(s, 0.0, s.w2c[1], s.K[1]).rgb.numpy()[1:-1, 1:-1], FRAMES[1, 0][1:-1, 1:-1]
        )
        for s in (fine, merged)
    ]
    assert quality[1] > 20 and quality[1] > quality[0] - 6


@pytest.mark.parametrize("flat", [0.0, 0.05])
def test_too_many_points_are_joined_rather_than_those_of_the_last_views_left_out(capsys, flat):
    whole = build_canonical(FRAMES[:, 0], column(), CanonicalConfig(flat=flat), TIMES)
    most = int(0.8 * len(whole))
    config = CanonicalConfig(flat=flat, max_points=most)
    scene = build_canonical(FRAMES[:, 0], column(), config, TIMES)
    assert 0.2 * most < len(scene) <= most and not capsys.readouterr().err
    for v in range(3):
        alpha = render_scene(scene, 0.0, scene.w2c[v], scene.K[v]).alpha
        assert alpha[1:-1, 1:-1].min() > 0.5


def test_far_too_many_points_are_cut_off_and_that_is_said(capsys):
    config = CanonicalConfig(max_points=20)
    assert len(build_canonical(FRAMES[:, 0], column(), config, TIMES)) == 20
    assert "more than 20 points" in capsys.readouterr().err


def test_points_are_as_many_as_the_picture_needs():
    image = np.full((16, 16, 3), 0.5, np.float32)
    image[:, 8:] = np.random.default_rng(0).random((16, 8, 3))
    everywhere = np.ones((16, 16), bool)
    uv, z, colour, side = lifted(everywhere, image, np.full((16, 16), 2.0), 0.03)
    assert (side**2).sum() == 16 * 16  # every pixel belongs to one point
    assert set(side[uv[:, 0] > 8]) == {1.0}  # noise keeps all its pixels
    assert (side == 4).sum() >= 4 and (side[uv[:, 0] < 4] == 4).all()
    assert np.allclose(z, 2) and np.allclose(colour[side == 4], 0.5)
    step = np.full((16, 16), 2.0)
    step[:, 3:] = 4.0  # a plain picture of two depths
    uv, _, _, side = lifted(np.ones((16, 16), bool), image, step, 0.03)
    near_edge = (uv[:, 0] > 2) & (uv[:, 0] < 4)
    assert near_edge.any() and (side[near_edge] == 1).all()


def test_later_keyframes_add_only_what_is_uncovered():
    one = build_canonical(FRAMES[:, 0], column(), CanonicalConfig(keyframes=1, flat=0.0), TIMES)
    all_views = build_canonical(FRAMES[:, 0], column(), CanonicalConfig(flat=0.0), TIMES)
    assert len(one) == 24 * 40 < len(all_views) < 2 * 24 * 40


def test_nothing_is_taken_from_a_view_whose_camera_is_a_guess():
    guessed = column()
    guessed.dropped = [2]
    frames = FRAMES[:, 0].copy()
    frames[2] = (1.0, 0.0, 1.0)
    scene = build_canonical(frames, guessed, CanonicalConfig(flat=0.0), TIMES)
    assert len(scene) > 24 * 40
    assert not (scene.colors == scene.colors.new_tensor([1.0, 0.0, 1.0])).all(1).any()


def test_plain_background_gets_no_points():
    frames = np.ones((3, 24, 40, 3), np.float32)
    frames[:, 8:16, 15:25] = (0.5, 0.2, 0.1)
    frames[:, 11:13, 18:20] = 1.0  # white inside the object is not background
    colour, mask = plain_background(frames)
    assert np.allclose(colour, 1) and mask.sum() == 3 * (24 * 40 - 80)
    scene = build_canonical(
        frames,
        column_from_depth(
            frames, np.full((3, 24, 40), 2.0, "f4"), K, np.tile(np.eye(4), (3, 1, 1)), 1
        ),
        CanonicalConfig(),
        TIMES,
    )
    assert len(scene) == 80 and np.allclose(scene.background, 1)
    assert plain_background(FRAMES[:, 0]) is None


def test_useless_depth_is_a_user_error():
    bad = column()
    bad.depth = np.full_like(bad.depth, np.nan)
    with pytest.raises(UserError):
        build_canonical(FRAMES[:, 0], bad, CanonicalConfig(), TIMES)


def test_compensation_is_zero_for_a_consistent_clip_and_finds_a_shift():
    tracks = column().tracks
    points = tracks.xyz_world[1][::7]
    assert np.abs(view_offsets(tracks, points)).max() < 1e-4
    shifted = column().tracks
    shifted.uv[2] += (1.0, 0.0)
    found = view_offsets(shifted, points)
    across = 1.0 * shifted.z[2][::7] / K[2, 0, 0]
    right = W2C[2][0, :3]
    assert np.median(np.abs(found[2] @ right - across)) < 0.1 * across.mean()
    assert np.abs(found[[0, 1]]).max() < 1e-4
    alone = np.where(np.arange(3)[:, None, None] == 2, found, 0)
    by = disagreement_px(alone, points, K, W2C)
    assert by == pytest.approx(1.0, abs=0.15)
