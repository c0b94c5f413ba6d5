"""PLY sequences, camera paths, overview picture and video."""

import cv2
import numpy as np
import pytest
import torch
import trimesh

from fourreal.cameras import camera_centres
from fourreal.errors import UserError
from fourreal.video_io import read_clip
from gen.grid import VideoGrid
from recon.ply import SH_C0, read_ply
from recon.render import render_cells, render_scene
from run_pipeline import main
from tests.viewer.toy_scene import psnr, toy_scene, uncommon_scene
from viewer.camera_paths import PATHS, along_cameras, camera_path, scene_centre
from viewer.export.open_4dgs import write_open_4dgs
from viewer.export.ply import write_sequence
from viewer.export.video import write_camera_video
from viewer.overview import write_overview
from viewer.page.html import write_player
from viewer.page.payload import write_fr4d


def vertices(path) -> np.ndarray:
    """The vertex table of a PLY, as trimesh reads it."""
    return trimesh.load(path).metadata["_ply_raw"]["vertex"]["data"]


def test_sequence_is_read_by_trimesh_with_the_values_of_the_scene(tmp_path):
    scene = toy_scene(300)
    names = write_sequence(scene, tmp_path / "ply")
    assert names == [f"frame{k:04d}.ply" for k in (1, 2, 3, 4)]
    assert sorted(p.name for p in (tmp_path / "ply").iterdir()) == names
    for k, name in enumerate(names):
        data = vertices(tmp_path / "ply" / name)
        want = scene.at(float(scene.times[k]))
        xyz = np.stack([data[c] for c in "xyz"], -1).reshape(-1, 3)
        np.testing.assert_allclose(xyz, want.means, atol=1e-6)
        rgb = np.stack([data[f"f_dc_{i}"] for i in range(3)], -1).reshape(-1, 3) * SH_C0 + 0.5
        np.testing.assert_allclose(rgb, want.colors, atol=1e-5)
        opacity = 1 / (1 + np.exp(-data["opacity"].ravel()))
        np.testing.assert_allclose(opacity, want.opacities, atol=1e-5)
        for i in range(3):
            scales = np.exp(data[f"scale_{i}"].ravel())
            np.testing.assert_allclose(scales, want.scales, rtol=1e-5)
        assert (data["rot_0"] == 1).all() and (data["rot_3"] == 0).all()


def test_sequence_at_any_frame_count_replaces_an_older_one(tmp_path):
    scene = toy_scene(100)
    write_sequence(scene, tmp_path / "ply")
    names = write_sequence(scene, tmp_path / "ply", frames=2)
    assert sorted(p.name for p in (tmp_path / "ply").iterdir()) == names and len(names) == 2
    middle = write_sequence(scene, tmp_path / "nine", frames=9)[4]
    y = vertices(tmp_path / "nine" / middle)["y"].ravel()
    np.testing.assert_allclose(y, scene.at(0.5).means[:, 1], atol=1e-6)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["nine", "ply"]


def test_sequence_keeps_off_foreign_folders(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="notes.txt"):
        write_sequence(toy_scene(100), tmp_path)
    with pytest.raises(UserError, match="is a file"):
        write_sequence(toy_scene(100), tmp_path / "notes.txt")
    with pytest.raises(UserError, match="at least 1"):
        write_sequence(toy_scene(100), tmp_path / "ply", frames=0)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("views", [1, 2, 5])
@pytest.mark.parametrize("name", PATHS)
def test_paths_are_rigid_smooth_and_see_the_scene(name, views):
    scene = toy_scene(views=views)
    points = scene.means.numpy()
    path = camera_path(name, scene.w2c.numpy(), points, 24)
    turn = path[:, :3, :3]
    np.testing.assert_allclose(turn @ turn.transpose(0, 2, 1), np.tile(np.eye(3), (24, 1, 1)),
                               atol=1e-6)  # fmt: skip
    np.testing.assert_allclose(np.linalg.det(turn), 1, atol=1e-6)
    steps = np.linalg.norm(np.diff(camera_centres(path), axis=0), axis=1)
    assert steps.max() < 0.6
    focus = scene_centre(scene.w2c[views // 2].numpy(), points)
    local = path[:, :3, :3] @ focus + path[:, :3, 3]
    assert (local[:, 2] > 0).all() and (np.abs(local[:, :2]) < 0.5 * local[:, 2:]).all()


def test_input_path_passes_through_the_cameras():
    w2c = toy_scene(views=4).w2c.numpy()
    np.testing.assert_allclose(along_cameras(w2c, [0, 1, 2, 3]), w2c, atol=1e-5)
    with pytest.raises(ValueError, match="no camera path"):
        camera_path("zigzag", w2c, np.zeros((1, 3)), 3)


def test_overview_shows_cells_beside_renders(tmp_path):
    scene = toy_scene(600, size=(36, 64))
    cells = render_cells(scene)
    known = np.ones(cells.shape[:2], bool)
    known[2, 1:] = False
    grid = VideoGrid(frames=cells * known[..., None, None, None], known=known)
    write_overview(scene, grid, tmp_path / "with.png")
    write_overview(scene, None, tmp_path / "without.png")
    sheet = cv2.imread(str(tmp_path / "with.png"))
    assert sheet.shape[0] > cv2.imread(str(tmp_path / "without.png")).shape[0]
    h, gap = round(36 * 200 / 64), 6
    top = sheet[30 : 30 + h, 92 : 92 + 200] / 255.0
    below = sheet[30 + h + gap : 30 + 2 * h + gap, 92 : 92 + 200] / 255.0
    assert psnr(top, below) > 35  # the first input cell above its render
    assert sheet[-h - gap : -gap, 92 : 92 + 200].std() > 20  # a new view is not blank


@pytest.mark.parametrize("path", PATHS)
def test_video_moves(tmp_path, path):
    scene = toy_scene(400, size=(48, 64))
    write_camera_video(scene, tmp_path / "a.mp4", path=path, frames=6)
    frames, _ = read_clip(tmp_path / "a.mp4")
    assert frames.shape == (6, 48, 64, 3) and np.isfinite(frames).all()
    camera = camera_path(path, scene.w2c.numpy(), scene.means.numpy(), 6)[3]  # of the last time
    want = render_scene(scene, 1.0, camera, scene.K[1], compensation=0.0).rgb.clamp(0, 1).numpy()
    assert want.std() > 0.1 and psnr(frames[3], want) > 25
    assert np.abs(frames[0] - frames[3]).mean() > 0.01


def damaged_files(folder):
    """Good files by suffix, and broken ones with the good one's name in front."""
    scene = toy_scene(120, size=(24, 32))
    scene.save(folder / "good.safetensors")
    write_sequence(scene, folder / "ply", frames=1)
    (folder / "ply" / "frame0001.ply").rename(folder / "good.ply")
    write_player(scene, folder / "good.html")
    write_fr4d(scene, folder / "good.fr4d")
    write_open_4dgs(scene, folder / "good.4dgs")
    for good in sorted(folder.glob("good.*")):
        data = good.read_bytes()
        inside = data.find(b'id="payload"') + 400 if good.suffix == ".html" else len(data) // 2
        broken = {
            "empty": b"",
            "text": b"hello",
            "half": data[:inside],
            "head": data[:40],
            "count": data.replace(b"element vertex 120", b"element vertex many"),
            "huge": data.replace(b"element vertex 120", b"element vertex 99999999999"),
            "noise": data[:200] + bytes(b ^ 0x55 for b in data[200:]),
        }
        for kind, content in broken.items():
            if content != data:
                (folder / f"{kind}{good.suffix}").write_bytes(content)


def test_damaged_files_are_refused_in_one_line_and_good_ones_described(tmp_path, capsys):
    damaged_files(tmp_path)
    files = sorted(p for p in tmp_path.iterdir() if p.is_file())
    assert len(files) == 5 + 5 * 5 + 2
    for path in files:
        code = main(["inspect", str(path)])
        out, error = capsys.readouterr()
        if path.stem == "good":
            assert code == 0 and "120 Gaussians" in out
        elif code:  # noise may hit nothing but numbers
            assert code == 2 and error.count("\n") == 1 and path.name in error, (path, error)
        else:
            assert path.stem == "noise", path


def test_a_moved_scene_folder_still_opens(tmp_path):
    scene = toy_scene(120, size=(24, 32))
    scene.save(tmp_path / "run" / "scene.safetensors")
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    assert main(["export", str(tmp_path / "elsewhere"), "--format", "4dgs"]) == 0
    assert main(["export", str(tmp_path / "elsewhere"), "--format", "fourreal"]) == 0
    assert main(["export", str(tmp_path / "elsewhere"), "--zip"]) == 0
    assert {p.name for p in (tmp_path / "elsewhere").iterdir()} == {
        "ply.zip", "scene.4dgs", "scene.fr4d", "scene.safetensors"
    }  # fmt: skip
    assert main(["export", str(tmp_path / "elsewhere"), "--format", "html", "--zip"]) == 2
    assert main(["export", str(tmp_path / "elsewhere"), "--format", "html", "--frames", "9"]) == 2


def test_a_sequence_of_48_moments_from_the_command_line(tmp_path):
    scene = toy_scene(60, size=(24, 32))
    scene.save(tmp_path / "scene.safetensors")
    assert main(["export", str(tmp_path), "--frames", "48"]) == 0
    names = sorted(p.name for p in (tmp_path / "ply").iterdir())
    assert names == [f"frame{k:04d}.ply" for k in range(1, 49)]
    for k in (1, 20, 48):
        got = read_ply(tmp_path / "ply" / f"frame{k:04d}.ply")["means"]
        np.testing.assert_allclose(got, scene.at((k - 1) / 47).means, atol=1e-6)


def test_files_without_a_camera_announce_offsets_in_camera_axes(tmp_path, capsys):
    scene = toy_scene(120, size=(24, 32))
    write_sequence(scene, tmp_path / "ply")
    assert "camera axes" not in capsys.readouterr().err
    scene.offset_frame = "literal"
    write_sequence(scene, tmp_path / "ply")
    assert capsys.readouterr().err.count("camera axes") == 1
    write_fr4d(scene, tmp_path / "a.fr4d")  # the player draws them as they are
    assert "camera axes" not in capsys.readouterr().err


def test_sequence_keeps_shapes(tmp_path):
    scene = uncommon_scene("shaped", 120, size=(24, 32))
    write_sequence(scene, tmp_path / "ply")
    got = read_ply(tmp_path / "ply" / "frame0002.ply")
    want = scene.log_scales[:, None] + scene.log_stretch
    np.testing.assert_allclose(got["log_axes"], want, atol=1e-5)
    turns = scene.rotations / scene.rotations.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(got["rotations"], turns, atol=1e-6)


def test_one_time_scene_goes_everywhere(tmp_path):
    scene = toy_scene(200, times=1, views=1, size=(24, 32))
    assert write_sequence(scene, tmp_path / "ply") == ["frame0001.ply"]
    write_overview(scene, None, tmp_path / "o.png")
    write_camera_video(scene, tmp_path / "v.mp4", frames=2)
    assert torch.is_tensor(scene.means)
