"""Whether depth holds between views: true depth does, and what is said where it does not."""

import numpy as np
import pytest

from tests.tracking.textured_room import arc, at_angles, render_path
from tracking.column import track_column
from tracking.depth.redrawn import redrawn


@pytest.fixture(scope="module")
def room():
    return render_path(arc(5, 40.0))


def test_true_depth_draws_what_the_next_view_shows(room):
    K = np.broadcast_to(room.K, (5, 3, 3))
    true = redrawn(room.frames, room.depth, K, room.w2c)
    flat = redrawn(room.frames, np.full_like(room.depth, 3.0), K, room.w2c)
    assert true is not None and flat is not None
    assert true.off < 0.08 and flat.off > 0.3
    assert true.apart_deg == pytest.approx(8.4, abs=0.3)  # at the box, behind the middle of the arc


def test_what_is_left_out_does_not_count(room):
    K = np.broadcast_to(room.K, (5, 3, 3))
    depth, lost = room.depth.copy(), np.zeros(room.depth.shape, bool)
    depth[:, :36], lost[:, :36] = 1.0, True
    spoilt = redrawn(room.frames, depth, K, room.w2c)
    without = redrawn(room.frames, depth, K, room.w2c, lost)
    assert spoilt is not None and without is not None
    assert spoilt.off > 0.2 and without.off < 0.1


@pytest.mark.parametrize(("step", "holds"), [(10.0, True), (50.0, False)])
def test_views_too_far_apart_for_depth_are_told_so(step, holds):
    room = render_path(at_angles((np.arange(4) - 1.5) * step))
    column = track_column(room.frames, K=room.K, w2c=room.w2c)
    said = [note for note in column.notes if "depth does not hold between the views" in note]
    assert len(said) == (not holds), column.notes
    assert holds or 40 < float(said[0].split(" degrees")[0].split()[-1]) < 55
