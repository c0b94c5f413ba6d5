"""Photos of which some are upright and some lie on their side become one set of squares."""

import json

import cv2
import numpy as np
import pytest

from fourreal.cameras import c2w_from_w2c
from fourreal.errors import UserError
from fourreal.video_io import write_image
from gen.footage.detect import read_source
from gen.footage.footage import Footage
from gen.footage.pair import PairRequest, load_pair
from gen.footage.photos import read_photos
from tests.tracking.textured_room import arc, render_view

FOCAL, LONG, SHORT = 110.0, 160, 96
TURNED = (1, 4)  # views that are upright


def picture(w2c, height, width, times=1):
    """What a camera of ``FOCAL`` shows, oversampled, and its K."""
    K = np.array([[FOCAL, 0, width / 2], [0, FOCAL, height / 2], [0, 0, 1]]) * times
    K[2, 2] = 1
    fine = K * 2
    fine[2, 2] = 1
    big, _ = render_view(fine, w2c, (2 * height * times, 2 * width * times))
    return cv2.resize(big, (width * times, height * times), interpolation=cv2.INTER_AREA), K


@pytest.fixture
def photos(tmp_path):
    """Six photos of an arc, the second and the fifth upright; the squares that all show."""
    (tmp_path / "set").mkdir()
    frames, squares = [], []
    for k, w2c in enumerate(arc(6, 30.0)):
        size = (LONG, SHORT) if k in TURNED else (SHORT, LONG)
        image, K = picture(w2c, *size)
        write_image(tmp_path / "set" / f"{k}.png", image)
        squares.append(picture(w2c, SHORT, SHORT)[0])
        pose = np.vstack([c2w_from_w2c(w2c, "opengl")[:3], [0, 0, 0, 1]])
        frames.append(
            {"file_path": f"{k}.png", "transform_matrix": pose.tolist(), "fl_x": FOCAL,
             "cx": K[0, 2], "cy": K[1, 2], "h": size[0], "w": size[1]}
        )  # fmt: skip
    return tmp_path / "set", np.stack(squares), {"frames": frames}


def test_photos_without_cameras(photos, capsys):
    folder, squares, _ = photos
    grid = load_pair(PairRequest(str(folder), straighten=False))
    assert grid.frames.shape[2:4] == (SHORT, SHORT)
    assert np.abs(grid.frames[:, 0] - squares).mean() < 0.02
    assert "2 of 6 views are upright: all are cut to the square" in capsys.readouterr().out


def test_sheets_and_halves_are_cut_alike(photos):
    folder, squares, _ = photos
    footage = read_photos(folder)
    for view, square in zip(footage.views, squares, strict=True):
        small = cv2.resize(square, (48, 48), interpolation=cv2.INTER_AREA) * 255
        assert np.abs(view.thumbnails(1, 48, 48)[0] - small).mean() < 12
        assert np.abs(view.read([0], 48, 48)[0] - small).mean() < 6


def test_given_cameras_are_those_of_the_squares(photos):
    folder, squares, transforms = photos
    (folder / "transforms.json").write_text(json.dumps(transforms))
    for footage in (read_source(folder), read_photos(folder)):
        assert isinstance(footage, Footage) and footage.K is not None
        K = footage.intrinsics(np.arange(6), SHORT, SHORT)
        middle = [[FOCAL, 0, SHORT / 2], [0, FOCAL, SHORT / 2], [0, 0, 1]]
        assert K is not None and np.abs(K - middle).max() < 1e-6
        read = np.stack([v.read([0], SHORT, SHORT)[0] for v in footage.views])
        assert np.abs(read / 255 - squares).mean() < 0.02


def test_a_lens_is_undone_before_the_cut(photos):
    folder, squares, transforms = photos
    for frame in transforms["frames"]:
        frame["k1"] = 1e-4  # too little to see: what is asked is where the square lies
    (folder / "transforms.json").write_text(json.dumps(transforms))
    footage = read_source(folder)
    assert isinstance(footage, Footage)
    K = footage.intrinsics(np.arange(6), SHORT, SHORT)
    assert K is not None and np.abs(K[:, :2, 2] - SHORT / 2).max() < 0.6
    read = np.stack([v.read([0], SHORT, SHORT)[0] for v in footage.views])
    assert np.abs(read / 255 - squares).mean() < 0.03


def test_shapes_that_are_not_the_same_turned_are_refused(photos):
    folder = photos[0]
    for k in (2, 3):
        write_image(folder / f"{k}.png", np.full((SHORT, SHORT, 3), k / 9, np.float32))
    with pytest.raises(UserError, match="differs in size"):
        load_pair(PairRequest(str(folder)))
