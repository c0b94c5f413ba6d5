"""VideoGrid: validation, and round trips through every form it is saved in."""

import json

import numpy as np
import pytest

from fourreal import video_io
from fourreal.errors import UserError
from gen.footage.inspection import inspect_footage
from gen.grid import VideoGrid
from gen.grid_file import tile_layout


def small_grid(V=3, T=2, H=20, W=34, known=None, **fields):
    y, x = np.mgrid[0:H, 0:W].astype(np.float32)
    frames = np.zeros((V, T, H, W, 3), np.float32)
    for v in range(V):
        for t in range(T):
            frames[v, t] = np.stack([x / W, y / H, (v + t + 1) / (V + T) + 0 * x], -1)
    if known is not None:
        frames[~known] = 0
    return VideoGrid(frames, known, **fields)


def test_rows_are_viewpoints_and_columns_are_times():
    grid = small_grid(V=3, T=2)
    assert grid.row(1).shape[0] == grid.T and grid.column(1).shape[0] == grid.V
    assert np.array_equal(grid.row(2)[1], grid.column(1)[2])


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_round_trip_keeps_everything(tmp_path, kind):
    known = np.array([[1, 1], [1, 0], [1, 1]], bool)
    K = np.tile(np.array([[30, 0, 17], [0, 30, 10], [0, 0, 1.0]]), (3, 1, 1))
    grid = small_grid(
        known=known, prompt='a "red" ball', fps=12, K=K, w2c=np.tile(np.eye(4), (3, 1, 1))
    )
    path = tmp_path / ("grid" if kind == "folder" else "grid.npz")
    grid.save(path) if kind == "folder" else grid.save_npz(path)
    back = VideoGrid.load(path)
    assert np.abs(back.frames - grid.frames).max() <= 0.5 / 255 + 1e-6
    assert np.array_equal(back.known, known)
    assert (back.prompt, back.fps) == (grid.prompt, grid.fps)
    assert np.allclose(back.K, K) and np.allclose(back.w2c, grid.w2c)
    assert np.allclose(back.times, grid.times)


def test_finer_frames_of_the_column_go_along(tmp_path):
    fine = np.random.default_rng(0).integers(90, 110, (3, 40, 68, 3)).astype(np.uint8)
    small_grid(fine=fine).save(tmp_path / "g")
    back = VideoGrid.load(tmp_path / "g")
    assert back.fine is not None and back.fine.shape == fine.shape
    assert np.abs(back.fine.astype(float) - fine).mean() < 8  # stored as JPEG
    assert np.array_equal(back.pick(slice(1, 3), slice(0, 2)).fine, back.fine[1:])
    assert back.pick(slice(0, 3), slice(1, 2)).fine is None  # of another time
    with pytest.raises(ValueError, match="fine"):
        small_grid(fine=fine[:2])


def test_tiled_video_round_trip(tmp_path):
    grid = small_grid(V=5, T=3)
    grid.save_mp4(tmp_path / "grid.mp4")
    back = VideoGrid.load(tmp_path / "grid.mp4")
    assert back.frames.shape == grid.frames.shape
    assert np.abs(back.frames - grid.frames).mean() < 0.02
    assert tile_layout(5) == (2, 3)


def test_saving_is_atomic_and_replaces(tmp_path):
    small_grid(V=3).save(tmp_path / "g")
    small_grid(V=2).save(tmp_path / "g")
    assert VideoGrid.load(tmp_path / "g").V == 2
    assert [p.name for p in tmp_path.iterdir()] == ["g"]


def test_folder_of_images_without_metadata(tmp_path):
    small_grid().save(tmp_path / "g")
    (tmp_path / "g" / "grid.json").unlink()
    (tmp_path / "g" / "v02" / "t001.png").unlink()
    back = VideoGrid.load(tmp_path / "g")
    assert not back.known[2, 1] and back.known.sum() == 5


def test_resize_takes_the_intrinsics_along():
    K = np.tile(np.array([[30, 0, 17], [0, 30, 10], [0, 0, 1.0]]), (3, 1, 1))
    half = small_grid(K=K).resize(10, 17)
    assert half.frames.shape[2:4] == (10, 17)
    assert np.allclose(half.K[0], [[15, 0, 8.5], [0, 15, 5], [0, 0, 1]])


def test_pick_normalises_time():
    grid = small_grid(T=5).pick(slice(0, 2), slice(1, 4))
    assert (grid.V, grid.T) == (2, 3)
    assert np.allclose(grid.times, [0, 0.5, 1])
    with pytest.raises(UserError, match="empty"):
        small_grid().pick(slice(9, 12), slice(None))


@pytest.mark.parametrize(
    "change",
    [
        dict(frames=np.zeros((2, 3, 4, 5), np.float32)),
        dict(frames=np.full((2, 2, 8, 8, 3), np.nan, np.float32)),
        dict(frames=np.zeros((2, 2, 8, 8, 3), np.float32), known=np.eye(2, dtype=bool)),
        dict(frames=np.zeros((2, 2, 8, 8, 3), np.float32), times=[0.5, 0.1]),
        dict(frames=np.zeros((2, 2, 8, 8, 3), np.float32), K=np.eye(3)),
        dict(frames=np.zeros((2, 2, 8, 8, 3), np.float32), fps=0),
    ],
)
def test_invalid_grids_are_refused(change):
    with pytest.raises(ValueError, match="VideoGrid"):
        VideoGrid(**change)


def test_unreadable_grids_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="no such grid"):
        VideoGrid.load(tmp_path / "nothing")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 not really")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    np.savez(tmp_path / "flat.npz", rgb=np.zeros((4, 4), np.uint8))
    np.savez(tmp_path / "pickled.npz", rgb=np.array([{"a": 1}], dtype=object))
    (tmp_path / "empty").mkdir()
    small_grid().save(tmp_path / "newer")
    (tmp_path / "newer" / "grid.json").write_text(json.dumps({"version": 99}))
    for name in ("bad.npz", "bad.mp4", "flat.npz", "pickled.npz", "empty", "newer"):
        with pytest.raises(UserError, match="not a usable grid"):
            VideoGrid.load(tmp_path / name)


def cross(view, time, V=4, T=3):
    known = np.zeros((V, T), bool)
    known[view] = known[:, time] = True
    return known


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_clips_may_meet_anywhere(tmp_path, kind):
    grid = small_grid(V=4, known=cross(2, 1, T=3), T=3, shared=(2, 1))
    path = tmp_path / ("grid" if kind == "folder" else "grid.npz")
    grid.save(path) if kind == "folder" else grid.save_npz(path)
    back = VideoGrid.load(path)
    assert back.shared == (2, 1)
    assert np.array_equal(back.fixed_view[1], back.freeze_time[2])
    with pytest.raises(ValueError, match="row 0 and column 0"):
        small_grid(V=4, T=3, known=cross(2, 1, T=3))


def test_quadrants_cover_the_grid_from_the_shared_cell():
    known = cross(2, 1, T=3)
    grid = small_grid(V=4, T=3, known=known, shared=(2, 1))
    count = np.zeros((4, 3), int)
    for views, times in grid.quadrants():
        part = known[np.ix_(views, times)]
        assert part[0].all() and part[:, 0].all() and (views[0], times[0]) == (2, 1)
        count[np.ix_(views, times)] += 1
    assert (count > 0).all()
    assert len(small_grid().quadrants()) == 1


def test_picking_takes_the_shared_cell_along():
    grid = small_grid(V=4, T=3, known=cross(2, 1, T=3), shared=(2, 1))
    assert grid.pick(slice(1, 4), slice(1, 3)).shared == (1, 0)
    with pytest.raises(UserError, match="keep view 2 and time 1"):
        grid.pick(slice(0, 2), slice(0, 3))
    full = small_grid(V=4, T=3, shared=(2, 1))
    assert full.pick(slice(0, 2), slice(None)).shared == (0, 0)


def test_views_beyond_a_hundred_stand_in_their_order(tmp_path):
    for v in (2, 99, 100, 101):
        (tmp_path / f"v{v:02d}").mkdir()
        for t in range(2):
            video_io.write_image(
                tmp_path / f"v{v:02d}" / f"t{t:03d}.png", np.full((16, 16, 3), v / 255)
            )
    grid = VideoGrid.load(tmp_path)
    assert np.allclose(grid.frames[:, 0, 0, 0, 0] * 255, [2, 99, 100, 101], atol=0.6)


def test_other_moments_are_the_complete_columns_besides_the_canonical_one():
    frames = np.random.default_rng(0).random((2, 12, 4, 4, 3), np.float32)
    known = np.ones((2, 12), bool)
    known[1, [3, 7]] = False
    grid = VideoGrid(frames, known=known, shared=(0, 1))
    found = [read() for read in grid.other_moments(4)]
    for column, t in zip(found, (0, 5, 8, 11), strict=True):
        np.testing.assert_array_equal(column, frames[:, t])
    known[1, 2:] = known[1, 0] = False
    assert VideoGrid(frames, known=known, shared=(0, 1)).other_moments() == []


def test_a_clip_that_is_no_grid_is_told_before_it_is_decoded(tmp_path, monkeypatch):
    frames = np.random.default_rng(0).random((3, 16, 16, 3))
    video_io.write_video(tmp_path / "long.mp4", frames, 8)
    monkeypatch.setattr("fourreal.video_io.MAX_CLIP_BYTES", 0)
    with pytest.raises(UserError, match="unknown layout"):
        VideoGrid.load(tmp_path / "long.mp4")
    assert "clip of 3 frames" in inspect_footage(tmp_path / "long.mp4").lines[0]
