"""A camera that goes all the way around: its last views are next to its first."""

import numpy as np
import pytest

from tests.tracking.textured_room import at_angles, texture
from tracking.cameras.follow import follow
from tracking.depth.neighbours import comes_around, neighbours
from tracking.flow.optical import linked_flow

STEP, AROUND, HEIGHT, WIDTH = 16, 256, 64, 96


def panorama(views: int) -> np.ndarray:
    """Frames [V, 64, 96, 3] of a camera that turns by 16 of the 256 pixels around it each time."""
    strip = np.concatenate([texture(3, AROUND)] * 2, 1)[:HEIGHT]
    return np.stack([strip[:, v * STEP : v * STEP + WIDTH] for v in range(views)])


@pytest.fixture(scope="module")
def ring():
    return linked_flow(panorama(16))


def test_a_ring_is_linked_at_its_ends_and_nowhere_else(ring):
    assert ring.closed
    apart = {(a - b) % 16 for a, b in ring.flow}
    assert apart == {1, 15} and set(ring.valid) == set(ring.flow)


@pytest.mark.parametrize("views", [11, 12, 14])
def test_what_does_not_come_around_is_not(views):
    pairs = linked_flow(panorama(views))
    assert not pairs.closed
    assert {abs(a - b) for a, b in pairs.flow} == {1}


def test_a_camera_that_hardly_moves_has_not_gone_around():
    strip = np.concatenate([texture(3, AROUND)] * 2, 1)[:HEIGHT]
    pairs = linked_flow(np.stack([strip[:, v : v + WIDTH] for v in range(14)]))
    assert not pairs.closed


def test_points_are_followed_over_the_seam_both_ways(ring):
    obs = follow(ring)
    pixels = STEP * ring.scale[0]
    for first, last, shift in ((0, 15, pixels), (15, 0, -pixels), (0, 13, 3 * pixels)):
        there = (obs.anchor[obs.track] == first) & (obs.view == last)
        moved = obs.uv[there] - obs.anchor_uv[obs.track[there]]
        assert there.sum() > 20
        np.testing.assert_allclose(np.median(moved, 0), [shift, 0], atol=0.2)
    once = np.stack([obs.track, obs.view])
    assert len(np.unique(once, axis=1).T) == len(obs.track)


def test_the_last_views_are_neighbours_of_the_first_where_cameras_come_back():
    ring = at_angles(np.arange(0, 360, 20))
    assert comes_around(ring)
    assert neighbours(ring, 4)[0] == [1, 2, 16, 17] and neighbours(ring, 4)[9] == [7, 8, 10, 11]


@pytest.mark.parametrize("angles", [np.arange(0, 300, 20), np.arange(0, 360, 40)])
def test_the_ends_of_an_arc_and_of_few_views_are_no_neighbours(angles):
    arc = at_angles(angles)
    assert not comes_around(arc)
    assert neighbours(arc, 4)[0] == [1, 2, 3, 4]


def test_a_camera_that_looks_the_other_way_is_no_neighbour():
    """A full turn and a little more at one place of a spiral stair: near in place, not in view."""
    ring = at_angles(np.arange(0, 360, 20))
    ring[-1, :3, :3] = np.diag([-1.0, 1.0, -1.0]) @ ring[-1, :3, :3]
    ring[-1, :3, 3] *= [-1.0, 1.0, -1.0]
    assert not comes_around(ring)
