"""Cameras that begin late, end early or run at another rate."""

import numpy as np
import pytest

from fourreal.video_io import write_image, write_video
from gen.data.world.grid import make_grid
from gen.footage.detect import read_source
from gen.footage.sync import find_offsets, in_step
from pipeline.grid import Grid, _make_grid
from tests.gen.footage import footage_files as files


@pytest.fixture(scope="module")
def long():
    """Four views of something that speeds up and slows down: frames repeat moments of a grid."""
    grid, _, _ = make_grid(seed=3, V=4, T=12, size=(48, 80))
    moments = [0, 1, 3, 6, 7, 7, 8, 11, 10, 8, 5, 5, 4, 2, 1, 1, 3, 6]
    return grid.frames[:, moments]


def rig(folder, frames, late=0, images=False):
    """cam02 begins ``late`` frames after the others (below 0: before them); all are cut alike."""
    count = frames.shape[1] - abs(late)
    for v in range(len(frames)):
        first = max(late, 0) if (v == 2) == (late < 0) else 0
        first = abs(late) if (v == 2 and late < 0) or (v != 2 and late > 0) else 0
        clip = frames[v, first : first + count]
        if images:
            (folder / f"cam{v:02d}").mkdir(parents=True)
            for t, frame in enumerate(clip):
                write_image(folder / f"cam{v:02d}" / f"{t:04d}.png", frame)
        else:
            folder.mkdir(exist_ok=True)
            write_video(folder / f"cam{v:02d}.mp4", clip, 8)
    return folder


@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize("late", [0, 2, -3])
def test_a_camera_out_of_step_is_found_and_evened_out(long, tmp_path, late, images, capsys):
    folder = rig(tmp_path / "rig", long, late, images)
    offsets = find_offsets(read_source(folder))
    assert offsets.frames.tolist() == [0, 0, late, 0]
    said = _make_grid(Grid(str(folder), max_times=32))
    if late:
        word = f"cam02 seems {abs(late)} frames {'late' if late > 0 else 'early'}"
        assert word in capsys.readouterr().err and said.T == long.shape[1] - abs(late)
        even = _make_grid(Grid(str(folder), sync="on", max_times=32))
        assert even.T == said.T - abs(late)
        start = max(late, 0) + max(-late, 0)
        expected = long[:, start : start + even.T]
        assert np.abs(even.frames - expected).mean() < 0.03
        assert word in capsys.readouterr().out
    else:
        assert "seems" not in capsys.readouterr().err


def test_two_views_and_still_scenes(long, tmp_path):
    still = np.repeat(long[:, :1], 12, axis=1)
    assert find_offsets(read_source(rig(tmp_path / "still", still))).in_step
    noise = np.random.default_rng(0).random((3, 14, 24, 40, 3)).astype(np.float32)
    assert find_offsets(read_source(rig(tmp_path / "noise", noise))).in_step
    short = rig(tmp_path / "short", long[:, :4])
    assert find_offsets(read_source(short)).in_step


def test_no_view_of_rendered_scenes_is_out_of_step(tmp_path):
    for seed in (1, 2):
        grid, _, _ = make_grid(seed=seed, V=4, T=10, size=(48, 80))
        assert find_offsets(read_source(rig(tmp_path / f"{seed}", grid.frames))).in_step


def test_evening_out_needs_times(long, tmp_path):
    source = read_source(rig(tmp_path / "rig", long[:, :8], 2))
    offsets = find_offsets(source)
    offsets.frames[:] = [0, 0, 5, 0]
    with pytest.raises(ValueError, match="only 1 time"):
        in_step(source, offsets)


def test_a_camera_that_ends_early_loses_its_cells(long, tmp_path):
    folder = rig(tmp_path / "rig", long)
    write_video(folder / "cam01.mp4", long[1, :7], 8)
    source = read_source(folder)
    assert source.known.sum(1).tolist() == [18, 7, 18, 18]
    assert "cam01 (after 7) of 18" in " ".join(source.describe())
    grid = _make_grid(Grid(str(folder), max_times=32))
    assert (grid.V, grid.T) == (4, 18) and grid.known.sum(1).tolist() == [18, 7, 18, 18]
    assert np.abs(grid.frames[1, :7] - long[1, :7]).mean() < 0.03


def test_nearly_equal_lengths_are_cut_to_the_shortest(long, tmp_path):
    folder = rig(tmp_path / "rig", long)
    write_video(folder / "cam01.mp4", long[1, :17], 8)
    source = read_source(folder)
    assert source.known.shape == (4, 17) and source.known.all()
    assert "the first 17 frames of each are used" in " ".join(source.notes)


def test_other_frame_rates_are_matched_by_time(long, tmp_path):
    folder = rig(tmp_path / "rig", long)
    write_video(folder / "cam03.mp4", np.repeat(long[3], 3, axis=0), 24)
    source = read_source(folder)
    assert source.known.all() and source.fps == pytest.approx(8)
    assert "frame rates differ" in " ".join(source.notes) and "cam03 24" in " ".join(source.notes)
    grid = _make_grid(Grid(str(folder), max_times=32))
    assert np.abs(grid.frames - long).mean() < 0.03


def test_uneven_frames_are_matched_by_time(long, tmp_path):
    folder = rig(tmp_path / "rig", long)
    ffmpeg = files.ffmpeg
    ffmpeg("-i", folder / "cam00.mp4", "-vf", "select='not(eq(n,5))*not(eq(n,11))'", "-fps_mode",
           "vfr", folder / "new.mp4")  # fmt: skip
    (folder / "new.mp4").replace(folder / "cam00.mp4")
    source = read_source(folder)
    assert "uneven" in " ".join(source.describe()) and source.known.shape == (4, 18)
    read = source.views[0].read([4, 6, 10, 12], 48, 80) / 255
    assert np.abs(read - long[0, [4, 6, 10, 12]]).mean() < 0.03
