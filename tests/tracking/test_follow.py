"""Points for poses: where they are seen again, to a fraction of a pixel."""

from dataclasses import replace

import numpy as np
import pytest

from fourreal.cameras import project, transform, unproject
from tests.tracking.textured_room import ROUGH_DEPTH, arc, render_path
from tracking.anchored import track_stride
from tracking.cameras.follow import FollowConfig, follow, matches
from tracking.cameras.poses import solve_poses
from tracking.column import track_column
from tracking.flow.optical import linked_flow


@pytest.fixture(scope="module")
def room():
    return render_path(arc(4, 18.0))


@pytest.fixture(scope="module")
def pairs(room):
    return linked_flow(room.frames)


def true_place(room, obs):
    """Where the tracks' points really are in the views that see them, working pixels [O, 2]."""
    scale = 2.0  # working frames are twice as large
    start = obs.anchor_uv / scale
    out = np.empty_like(obs.uv)
    for o, (n, v) in enumerate(zip(obs.track, obs.view, strict=True)):
        a = obs.anchor[n]
        x, y = np.floor(start[n]).astype(int)
        z = room.depth[a, y, x]
        point = transform(room.w2c[v] @ np.linalg.inv(room.w2c[a]), unproject(start[n], z, room.K))
        out[o] = project(point, room.K)[0] * scale
    return out


def test_points_are_found_again_to_a_fraction_of_a_pixel(room, pairs):
    obs = follow(pairs, FollowConfig(tracks=400))
    error = np.linalg.norm(obs.uv - true_place(room, obs), axis=1)
    # depth is known per original pixel only: that alone is worth a tenth
    assert np.median(error) < 0.2 and np.percentile(error, 80) < 0.6
    assert len(obs.track) > 600 and set(obs.view) == {0, 1, 2, 3}


def test_matches_join_both_directions(pairs):
    obs = follow(pairs, FollowConfig(tracks=200))
    x, y = matches(obs, 0, 1)
    back, there = matches(obs, 1, 0)
    assert len(x) > 60
    np.testing.assert_array_equal(np.sort(x, 0), np.sort(there, 0))
    np.testing.assert_array_equal(np.sort(y, 0), np.sort(back, 0))


def test_nothing_is_followed_without_texture():
    pairs = linked_flow(np.full((3, 48, 64, 3), 0.5, np.float32))
    obs = follow(pairs)
    assert len(obs.track) == 0
    with pytest.raises(ValueError, match="too few matches between the views"):
        solve_poses(pairs, obs, 1)


def test_tracks_of_large_clips_are_thinned_and_said(room):
    assert track_stride(8, (1080, 1920), 24_000_000) == 1
    assert 64 * (1080 // 3) * (1920 // 3) < 24_000_000
    assert track_stride(64, (1080, 1920), 24_000_000) == 3
    few = replace(ROUGH_DEPTH, max_track_points=4 * 72 * 96 // 4)
    column = track_column(room.frames, K=room.K, w2c=room.w2c, config=few)
    assert column.tracks.points == 36 * 48 and column.depth.shape == (4, 72, 96)
    assert any("one pixel in 2 x 2" in note for note in column.notes)
    query = column.tracks.query_uv
    np.testing.assert_allclose(column.tracks.uv[column.central], query, atol=1e-3)
