"""Cameras from the outlines of a subject before a plain backdrop."""

import cv2
import numpy as np
import pytest

from scripts.evaluate.tracking_scores import camera_errors
from tests.tracking.textured_room import at_angles
from tracking.cameras.bundle import Observations
from tracking.cameras.fallbacks import FallbackConfig
from tracking.cameras.find import own_cameras
from tracking.cameras.orbits import orbits
from tracking.cameras.poses import PoseConfig, focal_of_fov, solve_poses
from tracking.cameras.search import Attempt, Search
from tracking.cameras.silhouettes import COHERENT_PX, silhouettes
from tracking.depth.blank import backdrop_share, same_backdrop
from tracking.flow.optical import PairFlows

SIZE, VIEWS, CENTRAL = (144, 192), 7, 3
FOCAL = focal_of_fov(50.0, SIZE)
CENTRE = np.array(SIZE[::-1]) / 2
W2C = at_angles(np.linspace(-24, 24, VIEWS))
BALLS = np.array([  # x, y, z, radius: no plane of symmetry
    [0.0, 0.1, 0.6, 0.42], [0.55, -0.25, 0.8, 0.2], [-0.5, 0.3, 0.25, 0.16],
    [-0.2, -0.5, 0.9, 0.12], [0.35, 0.6, 0.3, 0.14],
])  # fmt: skip


def relative(w2c=W2C):
    """Rotation, translation of cameras as a solution has them: the middle at depth 1."""
    m = w2c @ np.linalg.inv(w2c[CENTRAL])
    depth = (w2c[CENTRAL] @ np.array([0.0, 0.1, 0.6, 1.0]))[2]
    return m[:, :3, :3].copy(), m[:, :3, 3] / depth


def plain():
    """Where the cameras see past the balls."""
    out = np.ones((VIEWS, *SIZE), bool)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    ray = np.stack([(x - CENTRE[0]) / FOCAL, (y - CENTRE[1]) / FOCAL, np.ones_like(x)], -1)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    for v, m in enumerate(W2C):
        for *place, radius in BALLS:
            c = m[:3, :3] @ place + m[:3, 3]
            out[v] &= np.linalg.norm(c - (ray @ c)[..., None] * ray, axis=-1) > radius
    return out


def sliding_points(count=60, slide=0.45):
    """Points of the balls; half do not go as far as they should: they are on outlines."""
    rng = np.random.default_rng(1)
    towards = rng.normal(size=(count, 3)) - np.array([0, 0, 2.0])
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    ball = BALLS[rng.integers(len(BALLS), size=count)]
    world = ball[:, :3] + ball[:, 3:] * towards
    seen = np.einsum("vij,nj->vni", W2C[:, :3, :3], world) + W2C[:, None, :3, 3]
    uv = FOCAL * seen[..., :2] / seen[..., 2:] + CENTRE + 0.3 * rng.normal(size=(VIEWS, count, 2))
    on_outlines = np.arange(count) % 2 > 0
    uv[:, on_outlines] += slide * (uv[CENTRAL] - uv)[:, on_outlines]
    track, view = np.divmod(np.arange(count * VIEWS), VIEWS)
    use = view != CENTRAL
    return Observations(
        np.full(count, CENTRAL), uv[CENTRAL], track[use], view[use], uv[view[use], track[use]]
    )


def test_true_cameras_fit_and_others_do_not():
    shapes = silhouettes(plain())
    assert shapes is not None
    rotation, translation = relative()
    assert shapes.off_px(rotation, translation, FOCAL, CENTRE) < COHERENT_PX
    for v, turn in ((0, [0, 0.03, 0]), (5, [0.03, 0, 0]), (6, [0, 0, 0.06])):
        turned = rotation.copy()
        turned[v] = cv2.Rodrigues(np.array(turn, float))[0] @ turned[v]
        assert shapes.off_px(turned, translation, FOCAL, CENTRE) > COHERENT_PX
    wider = relative(at_angles(np.linspace(-40, 40, VIEWS)))
    assert shapes.off_px(*wider, FOCAL, CENTRE) > COHERENT_PX


def test_slopes_are_those_of_the_cost():
    shapes = silhouettes(plain())
    assert shapes is not None
    rotation, translation = relative()
    rng = np.random.default_rng(0)
    for v in range(VIEWS):
        rotation[v] = cv2.Rodrigues(0.05 * rng.normal(size=3))[0] @ rotation[v]
    size = 6 * VIEWS + 1
    h, g = np.zeros((size, size)), np.zeros(size)
    shapes.cost(rotation, translation, FOCAL, CENTRE, 4.0, (h, g))
    assert np.allclose(h, h.T) and np.linalg.eigvalsh(h).min() > -1e-6 * np.abs(h).max()

    def at(k: int, step: float) -> float:
        r, t, f = rotation.copy(), translation.copy(), FOCAL
        if k == size - 1:
            f *= np.exp(step)
        else:
            v, c = divmod(k, 6)
            if c < 3:
                turn = cv2.Rodrigues(np.eye(3)[c] * step)[0]
                r[v], t[v] = turn @ r[v], turn @ t[v]
            else:
                t[v, c - 3] += step
        return shapes.cost(r, t, f, CENTRE, 4.0)

    for k in (1, 8, 15, 22, 33, 40, size - 1):
        slope = (at(k, 2e-3) - at(k, -2e-3)) / 4e-3
        assert g[k] == pytest.approx(slope, rel=0.15, abs=0.03 * np.abs(g).max())


def test_silhouettes_find_cameras_that_points_miss():
    obs = sliding_points()
    pairs = PairFlows(SIZE, (1.0, 1.0), np.zeros((VIEWS, *SIZE), np.uint8))
    shapes = silhouettes(plain())
    assert shapes is not None
    alone = camera_errors(solve_poses(pairs, obs, CENTRAL).w2c, W2C)
    found = camera_errors(solve_poses(pairs, obs, CENTRAL, silhouettes=[shapes]).w2c, W2C)
    assert found["rotation_deg"] < 1.0 < 1.6 < alone["rotation_deg"]


def test_arcs_start_near_the_true_one():
    shapes = silhouettes(plain())
    assert shapes is not None
    first = next(orbits(sliding_points(), shapes, VIEWS, CENTRAL, (FOCAL,), CENTRE, 4.0))
    assert camera_errors(first.w2c, W2C)["rotation_deg"] < 8


def test_what_moves_while_the_camera_does_is_told():
    obs = sliding_points(slide=0.0)
    still, moved = plain(), plain()
    for v in range(VIEWS):
        moved[v] = np.roll(moved[v], 2 * v, axis=0)  # it rises
    for shown, told in ((still, []), (moved, ["no frozen moment"])):
        pairs = PairFlows(SIZE, (1.0, 1.0), np.zeros((VIEWS, *SIZE), np.uint8), plain=shown)
        notes: list[str] = []
        limits = FallbackConfig()
        search = Search(pairs, SIZE, CENTRAL, None, PoseConfig(), limits, notes.append)
        found = solve_poses(pairs, obs, CENTRAL)
        own_cameras(search, Attempt(obs, found))
        assert len(notes) == len(told) and all(t in n for t, n in zip(told, notes, strict=True))


def test_none_where_little_or_all_is_plain():
    assert silhouettes(None) is None
    assert silhouettes(np.ones((3, *SIZE), bool)) is None
    assert silhouettes(np.zeros((3, *SIZE), bool)) is None


def test_mixed_pixels_are_shared():
    frame = np.full((20, 20, 3), 0.9, np.float32)
    frame[:, 10:] = 0.1
    frame[:, 9] = 0.75 * 0.9 + 0.25 * 0.1
    share = backdrop_share(frame, np.arange(20)[None] + np.zeros((20, 1)) < 9)
    assert share[10, 8] == 1 and share[10, 10] < 1e-3
    assert share[10, 9] == pytest.approx(0.75, abs=0.02)


def test_one_exposure_shows_a_backdrop_in_one_colour():
    frames = np.full((3, 20, 30, 3), 0.8, np.float32)
    frames[:, 5:15, 10:20] = np.linspace(0.2, 0.5, 3)[:, None, None, None]  # shading that turns
    blank = frames[..., 0] > 0.7
    assert same_backdrop(frames, blank)
    frames[2] *= 0.95
    assert not same_backdrop(frames, blank) and not same_backdrop(frames, None)
