"""Specks of many faint points go; nothing goes that the pictures need."""

import numpy as np
import torch

from recon.canonical.refuted import without_refuted
from recon.canonical.specks import without_specks
from tests.recon.test_refuted import GREEN, built


def test_many_faint_points_in_one_place_are_a_speck():
    scene, frames = built()
    wall = torch.nonzero(scene.means[:, 2] > 2.5).flatten()
    cluster = wall[::10][:50]
    scene.means[cluster] = 0.5 * scene.means[wall[len(wall) // 2]]
    scene.colors[cluster] = GREEN
    scene.opacity_logits[cluster] = -3.5
    clean = without_specks(scene, frames, range(3))
    assert not (clean.colors == GREEN).all(1).any()
    assert len(clean) > 0.97 * (len(scene) - len(cluster))
    # no picture is so wrong in any one place of theirs that they would have gone on the way
    assert (without_refuted(scene, frames, range(3)).colors == GREEN).all(1).any()


def test_a_wrong_colour_with_nothing_behind_it_stays():
    scene, frames = built()
    scene.colors[::7] = GREEN
    alone = scene.keep(torch.from_numpy(np.arange(len(scene)) % 7 == 0))
    assert len(without_specks(alone, frames, range(3))) > 0.9 * len(alone)


def test_pixels_that_are_no_part_of_the_scene_say_nothing():
    scene, frames = built()
    scene.colors[:] = GREEN
    ignored = torch.ones(frames.shape[:3], dtype=torch.bool)
    assert len(without_specks(scene, frames, range(3), ignored)) == len(scene)
