"""Black bars and what a recorded screen shows around a video are no part of the scene."""

import numpy as np
import pytest

from fourreal.video_io import write_video
from gen.footage.pair import PairRequest, load_pair
from tests.tracking.textured_room import arc, render_path

AROUND = {
    "letterbox": (60, 60, 0, 0), "pillarbox": (0, 0, 72, 72), "one bar": (0, 48, 0, 0),
    "screen": (84, 36, 30, 66),
}  # fmt: skip


@pytest.fixture(scope="module")
def walk():
    """12 views of an arc, float32 [12, 216, 288, 3]."""
    return render_path(arc(12, 30.0)).frames.repeat(3, 1).repeat(3, 2)


def around(frames, kind):
    """Frames in a border; that of a screen shows something."""
    top, bottom, left, right = AROUND[kind]
    out = np.pad(frames, ((0, 0), (top, bottom), (left, right), (0, 0)))
    if kind == "screen":
        out[:, :42] = 0.2
        out[:, 12:30, 18:90] = out[:, 12:30, -60:-18] = 1.0
    return out


def pair(tmp_path, freeze, fixed=None):
    write_video(tmp_path / "freeze.mp4", freeze, 10)
    if fixed is not None:
        write_video(tmp_path / "fixed.mp4", fixed, 10)
    row = str(tmp_path / "fixed.mp4") if fixed is not None else ""
    return load_pair(PairRequest(str(tmp_path / "freeze.mp4"), row, straighten=False))


def moving_patch(walk):
    row = walk[:1].repeat(8, 0).copy()
    for k in range(8):
        row[k, 60:150, 12 * k : 12 * k + 72] = (0.9, 0.1, 0.1)
    return row


@pytest.mark.parametrize("kind", AROUND)
def test_borders_of_a_freeze_time_clip_are_cut_off(tmp_path, walk, capsys, kind):
    grid = pair(tmp_path, around(walk, kind))
    top, bottom, left, right = AROUND[kind]
    said = capsys.readouterr().out
    assert f"is cut off: {216 + top + bottom}x{288 + left + right} becomes" in said
    assert 210 <= grid.height <= 216 and 280 <= grid.width <= 288
    edges = np.concatenate([grid.frames[:, 0, 0].std(0), grid.frames[:, 0, :, 0].std(0)])
    assert np.median(edges) > 0.02  # what is at the edge changes, as all of the scene does


@pytest.mark.parametrize("kind", ["letterbox", "screen"])
def test_the_fixed_view_in_the_same_border_is_cut_alike(tmp_path, walk, capsys, kind):
    row, freeze = moving_patch(walk), walk.copy()
    freeze[0] = row[0]
    grid = pair(tmp_path, around(freeze, kind), around(row, kind))
    said = capsys.readouterr().out
    assert said.count("is cut off") == 2 and "different shapes" not in said
    assert grid.shared == (0, 0) and 210 <= grid.height <= 216


def test_a_fixed_view_in_bars_of_its_own_meets_a_clip_without(tmp_path, walk, capsys):
    row, freeze = moving_patch(walk), walk.copy()
    freeze[0] = row[0]
    grid = pair(tmp_path, freeze, around(row, "letterbox"))
    assert "fixed-view clip: a border" in capsys.readouterr().out and grid.shared == (0, 0)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_plain_backdrop_is_no_border(tmp_path, walk, capsys, level):
    alone = np.full_like(walk, level)
    for k, view in enumerate(walk):  # something that turns before nothing
        alone[k, 60:180, 90:210] = view[60:180, 90:210]
        alone[k, 30:60, 130 + 3 * (k % 3) : 160] = view[30:60, 130 + 3 * (k % 3) : 160]
    assert pair(tmp_path, alone).height == 216
    assert "is cut off" not in capsys.readouterr().out


def test_a_clip_without_borders_is_left(tmp_path, walk, capsys):
    assert pair(tmp_path, walk).frames.shape[2:4] == (216, 288)
    assert "is cut off" not in capsys.readouterr().out


def test_a_plain_wall_at_the_side_is_no_border(tmp_path, walk, capsys):
    beside = walk.copy()
    beside[:, :, :60] = 0.7
    assert pair(tmp_path, beside).frames.shape[2:4] == (216, 288)
    assert "is cut off" not in capsys.readouterr().out
