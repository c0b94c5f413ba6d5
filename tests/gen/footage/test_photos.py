"""Photos of a still scene: whatever layout they come in, given cameras are used, or it is said."""

import json
import os
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fourreal.errors import UserError
from fourreal.video_io import to_uint8, write_image, write_video
from gen.footage.column import key_paths
from gen.footage.detect import read_source, source_paths
from gen.footage.inspection import inspect_footage
from gen.footage.pair import PairRequest, load_pair
from tests.fourreal.heic_files import heic
from tests.gen.footage import colmap_files as colmap
from tests.gen.footage import footage_files as files
from tests.gen.footage.read_back import both_ways, first_column

NAMES = [f"{k:02d}.png" for k in range(4)]
SIZE = (48, 80)


@pytest.fixture(scope="module")
def scene():
    return files.scene(V=4, T=2, size=SIZE)


def test_downscaled_copies_are_one_choice_with_scaled_intrinsics(scene, tmp_path):
    for folder, shrink in (("images", 1), ("images_2", 2), ("images_4", 4)):
        colmap.photos(scene, tmp_path / folder, NAMES, shrink)
    colmap.model(scene, tmp_path / "sparse" / "0", NAMES)
    assert len(both_ways(tmp_path, scene).views) == 4
    both_ways(tmp_path / "images_2", scene, tolerance=0.06)
    shutil.rmtree(tmp_path / "images")
    source = both_ways(tmp_path, scene, tolerance=0.06)
    assert source.size == (24, 40) and np.allclose(source.K[0, :2] * 2, scene.K[0, :2])


def test_names_in_folders_other_case_and_other_suffix(scene, tmp_path):
    for case, named in enumerate(
        (["a/" + n for n in NAMES], [n.upper() for n in NAMES], [n[:2] + ".JPG" for n in NAMES])
    ):
        folder = tmp_path / str(case)
        colmap.photos(scene, folder / "images", NAMES)
        colmap.model(scene, folder / "sparse" / "0", named)
        both_ways(folder, scene)


def test_photos_in_folders_of_cameras_that_move_are_photos(scene, tmp_path):
    names = ["left/0.png", "left/1.png", "right/0.png", "right/1.png"]
    colmap.photos(scene, tmp_path / "images", names)
    colmap.model(scene, tmp_path / "sparse" / "0", names)
    source = both_ways(tmp_path, scene)
    assert source.known.shape == (4, 1)


def test_photos_without_a_camera_and_cameras_without_a_photo_are_said(scene, tmp_path):
    colmap.photos(scene, tmp_path / "images", [*NAMES[1:], "extra.png"])
    colmap.model(scene, tmp_path / "sparse" / "0", NAMES)
    source = read_source(tmp_path)
    said = "\n".join(source.describe())
    assert len(source.views) == 3 and "left out: 1 photos (extra.png)" in said
    assert "photos that are not there: 1 (00.png)" in said


def test_unordered_photos_are_put_along_the_path_of_their_cameras(tmp_path):
    scene = files.scene(V=6, T=2, size=SIZE)
    shuffled = np.array([0, 3, 1, 4, 2, 5])
    mixed = replace(
        scene, frames=scene.frames[shuffled], K=scene.K[shuffled], w2c=scene.w2c[shuffled]
    )
    names = [f"IMG_{k}.png" for k in range(6)]
    colmap.photos(mixed, tmp_path / "images", names)
    colmap.model(mixed, tmp_path / "sparse" / "0", names)
    both_ways(tmp_path, scene)


def test_llff_pairs_in_lexical_order_of_names(tmp_path):
    """LLFF sorts names as texts: 10.png comes before 9.png."""
    scene = files.scene(V=4, T=2, size=SIZE)
    names = ["8.png", "9.png", "10.png", "11.png"]
    colmap.photos(scene, tmp_path / "images", names)
    rows = np.array([2, 3, 0, 1])
    sorted_as_text = replace(scene, frames=scene.frames[rows], K=scene.K[rows], w2c=scene.w2c[rows])
    colmap.poses_bounds(sorted_as_text, tmp_path / "poses_bounds.npy")
    both_ways(tmp_path, scene)
    (tmp_path / "images" / "9.png").unlink()
    with pytest.raises(UserError, match="4 cameras for 3 images"):
        read_source(tmp_path)


def test_transforms_and_cameras_json_of_photos(scene, tmp_path):
    for name, write in (("a", colmap.transforms), ("b", colmap.ours), ("c", colmap.splatting)):
        folder = tmp_path / name
        colmap.photos(scene, folder / "images", NAMES)
        named = [f"images/{n}" for n in NAMES]
        write(scene, folder / ("transforms.json" if name == "a" else "cameras.json"), named)
        both_ways(folder, scene)
        first_column(load_pair(PairRequest(str(folder / "images"), size=SIZE)), scene)


def test_one_camera_id_for_all_photos_is_that_of_a_lens(scene, tmp_path):
    colmap.photos(scene, tmp_path / "images", NAMES)
    file = colmap.transforms(scene, tmp_path / "transforms.json", [f"images/{n}" for n in NAMES])
    data = json.loads(file.read_text())
    data["frames"] = [f | {"camera_id": 1} for f in data["frames"]]
    file.write_text(json.dumps(data))
    both_ways(tmp_path, scene)


def test_cameras_are_named_with_an_option(scene, tmp_path):
    colmap.photos(scene, tmp_path / "trip", NAMES)
    model = colmap.model(scene, tmp_path / "elsewhere" / "sparse" / "0", NAMES)
    for cameras in (model, model.parents[1], model / "images.bin"):
        ask = PairRequest(str(tmp_path / "trip"), cameras=str(cameras), size=SIZE)
        first_column(load_pair(ask), scene)
    source = read_source(tmp_path / "trip", cameras=str(model))
    assert source.w2c is not None
    with pytest.raises(UserError, match="no such file"):
        load_pair(PairRequest(str(tmp_path / "trip"), cameras="gone"))
    with pytest.raises(UserError, match="names none of the 4 photos"):
        other = colmap.model(scene.pick(slice(0, 3), slice(None)), tmp_path / "o", ["x", "y", "z"])
        load_pair(PairRequest(str(tmp_path / "trip"), cameras=str(other)))


def test_cameras_of_other_names_are_paired_in_order_when_told(scene, tmp_path, capsys):
    colmap.photos(scene, tmp_path / "trip", NAMES)
    named = ["a", "b", "c", "d"]
    file = colmap.ours(scene, tmp_path / "x.json", named)
    first_column(
        load_pair(PairRequest(str(tmp_path / "trip"), cameras=str(file), size=SIZE)), scene
    )
    assert "paired in the order of names" in capsys.readouterr().out


def test_cameras_of_a_video_are_those_of_its_frames(scene, tmp_path):
    write_video(tmp_path / "b.mp4", scene.frames[:, 0], 8)
    data = {
        "width": SIZE[1],
        "height": SIZE[0],
        "K": scene.K[0].tolist(),
        "w2c": scene.w2c.tolist(),
    }
    (tmp_path / "c.json").write_text(json.dumps(data))
    for named in ("c.json", "sparse"):
        colmap.model(scene, tmp_path / "sparse", [f"frame_{k + 1:05d}.png" for k in range(4)])
        ask = PairRequest(str(tmp_path / "b.mp4"), cameras=str(tmp_path / named), size=SIZE)
        first_column(load_pair(ask), scene, tolerance=0.03)
    data["w2c"] = data["w2c"][:3]
    (tmp_path / "c.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match="3 cameras for 4 frames"):
        load_pair(PairRequest(str(tmp_path / "b.mp4"), cameras=str(tmp_path / "c.json")))


def test_cameras_of_photos_go_into_a_pair(scene, tmp_path):
    write_video(tmp_path / "a.mp4", scene.frames[1], 8)
    colmap.photos(scene, tmp_path / "images", NAMES)
    colmap.model(scene, tmp_path / "sparse" / "0", NAMES)
    grid = load_pair(PairRequest(str(tmp_path), str(tmp_path / "a.mp4"), size=SIZE))
    assert grid.shared[0] == 1 and (grid.V, grid.T) == (4, 2)
    assert np.allclose(grid.w2c, scene.w2c, atol=1e-5) and np.allclose(grid.K, scene.K, rtol=1e-4)


def turned_jpegs(scene, folder, tag):
    """The photos as a phone stores them: pixels as they are, and a tag that turns them."""
    folder.mkdir(parents=True)
    for k, name in enumerate(NAMES):
        exif = Image.Exif()
        exif[0x0112] = tag
        image = Image.fromarray(to_uint8(scene.frames[k, 0]))
        image.save(folder / f"{name[:2]}.jpg", quality=95, exif=exif)


@pytest.mark.parametrize("tag", [3, 6, 8])
def test_orientation_tags_are_left_aside_where_cameras_are_given(scene, tmp_path, tag):
    """COLMAP calibrates the pixels as they are stored."""
    turned_jpegs(scene, tmp_path / "images", tag)
    assert load_pair(PairRequest(str(tmp_path))).width == (SIZE[1] if tag == 3 else SIZE[0])
    colmap.model(scene, tmp_path / "sparse" / "0", [n[:2] + ".jpg" for n in NAMES])
    source = both_ways(tmp_path, scene)
    assert tag == 3 or "orientation tags are left aside" in "\n".join(source.describe())


def test_cameras_of_turned_photos_keep_them_turned(scene, tmp_path):
    """A tool that obeys the tag gives a size that only the turned photo has."""
    turned_jpegs(scene, tmp_path / "images", 6)
    K = scene.K.copy()
    K[:, 0, 2], K[:, 1, 2] = scene.K[:, 1, 2], scene.K[:, 0, 2]
    upright = SimpleNamespace(K=K, w2c=scene.w2c, width=SIZE[0], height=SIZE[1])
    colmap.model(upright, tmp_path / "sparse" / "0", [n[:2] + ".jpg" for n in NAMES])
    assert read_source(tmp_path).size == (SIZE[1], SIZE[0])


def test_a_linked_folder_of_photos_is_read(scene, tmp_path):
    colmap.photos(scene, tmp_path / "disk" / "p", NAMES)
    (tmp_path / "set").mkdir()
    os.symlink(tmp_path / "disk" / "p", tmp_path / "set" / "images")
    colmap.transforms(scene, tmp_path / "set" / "transforms.json", [f"images/{n}" for n in NAMES])
    both_ways(tmp_path / "set", scene)


def test_plain_photos_are_a_clip_and_no_grid(scene, tmp_path, capsys):
    colmap.photos(scene, tmp_path / "a" / "images", NAMES)
    for folder in (tmp_path / "a", tmp_path / "a" / "images"):
        assert load_pair(PairRequest(str(folder))).w2c is None
        lines = "\n".join(inspect_footage(folder).lines)
        assert "clip of 4 photos" in lines and "videos --freeze-time" in lines
        with pytest.raises(UserError, match="no cameras of them.*videos --freeze-time"):
            read_source(folder)


def test_raw_photos_and_cameras_of_other_programs_are_named(scene, tmp_path):
    colmap.photos(scene, tmp_path / "images", NAMES)
    (tmp_path / "images" / "IMG_9.DNG").write_bytes(b"II*\0")
    (tmp_path / "images" / "cameras.sfm").write_text("{}")
    said = "\n".join(inspect_footage(tmp_path).lines)
    assert "1 raw image(s) passed over: export them as JPEG" in said
    assert "cameras.sfm holds cameras of Meshroom, which are not read" in said
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "IMG_1.DNG").write_bytes(b"II*\0")
    for read in (read_source, inspect_footage, lambda p: load_pair(PairRequest(str(p)))):
        with pytest.raises(UserError, match="1 raw images.*export them as JPEG"):
            read(raw)


def test_a_folder_as_an_iphone_leaves_it_is_a_clip(scene, tmp_path, capsys):
    """HEIC and JPEG mixed, HEIC that an export called .jpg, edited copies, the moving halves of
    live photos, sidecars."""
    for k, name in enumerate(["IMG_0.HEIC", "IMG_1.HEIC", "IMG_2.jpg", "IMG_3.JPG"]):
        picture = (scene.frames[k, 0] * 255).astype(np.uint8)
        if name == "IMG_3.JPG":
            write_image(tmp_path / name, picture)
        else:
            (tmp_path / name).write_bytes(heic(picture))
    shutil.copy(tmp_path / "IMG_3.JPG", tmp_path / "IMG_E1.JPG")
    for k in range(2):
        write_video(tmp_path / "a.mp4", scene.frames[k], 8)
        (tmp_path / "a.mp4").rename(tmp_path / f"IMG_{k}.MOV")
    for name in ("IMG_1.AAE", "IMG_0.xmp", "IMG_0.HEIC.json", "Thumbs.db", ".DS_Store"):
        (tmp_path / name).write_bytes(b"of no interest")
    grid = load_pair(PairRequest(str(tmp_path), size=SIZE))
    assert np.abs(grid.frames[:, 0] - scene.frames[:, 0]).mean() < 0.03
    assert "passed over, edited copies: IMG_E1.JPG" in capsys.readouterr().out
    assert "clip of 4 photos" in inspect_footage(tmp_path).lines[0]


def test_photos_of_two_sizes_are_brought_to_one(scene, tmp_path, capsys):
    colmap.photos(scene, tmp_path, NAMES)
    colmap.photos(scene, tmp_path / "half", NAMES, 2)
    (tmp_path / "half" / "02.png").replace(tmp_path / "02.png")
    shutil.rmtree(tmp_path / "half")
    grid = load_pair(PairRequest(str(tmp_path), size=SIZE))
    assert np.abs(grid.frames[:, 0] - scene.frames[:, 0]).mean() < 0.03
    assert "of another size, brought to one: 02.png" in capsys.readouterr().out


def test_copies_of_a_photo_are_left_out(scene, tmp_path):
    colmap.photos(scene, tmp_path, NAMES)
    shutil.copy(tmp_path / NAMES[1], tmp_path / f"{NAMES[1][:-4]} (1).png")
    report = inspect_footage(tmp_path)
    assert f"copies of another photo, left out: {NAMES[1][:-4]} (1).png" in "\n".join(report.lines)
    assert len(load_pair(PairRequest(str(tmp_path), size=SIZE)).frames) == len(NAMES)


def test_a_lens_that_cannot_be_undone_is_refused(scene, tmp_path):
    colmap.photos(scene, tmp_path / "images", NAMES)
    colmap.model(scene, tmp_path / "sparse" / "0", NAMES, "OPENCV", distortion=(1e300,))
    with pytest.raises(UserError, match="cannot be undone; undistort the images"):
        load_pair(PairRequest(str(tmp_path)))


def test_photos_of_two_shapes_are_refused_by_name(scene, tmp_path):
    colmap.photos(scene, tmp_path / "images", NAMES)
    write_image(tmp_path / "images" / "02.png", np.zeros((48, 48, 3), np.float32))
    colmap.model(scene, tmp_path / "sparse" / "0", NAMES)
    with pytest.raises(UserError, match="is for 48x80 pixels, the image is 48x48"):
        read_source(tmp_path)


def test_what_lies_beside_the_photos_is_passed_over_and_said(scene, tmp_path):
    colmap.photos(scene, tmp_path / "images", NAMES)
    colmap.photos(scene, tmp_path / "images_2", NAMES, 2)
    colmap.photos(scene, tmp_path / "masks", NAMES)
    write_image(tmp_path / "preview.png", np.zeros((20, 20, 3)))
    colmap.model(scene, tmp_path / "sparse" / "0", NAMES)
    np.save(tmp_path / "poses_bounds.npy", np.ones((4, 17)))
    said = "\n".join(both_ways(tmp_path, scene).describe())
    assert "passed over, not in images/: preview.png" in said
    assert "passed over, folders of other images: images_2/, masks/" in said
    assert "also there, not used: poses_bounds.npy" in said


def test_a_rig_of_one_time_is_a_clip_too(scene, tmp_path):
    still = scene.pick(slice(None), slice(0, 1))
    folder = files.image_folders(still, tmp_path / "rig" / "images").parent
    colmap.ours(scene, folder / "cameras.json", [f"cam{v:02d}" for v in range(4)])
    first_column(load_pair(PairRequest(str(folder), size=SIZE)), scene)
    several = files.image_folders(scene, tmp_path / "several")
    with pytest.raises(UserError, match="folders of images.*grid"):
        load_pair(PairRequest(str(several)))


def test_cameras_beside_that_are_of_something_else_are_left_alone(scene, tmp_path):
    """`cam00/` of a rig is a clip; the rig's cameras are not its frames'."""
    colmap.photos(scene, tmp_path / "cam00", NAMES)
    colmap.ours(scene, tmp_path / "cameras.json", [f"cam{v:02d}" for v in range(4)])
    np.save(tmp_path / "poses_bounds.npy", np.ones((4, 17)))
    assert load_pair(PairRequest(str(tmp_path / "cam00"))).w2c is None
    (tmp_path / "cameras.json").unlink()
    (tmp_path / "poses_bounds.npy").unlink()
    colmap.transforms(scene, tmp_path / "transforms.json", [f"cam00/{n}" for n in NAMES])
    first_column(load_pair(PairRequest(str(tmp_path / "cam00"), size=SIZE)), scene)


def test_inspect_of_an_unknown_folder_lists_all_formats(scene, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(UserError, match=r"expected v00/t000\.png .* intri\.yml .* sparse/0"):
        inspect_footage(tmp_path)
    model = colmap.model(scene, tmp_path / "sparse" / "0", NAMES)
    with pytest.raises(UserError, match="is a COLMAP model without its photos"):
        inspect_footage(model)


def test_a_key_follows_the_photos_and_their_cameras(scene, tmp_path):
    colmap.photos(scene, tmp_path / "images", NAMES)
    model = colmap.model(scene, tmp_path / "sparse" / "0", NAMES)
    for path in (tmp_path, tmp_path / "images"):
        assert source_paths(path) == key_paths(path) == [tmp_path / "images", model]
    other = colmap.model(scene, tmp_path / "other", NAMES)
    assert source_paths(tmp_path, str(other)) == [tmp_path / "images", other]
    assert key_paths(tmp_path, str(other)) == [tmp_path / "images", other]


def test_moving_halves_of_live_photos_make_no_rig(scene, tmp_path):
    for k in range(4):
        write_image(tmp_path / f"IMG_{k}.JPG", scene.frames[k, 0])
        write_video(tmp_path / f"IMG_{k}.MOV.mp4", scene.frames[k], 8)
        (tmp_path / f"IMG_{k}.MOV.mp4").rename(tmp_path / f"IMG_{k}.MOV")
    assert "clip of 4 photos" in inspect_footage(tmp_path).lines[0]


def test_a_screenshot_among_photos_is_left_out(scene, tmp_path):
    colmap.photos(scene, tmp_path, NAMES)
    write_image(tmp_path / "Screenshot.png", np.zeros((90, 40, 3), np.float32))
    said = "\n".join(inspect_footage(tmp_path).lines)
    assert "of another shape (a screenshot, a panorama?), left out: Screenshot.png" in said
    assert len(load_pair(PairRequest(str(tmp_path), size=SIZE)).frames) == len(NAMES)


def test_links_to_nothing_raw_twins_and_photos_in_the_cloud_are_said(scene, tmp_path):
    colmap.photos(scene, tmp_path, NAMES)
    os.symlink(tmp_path / "gone.png", tmp_path / "zz.png")
    (tmp_path / "00.DNG").write_bytes(b"II*\0")
    (tmp_path / ".IMG_7.HEIC.icloud").write_bytes(b"bplist00")
    said = "\n".join(inspect_footage(tmp_path).lines)
    assert "clip of 4 photos" in said and "links to what is not there: zz.png" in said
    assert "1 raw image(s) passed over: the pictures of their names are used" in said
    assert "1 photo(s) are still in iCloud: download them" in said


@pytest.mark.slow
def test_the_run_uses_the_cameras_that_were_given(scene, tmp_path, monkeypatch):
    """From photos with a model to tracks and scene: the cameras stay those of the model."""
    import run_pipeline
    from tracking.column_file import load_column

    monkeypatch.chdir(tmp_path)
    colmap.photos(scene, tmp_path / "set" / "images", NAMES)
    colmap.model(scene, tmp_path / "set" / "sparse" / "0", NAMES)
    small = ["--preset", "debug", "--size", "48x80"]
    assert run_pipeline.main(["videos", "--freeze-time", "set", "--out", "a", *small]) == 0
    assert run_pipeline.main(["grid", "set", "--out", "b", *small]) == 0
    for run in ("a", "b"):
        column = load_column(tmp_path / run / "tracks.npz")
        assert np.allclose(column.w2c, scene.w2c, atol=1e-5)
        assert np.allclose(column.K, scene.K, rtol=1e-4)
        assert (tmp_path / run / "overview.png").is_file()


def test_damaged_cameras_above_the_photos_are_named(tmp_path, capsys):
    at = tmp_path / "set" / "images"
    at.mkdir(parents=True)
    for k in range(4):
        write_image(at / f"{k}.png", np.random.default_rng(k).random((32, 48, 3), np.float32))
    (at.parent / "transforms.json").write_text("{")
    grid = load_pair(PairRequest(str(at)))
    assert grid.V == 4 and grid.w2c is None
    assert "transforms.json beside images/ is not used: " in capsys.readouterr().err
