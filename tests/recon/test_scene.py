import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fourreal.errors import UserError
from recon.motion.curve import spline_slopes
from recon.scene import Scene4D
from tests.recon.scenes import tiny_scene


def test_canonical_time_is_undeformed():
    scene = tiny_scene()
    assert torch.equal(scene.at(0.0).means, scene.means)
    assert not torch.equal(scene.at(0.5).means, scene.means)


def test_between_stamps_is_linear_and_outside_is_clamped():
    scene = tiny_scene()
    middle = 0.5 * (scene.at(0.5).means + scene.at(1.0).means)
    assert torch.allclose(scene.at(0.75).means, middle, atol=1e-6)
    assert torch.equal(scene.at(3.0).means, scene.at(1.0).means)


def test_offsets_are_what_at_applies():
    scene = tiny_scene()
    offsets = scene.offsets()
    for t, stamp in enumerate(scene.times.tolist()):
        assert torch.allclose(scene.means + offsets[t], scene.at(stamp).means)


def test_compensation_is_exact_at_input_views_and_off_at_zero():
    scene = tiny_scene()
    exact = scene.means + scene.view_offsets[1]
    assert torch.allclose(scene.at(0.0, scene.w2c[1]).means, exact, atol=1e-5)
    assert torch.equal(scene.at(0.0, scene.w2c[1], 0.0).means, scene.means)
    weights = scene.view_weights(0.5 * (scene.w2c[0] + scene.w2c[1]))
    assert torch.allclose(weights, torch.tensor([0.5, 0.5]), atol=0.02)


def test_literal_offsets_turn_with_the_camera():
    scene = tiny_scene()
    camera = scene.w2c[0].clone()
    camera[:3, :3] = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    rotated = scene.at(1.0, camera, 0.0).means - scene.means
    literal = replace(scene, offset_frame="literal").at(1.0, camera, 0.0).means - scene.means
    assert torch.allclose(literal @ camera[:3, :3].T, rotated, atol=1e-6)


def test_shade_and_visibility_vary_over_time():
    scene = tiny_scene()
    shade, seen = torch.ones(3, len(scene)), torch.ones(3, len(scene))
    shade[2], seen[2] = 0.5, 0.0
    scene = replace(scene, shade=shade, visibility=seen)
    assert torch.allclose(scene.at(1.0).colors, scene.colors * 0.5)
    assert scene.at(1.0).opacities.max() == 0
    assert torch.equal(scene.at(0.0).colors, scene.colors)
    late = replace(scene, visibility=seen - 0.5 * (1 - seen), node_slopes=scene.node_offsets * 0)
    halfway = float(scene.times[1:].mean())
    assert late.at(1.0).opacities.max() == 0
    assert torch.allclose(late.at(halfway).opacities, scene.at(0.0).opacities / 4)


def test_save_and_load(tmp_path):
    scene = tiny_scene()
    scene.save(tmp_path / "s.safetensors")
    again = Scene4D.load(tmp_path / "s.safetensors")
    assert torch.equal(again.means, scene.means) and again.size == scene.size
    assert torch.equal(again.node_index, scene.node_index)
    assert torch.allclose(again.view_offsets, scene.view_offsets, atol=1e-4)


def test_shapes_start_round_and_are_kept_in_step(tmp_path):
    scene = tiny_scene()
    assert scene.at(0.5).stretch is None
    shaped = scene.anisotropic()
    assert (shaped.canonical().stretch == 1).all()
    shaped.log_stretch[3] = torch.tensor([0.5, 0.0, -0.5])
    shaped.keep(torch.arange(3, 9)).save(tmp_path / "s.safetensors")
    again = Scene4D.load(tmp_path / "s.safetensors")
    assert torch.equal(again.log_stretch[0], shaped.log_stretch[3])
    assert again.rotations.shape == (6, 4)
    with pytest.raises(ValueError, match="go together"):
        replace(shaped, rotations=None)


def test_scenes_of_version_1_move_on_straight_lines(tmp_path):
    old, new = tiny_scene(), tiny_scene()
    new.node_slopes = spline_slopes(new.times, new.node_offsets)
    versions, drawn = [], []
    for k, scene in enumerate((old, new)):
        scene.save(tmp_path / f"{k}.safetensors")
        with safe_open(str(tmp_path / f"{k}.safetensors"), framework="pt") as handle:
            versions.append(json.loads(handle.metadata()["scene"])["version"])
        again = Scene4D.load(tmp_path / f"{k}.safetensors")
        for t in (0.0, 0.2, 0.5, 0.9):
            assert torch.allclose(again.at(t).means, scene.at(t).means)
        drawn.append(again.at(0.2).means)
    assert versions == [1, 2]
    assert torch.allclose(drawn[0] - old.means, 0.4 * (old.at(0.5).means - old.means), atol=1e-6)
    assert (drawn[1] - drawn[0]).abs().max() > 1e-3


@pytest.mark.parametrize("damage", ["missing", "text", "shape", "nan", "extra", "version", "cut"])
def test_malformed_files_are_user_errors(tmp_path, damage):
    path = tmp_path / "s.safetensors"
    tiny_scene().save(path)
    tensors = load_file(path)
    meta = {"format": "fourreal-scene", "version": 1, "size": [24, 40], "canonical_time": 0}
    meta |= {"canonical_view": 0, "offset_frame": "rotated"}
    if damage == "missing":
        del tensors["colors"]
    elif damage == "shape":
        tensors["colors"] = tensors["colors"][:5].clone()
    elif damage == "nan":
        tensors["means"][0, 0] = float("nan")
    elif damage == "extra":
        tensors["surprise"] = torch.zeros(1)
    elif damage == "version":
        meta["version"] = 99
    save_file(tensors, path, metadata={"scene": json.dumps(meta)})
    if damage == "text":
        path.write_text("not a scene")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError):
        Scene4D.load(path)


def test_wrong_shapes_raise():
    scene = tiny_scene()
    with pytest.raises(ValueError, match="colors"):
        replace(scene, colors=scene.colors[:3])
    with pytest.raises(ValueError, match="canonical"):
        replace(scene, node_offsets=scene.node_offsets + 1)


def test_points_that_are_added_stand_still_and_leave_the_others_alone():
    scene = tiny_scene()
    scene.visibility = torch.rand(3, len(scene))
    more = scene.with_points([[0.0, 0.1, 2.0]] * 2, [[1.0, 0.0, 0.5]] * 2, [0.1, 0.2])
    n = len(scene)
    assert len(more) == n + 2 and torch.equal(more.keep(torch.arange(n)).means, scene.means)
    for t in (0.0, 0.4, 1.0):
        before, after = scene.at(t, scene.w2c[1]), more.at(t, scene.w2c[1])
        assert torch.equal(after.means[:n], before.means)
        assert torch.equal(after.opacities[:n], before.opacities)
        assert torch.allclose(after.means[n:], torch.tensor([0.0, 0.1, 2.0]))
        assert torch.allclose(after.scales[n:], torch.tensor([0.1, 0.2]))
        assert (after.opacities[n:] > 0.6).all()
    same = scene.with_points(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0))
    assert len(same) == n and torch.equal(same.node_index, scene.node_index)
