"""Cameras that data sets give are used, however files and names are written, or it is said."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fourreal.errors import UserError
from fourreal.video_io import to_uint8, write_image
from gen.footage.calibration import Calibration, Camera, match, sized
from gen.footage.detect import read_source
from gen.footage.named_files import NamedFiles
from gen.footage.same_times import same_times
from tests.gen.footage import colmap_files as colmap
from tests.gen.footage import footage_files as files

SIZE = (48, 80)


@pytest.fixture(scope="module")
def scene():
    return files.scene(V=4, T=3, size=SIZE)


def whole(path, scene, unknown=0):
    """The path is read as the scene with its cameras; so many cells are unknown."""
    source = read_source(path)
    grid = source.grid(np.arange(len(source.views)), np.arange(scene.T), *SIZE)
    assert grid.w2c is not None, "the given cameras are not used"
    assert np.allclose(grid.w2c, scene.w2c, atol=1e-4)
    assert np.allclose(grid.K, scene.K, rtol=1e-4)
    assert int((~grid.known).sum()) == unknown
    for v, t in np.argwhere(grid.known):
        assert np.abs(grid.frames[v, t] - scene.frames[v, t]).mean() < 0.03, (v, t)
    return "\n".join(source.describe())


def renamed(folder, change):
    """transforms.json with other names of files."""
    file = next(f for f in folder.iterdir() if f.name.startswith("transforms"))
    data = json.loads(file.read_text())
    for frame in data["frames"]:
        frame["file_path"] = change(frame["file_path"])
    file.write_text(json.dumps(data))
    return folder


OTHER_NAMES = {
    "of Windows": lambda n: n.replace("/", "\\"),
    "of Windows, from a dot": lambda n: ".\\" + n.replace("/", "\\"),
    "absolute, of Linux": lambda n: f"/home/ann/captures/fox/{n}",
    "absolute, of Windows": lambda n: "C:\\Users\\Ann\\fox\\" + n.replace("/", "\\"),
    "of a network drive": lambda n: "\\\\nas\\share\\fox\\" + n.replace("/", "\\"),
    "from the folder above": lambda n: f"../fox/{n}",
    "in another case": lambda n: n.upper(),
    "with another suffix": lambda n: n[:-4] + ".jpeg",
    "without suffix": lambda n: n[:-4],
    "with a detour": lambda n: f"./images/../{n}",
}


@pytest.mark.parametrize("how", OTHER_NAMES)
def test_names_of_files_in_every_spelling(scene, tmp_path, how):
    whole(renamed(files.nerfstudio(scene, tmp_path / "x"), OTHER_NAMES[how]), scene)


def test_names_that_are_found_elsewhere_are_said(scene, tmp_path):
    folder = renamed(files.nerfstudio(scene, tmp_path / "x"), OTHER_NAMES["absolute, of Linux"])
    assert "/home/ann/captures/fox/images/00_000.png): 12 found below" in whole(folder, scene)
    folder = files.nerfstudio(scene, tmp_path / "y")
    renamed(folder, lambda n: str(folder.absolute() / n))
    assert "found below" not in whole(folder, scene), "an absolute path that holds is no news"
    for file in (folder / "images").iterdir():
        file.rename(file.with_suffix(".PNG"))
    assert "is 00_000.PNG" in whole(folder, scene)


def test_downscaled_copies_stand_in_for_images_that_are_gone(scene, tmp_path):
    folder = files.nerfstudio(scene, tmp_path)
    for file in (folder / "images").iterdir():
        image = Image.open(file)
        image.resize((image.width // 2, image.height // 2), Image.BOX).save(file)
    (folder / "images").rename(folder / "images_2")
    source = read_source(folder)
    assert source.size == (24, 40) and np.allclose(source.K[:, :2] * 2, scene.K[:, :2])
    assert "the downscaled copies in images_2/ are read" in "\n".join(source.describe())


def test_images_that_are_not_named_are_said(scene, tmp_path):
    folder = files.nerfstudio(scene, tmp_path)
    write_image(folder / "images" / "extra.png", np.zeros((48, 80, 3)))
    assert "1 images that transforms.json does not name are passed over: extra.png" in whole(
        folder, scene
    )


def test_nothing_outside_the_folder_is_opened_by_name(tmp_path):
    write_image(tmp_path / "secret.png", np.zeros((4, 4, 3)))
    (tmp_path / "set").mkdir()
    images = NamedFiles(tmp_path / "set")
    with pytest.raises(ValueError, match="leads out of the folder"):
        images.find("../secret.png", "'file_path'")
    assert images.find(str(tmp_path / "secret.png"), "'file_path'") is None
    assert images.find("C:\\secret.png", "'file_path'") is None
    for nothing in (None, 3, "", "a\0b"):
        with pytest.raises(ValueError, match="must be a file name"):
            images.find(nothing, "'file_path'")


def test_two_names_of_one_file_are_refused(tmp_path):
    """Ends of paths that meet in one file would give one image to two cameras."""
    write_image(tmp_path / "0.png", np.zeros((4, 4, 3)))
    images = NamedFiles(tmp_path)
    assert images.find("/a/cam0/0.png", "x") is not None
    with pytest.raises(ValueError, match="are both 0.png here"):
        images.find("/a/cam1/0.png", "x")


def test_paths_of_another_machine_that_are_not_here_are_named(scene, tmp_path):
    folder = renamed(files.nerfstudio(scene, tmp_path / "x"), lambda n: "/home/ann/gone" + n[-4:])
    with pytest.raises(UserError, match="of another machine, and no end of it is found below"):
        read_source(folder)


def test_links_within_the_folder_are_followed(scene, tmp_path):
    for name in ("nerfstudio", "Panoptic", "EasyVolcap"):
        folder = files.FORMATS[name](scene, tmp_path / name)
        inner = folder / ("ims" if name == "Panoptic" else "images")
        inner.rename(tmp_path / f"disk {name}")
        os.symlink(tmp_path / f"disk {name}", inner)
        whole(folder, scene)


@pytest.mark.parametrize("name", ["nerfstudio", "Panoptic", "EasyVolcap"])
def test_a_deleted_image_loses_its_cell(scene, tmp_path, name):
    folder = files.FORMATS[name](scene, tmp_path)
    images = sorted(f for f in folder.rglob("*.png"))
    gone = {"nerfstudio": "02_001", "Panoptic": "9/000001", "EasyVolcap": "02/000001"}[name]
    next(f for f in images if gone in f.as_posix()).unlink()
    said = whole(folder, scene, unknown=1)
    assert "11 of 12 cells there" in said
    assert name == "EasyVolcap" or "1 of 12 images are missing" in said


def test_a_deleted_image_of_a_rig_loses_its_cell_and_moves_no_other(scene, tmp_path):
    folder = files.image_folders(scene, tmp_path)
    colmap.poses_bounds(scene, folder / "poses_bounds.npy")
    (folder / "cam01" / "0001.png").unlink()
    said = whole(folder, scene, unknown=1)
    assert "1 of 12 images are missing, their cells are left out: cam01/0001" in said


def test_images_of_several_cameras_pair_by_name_then_number_then_order():
    def files_of(camera, *names):
        return [Path(camera) / n for n in names]

    rows, notes = same_times(
        [files_of("a", "0.png", "1.png", "2.png"), files_of("b", "0.png", "2.png")]
    )
    assert [None if f is None else f.name for f in rows[1]] == ["0.png", None, "2.png"] and notes
    rows, _ = same_times([files_of("a", "a_8.png", "a_9.png", "a_10.png"),
                          files_of("b", "b_08.png", "b_10.png")])  # fmt: skip
    assert [None if f is None else f.name for f in rows[1]] == ["b_08.png", None, "b_10.png"]
    rows, notes = same_times([files_of("a", "x.png", "y.png"), files_of("b", "p.png", "q.png")])
    assert [len(r) for r in rows] == [2, 2] and not notes
    rows, notes = same_times(
        [files_of("a", "0.png", "1.png", "2.png"), files_of("b", "0.png", "1.png")]
    )
    assert [len(r) for r in rows] == [2, 2] and "differ in length" in notes[0]
    rows, _ = same_times([files_of("a", "100.png", "101.png"), files_of("b", "7.png", "8.png")])
    assert all(f is not None for row in rows for f in row)


def test_sizes_and_lenses_of_each_camera_are_its_own(scene, tmp_path):
    """nerfstudio without `w` and `h`: every image tells its own size."""
    folder = files.nerfstudio(scene, tmp_path)
    data = json.loads((folder / "transforms.json").read_text())
    for name in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
        del data[name]
    for frame in data["frames"]:
        v = frame["camera_id"]
        K = scene.K[v] * (1.5 if v >= 2 else 1.0)
        frame |= {"fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2], "k1": 0.01}
        if v >= 2:
            image = Image.open(folder / frame["file_path"])
            image.resize((120, 72), Image.BICUBIC).save(folder / frame["file_path"])
    (folder / "transforms.json").write_text(json.dumps(data))
    source = read_source(folder)
    assert [v.size for v in source.views] == [(48, 80), (48, 80), (72, 120), (72, 120)]
    assert all(lens is not None for lens in source.lenses)
    grid = source.grid(np.arange(4), np.arange(3), *SIZE)
    assert np.allclose(grid.K, scene.K, rtol=0.03), "the lens is weak"
    assert np.abs(grid.frames - scene.frames).mean() < 0.03


def test_focal_lengths_in_every_form(scene, tmp_path):
    width, height = SIZE[1], SIZE[0]
    K = scene.K[0]
    across, down = (2 * np.arctan(s / 2 / f) for s, f in ((width, K[0, 0]), (height, K[1, 1])))
    forms = [
        {"camera_angle_x": across},
        {"camera_angle_x": across, "camera_angle_y": down},
        {"camera_angle_x": across, "w": 2 * width, "h": 2 * height},
        {"fl_x": K[0, 0], "camera_angle_x": 1.0},
        {"fl_x": K[0, 0], "fl_y": K[1, 1], "w": float(width), "h": float(height)},
    ]
    for k, form in enumerate(forms):
        folder = files.nerfstudio(scene, tmp_path / str(k))
        data = json.loads((folder / "transforms.json").read_text())
        top = {n: v for n, v in data.items() if n == "frames"}
        (folder / "transforms.json").write_text(json.dumps(top | form))
        whole(folder, scene)
    # a frame's own angle counts before the focal length of all
    data["frames"] = [f | {"camera_angle_x": across} for f in data["frames"]]
    (folder / "transforms.json").write_text(json.dumps(data | {"fl_x": 1.0, "fl_y": 1.0}))
    whole(folder, scene)


@pytest.mark.parametrize(
    "mark", [{"is_fisheye": True}, {"camera_model": "OPENCV_FISHEYE"}, {"latlong": True},
             {"ftheta_p0": 0.1}, {"camera_model": "EQUIRECTANGULAR"}],
    ids=str,
)  # fmt: skip
def test_lenses_that_are_no_pinhole_are_refused_for_all_and_for_one_frame(scene, tmp_path, mark):
    folder = files.nerfstudio(scene, tmp_path, **mark)
    with pytest.raises(UserError, match="undistort the images"):
        read_source(folder)
    data = json.loads((folder / "transforms.json").read_text())
    data = {n: v for n, v in data.items() if n not in mark}
    data["frames"][3] |= mark
    (folder / "transforms.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match="undistort the images"):
        read_source(folder)
    (folder / "transforms.json").write_text(json.dumps(data | {"is_fisheye": False}))


def test_orientation_tags_of_calibrated_images_are_left_aside(scene, tmp_path):
    for name in ("nerfstudio", "EasyVolcap", "Panoptic"):
        folder = files.FORMATS[name](scene, tmp_path / name)
        for file in folder.rglob("*.png"):
            exif = Image.Exif()
            exif[0x0112] = 6
            Image.open(file).save(file.with_suffix(".jpg"), quality=97, subsampling=0, exif=exif)
            file.unlink()
        assert "orientation tags are left aside" in whole(folder, scene)


def test_four_d_gaussians_multipleview_has_cameras(scene, tmp_path):
    folder = files.image_folders(scene, tmp_path)
    colmap.poses_bounds(scene, folder / "poses_bounds_multipleview.npy")
    assert "poses_bounds_multipleview.npy" in whole(folder, scene)


def test_a_rig_has_the_cameras_of_a_colmap_model(scene, tmp_path):
    """One image per camera, named as the view or lying in its folder."""
    for k, named in enumerate(("cam{:02d}.png", "cam{:02d}/0000.png", "image{}.jpg")):
        folder = files.image_folders(scene, tmp_path / str(k))
        colmap.model(scene, folder / "sparse" / "0", [named.format(v) for v in range(4)])
        assert "sparse/0 (COLMAP, PINHOLE)" in whole(folder, scene)
    colmap.model(scene, folder / "sparse" / "0", ["a.png", "b.png", "c.png", "d.png"])
    source = read_source(folder)
    assert source.w2c is None
    assert "the cameras of sparse/0 are not used: it names a.png" in "\n".join(source.describe())


def test_a_view_that_no_camera_is_for_is_left_out_and_named(scene, tmp_path):
    folder = files.image_folders(scene, tmp_path)
    part = scene.pick(slice(0, 3), slice(None))
    colmap.model(part, folder / "sparse" / "0", [f"cam{v:02d}.png" for v in range(3)])
    assert "without a camera in sparse/0 (COLMAP, PINHOLE), left out: cam03" in whole(folder, part)


def test_rig_cameras_elsewhere_are_named_with_an_option(scene, tmp_path):
    folder = files.image_folders(scene, tmp_path / "rig")
    file = colmap.ours(scene, tmp_path / "c.json", [f"cam{v:02d}" for v in range(4)])
    source = read_source(folder, cameras=str(file))
    assert np.allclose(source.w2c, scene.w2c)
    with pytest.raises(UserError, match="goes with photos, clips and rigs"):
        read_source(files.nerfstudio(scene, tmp_path / "n"), cameras=str(file))


def test_rows_of_llff_go_by_names_as_texts_while_views_go_as_people_count(tmp_path):
    scene = files.scene(V=11, T=2, size=(24, 40))
    files.image_folders(scene, tmp_path / "rig")
    for v in reversed(range(11)):
        (tmp_path / "rig" / f"cam{v:02d}").rename(tmp_path / "rig" / f"c{v}")
    names = [f"c{v}" for v in range(11)]
    rows = [names.index(n) for n in sorted(names)]
    assert rows[:3] == [0, 1, 10]
    as_text = replace(scene, frames=scene.frames[rows], K=scene.K[rows], w2c=scene.w2c[rows])
    colmap.poses_bounds(as_text, tmp_path / "rig" / "poses_bounds.npy")
    source = read_source(tmp_path / "rig")
    assert [v.name for v in source.views] == names
    assert np.allclose(source.w2c, scene.w2c, atol=1e-5)


def test_rows_of_deleted_views_are_known_by_number(scene, tmp_path):
    folder = files.image_folders(scene, tmp_path)
    colmap.poses_bounds(scene, folder / "poses_bounds.npy")
    for file in (folder / "cam02").iterdir():
        file.unlink()
    source = read_source(folder)
    assert np.allclose(source.w2c, scene.w2c[[0, 1, 3]], atol=1e-5)
    assert "number 2 is not there" in "\n".join(source.describe())


def easyvolcap(scene, folder, names, quoted=False):
    """EasyVolcap's files as scripts write them by hand: names may lack their quotes."""
    for v, name in enumerate(names):
        (folder / "images" / name).mkdir(parents=True)
        for t in range(scene.T):
            write_image(folder / "images" / name / f"{t:06d}.png", scene.frames[v, t])

    def matrix(key, values):
        values = np.atleast_2d(values)
        rows, cols = values.shape
        numbers = ", ".join(f"{x:.9f}" for x in values.ravel())
        return (
            f"{key}: !!opencv-matrix\n   rows: {rows}\n   cols: {cols}\n   dt: d\n"
            f"   data: [{numbers}]\n"
        )

    listed = "".join(f'   - "{n}"\n' if quoted else f"   - {n}\n" for n in names)
    head = f"%YAML:1.0\n---\nnames:\n{listed}"
    intri = head + "".join(
        matrix(f"K_{n}", K) + f"H_{n}: {scene.height}\nW_{n}: {scene.width}\n"
        for n, K in zip(names, scene.K, strict=True)
    )
    extri = head + "".join(
        matrix(f"Rot_{n}", w[:3, :3]) + matrix(f"T_{n}", w[:3, 3:])
        for n, w in zip(names, scene.w2c, strict=True)
    )
    (folder / "intri.yml").write_text(intri)
    (folder / "extri.yml").write_text(extri)
    return folder


@pytest.mark.parametrize(
    "names", [["00", "01", "02", "03"], ["08", "09", "10", "11"], ["0", "1", "2", "3"],
              ["007", "008", "010", "011"], ["0001", "0002", "0003", "0004"], ["a", "b", "c", "d"]],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.parametrize("quoted", [True, False])
def test_easyvolcap_names_with_and_without_quotes(scene, tmp_path, names, quoted):
    folder = easyvolcap(scene, tmp_path, names, quoted)
    whole(folder, scene)
    text = (folder / "intri.yml").read_text()
    listed = text[text.index("names:") : text.index("K_")]
    entries = [f'"{n}"' if quoted else n for n in names]
    (folder / "intri.yml").write_text(text.replace(listed, f"names: [ {', '.join(entries)} ]\n"))
    whole(folder, scene)


def test_easyvolcap_with_videos_or_folders_of_other_zeros(scene, tmp_path):
    from fourreal.video_io import write_video

    folder = easyvolcap(scene, tmp_path / "a", ["00", "01", "02", "03"])
    for v in range(4):
        (folder / "images" / f"{v:02d}").rename(folder / "images" / f"{v:04d}")
    whole(folder, scene)
    folder = easyvolcap(scene, tmp_path / "b", ["00", "01", "02", "03"])
    (folder / "videos").mkdir()
    for v in range(4):
        for file in (folder / "images" / f"{v:02d}").iterdir():
            file.unlink()
        write_video(folder / "videos" / f"{v:02d}.mp4", scene.row(v), 8)
    whole(folder, scene)


def cameras_called(*names):
    K = np.eye(3)
    return Calibration("c", [Camera(n, np.eye(4), sized(K, (4, 4), "c")) for n in names])


def test_matching_of_names():
    assert match(["a.jpg", "b.jpg"], cameras_called("b.jpg", "a.jpg")) == [1, 0]
    assert match(["A.JPG", "x.jpg"], cameras_called("a.jpg")) == [0, -1]
    assert match(["p/a.png", "q/a.png"], cameras_called("q/a.jpg", "p/a.jpg")) == [1, 0]
    assert match(["1.png", "2.png"], cameras_called("cam02", "cam01")) == [1, 0]
    assert match(["0.png", "1.png"], cameras_called("cam1", "cam2")) == [-1, -1], "off by one"
    assert match(["0.png", "1.png"], cameras_called("cam1", "cam2"), by_order=True) == [0, 1]
    assert match(["x9", "x10"], cameras_called("a2", "a10"), by_order=True) == [0, 1]
    # two cameras of one name are none of it
    assert match(["1/a.png"], cameras_called("x/a.png", "y/a.png")) == [-1]


def test_calibration_of_other_pixels_that_does_not_say_so_is_refused(scene, tmp_path):
    """K of the full size beside images of a quarter of it, and no 'w' and 'h' to scale by."""
    folder = files.nerfstudio(scene, tmp_path / "a")
    data = json.loads((folder / "transforms.json").read_text())
    data |= {name: 4 * data[name] for name in ("fl_x", "fl_y", "cx", "cy")}
    del data["w"], data["h"]
    (folder / "transforms.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match="principal point .* lies outside of its image .48x80.*'w'"):
        read_source(folder)
    folder = easyvolcap(replace(scene, K=scene.K * [[4], [4], [1]]), tmp_path / "b", list("abcd"))
    text = (folder / "intri.yml").read_text()
    (folder / "intri.yml").write_text(re.sub(r"(?m)^[HW]_.*\n", "", text))
    with pytest.raises(UserError, match="lies outside of its images .48x80.: write 'H_a'"):
        read_source(folder)


def test_an_empty_file_counts_as_missing(scene, tmp_path):
    folder = files.nerfstudio(scene, tmp_path)
    (folder / "images" / "02_001.png").write_bytes(b"")
    assert "1 of 12 images are missing" in whole(folder, scene, unknown=1)


def test_focal_length_that_changes_over_time_is_said(scene, tmp_path):
    folder = files.nerfstudio(scene, tmp_path)
    data = json.loads((folder / "transforms.json").read_text())
    data["frames"][1]["fl_x"] = 1.2 * data["fl_x"]
    (folder / "transforms.json").write_text(json.dumps(data))
    said = "\n".join(read_source(folder).describe())
    assert re.search("focal length changes over time.*0000", said)


def test_time_of_one_camera_id_for_several_moments_stays_an_error(scene, tmp_path):
    mixed = replace(scene)
    folder = files.nerfstudio(mixed, tmp_path)
    data = json.loads((folder / "transforms.json").read_text())
    data["frames"][1]["time"] = 0.0
    (folder / "transforms.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match="share view and time"):
        read_source(folder)


def test_grey_and_transparent_photos_keep_their_cameras(scene, tmp_path):
    names = [f"{k}.png" for k in range(4)]
    (tmp_path / "images").mkdir()
    for k, name in enumerate(names):
        rgba = np.full((*SIZE, 4), 255, np.uint8)
        rgba[..., :3] = to_uint8(scene.frames[k, 0])
        Image.fromarray(rgba).save(tmp_path / "images" / name)
    colmap.model(scene, tmp_path / "sparse" / "0", names)
    assert read_source(tmp_path).w2c is not None
