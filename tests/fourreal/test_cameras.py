"""Camera conventions."""

import numpy as np
import pytest

from fourreal import cameras


def test_unproject_inverts_project():
    rng = np.random.default_rng(0)
    K = cameras.intrinsics_from_fov(50, 40, 64)
    xyz = rng.normal(size=(5, 7, 3)) + [0, 0, 6]
    uv, z = cameras.project(xyz, K)
    assert np.allclose(cameras.unproject(uv, z, K), xyz)


def test_look_at_is_opencv():
    w2c = cameras.look_at([0, -1, -5], [0, 0, 0])
    target = cameras.transform(w2c, np.zeros((1, 3)))[0]
    assert np.allclose(target[:2], 0) and target[2] > 0
    above = cameras.transform(w2c, np.array([[0, -1.0, 0]]))[0]
    assert above[1] < 0, "up in the world is up in the image, where y points down"
    assert np.allclose(cameras.camera_centres(w2c), [0, -1, -5])
    with pytest.raises(ValueError, match="parallel"):
        cameras.look_at([0, -1, 0], [0, 0, 0])


def test_invert_is_the_inverse():
    w2c = cameras.look_at([1, -2, -3], [0.3, 0, 0.2])
    assert np.allclose(cameras.invert(w2c) @ w2c, np.eye(4))


def test_principal_point_is_the_image_centre_with_half_pixel_centres():
    K = cameras.intrinsics_from_fov(60, 4, 6)
    grid = cameras.pixel_grid(4, 6)
    assert np.allclose(grid.reshape(-1, 2).mean(0), K[:2, 2])
    assert np.allclose(grid[0, 0], 0.5)
    half = cameras.scale_intrinsics(K, (4, 6), (2, 3))
    assert np.allclose(half[:2], K[:2] / 2) and half[2, 2] == 1


def test_pixel_index_finds_the_pixel_of_every_point_in_the_picture_and_no_other():
    H, W = 3, 5
    K = cameras.intrinsics_from_fov(60, H, W)
    uv = cameras.pixel_grid(H, W).reshape(-1, 2)
    there = cameras.unproject(uv, np.full(H * W, 2.0), K)
    pixel, inside = cameras.pixel_index(*cameras.project(there, K), (H, W))
    assert inside.all() and (pixel == np.arange(H * W)).all()

    behind, edge = -there, cameras.unproject([[W, 1.0], [-1e-6, 1.0]], [2.0, 2.0], K)
    nowhere = [[0, 0, 0.0], [1, 0, 0.0], [1e9, 0, 1e-300]]  # nan, inf, beyond whole numbers
    out = np.concatenate([behind, edge, nowhere])
    with np.errstate(all="ignore"):
        uv, z = cameras.project(out, K)
    pixel, inside = cameras.pixel_index(uv, z, (H, W))
    assert not inside.any() and (pixel == 0).all()
    assert cameras.pixel_index(np.zeros((0, 2)), np.zeros(0), (H, W))[0].shape == (0,)
