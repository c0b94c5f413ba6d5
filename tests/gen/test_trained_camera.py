"""Cameras of generated grids: close to those of the world that the weights were trained on."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from gen.bundled import trained_cameras
from gen.data.batches import WORLDS, seeded
from gen.data.world.procedural import render
from gen.data.world.scene_sampling import sample_scenes
from gen.generate import weights_folder


def angle(a, b) -> np.ndarray:
    """Degrees between the rotations of two stacks of cameras."""
    trace = np.einsum("vij,vij->v", a[:, :3, :3], b[:, :3, :3])
    return np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1)))


@pytest.mark.parametrize("views", [8, 3])
def test_path_is_that_of_the_trained_scenes(views):
    K, w2c = trained_cameras(weights_folder(), views, 40, 64)
    scenes = sample_scenes(6, seeded(3, 1), **WORLDS["narrow"])
    truth = render(scenes, torch.linspace(0, 1, views), torch.zeros(1), 40, 64)
    np.testing.assert_allclose(K, truth.K.reshape(-1, 3, 3)[:1].repeat(views, 1, 1), rtol=1e-6)
    for true in truth.w2c.double().numpy():
        assert angle(w2c, true).max() < 8.0
        moved = true[-1] @ np.linalg.inv(true[0]), w2c[-1] @ np.linalg.inv(w2c[0])
        assert np.degrees(np.arccos((np.trace(moved[1][:3, :3]) - 1) / 2)) > 30
        shift = moved[0][:3, 3] / np.linalg.norm(moved[0][:3, 3])
        assert shift @ moved[1][:3, 3] / np.linalg.norm(moved[1][:3, 3]) > 0.98


def test_enlarged_and_cropped_frames_keep_their_lens():
    small = trained_cameras(weights_folder(), 2, 40, 64)[0][0]
    large = trained_cameras(weights_folder(), 2, 120, 192)[0][0]
    np.testing.assert_allclose(large[:2], 3 * small[:2])
    square = trained_cameras(weights_folder(), 2, 80, 80)[0][0]  # of the middle 40x40
    np.testing.assert_allclose(square[0, 0], 2 * small[0, 0])
    np.testing.assert_allclose(square[:2, 2], 40)


def test_several_moves_or_windows_leave_the_cameras_open(tmp_path):
    assert trained_cameras(weights_folder(), 9, 40, 64) is None
    config = json.loads((weights_folder() / "config.json").read_text())
    config["how_made"]["pool"]["world"] = "full"
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert trained_cameras(tmp_path, 8, 40, 64) is None
