"""Blank frames and those of a camera that rests are left out of clips, and said."""

import numpy as np
import pytest

from fourreal.video_io import write_video
from gen.footage.new_frames import COMPARED, new_frames, spread
from gen.footage.pair import PairRequest, load_pair
from tests.tracking.textured_room import arc, render_path


@pytest.fixture(scope="module")
def walk():
    """24 views of an arc, float32 [24, 72, 96, 3]."""
    return render_path(arc(24, 40.0)).frames


def used(tmp_path, frames, fixed=None, **options):
    write_video(tmp_path / "freeze.mp4", frames, 10)
    if fixed is not None:
        write_video(tmp_path / "fixed.mp4", fixed, 10)
    row = str(tmp_path / "fixed.mp4") if fixed is not None else ""
    return load_pair(PairRequest(str(tmp_path / "freeze.mp4"), row, straighten=False, **options))


def off(grid, frames):
    return np.abs((grid.frames[:, 0] - frames).mean(-1)).mean()


def test_an_even_walk_is_left_as_it_is(tmp_path, walk, capsys):
    assert off(used(tmp_path, walk, max_views=24), walk) < 0.048
    assert "left out" not in capsys.readouterr().out


def test_a_pause_before_the_walk_takes_no_views(tmp_path, walk, capsys):
    grid = used(tmp_path, np.concatenate([walk[:1].repeat(24, 0), walk]), max_views=8)
    assert "24 frame(s) are left out, in which the camera rests" in capsys.readouterr().out
    assert off(grid, walk[spread(np.arange(24), 8)]) < 0.048


def test_a_walk_there_and_back_is_used_once(tmp_path, walk, capsys):
    grid = used(tmp_path, np.concatenate([walk, walk[::-1]]), max_views=12)
    assert "the camera rests or comes back" in capsys.readouterr().out
    assert off(grid, walk[spread(np.arange(24), 12)]) < 0.048


def test_repeated_frames_are_views_once(tmp_path, walk, capsys):
    grid = used(tmp_path, walk[::3].repeat(2, 0))
    assert "8 frame(s) are left out" in capsys.readouterr().out
    assert off(grid, walk[::3]) < 0.048


def test_black_frames_at_both_ends_and_a_fade(tmp_path, walk, capsys):
    fade = np.concatenate([np.linspace(0, 1, 6), np.ones(18)])[:, None, None, None]
    black = np.zeros_like(walk[:5])
    grid = used(tmp_path, np.concatenate([black, walk * fade, black]), max_views=24)
    said = capsys.readouterr().out
    assert "11 blank frame(s)" in said and "rests" not in said
    assert len(grid.frames) == 23 and grid.frames.std((1, 2, 3, 4)).min() > 0.01


def test_black_frames_of_a_fixed_view_are_no_times(tmp_path, walk, capsys):
    row = walk[:1].repeat(6, 0).copy()
    for k in range(6):
        row[k, 30:40, 8 * k : 8 * k + 12] = (0.9, 0.1, 0.1)
    black = np.zeros_like(row[:3])
    freeze = walk.copy()
    freeze[0] = row[0]
    grid = used(tmp_path, freeze, np.concatenate([black, row, black]), stabilise=False)
    assert "6 blank frame(s)" in capsys.readouterr().out
    assert grid.shared == (0, 0) and np.abs((grid.frames[0] - row).mean(-1)).mean() < 0.048


def test_a_title_before_a_fixed_view_is_no_time(tmp_path, walk, capsys):
    row = walk[:1].repeat(8, 0).copy()
    row[3:, 10:40, 20:50] = (0.9, 0.1, 0.1)
    title = np.full_like(row[:4], 0.1)
    title[:, 30:40, 30:70] = 1.0
    used(tmp_path, walk, np.concatenate([title, row, title[:2]]), stabilise=False)
    said = capsys.readouterr().out
    assert "6 frame(s) are left out, which show something else" in said
    assert used(tmp_path, walk, row, stabilise=False).T == 8
    assert "fixed-view clip: " not in capsys.readouterr().out


@pytest.mark.parametrize("options", [{"pick_views": "0:12"}, {"shared_frame": "0:3"}])
def test_frames_that_are_told_are_used(tmp_path, walk, options):
    freeze = np.concatenate([walk[:1].repeat(8, 0), walk])
    grid = used(tmp_path, freeze, walk[:1].repeat(3, 0), force=True, max_views=32, **options)
    assert len(grid.frames) == (12 if "pick_views" in options else 32)


@pytest.mark.parametrize("level", [0.0, 0.4])
def test_a_clip_of_nothing_or_of_a_still_camera_stays_whole(tmp_path, walk, level):
    noise = np.random.default_rng(0).normal(0, 0.004, (12, *walk.shape[1:]))
    still = walk[:1].repeat(12, 0) if level else np.zeros((12, *walk.shape[1:]))
    assert len(used(tmp_path, np.clip(still + noise, 0, 1)).frames) == 12


def test_of_a_long_clip_as_many_are_looked_at_as_are_compared(walk):
    class Long:
        def quick(self, times, height, width):
            index = np.array(times)
            assert len(index) == COMPARED and (height, width) == (18, 24)
            small = (walk[index * 24 // 3000, ::4, ::4] * 255).astype(np.uint8)
            small[index < 1000] = 0
            return small

    kept, _ = new_frames(Long(), np.arange(3000), (18, 24), "clip", 16)
    assert abs(kept[0] - 1000) < 10 and len(kept) == 3000 - kept[0]


def moving_patch(walk, count):
    """A still camera's frames in which a patch moves on."""
    row = walk[:1].repeat(count, 0).copy()
    for k in range(count):
        row[k, 20:50, 2 * k : 2 * k + 24] = (0.9, 0.1, 0.1)
    return row


@pytest.mark.parametrize(
    ("rhythm", "times"), [((2,), "2"), ((2, 3), "2.5"), ((1, 1, 1, 2), "1.2"), ((5,), "5")]
)
def test_pictures_of_a_fixed_view_that_are_shown_again_count_once(
    tmp_path, walk, capsys, rhythm, times
):
    row = moving_patch(walk, 32)
    shown = np.repeat(np.arange(32), np.resize(rhythm, 32))
    freeze = walk.copy()
    freeze[0] = row[0]
    grid = used(tmp_path, freeze, row[shown], stabilise=False, max_times=0)
    said = capsys.readouterr().out
    assert f"every picture is shown {times} times: {len(shown) - 32} frame(s)" in said
    first = np.searchsorted(shown, np.arange(32))  # when each was first shown
    assert grid.T == 32 and np.allclose(grid.times, first / first[-1], atol=1e-6)


def test_a_rest_of_a_fixed_view_is_a_rest(tmp_path, walk, capsys):
    shown = np.concatenate([np.repeat(np.arange(16), 2), [15] * 20, np.repeat(range(16, 32), 2)])
    row = moving_patch(walk, 32)
    freeze = walk.copy()
    freeze[0] = row[0]
    grid = used(tmp_path, freeze, row[shown], stabilise=False, max_times=0)
    assert "shown 2 times" in capsys.readouterr().out and grid.T == 42
    irregular = np.repeat(np.arange(32), np.random.default_rng(1).integers(1, 5, 32))
    used(tmp_path, freeze, row[irregular], stabilise=False, max_times=0)
    assert "every picture" not in capsys.readouterr().out


@pytest.mark.parametrize("meets", ["first", "second"])
def test_of_clips_with_a_cut_the_shot_where_they_meet_is_used(tmp_path, walk, capsys, meets):
    row, other = moving_patch(walk, 12), moving_patch(walk[::-1, ::-1], 12)
    freeze = walk.copy()
    freeze[0] = row[0]
    shots = (row, other) if meets == "first" else (other, row)
    grid = used(tmp_path, freeze, np.concatenate(shots), stabilise=False)
    said = capsys.readouterr().out
    assert "fixed-view clip: cut into 2 shots" in said and "12 frame(s) are left out" in said
    assert grid.T == 12 and np.abs((grid.frames[grid.shared[0]] - row).mean(-1)).mean() < 0.048


def test_of_a_freeze_time_clip_with_a_cut_the_longest_shot_is_used(tmp_path, walk, capsys):
    other = walk[:10, ::-1, :, ::-1]
    grid = used(tmp_path, np.concatenate([other, walk]), max_views=32)
    said = capsys.readouterr().out
    assert "freeze-time clip: cut into 2 shots; that of frames 10 to 33 is used" in said
    assert len(grid.frames) == 24 and off(grid, walk) < 0.048
