"""Clips that are not what a tracker hopes for: each is noticed, said, and the rest still works."""

import cv2
import numpy as np
import pytest

from fourreal.cameras import pixel_grid, relative_pose
from fourreal.errors import UserError
from scripts.evaluate.tracking_scores import camera_errors
from tests.tracking.textured_room import ROUGH_DEPTH, arc, at_angles, render_path, texture
from tracking.cameras.fallbacks import FallbackConfig, left_out_lines
from tracking.column import track_column
from tracking.config import TrackConfig
from tracking.depth.consistency import reproject
from tracking.flow.optical import sample


def depth_error(column, truth):
    """Median |z / truth - 1| of each view after one scale for the clip."""
    scale = np.median(truth / column.depth)
    return np.median(np.abs(column.depth * scale / truth - 1), axis=(1, 2))


@pytest.mark.slow
def test_a_view_that_does_not_belong_is_left_out_and_the_chain_goes_on_behind_it():
    room = render_path(arc(7, 30.0))
    frames = room.frames.copy()
    frames[4] = texture(9)[:72, :96]
    column = track_column(frames)
    assert column.parallax and column.dropped == [4]
    assert any("view 4 shows something else" in note for note in column.notes)
    errors = camera_errors(column.w2c, room.w2c)  # the fourth camera is interpolated well too
    assert errors["rotation_max_deg"] < 1.5 and errors["centre_percent"] < 2.0, errors
    assert (depth_error(column, room.depth) < 0.05).all()
    assert not column.tracks.visible[4].any() and (column.depth_confidence[4] < 0.3).all()
    assert column.tracks.visible[5].mean() > 0.5


def test_a_foreign_central_view_is_not_the_canonical_one():
    room = render_path(arc(5, 20.0))
    frames = room.frames.copy()
    frames[2] = texture(9)[:72, :96]
    column = track_column(frames, config=ROUGH_DEPTH)
    assert column.central in (1, 3) and column.dropped == [2]
    assert camera_errors(column.w2c, room.w2c)["centre_percent"] < 3.0


def test_low_parallax_is_said_and_flattens_the_depth():
    room = render_path(arc(5, 1.5))
    column = track_column(room.frames)
    assert column.parallax and any("low parallax" in note for note in column.notes)
    spread = [np.ptp(np.percentile(np.log(d[2]), [5, 95])) for d in (column.depth, room.depth)]
    assert 0.1 * spread[1] < spread[0] < 0.97 * spread[1]


def test_two_views_are_enough():
    room = render_path(arc(2, 8.0))
    column = track_column(room.frames)
    assert column.parallax and not column.dropped
    assert camera_errors(column.w2c, room.w2c)["rotation_max_deg"] < 1.0
    assert (depth_error(column, room.depth) < 0.06).all()
    assert (column.depth_confidence > 0.3).mean() > 0.5


def test_views_that_share_nothing_are_refused_in_one_line(capsys):
    """As with four cameras all around a stage: too far apart for dense matching."""
    frames = np.stack([texture(20 + v)[:72, :96] for v in range(4)])
    with pytest.raises(UserError) as ended:
        track_column(frames)
    (line,) = str(ended.value).splitlines()
    assert "cameras could not be recovered (" in line and "wide-baseline" in line
    assert "15 degrees" in line and not capsys.readouterr().err
    allowed = TrackConfig(fallbacks=FallbackConfig(allow_stand_in=True, wide=False))
    column = track_column(frames, config=allowed)
    assert not column.parallax and len(column.notes) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "do not expect parallax" in said[0]


def test_given_cameras_of_another_scene_end_with_the_figures():
    frames = np.stack([texture(20 + v)[:72, :96] for v in range(3)])
    room = render_path(at_angles(np.array([-20.0, 0.0, 20.0])))
    with pytest.raises(UserError, match="agree with the given cameras.*--pick-views"):
        track_column(frames, K=room.K, w2c=room.w2c)


@pytest.mark.slow
def test_a_jump_of_the_camera_does_not_tear_the_clip():
    """One step is four times the others: sparse matches lead the flow across it."""
    room = render_path(at_angles(np.array([-14.0, -11.0, -8.0, 4.0, 7.0, 10.0])))
    column = track_column(room.frames, config=ROUGH_DEPTH)
    assert column.parallax and not column.dropped
    assert camera_errors(column.w2c, room.w2c)["rotation_max_deg"] < 1.5


@pytest.mark.slow
def test_views_behind_a_cut_are_left_out_by_name():
    """The clip goes on in another place: those views fit each other, but not the rest."""
    room = render_path(arc(8, 35.0))
    frames = room.frames.copy()
    other = texture(9, 256)
    for v in (6, 7):
        frames[v] = other[4 * v : 4 * v + 72, 3 * v : 3 * v + 96]
    column = track_column(frames, config=ROUGH_DEPTH)
    assert column.parallax and column.dropped == [6, 7]
    assert any("views 6 to 7 " in note and "left out" in note for note in column.notes)
    assert camera_errors(column.w2c[:6], room.w2c[:6])["rotation_max_deg"] < 1.0
    assert not column.tracks.visible[6:].any()


@pytest.mark.slow
def test_surfaces_without_texture_are_filled_and_said():
    room = render_path(arc(5, 24.0), plain=True)
    noise = np.random.default_rng(0).normal(size=room.frames.shape).astype(np.float32)
    given = {"K": room.K, "config": ROUGH_DEPTH}
    column = track_column(room.frames + 0.004 * noise, w2c=room.w2c, **given)
    assert any("little texture" in note for note in column.notes), column.notes
    assert np.isfinite(column.depth).all() and (column.depth > 0).all()
    textured = render_path(arc(4, 20.0))
    column = track_column(textured.frames, w2c=textured.w2c, **given)
    assert not any("little texture" in note for note in column.notes)


def test_what_moves_is_marked_and_said_and_leaves_the_cameras_alone():
    """A picture flies to and fro before the wall: no depth explains that."""
    room = render_path(arc())
    frames = room.frames.copy()
    patch = texture(7)[40:62, 60:90]
    for v in range(6):
        x = 8 + 5 * v + 3 * (v % 2)
        frames[v, 6:28, x : x + 30] = patch
    column = track_column(frames, config=ROUGH_DEPTH)
    assert any("move against the rigid scene" in note for note in column.notes), column.notes
    marked = column.tracks.nonrigid.reshape(72, 96)
    x = 8 + 5 * column.central + 3 * (column.central % 2)
    inside = np.zeros_like(marked)
    inside[8:26, x + 2 : x + 28] = True
    assert marked[inside].mean() > 0.4 and marked[~inside].mean() < 0.03
    assert camera_errors(column.w2c, room.w2c)["rotation_max_deg"] < 0.5


@pytest.mark.slow
def test_sixty_four_views():
    """So many small pictures do not tell the focal length; with it every view finds its place."""
    room = render_path(arc(64, 60.0), size=(54, 72))
    column = track_column(room.frames, K=room.K, config=ROUGH_DEPTH)
    assert column.parallax and not column.dropped
    assert camera_errors(column.w2c, room.w2c)["centre_percent"] < 3.0
    assert np.median(depth_error(column, room.depth)) < 0.06


def psnr(a, b):
    """PSNR in dB of pictures in 0..1."""
    return -10.0 * np.log10(np.mean((a - b) ** 2))


@pytest.mark.slow
def test_flow_anchored_points_follow_inconsistent_views_where_rigid_warping_cannot():
    """Every view but the canonical one is bent smoothly: what a generated clip does."""
    room = render_path(arc(5, 16.0))
    rng = np.random.default_rng(3)
    grid = pixel_grid(72, 96).astype(np.float32)
    frames = room.frames.copy()
    for v in (0, 1, 3, 4):
        bend = cv2.GaussianBlur(rng.normal(size=(72, 96, 2)).astype(np.float32), (0, 0), 9.0)
        frames[v] = sample(frames[v], grid + 0.8 * bend / bend.std())
    column = track_column(frames)
    tracks, c = column.tracks, column.central
    gains = []
    for v in (0, 1, 3, 4):
        move = relative_pose(column.w2c[c], column.w2c[v])
        rigid, _ = reproject(1.0 / column.depth[c], column.K[c], column.K[v], move)
        seen = tracks.visible[v].reshape(72, 96)
        assert seen.mean() > 0.4
        anchored = tracks.uv[v].reshape(72, 96, 2)
        found = [psnr(sample(frames[v], uv)[seen], frames[c][seen]) for uv in (anchored, rigid)]
        gains.append(found[0] - found[1])
    assert min(gains) > 1.0 and np.mean(gains) > 2.0, gains


def test_views_without_a_place_are_said_by_runs():
    assert left_out_lines([2, 5, 6, 7, 10, 11], 12, foreign=[6]) == [
        "view 2 could not be placed: it is left out, its camera is interpolated from its "
        "neighbours",
        "view 5 could not be placed: it is left out, its camera is interpolated from its "
        "neighbours",
        "view 6 shows something else: it is left out, its camera is interpolated from its "
        "neighbours",
        "view 7 could not be placed: it is left out, its camera is interpolated from its "
        "neighbours",
        "views 10 to 11 could not be placed: they are left out, their cameras are that of the "
        "nearest view",
    ]
    assert left_out_lines([], 4) == []
    assert left_out_lines([1, 2], 4, [1, 2]) == [
        "views 1 to 2 show something else: they are left out, their cameras are interpolated from "
        "their neighbours"
    ]
