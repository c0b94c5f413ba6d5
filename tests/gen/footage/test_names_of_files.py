"""Which image and camera belong together: by names in any spelling, or it is said why not."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fourreal.errors import UserError
from fourreal.video_io import write_image
from gen.footage.calibration import Calibration, Camera, match, sized
from gen.footage.detect import read_source
from gen.footage.named_files import NamedFiles
from gen.footage.same_times import same_times
from tests.gen.footage import colmap_files as colmap
from tests.gen.footage import footage_files as files
from tests.gen.footage.read_back import renamed, whole

SIZE = (48, 80)


@pytest.fixture(scope="module")
def scene():
    return files.scene(V=4, T=3, size=SIZE)


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
