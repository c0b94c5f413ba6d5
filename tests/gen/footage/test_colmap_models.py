"""COLMAP models beside photos: every place, camera model and file form, or it is said why not."""

import shutil

import numpy as np
import pytest

from fourreal.errors import UserError
from gen.footage.colmap import MODELS, read_model
from gen.footage.detect import read_source
from gen.footage.pair import PairRequest, load_pair
from tests.gen.footage import colmap_files as colmap
from tests.gen.footage import footage_files as files
from tests.gen.footage.read_back import both_ways

NAMES = [f"{k:02d}.png" for k in range(4)]
SIZE = (48, 80)


@pytest.fixture(scope="module")
def scene():
    return files.scene(V=4, T=2, size=SIZE)


PINHOLES = ["SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV"]


MODEL_PLACES = ["sparse/0", "sparse", "colmap/sparse/0", "colmap/sparse", "distorted/sparse/0", "."]


@pytest.mark.parametrize("place", MODEL_PLACES)
@pytest.mark.parametrize("binary", [True, False], ids=["bin", "txt"])
def test_colmap_model_beside_photos(scene, tmp_path, place, binary):
    colmap.photos(scene, tmp_path / "images", NAMES)
    colmap.model(scene, tmp_path / place, NAMES, binary=binary)
    source = both_ways(tmp_path, scene)
    assert "COLMAP, PINHOLE" in source.describe()[0]
    both_ways(tmp_path / "images", scene)


@pytest.mark.parametrize(
    "kind", ["SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV"]
)
def test_every_camera_model_of_a_pinhole_is_read(scene, tmp_path, kind):
    colmap.photos(scene, tmp_path / "images", NAMES)
    for binary in (True, False):
        colmap.model(scene, tmp_path / "sparse" / "0", NAMES, kind, binary)
        both_ways(tmp_path, scene)
        shutil.rmtree(tmp_path / "sparse")


@pytest.mark.parametrize("kind", [m for m in MODELS if m not in PINHOLES])
def test_models_of_no_pinhole_are_refused_by_name(scene, tmp_path, kind):
    colmap.photos(scene, tmp_path / "images", NAMES)
    colmap.model(scene, tmp_path / "sparse" / "0", NAMES, kind)
    for read in (read_source, lambda p: load_pair(PairRequest(str(p)))):
        with pytest.raises(UserError, match=f"{kind}: undistort"):
            read(tmp_path)


def test_distortion_of_a_model_is_removed(scene, tmp_path):
    colmap.photos(scene, tmp_path / "images", NAMES)
    colmap.model(scene, tmp_path / "sparse" / "0", NAMES, "OPENCV", distortion=(-0.2, 0.05))
    given = read_model(tmp_path / "sparse" / "0", "m").cameras[0]
    assert given.coefficients == (-0.2, 0.05, 0, 0)
    source = read_source(tmp_path)
    assert "lens distortion is removed" in source.describe()[0]
    grid = load_pair(PairRequest(str(tmp_path), size=SIZE))
    assert not np.allclose(grid.K, scene.K, rtol=1e-3)
    assert np.allclose(grid.K[0], source.lenses[0].pinhole)


def test_model_of_another_scale(scene, tmp_path):
    colmap.photos(scene, tmp_path / "images", NAMES)
    colmap.model(scene, tmp_path / "sparse" / "0", NAMES, scale=3)
    both_ways(tmp_path, scene)


def test_originals_go_with_the_distorted_model_and_undistorted_photos_with_theirs(scene, tmp_path):
    """convert.py of 3D Gaussian Splatting leaves both, under the same names."""
    colmap.photos(scene, tmp_path / "input", NAMES)
    colmap.model(scene, tmp_path / "distorted" / "sparse" / "0", NAMES, "OPENCV", distortion=(0.1,))
    colmap.photos(scene, tmp_path / "images", NAMES)
    colmap.model(scene, tmp_path / "sparse" / "0", NAMES)
    both_ways(tmp_path, scene)
    assert all(lens is None for lens in read_source(tmp_path).lenses)
    assert all(lens is not None for lens in read_source(tmp_path / "input").lenses)
    shutil.rmtree(tmp_path / "sparse")
    assert load_pair(PairRequest(str(tmp_path))).w2c is None, "a model of input/ is not of images/"


def test_largest_of_several_models_counts(scene, tmp_path):
    colmap.photos(scene, tmp_path / "images", NAMES)
    part = scene.pick(slice(0, 2), slice(None))
    colmap.model(part, tmp_path / "sparse" / "0", NAMES[:2])
    colmap.model(scene, tmp_path / "sparse" / "1", NAMES)
    assert "sparse/1" in both_ways(tmp_path, scene).describe()[0]


def test_a_model_counts_before_poses_bounds(scene, tmp_path):
    """As in the scenes of mip-NeRF 360, which come with both."""
    colmap.photos(scene, tmp_path / "images", NAMES)
    colmap.model(scene, tmp_path / "sparse" / "0", NAMES)
    np.save(tmp_path / "poses_bounds.npy", np.ones((7, 17)))
    assert "sparse/0" in both_ways(tmp_path, scene).describe()[0]


def test_a_damaged_model_is_named_and_not_left_aside(scene, tmp_path):
    colmap.photos(scene, tmp_path / "images", NAMES)
    model = colmap.model(scene, tmp_path / "sparse" / "0", NAMES)
    whole = (model / "images.bin").read_bytes()
    for damage in (whole[:-30], whole[:40], b"", b"\xff" * 100):
        (model / "images.bin").write_bytes(damage)
        with pytest.raises(UserError, match="images.bin.*move it away"):
            load_pair(PairRequest(str(tmp_path)))


def test_model_of_other_photos_is_named(scene, tmp_path):
    colmap.photos(scene, tmp_path / "images", NAMES)
    colmap.model(scene, tmp_path / "sparse" / "0", ["a.png", "b.png", "c.png", "d.png"])
    with pytest.raises(UserError, match="no cameras of these photos: it names a.png, b.png"):
        load_pair(PairRequest(str(tmp_path)))


def test_text_models_may_lack_lines_of_points_and_have_spaces_in_names(scene, tmp_path):
    names = [f"my photo {k}.png" for k in range(4)]
    colmap.photos(scene, tmp_path / "images", names)
    model = colmap.model(scene, tmp_path / "sparse" / "0", names, binary=False, points=0)
    both_ways(tmp_path, scene)
    text = (model / "images.txt").read_text()
    (model / "images.txt").write_text("\r\n".join(x for x in text.splitlines() if x))
    both_ways(tmp_path, scene)
    many = colmap.model(scene, model, names, binary=False, points=20_000)
    both_ways(many.parents[1], scene)


def test_what_the_undistorter_of_colmap_leaves(scene, tmp_path):
    """`dense/images` and `dense/sparse` are undistorted; `sparse/0` is of the originals."""
    colmap.photos(scene, tmp_path / "dense" / "images", NAMES)
    colmap.model(scene, tmp_path / "dense" / "sparse", NAMES)
    both_ways(tmp_path, scene)
    both_ways(tmp_path / "dense", scene)
    both_ways(tmp_path / "dense" / "images", scene)


def test_a_model_of_nearly_the_size_is_doubted_aloud(scene, tmp_path):
    """Undistorted photos differ a little in size from the originals that have the same names."""
    colmap.photos(scene, tmp_path / "images", NAMES)
    colmap.model(scene, tmp_path / "sparse" / "0", NAMES, scale=1.05)
    said = "\n".join(read_source(tmp_path).describe())
    assert "is for 50x84 pixels, 00.png has 48x80: is it of these photos" in said


def test_models_that_colmap_wrote_are_read(scene, tmp_path):
    """Against COLMAP's own writer and its own matrices, where its Python package is there."""
    pycolmap = pytest.importorskip("pycolmap")
    colmap.photos(scene, tmp_path / "images", NAMES)
    source = colmap.model(scene, tmp_path / "ours", NAMES, "OPENCV", distortion=(0.01,))
    (source / "points3D.bin").write_bytes(bytes(8))
    theirs = pycolmap.Reconstruction(str(source))
    for write, folder in (("write_binary", "sparse/0"), ("write_text", "sparse/1")):
        (tmp_path / folder).mkdir(parents=True)
        getattr(theirs, write)(str(tmp_path / folder))
        for camera in read_model(tmp_path / folder, "m").cameras:
            image = next(i for i in theirs.images.values() if i.name == camera.name)
            assert np.allclose(camera.w2c[:3], image.cam_from_world().matrix(), atol=1e-9)
            lens = theirs.cameras[image.camera_id]
            assert np.allclose(camera.at(SIZE)[0], lens.calibration_matrix())
            assert list(camera.coefficients) == list(lens.params[4:])
