"""A clip in which things move while the camera sweeps is called what it is; a still one is not."""

import numpy as np
import pytest

from gen.grid import VideoGrid
from recon.left_out import without_moving
from tests.tracking.textured_room import ROUGH_DEPTH, arc, render_path
from tracking.column import track_column
from tracking.column_file import load_column, save_column
from tracking.flow.moving import unexplained

VIEWS = 6


@pytest.mark.parametrize("shifts", [None, [0.0, 0.12, -0.05, 0.14, 0.0, 0.12]])
def test_what_moves_is_named_and_marked(shifts, tmp_path):
    room = render_path(arc(VIEWS, 24.0), shifts=shifts)
    column = track_column(room.frames)
    said = [line for line in column.notes if "no frozen moment" in line]
    if shifts is None:
        assert column.moving is None and not said
        return
    assert len(said) == 1 and column.moving is not None
    # the box, not the room
    still = render_path(arc(VIEWS, 24.0))
    moved = np.abs(still.frames - room.frames).max(-1) > 0.02
    assert column.moving[~moved].mean() < 0.15
    assert column.moving[1][np.abs(room.depth[1] - 3.2) < 0.6].mean() > 0.3
    grid = VideoGrid(room.frames[:, None])
    shown = without_moving(column, grid)  # of one time: no part of the scene
    assert shown.backdrop is not None and shown.backdrop[column.moving].all()
    over_time = VideoGrid(np.stack([room.frames, room.frames], 1))
    assert without_moving(column, over_time).backdrop is None
    save_column(column, tmp_path / "tracks.npz")
    np.testing.assert_array_equal(load_column(tmp_path / "tracks.npz").moving, column.moving)


def test_cameras_of_one_moment_see_nothing_move():
    room = render_path(arc(VIEWS, 24.0), shifts=[0.0, 0.12, -0.05, 0.14, 0.0, 0.12])
    frames = np.repeat(room.frames[:, None], 2, 1)
    cross = np.arange(VIEWS)[:, None] * [0, 1] == 0  # two clips: one view over time
    rig, swept = VideoGrid(frames), VideoGrid(frames, known=cross)
    assert rig.at_once and not swept.at_once and not VideoGrid(frames[:, :1]).at_once
    assert track_column(room.frames, config=ROUGH_DEPTH, at_once=True).moving is None


def test_what_depth_shows_rightly_did_not_move_wherever_flow_went():
    room = render_path(arc(VIEWS, 24.0))
    K = np.broadcast_to(room.K, (VIEWS, 3, 3))
    every = np.ones(room.depth.shape, bool)
    assert unexplained(every, room.frames, room.depth, K, room.w2c) is None
    assert unexplained(every, room.frames, room.depth * 1.5, K, room.w2c).mean() > 0.1
