"""Planes carry on where there is nothing to match, and take nothing that lies elsewhere."""

import numpy as np
import pytest

from fourreal.cameras import invert, pixel_grid, transform, unproject
from tests.tracking.textured_room import at_angles, render_path
from tracking.depth.dense import neighbours_of
from tracking.depth.planes import find_planes, put_on_planes

VIEWS = 5


@pytest.fixture(scope="module")
def room():
    """Frames, 1/z, K, w2c of a room with blank paper on its floor; where paper and box are."""
    made = render_path(at_angles(np.linspace(-20, 20, VIEWS)))
    made.depth[~np.isfinite(made.depth)] = 30.0  # past the wall's end
    K = np.broadcast_to(made.K, (VIEWS, 3, 3)).copy()
    frames = made.frames.copy()
    paper, box = np.zeros((2, *made.depth.shape), bool)
    for v, depth in enumerate(made.depth):
        at = unproject(pixel_grid(*depth.shape).reshape(-1, 2), depth.ravel(), K[v])
        world = transform(invert(made.w2c[v]), at).reshape(*depth.shape, 3)
        spot = np.hypot(world[..., 0], world[..., 2] + 0.4) < 0.7
        box[v] = (world[..., 1] < 0.95) & (world[..., 2] < 2)
        paper[v] = spot & (np.abs(world[..., 1] - 1.0) < 1e-3)
    # the lamp's shading stands still in the picture
    frames[paper] = (0.8 + 0.03 * np.mgrid[0:72, 0:96][0] / 72)[..., None].repeat(3, -1)[
        np.nonzero(paper)[1:]
    ]
    return frames, (1.0 / made.depth).astype(np.float32), K, made.w2c, paper, box


def test_wall_and_floor_are_found(room):
    _, rho, K, w2c, paper, _ = room
    planes = find_planes(rho, ~paper, K, w2c)
    assert len(planes) >= 2
    for normal in ([0, 0, 1], [0, 1, 0]):
        assert max(abs(plane[:3] @ normal) for plane in planes) > 0.999


def test_blank_paper_is_put_on_its_floor(room):
    frames, rho, K, w2c, paper, _ = room
    assert paper.mean() > 0.02
    wrong, trust = rho.copy(), np.ones_like(rho)
    wrong[paper], trust[paper] = 0.6 * rho[paper], 0.3
    near = [neighbours_of(v, VIEWS, 4) for v in range(VIEWS)]
    out, believed = put_on_planes(wrong, trust, frames, K, w2c, near, 0.03)
    assert (np.abs(out / rho - 1)[paper] < 0.02).mean() > 0.95
    assert believed[paper].mean() > 0.4
    np.testing.assert_array_equal(out[~paper], rho[~paper])


def test_what_stands_on_the_floor_is_left_alone(room):
    frames, rho, K, w2c, _, box = room
    trust = np.ones_like(rho)
    doubtful = box.copy()
    doubtful[:, :, ::2] = False
    trust[doubtful] = 0.3
    near = [neighbours_of(v, VIEWS, 4) for v in range(VIEWS)]
    out, _ = put_on_planes(rho, trust, frames, K, w2c, near, 0.03)
    assert (np.abs(out / rho - 1)[doubtful] < 0.03).mean() > 0.98
