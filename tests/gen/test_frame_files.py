"""Frames that are read as they are asked for are those that were held in memory."""

import numpy as np
import pytest

from fourreal.errors import UserError
from fourreal.video_io import write_image
from gen import frame_files
from gen.frame_files import FrameFiles, as_floats
from gen.grid import VideoGrid, canonical_cell


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """A grid with holes as it was loaded at once, and as it is read when asked for."""
    rng = np.random.default_rng(0)
    known = np.ones((3, 4), bool)
    known[1, 2] = known[2, 3] = False
    frames = rng.random((3, 4, 20, 34, 3)).astype(np.float32) * known[..., None, None, None]
    VideoGrid(frames, known, shared=(0, 1)).save(tmp_path / "grid")
    held = VideoGrid.load(tmp_path / "grid")
    monkeypatch.setattr(frame_files, "_MUCH", 0)
    read = VideoGrid.load(tmp_path / "grid")
    assert isinstance(read.frames, FrameFiles) and not isinstance(held.frames, FrameFiles)
    return held, read


def test_every_way_of_indexing_gives_the_same(pair):
    held, read = (grid.frames for grid in pair)
    assert read.shape == held.shape and len(read) == len(held)
    for key in (
        *((1, 2), 0, (slice(None), 1), (2, [0, 3]), ([0, 2], 1), slice(1, None)),
        *((0, 1, slice(3, 9), slice(None), 1), (slice(None), slice(None), 5)),
    ):
        assert np.array_equal(read[key], held[key]), key
    assert np.array_equal(np.asarray(read), held)


def test_picked_and_resized_grids_are_the_same_and_still_unread(pair):
    held, read = (grid.pick(slice(0, 2), [0, 1, 3]).resize(10, 17) for grid in pair)
    assert isinstance(read.frames, FrameFiles)
    assert np.array_equal(np.asarray(read.frames), held.frames)
    assert np.array_equal(read.known, held.known) and read.shared == held.shared


def test_saved_again_it_is_the_same(pair, tmp_path):
    for name, grid in zip("ab", pair, strict=True):
        grid.save(tmp_path / name)
    for file in (tmp_path / "a").rglob("*.png"):
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()


def test_little_is_kept(pair, monkeypatch):
    frames = pair[1].frames
    monkeypatch.setattr(frame_files, "_KEPT", 3 * 20 * 34 * 3)
    whole = np.asarray(frames)
    assert len(frames._kept) == 3 and frames._bytes <= 3 * 20 * 34 * 3
    assert np.array_equal(whole, np.asarray(frames))


def test_frames_of_more_than_8_bit_keep_theirs():
    deep = np.full((4, 4, 3), 0.1234, np.float32)
    frames = FrameFiles((1, 1, 4, 4, 3), lambda v, t: deep)
    assert np.array_equal(frames[0, 0], deep) and np.array_equal(frames[0, 0], deep)


def test_8_bit_frames_become_floats_at_once_or_later(monkeypatch):
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3), np.uint8)
    at_once = as_floats(frames)
    monkeypatch.setattr(frame_files, "_MUCH", 0)
    later = as_floats(frames)
    assert isinstance(later, FrameFiles) and np.array_equal(np.asarray(later), at_once)


def test_images_of_different_sizes_are_refused_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(frame_files, "_MUCH", 0)
    for t, width in enumerate((34, 34, 30)):
        (tmp_path / "v00").mkdir(exist_ok=True)
        write_image(tmp_path / "v00" / f"t{t:03d}.png", np.zeros((20, width, 3), np.uint8))
    with pytest.raises(UserError, match="t002.png differs in size"):
        VideoGrid.load(tmp_path)


def test_the_canonical_column_of_a_long_clip_is_the_complete_one_in_its_middle():
    known = np.ones((2, 40), bool)
    known[1, 15:25] = False
    long = VideoGrid(np.zeros((2, 40, 8, 8, 3), np.float32), known).centred()
    assert long.shared == (0, 25)
    short = VideoGrid(np.zeros((2, 24, 8, 8, 3), np.float32), shared=(1, 3)).centred()
    assert short.shared == (1, 3)
    finer = np.zeros((2, 16, 16, 3), np.uint8)
    assert VideoGrid(long.frames, known, fine=finer).centred().shared == (0, 0)
    assert canonical_cell(known) == long.shared
    known[0, :30] = known[1, 30:] = False
    assert canonical_cell(known) is None
