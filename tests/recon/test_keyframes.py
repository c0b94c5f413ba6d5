"""Keyframes are chosen by what they add."""

import numpy as np

from fourreal.cameras import intrinsics_from_fov
from recon.canonical.keyframes import keyframe_order

SIZE = (48, 64)


def wall_views(*places):
    """Depth, K, w2c of cameras that look along z at a wall at z = 3, from (x, z) places.

    The focal length keeps the wall in front of x = 0 equally large.
    """
    w2c, K, depth = [], [], []
    for x, z in places:
        m = np.eye(4)
        m[0, 3], m[2, 3] = -x, -z
        k = intrinsics_from_fov(50.0, *SIZE)
        k[[0, 1], [0, 1]] *= (3.0 - z) / 3.0
        w2c.append(m)
        K.append(k)
        depth.append(np.full(SIZE, 3.0 - z, np.float32))
    return np.stack(depth), np.stack(K), np.stack(w2c)


def test_a_near_view_of_something_new_comes_before_a_far_one_of_the_same():
    clip = wall_views((0.0, 0.0), (0.0, -4.0), (0.6, 0.0))
    assert keyframe_order(*clip, 0) == [0, 2, 1]
    assert keyframe_order(*clip, 0, least=0.1) == [0, 2]


def test_what_one_keyframe_covers_does_not_count_for_the_next():
    clip = wall_views((0.0, 0.0), (0.9, 0.0), (1.0, 0.0), (-0.5, 0.0))
    assert keyframe_order(*clip, 0) == [0, 2, 3, 1]


def test_views_with_a_guessed_camera_are_no_keyframes():
    clip = wall_views((0.0, 0.0), (0.6, 0.0), (1.2, 0.0))
    assert keyframe_order(*clip, 0, dropped=[2]) == [0, 1]


def test_surfaces_behind_count_as_new():
    depth, K, w2c = wall_views((0.0, 0.0), (0.1, 0.0), (0.2, 0.0))
    depth[2, :, :40] = 6.0  # it looks past what the others see
    assert keyframe_order(depth, K, w2c, 0)[1] == 2
