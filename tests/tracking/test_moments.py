"""Cameras from several moments: what little a picture shows at one time, it shows elsewhere at
another."""

import numpy as np
import pytest

from scripts.evaluate.tracking_scores import camera_errors
from tests.tracking.textured_room import ROUGH_DEPTH, arc, render_path, texture
from tracking.cameras.bundle import Observations, Solution
from tracking.cameras.find import find_cameras
from tracking.cameras.follow import FollowConfig, follow
from tracking.cameras.moments import (
    few_points,
    joined,
    of_first,
    same_cameras,
)
from tracking.cameras.outlines import outlines_of, within_outlines
from tracking.cameras.search import Attempt
from tracking.column import track_column
from tracking.config import TrackConfig
from tracking.flow.optical import linked_flow

W2C = arc(6, 40.0)
PLACES = (0.0, -0.9, 0.8, 0.45)  # of the only thing that has texture


def moments(w2c=W2C):
    """Frames of the plain room at each time; the cameras are the same, the box moves."""
    return [render_path(w2c, shifts=np.full(len(w2c), x), plain=True).frames for x in PLACES]


def read(columns):
    return [lambda column=column: column for column in columns]


def tracked(frames, **settings):
    return track_column(frames, config=ROUGH_DEPTH, **settings)


def errors(column):
    return camera_errors(column.w2c, W2C)


@pytest.fixture(scope="module")
def frames():
    return moments()


def test_a_plain_room_has_few_points_and_a_room_full_of_texture_has_not(frames):
    config = FollowConfig()
    assert few_points(follow(linked_flow(frames[0]), config), config)
    assert not few_points(follow(linked_flow(render_path(W2C).frames), config), config)


def test_other_moments_say_where_the_cameras_are(frames):
    alone, together = tracked(frames[0]), tracked(frames[0], moments=read(frames[1:]))
    assert errors(together)["rotation_deg"] < 0.2 * errors(alone)["rotation_deg"]
    assert errors(together)["centre_percent"] < 0.2 * errors(alone)["centre_percent"]


def test_cameras_that_moved_meanwhile_have_no_say(frames):
    """The other moments are seen from elsewhere: cameras are those of the first time alone."""
    elsewhere = arc(6, -25.0, 2.6)
    others = moments(elsewhere)[1:]
    alone, together = tracked(frames[0]), tracked(frames[0], moments=read(others))
    np.testing.assert_array_equal(alone.w2c, together.w2c)


def test_with_texture_other_moments_are_not_even_looked_at():
    room = render_path(W2C)
    pairs = linked_flow(room.frames)

    def never():
        raise AssertionError("flow of other moments was asked for")

    config = TrackConfig()
    found = find_cameras(
        pairs, room.frames.shape[1:3], 3, None, None, config.poses, config.fallbacks, pytest.fail,
        moments=never,
    )  # fmt: skip
    assert found.points is not None


def test_outlines_before_plain_areas_are_left_out():
    image = np.full((1, 64, 96, 3), 0.8, np.float32)
    image[0, 16:48, 24:72] = texture(5)[:32, :48]
    pairs = linked_flow(np.concatenate([image, image]))
    middle, outline, outside = (48.5, 32.5), (23.5, 32.5), (8.5, 8.5)
    scale = np.array(pairs.scale)
    seen = Observations(
        np.zeros(3, int), np.array([middle, outline, outside]) * scale,
        np.array([0, 1, 1, 2]), np.ones(4, int), np.arange(8.0).reshape(4, 2),
    )  # fmt: skip
    kept = within_outlines(seen, outlines_of(pairs))
    np.testing.assert_array_equal(kept.anchor_uv, [np.array(middle) * scale])
    np.testing.assert_array_equal(kept.track, [0])
    np.testing.assert_array_equal(kept.uv, [[0.0, 1.0]])


def observations(tracks: int, first: float) -> Observations:
    """Each track is seen twice."""
    uv = first + np.arange(4.0 * tracks).reshape(-1, 2)
    return Observations(
        np.arange(tracks) % 2, uv[:tracks], np.repeat(np.arange(tracks), 2),
        np.tile([0, 1], tracks), uv,
    )  # fmt: skip


def test_points_of_the_first_moment_come_back_from_the_joined_ones():
    first, second = observations(3, 0.0), observations(2, 100.0)
    both = joined([first, second])
    np.testing.assert_array_equal(both.track, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    np.testing.assert_array_equal(both.anchor_uv[3:], second.anchor_uv)
    solution = Solution(
        np.tile(np.eye(3), (2, 1, 1)), np.zeros((2, 3)), 50.0, np.arange(5.0), np.arange(10.0), 0.0,
        np.ones(2, bool),
    )  # fmt: skip
    own = of_first(Attempt(both, solution), first)
    assert own.obs is first
    np.testing.assert_array_equal(own.solution.inverse_depth, [0, 1, 2])
    np.testing.assert_array_equal(own.solution.residual, np.arange(6.0))


@pytest.mark.parametrize(
    ("fits", "off", "same"),
    [([6, 6, 6], [0.3, 0.4, 0.5], True), ([6, 6, 3], [0.3] * 3, False),
     ([6, 6, 6], [0.3, 0.3, 0.9], False), ([6, 6, 0], [0.3] * 3, False)],
)  # fmt: skip
def test_a_moment_that_fits_far_worse_is_of_other_cameras(fits, off, same):
    seen = [observations(3, 100.0 * i) for i in range(3)]
    residual = np.full((3, 6), np.nan)
    for row, count, size in zip(residual, fits, off, strict=True):
        row[:count] = size
    solution = Solution(
        np.tile(np.eye(3), (2, 1, 1)), np.zeros((2, 3)), 50.0, np.ones(9), residual.ravel(), 0.0,
        np.ones(2, bool),
    )  # fmt: skip
    assert same_cameras(Attempt(joined(seen), solution), seen) == same
