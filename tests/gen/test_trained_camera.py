"""Cameras of generated grids: close to those of the world that the weights were trained on."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from fourreal.errors import UserError
from gen.bundled import weights_folder
from gen.camera_move import save_camera_move, trained_cameras
from gen.data.batches import WORLDS, seeded
from gen.data.world.camera_move import mean_camera_move
from gen.data.world.procedural import render
from gen.data.world.scene_sampling import sample_scenes


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


def test_weights_carry_their_move_whatever_the_training_code_draws_today(tmp_path, monkeypatch):
    """The move is read from the weights: other scenes in the code change nothing."""
    before = trained_cameras(weights_folder(), 8, 40, 64)
    for name in ("sample_scenes", "camera_path"):
        monkeypatch.setattr(f"gen.data.world.camera_move.{name}", lambda *a, **k: 1 / 0)
    monkeypatch.setattr("gen.data.batches.WORLDS", {})
    after = trained_cameras(weights_folder(), 8, 40, 64)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_shipped_move_is_the_mean_of_the_world_it_was_trained_on():
    focal, paths = mean_camera_move("narrow")
    for views in (1, 5, 8):
        K, w2c = trained_cameras(weights_folder(), views, 40, 64)
        np.testing.assert_allclose(w2c, paths[views - 1], atol=1e-6)
        np.testing.assert_allclose(K[:, 0, 0], focal * 64)
    assert mean_camera_move("full") is None


def test_more_views_than_a_window_or_no_move_leave_the_cameras_open(tmp_path):
    assert trained_cameras(weights_folder(), 9, 40, 64) is None
    shutil.copyfile(weights_folder() / "config.json", tmp_path / "config.json")
    assert trained_cameras(tmp_path, 8, 40, 64) is None
    focal, paths = mean_camera_move("narrow")
    save_camera_move(tmp_path, focal, paths[:3])
    assert trained_cameras(tmp_path, 4, 40, 64) is None
    np.testing.assert_array_equal(trained_cameras(tmp_path, 3, 40, 64)[1], paths[2])


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2}, {"focal": "wide"}, {"focal": 0}, {"w2c": [[[[1, 2], [3]]]]},
        {"w2c": [[[[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]]]}, {"w2c": None},
    ],
)  # fmt: skip
def test_a_damaged_move_is_refused_by_name(tmp_path, change):
    content = json.loads((weights_folder() / "cameras.json").read_text())
    (tmp_path / "cameras.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(UserError, match=r"cameras\.json does not describe a camera move"):
        trained_cameras(tmp_path, 1, 40, 64)
