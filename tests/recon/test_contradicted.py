"""A point that floats before a surface of another colour goes; what is where it looks stays."""

import cv2
import numpy as np

from recon.canonical.contradicted import contradicted
from tests.recon.scenes import column_from_depth
from tests.tracking.textured_room import at_angles, render_path


def only(column, frames, *views):
    """The column and its frames without the other views."""
    keep = list(views)
    return column_from_depth(
        frames[keep], column.depth[keep], column.K[keep], column.w2c[keep], 1
    ), frames[keep]


def test_a_pale_speck_before_dark_things_is_contradicted():
    room = render_path(at_angles(np.linspace(-25, 25, 7)))
    depth = np.where(np.isfinite(room.depth), room.depth, 30.0).astype(np.float32)
    frames, speck = room.frames.copy(), np.zeros(depth.shape, bool)
    speck[3, 30:36, 8:14] = True  # on the wall ...
    frames[speck] = [1.0, 1.0, 1.0]
    depth[speck] *= 0.5  # ... and said to be half as far
    K = np.broadcast_to(room.K, (7, 3, 3)).copy()
    column = column_from_depth(frames, depth, K, room.w2c, 3)
    column.depth_confidence[:] = 0.1  # depth is worth nothing: colour decides
    found = contradicted(column, frames)
    assert found[speck].mean() > 0.8
    around = cv2.dilate(speck[3].astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    calm = np.ones(depth.shape, bool)
    calm[3] = ~around
    assert found[calm].mean() < 0.01
    assert not contradicted(*only(column, frames, 2, 3))[1].any()  # one view near to it objects ...
    alone = contradicted(*only(column, frames, 1, 3))[1]
    assert alone[speck[3]].mean() > 0.8 and alone[~around].mean() < 0.02  # ... one far from it
    column.backdrop = np.ones(depth.shape, bool)  # all of it stands outside the scene
    assert not contradicted(column, frames).any()
