"""track_column on an analytic room: cameras, depth, the contract of Tracks, the fallbacks."""

import numpy as np
import pytest

from fourreal.cameras import camera_centres, pixel_grid, project
from fourreal.errors import UserError
from tests.tracking.textured_room import ROUGH_DEPTH, arc, render_path, turning
from tracking.column import track_column
from tracking.tracks import Tracks


@pytest.fixture(scope="module")
def room():
    return render_path(arc())


@pytest.fixture(scope="module")
def tracked(room):
    return track_column(room.frames)


def relative_depth_error(found, truth):
    """Median |z / truth - 1| after one scale per clip."""
    scale = np.median(truth / found)
    return np.median(np.abs(found * scale / truth - 1))


def test_cameras_are_recovered_without_intrinsics(room, tracked):
    assert tracked.parallax and not tracked.dropped
    truth = room.w2c @ np.linalg.inv(room.w2c[tracked.central])
    turn = truth[:, :3, :3].transpose(0, 2, 1) @ tracked.w2c[:, :3, :3]
    angle = np.degrees(np.arccos(np.clip((np.trace(turn, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    assert angle.max() < 1.5
    a, b = camera_centres(tracked.w2c), camera_centres(truth)
    scale = np.linalg.norm(b) / np.linalg.norm(a)
    path = np.linalg.norm(np.diff(b, axis=0), axis=1).sum()
    assert np.linalg.norm(a * scale - b, axis=1).max() < 0.05 * path
    assert tracked.K[0, 0, 0] == pytest.approx(room.K[0, 0], rel=0.1)


def test_depth_of_every_view(room, tracked):
    assert tracked.depth.shape == room.depth.shape
    assert np.isfinite(tracked.depth).all() and (tracked.depth > 0).all()
    assert relative_depth_error(tracked.depth, room.depth) < 0.04
    assert (tracked.depth_confidence[tracked.central] > 0.3).mean() > 0.6


def test_canonical_frame_is_the_world(tracked):
    np.testing.assert_allclose(tracked.w2c[tracked.central], np.eye(4), atol=1e-9)
    assert np.median(tracked.depth[tracked.central]) == pytest.approx(1.0, rel=1e-5)


def test_contract_of_tracks(tracked):
    tracks = tracked.tracks
    height, width = tracks.size
    own = tracks.uv[tracks.central]
    np.testing.assert_allclose(own, pixel_grid(height, width).reshape(-1, 2), atol=1e-3)
    uv, z = project(tracks.xyz, tracks.K)
    np.testing.assert_allclose(uv, tracks.uv, atol=1e-2)
    assert (z[np.isfinite(z)] > 0).all()
    assert tracks.visible[tracks.central].all()


def test_tracks_follow_the_scene(room, tracked):
    tracks = tracked.tracks
    c = tracks.central
    height, width = tracks.size
    ray = np.concatenate([pixel_grid(height, width), np.ones((height, width, 1))], -1)
    xyz = (ray @ np.linalg.inv(room.K).T) * room.depth[c][..., None]
    for v in (c - 1, c + 1):
        move = room.w2c[v] @ np.linalg.inv(room.w2c[c])
        uv, _ = project(xyz @ move[:3, :3].T + move[:3, 3], room.K)
        error = np.linalg.norm(uv.reshape(-1, 2) - tracks.uv[v], axis=1)
        assert np.median(error[tracks.visible[v]]) < 0.5


def test_save_and_load(tracked, tmp_path):
    path = tmp_path / "tracks.npz"
    tracked.tracks.save(path)
    again = Tracks.load(path)
    np.testing.assert_array_equal(again.uv, tracked.tracks.uv)
    np.testing.assert_array_equal(again.z, tracked.tracks.z)
    assert again.central == tracked.central and again.size == tracked.tracks.size
    with np.load(path, allow_pickle=False) as data:
        assert {"intrinsics", "extrinsics", "coords", "visibs"} <= set(data.files)


def test_load_of_a_file_with_only_the_shared_names(tracked, tmp_path):
    tracks = tracked.tracks
    path = tmp_path / "other.npz"
    np.savez(
        path, video=np.zeros((tracks.frames, *tracks.size, 3), np.uint8), intrinsics=tracks.K,
        extrinsics=tracks.w2c, coords=np.nan_to_num(tracks.xyz_world, nan=1.0),
        visibs=tracks.visible,
    )  # fmt: skip
    again = Tracks.load(path)
    seen = tracks.visible & np.isfinite(tracks.z)
    np.testing.assert_allclose(again.uv[seen], tracks.uv[seen], atol=0.05)


@pytest.mark.slow
def test_same_input_same_output(room, tracked):
    again = track_column(room.frames)
    np.testing.assert_array_equal(again.depth, tracked.depth)
    np.testing.assert_array_equal(again.tracks.uv, tracked.tracks.uv)


@pytest.mark.slow
def test_given_cameras_are_kept(room):
    column = track_column(room.frames, K=room.K, w2c=room.w2c)
    np.testing.assert_allclose(column.w2c, room.w2c)
    assert np.median(np.abs(column.depth / room.depth - 1)) < 0.03


@pytest.mark.parametrize("degrees", [16.0, 40.0])
def test_a_turning_camera_is_noticed(degrees, capsys):
    """After a wide turn only the right focal length leaves no parallax."""
    clip = render_path(turning(7, degrees))
    column = track_column(clip.frames)
    assert not column.parallax
    assert "only turns" in column.notes[0]
    assert "only turns" in capsys.readouterr().err
    assert np.isfinite(column.depth).all()


def test_a_still_camera_is_noticed():
    clip = render_path(arc(1))
    column = track_column(np.repeat(clip.frames, 4, 0))
    assert not column.parallax and "stands still" in column.notes[0]


def test_a_clip_without_texture_does_not_crash():
    frames = np.full((4, 48, 64, 3), 0.6, np.float32)
    frames[:, 20:] = 0.3
    column = track_column(frames)
    assert not column.parallax and column.notes


def test_noise_is_not_a_scene():
    frames = np.random.default_rng(0).random((4, 48, 64, 3)).astype(np.float32)
    with pytest.raises(UserError, match="could not be recovered.*allow-stand-in"):
        track_column(frames)


@pytest.mark.slow
def test_a_moving_box_leaves_the_cameras_right():
    truth = render_path(arc(), shifts=np.linspace(0, 0.35, 6))
    column = track_column(truth.frames, config=ROUGH_DEPTH)
    relative = truth.w2c @ np.linalg.inv(truth.w2c[column.central])
    turn = relative[:, :3, :3].transpose(0, 2, 1) @ column.w2c[:, :3, :3]
    angle = np.degrees(np.arccos(np.clip((np.trace(turn, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    assert angle.max() < 3.0


@pytest.mark.parametrize(
    "frames", [np.zeros((1, 32, 32, 3)), np.zeros((4, 32, 32)), np.zeros((4, 8, 8, 3))]
)
def test_wrong_input_is_a_user_error(frames):
    with pytest.raises(UserError):
        track_column(frames.astype(np.float32))


def test_cameras_need_intrinsics(room):
    with pytest.raises(UserError, match="give K"):
        track_column(room.frames, w2c=room.w2c)
