"""What stands still in the pictures while the scene turns: found there, and nowhere else."""

import cv2
import numpy as np
import pytest

from recon.canonical.free_space import seen_through
from tests.recon.scenes import column_from_depth
from tests.tracking.textured_room import at_angles, render_path
from tracking.depth.backdrop import still_backdrop


@pytest.fixture(scope="module")
def room():
    return render_path(at_angles(np.linspace(-25, 25, 7)))


def test_a_room_has_no_backdrop(room):
    K = np.broadcast_to(room.K, (7, 3, 3)).copy()
    assert still_backdrop(room.frames, room.depth.astype(np.float32), K, room.w2c) is None


def test_what_stays_in_the_picture_is_found(room):
    frames, depth = room.frames.copy(), room.depth.astype(np.float32)
    for side in (slice(None, 14), slice(-14, None)):  # behind the turntable, whatever depth says
        frames[:, :40, side] = [0.9, 0.1, 0.1]
    K = np.broadcast_to(room.K, (7, 3, 3)).copy()
    mask = still_backdrop(frames, depth, K, room.w2c)
    assert mask is not None
    assert mask[:, :38, :12].mean() > 0.9 and mask[:, :38, -12:].mean() > 0.9
    assert mask[:, :, 18:-18].mean() < 0.02


def test_a_speck_in_the_air_is_seen_through(room):
    depth = room.depth.astype(np.float32).copy()
    speck = np.zeros(depth.shape, bool)
    speck[3, 40:46, 10:16] = True
    depth[speck] *= 0.6
    K = np.broadcast_to(room.K, (7, 3, 3)).copy()
    column = column_from_depth(room.frames, depth, K, room.w2c, 3)
    column.depth_confidence[:] = 0.9
    found = seen_through(column)
    assert found[speck].mean() > 0.8
    calm = cv2.dilate(speck[3].astype(np.uint8), np.ones((9, 9), np.uint8)) == 0
    assert found[3][calm].mean() < 0.03


@pytest.mark.parametrize(("other", "enough"), [(1, True), (2, False)])
def test_one_view_that_sees_through_is_enough_where_views_are_far_apart(room, other, enough):
    """Views 1 and 3 are 17 degrees apart, 2 and 3 half of that: there a second one could say so."""
    pick = [other, 3]
    depth = np.where(np.isfinite(room.depth), room.depth, 30.0).astype(np.float32)[pick]
    speck = np.zeros(depth.shape, bool)
    speck[1, 40:46, 10:16] = True
    depth[speck] *= 0.6
    K = np.broadcast_to(room.K, (2, 3, 3)).copy()
    column = column_from_depth(room.frames[pick], depth, K, room.w2c[pick], 1)
    column.depth_confidence[:] = 0.9
    column.depth_confidence[speck] = 0.1
    found = seen_through(column)
    assert (found[speck].mean() > 0.8) == enough and found[~speck].mean() < 0.03
