"""Cameras that data sets give are used, however files and names are written, or it is said."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fourreal.errors import UserError
from fourreal.video_io import to_uint8, write_image
from gen.footage.detect import read_source
from tests.gen.footage import colmap_files as colmap
from tests.gen.footage import footage_files as files
from tests.gen.footage.read_back import whole

SIZE = (48, 80)


@pytest.fixture(scope="module")
def scene():
    return files.scene(V=4, T=3, size=SIZE)


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


@pytest.mark.parametrize("form", ["3x4", "flat"])
def test_poses_of_three_rows_or_of_plain_lists_are_the_same(tmp_path, form):
    scene = files.scene(V=3, T=2, size=(24, 40))
    files.image_folders(scene, tmp_path)
    colmap.ours(scene, tmp_path / "cameras.json", ["cam00", "cam01", "cam02"])
    data = json.loads((tmp_path / "cameras.json").read_text())
    for entry in data["cameras"]:
        if form == "flat":
            entry["K"] = [v for row in entry["K"] for v in row]
            entry["w2c"] = [v for row in entry["w2c"] for v in row]
        else:
            entry["w2c"] = entry["w2c"][:3]
    (tmp_path / "cameras.json").write_text(json.dumps(data))
    assert np.allclose(read_source(tmp_path).w2c, scene.w2c)
