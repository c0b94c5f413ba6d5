"""The bundled network fills the cells between two clips, at their size."""

from __future__ import annotations

import numpy as np

from fourreal.image_metrics import psnr
from gen.completion.rules import additive
from gen.grid import VideoGrid
from pipeline.generate import complete_with_bundled
from tests.gen.completion.test_completion import moving_grid


def cross(frames: np.ndarray, view: int, time: int) -> VideoGrid:
    known = np.zeros(frames.shape[:2], bool)
    known[view], known[:, time] = True, True
    given = np.where(known[..., None, None, None], frames, 0).astype(np.float32)
    times = np.linspace(0, 1, frames.shape[1]).astype(np.float32)
    return VideoGrid(frames=given, times=times, known=known, shared=(view, time))


def test_cells_between_the_clips_are_filled_at_their_size():
    frames = moving_grid(5, 5).astype(np.float32) / 255
    given = cross(frames, 0, 0)
    filled = complete_with_bundled(given, 0, None)
    assert filled.known.all() and filled.frames.shape == frames.shape
    assert np.array_equal(filled.frames[given.known], given.frames[given.known])
    hidden = ~given.known
    assert psnr(filled.frames[hidden], frames[hidden]) > 2 + psnr(
        additive(frames)[hidden], frames[hidden]
    )


def test_a_cross_in_the_middle_is_filled_on_all_four_sides():
    frames = moving_grid(5, 5, shift=1).astype(np.float32) / 255
    given = cross(frames, 2, 1)
    filled = complete_with_bundled(given, 0, None)
    hidden = ~given.known
    assert np.array_equal(filled.frames[given.known], given.frames[given.known])
    for part in (np.s_[:2, :1], np.s_[:2, 2:], np.s_[3:, :1], np.s_[3:, 2:]):
        assert hidden[part].all() and psnr(filled.frames[part], frames[part]) > 22
