"""Masks, depth, smaller copies, hidden files and thumbnails are passed over with a word."""

import shutil

import numpy as np
import pytest

from fourreal.errors import UserError
from fourreal.video_io import write_image, write_video
from gen.footage.detect import check_format, read_source
from gen.footage.not_views import choose, kind_of
from gen.footage.views import choose_images, images_in, open_clip
from tests.gen.footage import footage_files as files


@pytest.fixture(scope="module")
def scene():
    return files.scene(V=3, T=2, size=(24, 40))


def names(source):
    return [v.name for v in source.views]


def folders(root, *made):
    for name in made:
        (root / name).mkdir(parents=True)
    return choose(root.iterdir())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("cam00_mask", "masks"), ("SegmentationMasks", "masks"), ("00.depth", "depth"),
        ("cam0-disparity", "depth"), ("thumb_0001", "thumbnails"), ("cam00", None),
        ("kitchen", None), ("depthcharge", None), ("normandy", None), ("camThumb", "thumbnails"),
    ],
)  # fmt: skip
def test_names_say_what_is_no_view(name, kind):
    assert kind_of(name) == kind


def test_a_rig_beside_masks_depth_and_hidden_folders(scene, tmp_path):
    files.image_folders(scene, tmp_path)
    for name in ("masks", "depth", ".thumbs", "__MACOSX", "@eaDir", "calib", "outputs/inspect"):
        (tmp_path / name).mkdir(parents=True)
        write_image(tmp_path / name / "0000.png", np.zeros((24, 40, 3)))
    source = read_source(tmp_path)
    assert names(source) == ["cam00", "cam01", "cam02"]
    said = "\n".join(source.describe())
    assert "masks: masks" in said and "depth: depth" in said and "hidden: .thumbs" in said


def test_masks_are_told_by_their_pixels_too(scene, tmp_path):
    from PIL import Image

    files.image_folders(scene, tmp_path)
    for name, array in (
        ("cam00_m", np.eye(24, 40, dtype=np.uint8) * 255),
        ("cam01_z", np.arange(24 * 40, dtype=np.uint16).reshape(24, 40)),
    ):
        (tmp_path / name).mkdir()
        for t in range(2):
            Image.fromarray(array).save(tmp_path / name / f"{t:04d}.png")
    source = read_source(tmp_path)
    assert names(source) == ["cam00", "cam01", "cam02"]
    assert {"passed over, masks: cam00_m", "passed over, depth: cam01_z"} <= set(source.notes)


def test_grey_cameras_are_cameras(tmp_path):
    grey = files.scene(V=2, T=2, size=(24, 40))
    grey.frames[:] = grey.frames.mean(-1, keepdims=True)
    assert len(read_source(files.image_folders(grey, tmp_path)).views) == 2


def test_one_camera_with_masks_and_depth_is_no_rig(scene, tmp_path):
    from fourreal.errors import UserError

    for name in ("front", "masks", "depth"):
        (tmp_path / name).mkdir()
        for t in range(3):
            write_image(tmp_path / name / f"{t}.png", scene.frames[0, 0])
    with pytest.raises(UserError, match="one camera .front.*depth.*--freeze-time"):
        check_format(tmp_path)


def test_videos_of_masks_previews_and_other_formats(scene, tmp_path):
    files.videos(scene, tmp_path)
    for name in ("cam00_mask.mp4", "cam01_depth.mp4", "._cam00.mp4", "cam00.mkv", "cam01.LRV",
                 "cam02_proxy.mov", ".cam03.mp4"):  # fmt: skip
        (tmp_path / name).write_bytes(b"\0\5\26\7")
    source = read_source(tmp_path)
    assert names(source) == ["cam00", "cam01", "cam02"]
    said = "\n".join(source.notes)
    for word in ("masks", "depth", "hidden", "same in another format", "smaller copies"):
        assert word in said


def test_smaller_copies_are_no_cameras(tmp_path):
    assert [p.name for p in folders(tmp_path / "a", "images", "images_2", "images_4").taken] == [
        "images"
    ]
    assert [p.name for p in folders(tmp_path / "b", "images_8", "images_4").taken] == ["images_4"]
    assert [p.name for p in folders(tmp_path / "c", "4x", "2x", "1x").taken] == ["1x"]
    several = ["rgb_1", "rgb_2", "rgb_3", "rgb_4"]
    assert [p.name for p in folders(tmp_path / "d", *several).taken] == several
    cameras = ["cam_1", "cam_2", "cam_4"]
    assert [p.name for p in folders(tmp_path / "e", *cameras).taken] == cameras


def test_images_of_a_clip_without_what_lies_beside_them(tmp_path):
    picture = np.full((24, 40, 3), 0.5, np.float32)
    for name in ("10.png", "9.png", "9_mask.png", "depth_10.png", "._9.png", "9.jpg"):
        write_image(tmp_path / name, picture)
    assert [f.name for f in images_in(tmp_path)] == ["9.png", "10.png"]
    said = " ".join(choose_images(tmp_path).notes)
    assert "masks: 9_mask.png" in said and "another format: 9.jpg" in said
    assert open_clip(tmp_path)[1] == 2


def test_a_folder_of_masks_alone_is_what_was_asked_for(tmp_path):
    for name in ("mask_1.png", "mask_2.png"):
        write_image(tmp_path / name, np.zeros((24, 40, 3), np.float32))
    assert len(images_in(tmp_path)) == 2
    write_image(tmp_path / "depth_1.png", np.zeros((24, 40, 3), np.float32))
    assert images_in(tmp_path) == []  # masks and depth together are no clip


def test_numbers_in_names_give_the_order(scene, tmp_path):
    many = files.scene(V=12, T=2, size=(16, 24))
    for v in range(12):
        (tmp_path / f"cam{v}").mkdir()
        for t in range(2):
            write_image(tmp_path / f"cam{v}" / f"{9 + t}.jpg", many.frames[v, t])
    source = read_source(tmp_path)
    assert names(source) == [f"cam{v}" for v in range(12)]
    assert [f.name for f in source.views[0].files] == ["9.jpg", "10.jpg"]


def test_images_in_a_folder_of_their_own_per_camera(scene, tmp_path):
    files.image_folders(scene, tmp_path)
    for v in range(scene.V):
        camera = tmp_path / f"cam{v:02d}"
        (camera / "images").mkdir()
        for file in list(camera.glob("*.png")):
            file.rename(camera / "images" / file.name)
        (camera / "masks").mkdir()
        write_image(camera / "masks" / "0000.png", np.zeros((24, 40, 3)))
    source = read_source(tmp_path)
    assert names(source) == ["cam00", "cam01", "cam02"] and source.known.shape == (3, 2)


def test_a_video_in_a_folder_per_camera(scene, tmp_path):
    for v in (0, 1, 2):
        (tmp_path / f"gopro{v + 9}").mkdir()
        write_video(tmp_path / f"gopro{v + 9}" / "GX010001.MP4", scene.row(v), 8)
    assert names(read_source(tmp_path)) == ["gopro9", "gopro10", "gopro11"]


def test_chapters_of_one_recording_are_no_cameras(scene, tmp_path):
    for name in ("GH010007.MP4", "GH020007.MP4", "GH030007.MP4"):
        write_video(tmp_path / "a.mp4", scene.frames[0], 8)
        (tmp_path / "a.mp4").rename(tmp_path / name)
    said = "holds one camera .GH010007.*later chapters of a recording: GH020007.MP4 GH030007.MP4"
    with pytest.raises(UserError, match=f"{said}.*videos --freeze-time .*GH010007.MP4"):
        read_source(tmp_path)
    for camera in ("left", "right"):
        (tmp_path / "rig" / camera).mkdir(parents=True)
        for name in ("GOPR0007.MP4", "GP010007.MP4"):
            shutil.copy(tmp_path / "GH010007.MP4", tmp_path / "rig" / camera / name)
    assert names(read_source(tmp_path / "rig")) == ["left", "right"]


def test_a_camera_that_is_another_again_is_left_out(scene, tmp_path):
    for v in range(2):
        write_video(tmp_path / f"cam{v}.mp4", scene.frames[v], 8)
    shutil.copy(tmp_path / "cam1.mp4", tmp_path / "cam1 (1).mp4")
    source = read_source(tmp_path)
    assert names(source) == ["cam0", "cam1"]
    assert "copies of another camera, left out: cam1 (1).mp4" in source.notes
