import numpy as np
import torch

from recon.canonical.build import build_canonical
from recon.canonical.floaters import remove_floaters
from recon.config import CanonicalConfig, FloaterConfig
from recon.render import render_scene
from tests.recon.scenes import column_from_depth, moving_square

FRAMES, DEPTH, K, W2C = moving_square()


def test_planted_floaters_go_and_walls_stay_covered():
    column = column_from_depth(FRAMES[:, 0], DEPTH[:, 0], K, W2C, 1)
    # a point a pixel: the only point of a whole block is kept, since nothing else covers it
    scene = build_canonical(FRAMES[:, 0], column, CanonicalConfig(flat=0.0), np.zeros(1, "f4"))
    wall = torch.nonzero(scene.means[:, 2] > 2.5).flatten()[::40]
    places = scene.means.clone()
    places[wall] *= 0.5  # half-way to the camera, over other things in the other views
    colors = scene.colors.clone()
    colors[wall] = torch.tensor([0.0, 1.0, 0.0])
    scene.means, scene.colors = places, colors
    scene.opacity_logits[wall] = 2.0
    clean = remove_floaters(scene, torch.from_numpy(FRAMES[:, 0].copy()), FloaterConfig(steps=120))
    green = (clean.colors == torch.tensor([0.0, 1.0, 0.0])).all(1)
    assert green.sum() < 0.3 * len(wall)
    for v in range(3):
        before = render_scene(scene, 0.0, scene.w2c[v], scene.K[v]).alpha
        after = render_scene(clean, 0.0, clean.w2c[v], clean.K[v]).alpha
        uncovered = (before > 0.5) & (after < 0.4)
        assert uncovered.float().mean() < 0.01


def test_a_clean_scene_keeps_its_points():
    column = column_from_depth(FRAMES[:, 0], DEPTH[:, 0], K, W2C, 1)
    scene = build_canonical(FRAMES[:, 0], column, CanonicalConfig(), np.zeros(1, "f4"))
    clean = remove_floaters(scene, torch.from_numpy(FRAMES[:, 0].copy()), FloaterConfig(steps=40))
    assert len(clean) > 0.9 * len(scene)
