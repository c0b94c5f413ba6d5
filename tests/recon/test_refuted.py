"""Points that an input view shows to be wrong go; those right behind a passer-by stay."""

import numpy as np
import torch

from recon.canonical.build import build_canonical
from recon.canonical.refuted import without_refuted
from recon.config import CanonicalConfig
from tests.recon.scenes import column_from_depth, moving_square

FRAMES, DEPTH, K, W2C = moving_square()
GREEN = torch.tensor([0.0, 1.0, 0.0])


def built():
    column = column_from_depth(FRAMES[:, 0], DEPTH[:, 0], K, W2C, 1)
    scene = build_canonical(FRAMES[:, 0], column, CanonicalConfig(flat=0.0), np.zeros(1, "f4"))
    scene.opacity_logits[:] = 4.0
    return scene, torch.from_numpy(FRAMES[:, 0].copy())


def test_specks_before_something_of_another_colour_go():
    scene, frames = built()
    wall = torch.nonzero(scene.means[:, 2] > 2.5).flatten()[::40]
    scene.means[wall] *= 0.5  # half-way to the camera
    scene.colors[wall] = GREEN
    clean = without_refuted(scene, frames, range(3))
    specks = (clean.colors == GREEN).all(1).sum()
    assert specks < 0.2 * len(wall)
    assert len(clean) - specks > 0.97 * (len(scene) - len(wall))


def test_what_a_view_does_not_show_stays_where_nothing_better_is_behind_it():
    scene, frames = built()
    frames[2, 5:15, 5:15] = GREEN  # passes by in one view
    clean = without_refuted(scene, frames, range(3))
    assert len(clean) > 0.98 * len(scene)


def test_pixels_that_are_no_part_of_the_scene_refute_nothing():
    scene, frames = built()
    scene.colors[:] = GREEN
    ignored = torch.ones(frames.shape[:3], dtype=torch.bool)
    assert len(without_refuted(scene, frames, range(3), ignored)) == len(scene)
