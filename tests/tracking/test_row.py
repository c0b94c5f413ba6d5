"""Row tracks of a still camera: the moving box moves, the room stays exactly where it is."""

import numpy as np
import pytest

from fourreal.cameras import pixel_grid
from fourreal.errors import UserError
from tests.tracking.textured_room import arc, render_path, texture
from tracking.row import lift_row, track_row


@pytest.fixture(scope="module")
def clip():
    camera = np.repeat(arc(1), 5, 0)
    return render_path(camera, shifts=np.linspace(0, 0.6, 5))


@pytest.fixture(scope="module")
def row(clip):
    return track_row(clip.frames)


def test_background_has_exactly_zero_motion(clip, row):
    still = pixel_grid(*row.size).reshape(-1, 2).astype(np.float32)
    fixed = ~row.moving.ravel()
    assert (row.uv[:, fixed] == still[fixed]).all()
    never_changes = np.ptp(clip.depth, axis=0) < 1e-6
    assert (row.moving & never_changes).mean() < 0.03


def test_the_box_moves(clip, row):
    box = clip.depth[0] < clip.depth[-1] - 0.3  # pixels the box leaves
    assert row.moving[box].mean() > 0.6
    u = row.uv[..., 0] - row.uv[:1, :, 0]
    moved = row.moving.ravel() & box.ravel() & row.visible[-1]
    depth = np.median(clip.depth[0].ravel()[moved])
    expected = 0.6 * clip.K[0, 0] / depth
    assert np.median(u[-1, moved]) == pytest.approx(expected, rel=0.25)


def test_a_flat_part_that_leaves_too_fast_to_follow_is_not_called_still():
    """A plain disc with a textured rim jumps by its size: flow cannot follow its inside."""
    frames = np.repeat(texture(4)[None, :72, :96], 4, 0).copy()
    yy, xx = np.mgrid[0:72, 0:96]
    rim = texture(7)[:72, :96]
    for t in range(4):
        away = np.hypot(xx - 18 - 17 * t, yy - 36)
        frames[t][away < 15] = rim[away < 15]
        frames[t][away < 13] = (0.95, 0.5, 0.1)
    row = track_row(frames)
    inside = np.hypot(xx - 18, yy - 36) < 12
    beside = np.hypot(xx - 18, yy - 36) > 22
    assert row.moving[inside].mean() > 0.9
    assert row.moving[beside].mean() < 0.05


def test_query_frame_is_the_pixel_grid(clip):
    row = track_row(clip.frames, query=2)
    np.testing.assert_array_equal(row.uv[2], pixel_grid(*row.size).reshape(-1, 2))
    assert row.visible[2].all()


def test_lift_reads_the_depth_under_the_track(clip, row):
    z = lift_row(row, clip.depth)
    assert z.shape == row.visible.shape
    assert np.isnan(z[~row.visible]).all()
    np.testing.assert_allclose(z[0], clip.depth[0].ravel(), rtol=1e-6)


def test_wrong_query_is_a_user_error(clip):
    with pytest.raises(UserError):
        track_row(clip.frames, query=9)
