"""Layouts of public data sets: read as they are meant, or named with what to do."""

import json

import numpy as np
import pytest

from fourreal.errors import UserError
from fourreal.video_io import write_image
from gen.footage.detect import read_source
from gen.footage.footage import Footage
from gen.footage.inspection import inspect_footage
from gen.footage.pair import PairRequest, load_pair
from tests.gen.footage import colmap_files as colmap
from tests.gen.footage import footage_files as files


@pytest.fixture(scope="module")
def scene():
    return files.scene()


def put(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, image)


def cells(scene, name):
    """(path below a folder, image) of every cell, ``name`` with {v} and {t}."""
    V, T = scene.known.shape
    return [(name.format(v=v, t=t), scene.frames[v, t]) for v in range(V) for t in range(T)]


@pytest.mark.parametrize("name", ["frame{t:06d}/cam{v:02d}.png", "colmap_{t}/images/{v:04d}.png"])
def test_folders_of_times_hold_an_image_per_camera(scene, tmp_path, name):
    for path, image in cells(scene, name):
        put(tmp_path / path, image)
    if name.startswith("colmap"):  # the cameras lie with the first time
        names = [f"{v:04d}.png" for v in range(scene.V)]
        colmap.model(scene, tmp_path / "colmap_0" / "sparse" / "0", names)
    footage = read_source(tmp_path)
    assert isinstance(footage, Footage) and footage.known.shape == scene.known.shape
    assert footage.kind.startswith("one image folder per time")
    assert (footage.w2c is not None) == name.startswith("colmap")
    for v in range(scene.V):
        read = footage.views[v].read(list(range(scene.T)), scene.height, scene.width) / 255
        assert np.abs(read - scene.frames[v]).mean() < 0.01


def test_all_cameras_and_times_in_one_folder_are_no_still_scene(scene, tmp_path):
    for path, image in cells(scene, "Train_undist_{t:05d}_{v:02d}.png"):
        put(tmp_path / path, image)
    with pytest.raises(UserError, match="all pairs of 3 x 4 numbers .*a folder of their own"):
        load_pair(PairRequest(str(tmp_path)))


@pytest.mark.parametrize("names", ["IMG_20240101_{k}.png", "scan1_part{k}.png", "{k}.png"])
def test_names_of_photos_with_numbers_are_a_still_scene(scene, tmp_path, names):
    for k in range(scene.V):
        put(tmp_path / names.format(k=k), scene.frames[k, 0])
    assert len(load_pair(PairRequest(str(tmp_path))).frames) == scene.V


def test_fisheye_videos_of_googles_immersive_data_are_refused(scene, tmp_path):
    files.videos(scene, tmp_path)
    listed = [{"name": f"cam{v:02d}", "projection_type": "fisheye"} for v in range(scene.V)]
    (tmp_path / "models.json").write_text(json.dumps(listed))
    with pytest.raises(UserError, match="models.json says that the lenses are fisheye"):
        read_source(tmp_path)


def test_data_of_one_moving_camera_is_named(scene, tmp_path):
    for t in range(3):
        put(tmp_path / "rgb" / "1x" / f"{t:06d}.png", scene.frames[t, t])
        (tmp_path / "camera").mkdir(exist_ok=True)
        (tmp_path / "camera" / f"{t:06d}.json").write_text("{}")
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(UserError, match="one camera that moves while the scene does .*Nerfies"):
        read_source(tmp_path)


def test_cameras_of_polycam_record3d_and_zju_are_named(scene, tmp_path):
    for k in range(scene.V):
        put(tmp_path / "poly" / "keyframes" / "images" / f"{k}.jpg", scene.frames[k, 0])
        put(tmp_path / "r3d" / "rgb" / f"{k}.jpg", scene.frames[k, 0])
        for t in range(2):
            put(tmp_path / "zju" / f"Camera_B{k}" / f"{t:06d}.jpg", scene.frames[k, t])
    (tmp_path / "poly" / "keyframes" / "cameras").mkdir()
    (tmp_path / "poly" / "keyframes" / "cameras" / "0.json").write_text('{"t_00": 1}')
    (tmp_path / "r3d" / "metadata.json").write_text('{"poses": [[0, 0, 0, 1, 0, 0, 0]]}')
    (tmp_path / "zju" / "annots.npy").write_bytes(b"")
    for folder, line in (
        ("poly", "cameras/0.json holds cameras of Polycam"),
        ("r3d", "metadata.json holds cameras of Record3D"),
        ("zju", "annots.npy holds cameras of ZJU-MoCap"),
    ):
        assert line in "\n".join(inspect_footage(tmp_path / folder).lines), folder
    (tmp_path / "r3d" / "metadata.json").write_text('{"title": "mine"}')
    assert "Record3D" not in "\n".join(inspect_footage(tmp_path / "r3d").lines)


def test_views_that_lie_deeper_are_named(scene, tmp_path):
    for path, image in cells(scene, "4x/rgbs/Cam{v:03d}/{t:06d}.jpg"):
        put(tmp_path / "actors" / path, image)
        put(tmp_path / "actors" / path.replace("rgbs", "masks"), image)
    with pytest.raises(UserError, match="lie deeper: name .*4x/rgbs"):
        read_source(tmp_path / "actors")
    files.videos(scene, tmp_path / "panoptic" / "hdVideos")
    with pytest.raises(UserError, match="lie deeper: name .*hdVideos"):
        read_source(tmp_path / "panoptic")
