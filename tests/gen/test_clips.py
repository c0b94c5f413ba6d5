"""Clip pairs: what is accepted, thinned, and refused."""

import numpy as np
import pytest

from gen.clips import check_pair, load_pair
from gen.errors import UserError
from gen.option_values import parse_size, parse_slice
from gen.video_io import read_clip, write_video
from tests.shared_data import shared_data


def textured_clip(frames, seed, shift=(0, 0), H=64, W=96):
    """A clip of a smooth random texture that moves by ``shift`` px a frame."""
    rng = np.random.default_rng(seed)
    import cv2

    big = cv2.resize(rng.random((12, 16, 3), dtype=np.float32), (2 * W, 2 * H), interpolation=2)
    big = np.clip(big, 0, 1)
    return np.stack([big[20 + k * shift[0] :, 20 + k * shift[1] :][:H, :W] for k in range(frames)])


@pytest.fixture
def clips(tmp_path):
    write_video(tmp_path / "freeze.mp4", textured_clip(6, 0, (0, 3)), 8)
    write_video(tmp_path / "fixed.mp4", textured_clip(20, 0, (1, 0)), 10)
    write_video(tmp_path / "other.mp4", textured_clip(5, 7, (1, 0)), 10)
    write_video(tmp_path / "one.mp4", textured_clip(1, 0), 10)
    return tmp_path


def test_pair_becomes_row_and_column(clips):
    grid = load_pair(clips / "freeze.mp4", clips / "fixed.mp4", max_times=8)
    assert grid.frames.shape == (6, 8, 64, 96, 3)
    assert grid.known.sum() == 6 + 8 - 1 and not grid.complete
    assert grid.times[0] == 0 and grid.times[-1] == 1
    row, _ = read_clip(clips / "fixed.mp4")
    assert np.abs(grid.frames[0, -1] - row[-1]).mean() < 0.01


def test_freeze_time_clip_alone_is_a_static_scene(clips):
    grid = load_pair(clips / "freeze.mp4", None, size=(32, 48))
    assert grid.frames.shape == (6, 1, 32, 48, 3)


def test_picking_frames(clips):
    grid = load_pair(clips / "freeze.mp4", clips / "fixed.mp4", "0:4", "0:10:3")
    assert (grid.V, grid.T) == (4, 4)


def test_different_scenes_are_refused_unless_forced(clips, capsys):
    with pytest.raises(UserError, match="different scenes.*--force-pair"):
        load_pair(clips / "freeze.mp4", clips / "other.mp4")
    grid = load_pair(clips / "freeze.mp4", clips / "other.mp4", force_pair=True)
    assert grid.T == 5 and "warning:" in capsys.readouterr().err


def test_shared_frame_elsewhere_is_named(clips):
    row = textured_clip(4, 0, (0, 0))
    column = np.concatenate([textured_clip(3, 9), row[:1]])
    assert check_pair(row, column).best_view == 3


@pytest.mark.parametrize(
    ("freeze", "fixed", "message"),
    [
        ("missing.mp4", None, "no such freeze-time clip"),
        ("freeze.mp4", "missing.mp4", "no such fixed-view clip"),
        ("one.mp4", None, "at least 2 views"),
        ("freeze.mp4", "one.mp4", "at least 2 times"),
    ],
)
def test_unusable_clips_are_user_errors(clips, freeze, fixed, message):
    with pytest.raises(UserError, match=message):
        load_pair(clips / freeze, fixed and clips / fixed)


def test_unreadable_video_is_a_user_error(clips):
    (clips / "broken.mp4").write_bytes((clips / "freeze.mp4").read_bytes()[:200])
    with pytest.raises(UserError, match="cannot read the freeze-time clip"):
        load_pair(clips / "broken.mp4", None)


def test_slices_and_sizes():
    assert parse_slice("1:5:2", "--x") == slice(1, 5, 2) and parse_slice("", "--x") == slice(None)
    assert parse_slice("3:", "--x") == slice(3, None)
    assert parse_size("36x64") == (36, 64) and parse_size("") is None
    for text in ("1", "a:b", "0:4:0"):
        with pytest.raises(UserError, match="--x"):
            parse_slice(text, "--x")
    for text in ("36", "36*64", "4x4", "99999x10"):
        with pytest.raises(UserError, match="--size"):
            parse_size(text)


def test_real_mismatched_pair_is_noticed():
    flowerpot = shared_data("real", "flowerpot_freeze.mp4")
    with pytest.raises(UserError, match="different"):
        load_pair(flowerpot, shared_data("real", "walk_fixed.mp4"))
