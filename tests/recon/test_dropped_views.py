"""A view that tracking could not place has a guessed camera: its cells must not be fitted."""

import numpy as np
import torch

from gen.grid import VideoGrid
from recon.config import preset
from recon.left_out import without_dropped
from recon.reconstruct import fit_scene
from tests.recon.scenes import column_from_depth, moving_square

FRAMES, DEPTH, K, W2C = moving_square()


def fitted(frames):
    """A very short fit in which view 2 was dropped."""
    config = preset("debug")
    config.static_steps, config.floaters.steps, config.deformation.steps = 12, 8, 12
    column = column_from_depth(frames[:, 0], DEPTH[:, 0], K, W2C, 1)
    column.dropped = [2]
    return fit_scene(VideoGrid(frames), column, config)


def test_what_a_dropped_view_shows_changes_nothing():
    scenes = []
    for seed in (0, 1):
        frames = FRAMES.copy()
        frames[2] = np.random.default_rng(seed).random(frames[2].shape)
        scene, report = fitted(frames)
        scenes.append(scene)
        assert report["psnr_cells"][2] == [None] * 3 and report["psnr_cells"][1][0] is not None
    assert len(scenes[0].w2c) == 3
    for name in ("means", "colors", "opacity_logits", "node_offsets"):
        assert torch.equal(getattr(scenes[0], name), getattr(scenes[1], name)), name


def test_the_complete_row_stays_even_when_its_camera_is_a_guess():
    grid = VideoGrid(FRAMES)
    kept = without_dropped(grid, [0, 2])
    assert kept.known.tolist() == [[True] * 3, [True] * 3, [False] * 3]
    assert grid.known.all()
