"""Footage in other formats: every reader against the scene that was written, and refusals."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from fourreal.cameras import AXES, c2w_from_w2c, check_rigid, look_at, path_order, w2c_from_c2w
from fourreal.errors import UserError
from fourreal.video_io import write_image
from gen.footage.detect import read_source
from gen.footage.footage import Footage
from gen.footage.lens import Lens
from gen.footage.selection import choose_times, thin
from gen.grid import VideoGrid
from pipeline.grid import Grid, grid_job
from tests.gen.footage import footage_files as files


@pytest.fixture(scope="module")
def scene():
    return files.scene()


def read(path, **options) -> VideoGrid:
    return grid_job(Grid(str(path), **options)).make_grid(path)


@pytest.mark.parametrize("name", files.FORMATS)
def test_every_format_gives_back_frames_and_cameras(scene, tmp_path, name):
    grid = read(files.FORMATS[name](scene, tmp_path))
    assert grid.frames.shape == scene.frames.shape and grid.complete
    assert np.abs(grid.frames - scene.frames).mean() < 0.02
    assert np.allclose(grid.K, scene.K, rtol=1e-4) and np.allclose(grid.w2c, scene.w2c, atol=1e-4)
    assert np.allclose(grid.times, [0, 0.5, 1])


@pytest.mark.parametrize("write", [files.videos, files.image_folders])
def test_folders_without_cameras_leave_them_to_be_estimated(scene, tmp_path, write):
    grid = read(write(scene, tmp_path))
    assert grid.K is None and grid.w2c is None
    assert np.abs(grid.frames - scene.frames).mean() < 0.02


def test_intrinsics_follow_the_size_that_is_worked_at(scene, tmp_path):
    grid = read(files.neural_3d_video(scene, tmp_path), size=(24, 40))
    assert grid.frames.shape[2:4] == (24, 40)
    assert np.allclose(grid.K[:, :2], scene.K[:, :2] / 2, rtol=1e-4)


def test_picks_start_and_rate(scene, tmp_path):
    write = files.scene(V=3, T=8, size=(24, 40))
    folder = files.videos(write, tmp_path)
    grid = read(folder, pick_views="1:", start=0.24, fps=4.0)
    assert (grid.V, grid.T) == (2, 3)  # 8 frames at 8 fps from 0.25 s on, every second one
    assert np.abs(grid.frames[0, 1] - write.frames[1, 4]).mean() < 0.02
    assert grid.fps == pytest.approx(4.0)
    with pytest.raises(UserError, match="picked times are empty"):
        read(folder, start=5.0)


def test_limits_thin_evenly(capsys):
    assert list(thin(np.arange(9), 3, "times", "--x")) == [0, 4, 8]
    assert "--x chooses" in capsys.readouterr().out
    assert 5 in thin(np.arange(9), 3, "times", "--x", keep=5)
    assert list(choose_times(np.arange(10) / 10, fps=2.5)) == [0, 4, 8]


@pytest.mark.parametrize("axes", AXES)
def test_conventions_round_trip(axes):
    rng = np.random.default_rng(0)
    w2c = np.stack([look_at(rng.normal(size=3) * 3 + [0, 0, -6], [0, 0, 0]) for _ in range(5)])
    assert np.allclose(w2c_from_c2w(c2w_from_w2c(w2c, axes), axes), w2c)
    assert np.allclose(w2c_from_c2w(c2w_from_w2c(w2c, axes)[:, :3], axes), w2c)
    assert np.linalg.det(AXES[axes]) == pytest.approx(1)


def test_conventions_say_where_up_and_ahead_are():
    w2c = look_at([0, 0, -5], [0, 0, 0])  # at z = -5, looking along +z, y down
    gl, llff = c2w_from_w2c(w2c, "opengl"), c2w_from_w2c(w2c, "llff")
    assert np.allclose(gl[:3, 1], [0, -1, 0]) and np.allclose(gl[:3, 2], [0, 0, -1])
    assert np.allclose(llff[:3, 0], [0, 1, 0]) and np.allclose(llff[:3, 2], [0, 0, -1])
    assert np.allclose(gl[:3, 3], [0, 0, -5])


def test_what_is_no_rotation_is_refused():
    for change, message in ((np.diag([1, 1, -1, 1.0]), "mirrors"), (2 * np.eye(4), "no rotation")):
        with pytest.raises(ValueError, match=message):
            check_rigid(change[None])


def test_rig_cameras_are_put_in_the_order_of_their_path(tmp_path):
    scene = files.scene(V=6, T=2, size=(24, 40))
    shuffled = np.array([0, 3, 1, 4, 2, 5])
    mixed = replace(
        scene, frames=scene.frames[shuffled], K=scene.K[shuffled], w2c=scene.w2c[shuffled]
    )
    source = read_source(files.neural_3d_video(mixed, tmp_path))
    assert [v.name for v in source.views] == [f"cam{k:02d}" for k in np.argsort(shuffled)]
    assert "order of the cameras' path" in " ".join(source.describe())
    assert np.allclose(read(tmp_path).w2c, scene.w2c, atol=1e-4)
    assert list(path_order(scene.w2c)) == list(range(6))


def test_monocular_footage_is_refused_saying_why(scene, tmp_path):
    mono = files.scene(V=6, T=6, size=(24, 40))
    with pytest.raises(UserError, match="6 viewpoints and 6 times.*one camera that moves"):
        read(files.d_nerf(mono, tmp_path, monocular=True))


def test_missing_cells_are_left_unknown_or_out(tmp_path):
    scene = files.scene(V=4, T=4, size=(24, 40))
    scene.known[2, 2] = False
    grid = read(files.nerfstudio(scene, tmp_path / "a"))
    assert grid.known.sum() == 15 and not grid.known[2, 2] and grid.shared == (0, 0)
    scene.known[0, 3] = scene.known[1, 0] = scene.known[3, 1] = False
    source = read_source(files.nerfstudio(scene, tmp_path / "b"))
    views, times = source.usable()
    part = source.grid(views, times, 24, 40)
    v, t = part.shared
    assert part.known[v].all() and part.known[:, t].all() and part.V >= 2 and part.T >= 2


def test_frames_of_one_pose_are_one_view_without_camera_id(scene, tmp_path):
    grid = read(files.nerfstudio(scene, tmp_path, camera_id=False))
    assert (grid.V, grid.T) == (scene.V, scene.T)


def test_distortion_is_removed(tmp_path):
    height, width = 96, 128
    K = np.array([[100.0, 0, 64], [0, 100, 48], [0, 0, 1]])
    lens = Lens(K, (-0.2, 0.05, 0.001, 0.0, 0.0), (height, width))
    # Points on straight lines in the pin-hole image, put where the lens shows them.
    pinhole = lens.pinhole
    v, u = np.mgrid[0:height, 0:width] + 0.5
    rays = np.stack([(u - pinhole[0, 2]) / pinhole[0, 0], (v - pinhole[1, 2]) / pinhole[1, 1]], -1)
    flat = np.concatenate([rays.reshape(-1, 2), np.ones((height * width, 1))], 1)
    seen = cv2.projectPoints(flat, np.zeros(3), np.zeros(3), K, np.array(lens.coefficients))[0]
    # A picture whose colours say where in the distorted image a pixel was.
    y, x = np.mgrid[0:height, 0:width]
    coded = np.stack([x * 2, y * 2, 0 * x], -1).astype(np.uint8)
    out = lens.undistort(coded).reshape(-1, 3)[:, :2] / 2.0
    inner = (np.abs(rays).reshape(-1, 2) < 0.35).all(1)
    assert np.abs(out[inner] + 0.5 - seen[inner, 0]).max() < 0.6
    scene = files.scene(V=3, T=2, size=(height, width))
    folder = files.easyvolcap(scene, tmp_path / "e", distortion=(-0.2, 0.05))
    grid = read(folder, size=(height, width))
    assert not np.allclose(grid.K, scene.K, rtol=1e-3)
    assert "lens distortion is removed" in " ".join(read_source(folder).describe())
    fisheye = files.nerfstudio(scene, tmp_path / "f", camera_model="OPENCV_FISHEYE")
    with pytest.raises(UserError, match="OPENCV_FISHEYE: undistort"):
        read(fisheye)


def change(file, **fields):
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def test_unusable_footage_is_named(scene, tmp_path):
    def refused(folder, message):
        with pytest.raises(UserError, match=message) as caught:
            read(folder)
        assert "\n" not in str(caught.value)

    poses = files.neural_3d_video(scene, tmp_path / "poses")
    np.save(poses / "poses_bounds.npy", np.load(poses / "poses_bounds.npy")[:-1])
    refused(poses, "3 cameras for 4 views")
    np.save(poses / "poses_bounds.npy", np.array([{}], dtype=object), allow_pickle=True)
    refused(poses, "not a plain array")
    out = files.nerfstudio(scene, tmp_path / "out")
    data = json.loads((out / "transforms.json").read_text())
    data["frames"][1]["file_path"] = "../../etc/passwd"
    (out / "transforms.json").write_text(json.dumps(data))
    refused(out, "leads out of the folder")
    data["frames"][1] = {"file_path": data["frames"][0]["file_path"]}
    (out / "transforms.json").write_text(json.dumps(data))
    refused(out, "'transform_matrix' in frame 1")
    moving = files.nerfstudio(scene, tmp_path / "moving")
    data = json.loads((moving / "transforms.json").read_text())
    data["frames"][1]["transform_matrix"] = data["frames"][-1]["transform_matrix"]
    (moving / "transforms.json").write_text(json.dumps(data))
    refused(moving, "camera of view 0000 moves")
    meta = files.panoptic(scene, tmp_path / "meta")
    change(meta / "train_meta.json", cam_id=[[1, 2]])
    refused(meta, "different lengths")
    yml = files.easyvolcap(scene, tmp_path / "yml")
    (yml / "extri.yml").write_text("%YAML:1.0\n---\nnames: [ '00' ]\n")
    refused(yml, "no 'Rot_00'")
    (yml / "extri.yml").write_text("!!python/object/apply:os.system ['true']\n")
    refused(yml, "does not start with %YAML")


def test_one_file_of_a_data_set_may_be_named(scene, tmp_path):
    folder = files.nerfstudio(scene, tmp_path)
    assert isinstance(read_source(folder / "transforms.json"), Footage)
    made_from = grid_job(Grid(str(folder / "transforms.json"))).made_from()
    assert made_from["footage"] == folder


def test_views_of_different_shape_are_refused(scene, tmp_path):
    folder = files.image_folders(scene, tmp_path)
    for file in (folder / "cam01").iterdir():
        write_image(file, np.zeros((48, 60, 3), np.float32))
    with pytest.raises(UserError, match="cam01 is 48x60, cam00 48x80"):
        read(folder)


def test_an_unknown_folder_is_refused_before_its_content_is_hashed(tmp_path):
    """A slip such as `grid /` must not read a whole disk first."""
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(UserError, match=r"expected v00/t000\.png .* cam\*\.mp4"):
        grid_job(Grid(str(tmp_path))).made_from()
