"""Given cameras that are slightly off are put right; exact ones stay; wrong ones are not bent."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from fourreal.cameras import camera_centres, look_at, project, transform
from tests.tracking.textured_room import ROUGH_DEPTH, arc, render_path
from tracking.cameras.adjust import _moved, _off, _Pair, _slopes, _twists, adjusted_cameras
from tracking.cameras.bundle import Observations
from tracking.cameras.follow import follow
from tracking.cameras.known import working_cameras
from tracking.column import track_column
from tracking.flow.optical import linked_flow


@pytest.fixture(scope="module")
def room():
    return render_path(arc())


@pytest.fixture(scope="module")
def followed(room):
    pairs = linked_flow(room.frames)
    return pairs, follow(pairs), working_cameras(pairs, np.tile(room.K, (len(room.frames), 1, 1)))


def knocked(w2c, degrees, seed=0):
    """Every camera turned by about so much about an axis of its own, its centre kept."""
    rng = np.random.default_rng(seed)
    out = w2c.copy()
    for v in range(len(w2c)):
        axis = rng.normal(size=3)
        turn = cv2.Rodrigues(np.radians(degrees) * axis / np.linalg.norm(axis))[0]
        out[v, :3] = turn @ w2c[v, :3]
    return out


def apart_deg(a, b):
    """Mean angle between the turns from one view to the next of two sets of cameras."""
    angles = []
    for v in range(len(a) - 1):
        first = a[v + 1, :3, :3] @ a[v, :3, :3].T
        second = b[v + 1, :3, :3] @ b[v, :3, :3].T
        angles.append(np.linalg.norm(cv2.Rodrigues(first @ second.T)[0]))
    return np.degrees(np.mean(angles))


def test_exact_cameras_stay_to_the_last_digit(room, followed):
    pairs, obs, K = followed
    assert adjusted_cameras(pairs, obs, K, room.w2c) is None
    column = track_column(room.frames, K=room.K, w2c=room.w2c, config=ROUGH_DEPTH)
    np.testing.assert_array_equal(column.w2c, room.w2c)


@pytest.mark.parametrize("degrees", [0.3, 0.6])
def test_cameras_that_were_knocked_are_put_right(room, followed, degrees):
    pairs, obs, K = followed
    off = knocked(room.w2c, degrees)
    better = adjusted_cameras(pairs, obs, K, off)
    assert better is not None
    assert better.after < 0.5 * better.before
    assert apart_deg(better.w2c, room.w2c) < 0.5 * apart_deg(off, room.w2c)
    # the prior keeps the rig where it was
    moved = np.linalg.norm(camera_centres(better.w2c) - camera_centres(off), axis=1)
    assert moved.max() < 0.05


def test_a_wrong_lens_is_put_right(room, followed):
    pairs, obs, K = followed
    off = K.copy()
    off[2, [0, 1], [0, 1]] *= 1.02
    better = adjusted_cameras(pairs, obs, off, room.w2c)
    assert better is not None
    share = better.K[2, 0, 0] / better.K[[0, 1, 3], 0, 0].mean()
    assert abs(share - 1) < 0.01


def test_cameras_of_other_pictures_are_not_bent_to_these(room, followed):
    pairs, obs, K = followed
    assert adjusted_cameras(pairs, obs, K, room.w2c[::-1].copy()) is None


def test_wrong_matches_that_are_all_off_alike_do_not_turn_exact_cameras():
    """Bricks look alike: the far pair matches the next row, more often than the right one."""
    rng = np.random.default_rng(0)
    angles = np.radians([-20, 0, 20])
    eyes = np.stack([5 * np.sin(angles), 0 * angles, 5 - 5 * np.cos(angles)], 1)
    w2c = np.stack([look_at(eye, (0, 0, 5), (0, -1, 0)) for eye in eyes])
    K = np.tile(np.array([[450.0, 0, 256], [0, 450, 144], [0, 0, 1]]), (3, 1, 1))
    points = rng.uniform((-2, -1, 4), (2, 1, 6), (900, 3))
    uv = [project(transform(m, points), k)[0] + rng.normal(0, 0.2, (900, 2))
          for m, k in zip(w2c, K, strict=True)]  # fmt: skip
    seen = [(0, 1, slice(0, 300), 0.0), (1, 2, slice(300, 450), 0.0), (0, 2, slice(450, 525), 0.0),
            (0, 2, slice(525, 750), 2.5)]  # fmt: skip
    anchor, first, view, second = [], [], [], []
    for a, b, which, off in seen:
        count = len(uv[a][which])
        anchor += [a] * count
        view += [b] * count
        first.append(uv[a][which])
        second.append(uv[b][which] + (0.0, off))
    obs = Observations(
        np.array(anchor), np.concatenate(first), np.arange(len(anchor)), np.array(view),
        np.concatenate(second),
    )  # fmt: skip
    pictures = SimpleNamespace(size=(288, 512), gray_Vhw=np.zeros((3, 288, 512), np.uint8))
    assert adjusted_cameras(pictures, obs, K, w2c) is None


def test_slopes_of_the_distances_are_their_differences():
    rng = np.random.default_rng(1)
    w2c, unit = arc(3), 2.5
    K = np.tile(np.array([[450.0, 0, 250], [0, 430, 140], [0, 0, 1]]), (3, 1, 1))
    step = rng.normal(0, 0.05, (3, 7))
    step[1, :3] = 0  # where the turn has no axis
    pairs = [_Pair(a, b, *rng.uniform(0, 300, (2, 20, 2))) for a, b in ((0, 1), (2, 1), (0, 2))]

    def cameras(step):
        moved = [_moved(K[v], w2c[v], step[v], unit) for v in range(3)]
        return np.stack([k for k, _ in moved]), np.stack([m for _, m in moved])

    found = _slopes(pairs, *cameras(step), np.stack([_twists(s, unit) for s in step]))
    off, slopes = (np.concatenate(z) for z in zip(*found, strict=True))
    np.testing.assert_allclose(off, np.concatenate([_off(p, *cameras(step)) for p in pairs]))
    for n, p in enumerate(pairs):
        for column, place in enumerate([(v, k) for v in (p.a, p.b) for k in range(7)]):
            ends = []
            for change in (1e-5, -1e-5):
                other = step.copy()
                other[place] += change
                ends.append(_off(p, *cameras(other)))
            got = slopes[20 * n : 20 * (n + 1), column]
            np.testing.assert_allclose(got, (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=1e-3)
            assert np.abs(got).max() > 1


@pytest.mark.slow
def test_the_column_says_so_and_depth_is_better(room):
    off = knocked(room.w2c, 0.5)

    def error(**settings):
        column = track_column(
            room.frames, K=room.K, w2c=off, config=replace(ROUGH_DEPTH, **settings)
        )
        return column, np.median(np.abs(column.depth / room.depth - 1))

    column, after = error()
    assert any("slightly off" in note for note in column.notes)
    kept, before = error(adjust_cameras=False)
    np.testing.assert_array_equal(kept.w2c, off)
    assert after < 0.7 * before
