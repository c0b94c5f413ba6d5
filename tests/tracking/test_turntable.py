"""A scene that turns before a still camera and a busy wall: its cameras, and the wall left out."""

import numpy as np
import pytest

from fourreal.errors import UserError
from scripts.evaluate.tracking_scores import camera_errors
from tests.tracking.textured_room import ROUGH_DEPTH, at_angles, render_path, texture
from tracking.column import track_column
from tracking.depth.backdrop import still_parts
from tracking.depth.blank import blank_backdrop

TURNS = np.linspace(-20, 20, 6)
SIZE = (72, 96)


def clip(backdrop: np.ndarray):
    """The room's middle turns before backdrop [H, W, 3]: (room, frames, what is seen of it)."""
    room = render_path(at_angles(TURNS), SIZE)
    eye = -np.einsum("vji,vj->vi", room.w2c[:, :3, :3], room.w2c[:, :3, 3])
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    rays = np.stack([x, y, np.ones(SIZE)], -1) @ np.linalg.inv(room.K).T
    world = np.einsum("vji,hwj->vhwi", room.w2c[:, :3, :3], rays) * room.depth[..., None]
    world += eye[:, None, None]
    seen = np.hypot(world[..., 0], world[..., 2] - 0.5) < 1.1
    return room, np.where(seen[..., None], room.frames, backdrop).astype(np.float32), seen


@pytest.fixture(scope="module")
def turned():
    room, frames, seen = clip(texture(31)[: SIZE[0], : SIZE[1]])
    return room, frames, seen, track_column(frames)


def test_the_cameras_are_those_of_what_turns(turned):
    room, _, _, column = turned
    assert column.parallax and not column.dropped
    assert any("stand still in the pictures" in note for note in column.notes), column.notes
    errors = camera_errors(column.w2c, room.w2c)
    assert errors["rotation_max_deg"] < 1.5 and errors["centre_percent"] < 3.0, errors


def test_what_stands_still_is_left_out_and_what_turns_is_not(turned):
    _, _, seen, column = turned
    assert column.backdrop is not None and column.moving is None
    assert column.backdrop[~seen].mean() > 0.5
    assert column.backdrop[seen].mean() < 0.1
    assert np.array_equal(column.past, column.backdrop)
    assert (column.depth_confidence[column.backdrop] == 0).all()


def test_a_clip_of_which_hardly_anything_is_left_is_refused(monkeypatch):
    """A still camera before which something small moves, taken for a turntable's."""

    def nearly_all(alike, confidence):
        out = np.ones(confidence.shape, bool)
        out[:, :14, :14] = False
        return out

    monkeypatch.setattr("tracking.column_depth.still_around", nearly_all)
    monkeypatch.setattr("tracking.column_depth.still_backdrop", lambda *a: None)
    _, frames, _ = clip(texture(31)[: SIZE[0], : SIZE[1]])
    with pytest.raises(UserError, match=r"only 3 % of the pictures move .*does the camera move"):
        track_column(frames, config=ROUGH_DEPTH)


def test_a_scene_that_is_filmed_around_has_no_still_parts():
    room = render_path(at_angles(TURNS), SIZE)
    assert still_parts(room.frames).mean() < 0.3
    column = track_column(room.frames, config=ROUGH_DEPTH)
    assert not any("stand still in the pictures" in note for note in column.notes)


@pytest.mark.parametrize("shade", [0.0, 0.25])
def test_a_backdrop_in_uneven_light_is_found_as_a_flat_one_is(shade):
    """Under it a table of another tone; every picture in an exposure of its own."""
    height, width = SIZE
    light = 0.75 - shade * np.linspace(0, 1, height)[:, None, None] * [1.0, 0.95, 0.9]
    wall = np.broadcast_to(light, (height, width, 3)).copy()
    wall[-12:] *= 0.6
    _, frames, seen = clip(wall)
    gains = 1.0 + 0.015 * np.array([0, 1, -1, 1, 0, -1.0])
    mask = blank_backdrop((frames * gains[:, None, None, None] if shade else frames).astype("f4"))
    assert mask is not None
    above = np.zeros(SIZE, bool)
    above[:-12] = True
    assert mask[:, above][~seen[:, above]].mean() > 0.9
    assert mask[seen].mean() < 0.02 and mask[:, -10:].mean() < 0.02


def test_a_plain_room_is_no_backdrop():
    """Its wall and floor are of one colour each, and both are part of the scene."""
    room = render_path(at_angles(TURNS), SIZE, plain=True)
    assert blank_backdrop(room.frames) is None
