"""Every line that says why a clip has no depth, or no scene: a clip that brings it about.

Those of views that do not belong, low parallax, still cameras and turns: test_fallbacks,
test_column, test_turntable, test_moving.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from fourreal.cameras import intrinsics_from_fov, look_at
from fourreal.errors import UserError
from tests.tracking import textured_room
from tests.tracking.textured_room import (
    QUICK_DEPTH,
    ROUGH_DEPTH,
    arc,
    at_angles,
    render_path,
    texture,
    turning,
)
from tracking.column import track_column
from tracking.config import TrackConfig
from tracking.protocols import Depth

SIZE = (72, 96)
FINE = TrackConfig(depth=QUICK_DEPTH)


def ending(frames: np.ndarray, config=ROUGH_DEPTH, **given: np.ndarray) -> str:
    """The one line that a clip ends with."""
    with pytest.raises(UserError) as ended:
        track_column(frames.astype(np.float32), config=config, **given)
    (line,) = str(ended.value).splitlines()
    assert "--allow-stand-in" in line
    return line


def dots(count: int, views: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Round spots hanging before a grey wall, filmed along an arc."""
    rng = np.random.default_rng(0)
    low, high = np.array([-1.2, -1.2, 0.5]), np.array([1.2, 0.6, 2.4])
    places = rng.uniform(low, high, (count, 3))
    K = intrinsics_from_fov(55.0, 2 * size[0], 2 * size[1])
    frames = []
    for m in arc(views, 20.0):
        picture = np.full((2 * size[0], 2 * size[1], 3), 0.5, np.float32)
        at = (places @ m[:3, :3].T + m[:3, 3]) @ K.T
        for k, (x, y) in enumerate(np.round(8 * at[:, :2] / at[:, 2:]).astype(int)):
            colour = (0.1 + 0.08 * k, 0.9 - 0.08 * k, 0.3)
            cv2.circle(picture, (int(x), int(y)), 24, colour, -1, cv2.LINE_AA, 3)
        frames.append(cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA))
    return np.stack(frames)


def rendered(cameras: np.ndarray, size: tuple[int, int] = SIZE) -> np.ndarray:
    """The room, of walls whose pattern does not repeat."""
    with pytest.MonkeyPatch.context() as patch:
        once = tuple((corner, a, b, (1.0, 1.0)) for corner, a, b, _ in textured_room.SURFACES)
        patch.setattr(textured_room, "SURFACES", once)
        return render_path(cameras, size=size).frames


def apart(views: int, degrees: float) -> np.ndarray:
    """So many views, so far apart."""
    return rendered(at_angles((np.arange(views) - (views - 1) / 2) * degrees), (144, 192))


def unrelated(views: int, size: tuple[int, int]) -> np.ndarray:
    return np.stack([texture(20 + v)[: size[0], : size[1]] for v in range(views)])


def test_a_fade_has_too_few_matches():
    frames = np.stack([np.full((*SIZE, 3), grey) for grey in (0.2, 0.35, 0.5, 0.65)])
    assert "too few matches between the views; wide-baseline" in ending(frames)


def test_pictures_of_different_things_are_not_found_again():
    line = ending(unrelated(4, SIZE))
    assert "% of points are found again in another view; wide-baseline features start no" in line


def test_few_views_among_others_are_too_few():
    """Three views of a room 28 degrees apart and four pictures of other things."""
    room = apart(3, 28.0)
    line = ending(np.concatenate([room, unrelated(4, room.shape[1:3])]))
    assert "% of the matches fit one rigid scene; wide-baseline features place 3 of 7" in line


def test_someone_who_passes_before_a_camera_that_turns_leaves_no_scene():
    frames, someone = rendered(turning(7, 16.0)), texture(7)[40:70, 60:100]
    for v in range(7):
        frames[v, 10:40, 10 + 4 * v : 50 + 4 * v] = someone
    assert "the matches put the scene behind the camera" in ending(frames)


def test_two_clips_side_by_side_are_no_scene():
    """One comes nearer while the other one goes away."""
    path = [look_at(np.array([0, -0.3, -3.0 + 0.12 * k]), (0.0, -0.1, 3.0)) for k in range(6)]
    frames = render_path(np.stack(path)).frames
    half = SIZE[1] // 2
    frames = np.concatenate([frames[:, :, :half], frames[::-1, :, half:]], 2)
    assert "% of wide-baseline features fit one rigid scene" in ending(frames)


@pytest.mark.slow
def test_cameras_that_agree_with_next_to_nothing_are_not_used():
    """Small posters in grain that no two views share: cameras there are, depth there is none."""
    rng = np.random.default_rng(0)
    size, count = (144, 192), 60
    low, high = np.array([-1.6, -1.2, -0.6]), np.array([1.6, 0.9, 1.8])
    places = rng.uniform(low, high, (count, 3))
    posters = [np.clip(texture(100 + k, 64) * 1.6 - 0.3, 0, 1) for k in range(count)]
    K, frames = intrinsics_from_fov(55.0, *size), []
    for m in at_angles(30.0 * np.arange(-2, 3)):
        picture = 0.5 + 0.05 * rng.normal(size=(*size, 3))
        seen = places @ m[:3, :3].T + m[:3, 3]
        at = (seen / seen[:, 2:]) @ K.T
        for k in np.argsort(-seen[:, 2]):
            side = max(6, int(30 / seen[k, 2]))
            x, y = np.round(at[k, :2] - side / 2).astype(int)
            if x >= 0 and y >= 0 and x + side < size[1] and y + side < size[0]:
                poster = cv2.resize(posters[k], (side, side), interpolation=cv2.INTER_AREA)
                picture[y : y + side, x : x + side] = poster
        frames.append(picture.clip(0, 1))
    assert "those of wide-baseline features agree with" in ending(np.stack(frames), FINE)


def test_given_cameras_need_something_to_agree_with():
    room = render_path(arc(2, 20.0))
    line = ending(np.full((2, *SIZE, 3), 0.5), K=room.K, w2c=room.w2c)
    assert "0 matches agree with the given cameras, 0 would by chance" in line


def test_views_that_hardly_overlap_have_no_parallax():
    wall = texture(3, 1024)[100:172]
    column = track_column(np.stack([wall[:, 90 * v : 90 * v + 96] for v in range(6)]))
    assert not column.parallax and "almost no parallax (" in column.notes[0]


def test_far_views_come_from_features_and_a_stranger_is_left_out():
    larger = np.insert(apart(5, 25.0), 2, texture(20)[:144, :192], 0)
    small = np.stack([cv2.resize(f, (48, 36), interpolation=cv2.INTER_AREA) for f in larger])
    column = track_column(small, fine=(255 * larger).astype(np.uint8), config=ROUGH_DEPTH)
    assert column.parallax and column.dropped == [2]
    assert "cannot be linked (" in column.notes[0] and "features" in column.notes[0]
    assert "view 2 could not be placed" in column.notes[1]


def zoomed() -> np.ndarray:
    """One place, ever larger."""
    size = (3 * SIZE[0], 3 * SIZE[1])
    whole = cv2.GaussianBlur(render_path(arc(1), size).frames[0], (0, 0), 1.2)
    frames = []
    for zoom in (1.0, 1.08, 1.16, 1.25, 1.35, 1.45):
        s = zoom / 3
        m = np.array([[s, 0, SIZE[1] / 2 - s * size[1] / 2], [0, s, SIZE[0] / 2 - s * size[0] / 2]])
        frames.append(cv2.warpAffine(whole, m, SIZE[::-1], flags=cv2.INTER_LINEAR))
    return np.stack(frames).clip(0, 1)


def bent(cameras: np.ndarray, bend: float) -> np.ndarray:
    """The room through a lens that moves what is at r of the corner in by about bend r^2."""
    height, width = SIZE
    K = intrinsics_from_fov(55.0, 2 * height, 2 * width)
    x, y = (np.mgrid[:width, :height].T * 2 + 1.0).transpose(2, 0, 1)
    u, v = (x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1]
    scale = 0.95 * (1 + bend * (u * u + v * v))
    at_x = (u * scale * K[0, 0] + K[0, 2] - 0.5).astype(np.float32)
    at_y = (v * scale * K[1, 1] + K[1, 2] - 0.5).astype(np.float32)
    frames = render_path(cameras, (2 * height, 2 * width)).frames
    frames = [cv2.GaussianBlur(frame, (0, 0), 0.8) for frame in frames]
    return np.stack([cv2.remap(f, at_x, at_y, cv2.INTER_LINEAR) for f in frames])


def test_a_zoom_is_no_movement():
    column = track_column(zoomed())
    assert not column.parallax and "only zooms" in column.notes[0]
    assert column.K[-1, 0, 0] / column.K[0, 0, 0] == pytest.approx(1.45, rel=0.02)


@pytest.mark.parametrize("bend", [-0.25, 0.1])
def test_a_turn_is_noticed_through_a_lens_that_bends(bend):
    """Straight lenses would have to move to make such pictures."""
    column = track_column(bent(turning(7, 24.0), bend))
    assert not column.parallax and "only turns" in column.notes[0]


def test_a_lens_that_bends_takes_no_parallax_away():
    assert track_column(bent(arc(6, 24.0), -0.15), config=ROUGH_DEPTH).parallax


def test_spots_before_a_flat_backdrop():
    column = track_column(dots(10, 6), config=ROUGH_DEPTH)
    assert any("backdrop is one flat colour" in note for note in column.notes), column.notes


def test_views_of_unlike_exposure_are_evened():
    room = render_path(arc(5, 20.0))
    gains = np.array([1.0, 0.85, 1.1, 0.9, 1.15])[:, None, None, None]
    column = track_column(
        (0.8 * room.frames * gains).astype(np.float32), K=room.K, config=ROUGH_DEPTH
    )
    assert any("differ in exposure or colour" in note for note in column.notes), column.notes
    assert column.colours is not None


def test_a_large_clip_keeps_fewer_tracks():
    room = render_path(arc(4, 15.0))
    few = replace(ROUGH_DEPTH, max_track_points=4 * 72 * 96 // 3)
    column = track_column(room.frames, config=few)
    assert any("one pixel in 2 x 2" in note for note in column.notes), column.notes
    assert column.tracks.uv.shape[1] == 36 * 48


def test_a_network_takes_the_stand_in_s_place():
    room = render_path(turning(5, 16.0))
    depth = room.depth.astype(np.float32)
    network = Depth(depth, np.ones_like(depth), None, "metric")
    column = track_column(room.frames, network=network)
    assert not column.parallax
    assert any("in place of the stand-in: the network's" in note for note in column.notes)
    assert np.corrcoef(column.depth[2].ravel(), room.depth[2].ravel())[0, 1] > 0.9
