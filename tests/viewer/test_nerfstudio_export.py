"""The exported folder, without nerfstudio: the scene in its world, the checkpoint, the checks."""

import json

import numpy as np
import pytest
import torch

from fourreal.cameras import camera_centres
from fourreal.errors import UserError
from gen.grid import VideoGrid
from recon.motion.curve import spline_slopes
from recon.render import render_cells, render_scene
from tests.viewer.toy_scene import psnr, toy_scene, uncommon_scene
from viewer.nerfstudio_plugin.data_file import read_data
from viewer.nerfstudio_plugin.export import write_nerfstudio
from viewer.nerfstudio_plugin.space import nerfstudio_space, opencv_w2c, opengl_c2w
from viewer.nerfstudio_plugin.state import scene_from_state, scene_state


def scene_with_everything():
    scene = toy_scene(500, size=(36, 64))
    generator = torch.Generator().manual_seed(0)
    scene.view_offsets = 0.01 * torch.randn(scene.view_offsets.shape, generator=generator)
    return scene


@pytest.mark.parametrize("kind", ["rotated", "literal", "shaped", "turning", "curved", "sheen"])
def test_the_scene_draws_the_same_in_nerfstudios_world(kind):
    scene = scene_with_everything()
    if kind in ("shaped", "turning", "sheen"):
        scene = uncommon_scene(kind, 500, size=(36, 64))
    elif kind == "curved":
        scene.node_slopes = spline_slopes(scene.times, scene.node_offsets)
    else:
        scene.offset_frame = kind
    space = nerfstudio_space(scene)
    moved = space.scene(scene)
    for v, t in ((0, 0.0), (2, 0.6)):
        before = render_scene(scene, t, scene.w2c[v], scene.K[v])
        after = render_scene(moved, t, moved.w2c[v], moved.K[v])
        assert psnr(after.rgb.numpy(), before.rgb.numpy()) > 50
        seen = before.alpha > 0.5
        np.testing.assert_allclose(after.depth[seen], before.depth[seen] * space.scale, rtol=1e-3)


def test_nerfstudios_world_is_upright_and_small():
    scene = scene_with_everything()
    space = nerfstudio_space(scene)
    np.testing.assert_allclose(space.rotation @ space.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(space.rotation) > 0
    w2c = space.scene(scene).w2c.numpy()
    assert (-w2c[:, 1, 2] > 0.7).all()  # image up is world up
    centres = camera_centres(w2c)
    assert np.isclose(np.linalg.norm(centres, axis=1).max(), 1, atol=1e-4)
    assert abs(centres[1, 0] - centres[1, 1]) < 1e-4 and centres[1, 0] > 0  # where the viewer is
    back = opencv_w2c(torch.as_tensor(opengl_c2w(w2c)[2])).numpy()
    np.testing.assert_allclose(back, w2c[2], atol=1e-6)


def test_checkpoint_tensors_hold_the_whole_scene():
    scene = scene_with_everything()
    state = scene_state(scene)
    assert all(isinstance(v, torch.Tensor) for v in state.values())
    back = scene_from_state(state)
    assert back.size == scene.size and back.offset_frame == scene.offset_frame
    assert back.canonical_view == scene.canonical_view
    drawn, want = (render_scene(s, 0.4, s.w2c[0], s.K[0]).rgb.numpy() for s in (back, scene))
    assert psnr(drawn, want) > 50
    del state["scene.means"]
    with pytest.raises(UserError, match="means"):
        scene_from_state(state)


def test_export_writes_cells_cameras_and_checkpoint(tmp_path):
    scene = scene_with_everything()
    cells = render_cells(scene)
    known = np.zeros(cells.shape[:2], bool)
    known[0], known[:, 0] = True, True
    grid = VideoGrid(frames=cells * known[..., None, None, None], known=known)
    config = write_nerfstudio(scene, grid, tmp_path / "ns")
    assert config.read_text().splitlines()[-1] == f"- {json.dumps(str(tmp_path / 'ns'))}"
    data = read_data(tmp_path / "ns")
    assert len(data["frames"]) == known.sum() and len(data["cameras"]) == len(scene.w2c)
    assert all((tmp_path / "ns" / f["file"]).is_file() for f in data["frames"])
    loaded = torch.load(
        tmp_path / "ns" / "nerfstudio_models" / "step-000000000.ckpt", weights_only=True
    )
    state = {n.removeprefix("_model."): v for n, v in loaded["pipeline"].items()}
    assert len(scene_from_state(state)) == len(scene)
    write_nerfstudio(scene, None, tmp_path / "ns")  # replaces; all cells drawn
    assert len(read_data(tmp_path / "ns")["frames"]) == known.size


def test_foreign_folders_and_damaged_data_are_refused(tmp_path):
    scene = toy_scene(100, size=(24, 32))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for target in (tmp_path / "mine", tmp_path / "mine" / "notes.txt"):
        with pytest.raises(UserError, match="choose another folder"):
            write_nerfstudio(scene, None, target)
    write_nerfstudio(scene, None, tmp_path / "ns")
    path = tmp_path / "ns" / "data.json"
    for text in ("{", "[]", '{"format": "other", "version": 1}', path.read_text()[:-3]):
        path.write_text(text)
        with pytest.raises(RuntimeError, match="export DIR --format nerfstudio") as caught:
            read_data(tmp_path / "ns")
        assert "\n" not in str(caught.value)
    with pytest.raises(RuntimeError, match="no exported scene"):
        read_data(tmp_path / "elsewhere")
