"""The plane in which something walks, and what it tells a single view."""

import numpy as np
import pytest

from fourreal.cameras import project, transform
from recon.motion.frames import FrameConfig, RigidFrames
from recon.motion.node_solver import Sighting
from recon.motion.single_view import SingleView
from recon.motion.upright import plane_of_motion, upward

STEP = 0.3  # of a walk, from time to time
K = np.array([[180.0, 0, 64], [0, 180, 36], [0, 0, 1]])


def arc(first: float, last: float, up: float = 12.0) -> np.ndarray:
    """Cameras [5, 4, 4] that look at the origin from 4 m, so many degrees above; y is down."""
    out = []
    for degrees in np.linspace(first, last, 5):
        a, b = np.radians([degrees, up])
        centre = 4 * np.array([np.cos(b) * np.sin(a), -np.sin(b), -np.cos(b) * np.cos(a)])
        ahead = -centre / 4
        right = np.cross([0, 1, 0], ahead)
        right /= np.linalg.norm(right)
        w2c = np.eye(4)
        w2c[:3, :3] = np.stack([right, np.cross(ahead, right), ahead])
        w2c[:3, 3] = -w2c[:3, :3] @ centre
        out.append(w2c)
    return np.array(out)


def walker(phase: float) -> np.ndarray:
    """A body along x that bounds, on four legs that swing in planes z = constant, [M, 3]."""
    grid = np.meshgrid(np.linspace(-0.6, 0.6, 19), np.linspace(-0.2, 0.05, 5), [-0.15, 0, 0.15])
    parts = [np.stack(grid, -1).reshape(-1, 3)]
    thick = 0.05 * np.stack(np.meshgrid([-1, 0, 1], [0], [-1, 0, 1]), -1).reshape(-1, 3)
    for k, (x, z) in enumerate([(-0.5, -0.12), (-0.5, 0.12), (0.5, -0.12), (0.5, 0.12)]):
        angle = 0.6 * np.sin(phase + k * np.pi / 2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        leg = (np.linspace(0.05, 0.7, 24)[:, None, None] * (0, 1, 0) + thick).reshape(-1, 3)
        leg[:, :2] = leg[:, :2] @ turn.T
        parts.append(leg + (x, 0, z))
    return np.concatenate(parts) + (0.1 * np.sin(phase), -0.2 * np.sin(phase), 0)


def swimmer(phase: float) -> np.ndarray:
    """A body that bends from side to side in the plane y = constant, [M, 3]."""
    along = np.linspace(0, 1.4, 60)
    heading = 0.9 * along * np.sin(phase - 3 * along)
    step = 1.4 / 59 * np.stack([np.cos(heading), 0 * along, np.sin(heading)], 1)
    aside = np.stack([-np.sin(heading), 0 * along, np.cos(heading)], 1)
    spine = np.cumsum(step, 0) - (0.7, 0, 0)
    return np.concatenate(
        [
            spine + w * aside + (0, y, 0)
            for w in (-0.06, 0, 0.06)
            for y in (-0.15, -0.05, 0.05, 0.15)
        ]
    )


def sighted(at, w2c: np.ndarray, times: int = 6) -> tuple[np.ndarray, dict[int, Sighting]]:
    """Nodes at rest and where one view sees them at the other times, a little off."""
    noise = np.random.default_rng(0)
    moved = [at(STEP * t) for t in range(times)]
    seen = {}
    for t in range(1, times):
        uv, _ = project(transform(w2c, moved[t]), K)
        uv = uv + 0.15 * noise.normal(size=uv.shape)
        seen[t] = Sighting(uv, np.ones(len(uv)), K, w2c)
    return moved[0], seen


@pytest.mark.parametrize("first", [25.0, 50.0])
def test_the_plane_of_a_walk_is_found(first):
    cameras = arc(first, first - 60)
    nodes, seen = sighted(walker, cameras[0])
    normal = plane_of_motion(nodes, seen, 0, cameras)
    assert normal is not None
    assert np.degrees(np.arccos(abs(normal @ (0, 0, 1)))) < 3


def test_of_a_level_motion_nothing_is_said():
    cameras = arc(40, -20)
    nodes, seen = sighted(swimmer, cameras[0])
    assert plane_of_motion(nodes, seen, 0, cameras) is None


def test_what_nothing_was_seen_of_has_no_plane():
    assert plane_of_motion(walker(0), {}, 0, arc(40, -20)) is None


@pytest.mark.parametrize("degrees", [70, 8])
def test_upright_is_across_the_pictures_horizontals(degrees):
    axis = upward(arc(0, degrees))
    assert abs(axis[1]) > np.cos(np.radians(3 if degrees > 50 else 13))


def test_the_plane_tells_one_view_how_far_legs_are():
    cameras = arc(45, -15)
    nodes, seen = sighted(walker, cameras[0])
    alone = SingleView(nodes, np.arange(len(nodes)), 0, FrameConfig())
    centre = -cameras[0, :3, :3].T @ cameras[0, :3, 3]
    ray = (nodes - centre) / np.linalg.norm(nodes - centre, axis=1, keepdims=True)

    def error(offsets: dict[int, np.ndarray]) -> list[float]:
        off = [offsets[t] - (walker(STEP * t) - nodes) for t in offsets]
        return [float(np.abs((o * ray).sum(-1)).mean()) for o in off]

    before = {}
    for t, s in seen.items():
        alone.carried(t - 1, s)
        before[t] = alone.lifted(t, s)
    after = dict(alone.in_upright_plane(cameras))
    assert list(after) == list(seen)
    assert error(after)[0] < 0.8 * error(before)[0]
    assert all(now < then for now, then in zip(error(after), error(before), strict=True))


def test_what_swings_farther_than_frames_do_is_put_onto_its_plane():
    """Small groups of nodes go their own way in the plane, which frames, stiff as they are, leave
    aside."""
    cameras = arc(45, -15)
    nodes, seen = sighted(walker, cameras[0])
    t, way = 2, np.zeros((len(nodes), 3))
    for k, ways in zip((0, 40, 90), ((0.2, 0.2), (-0.2, 0.2), (0.2, -0.2)), strict=True):
        way[np.linalg.norm(nodes - nodes[k], axis=1).argsort()[:24], :2] = ways
    apart = np.flatnonzero(way.any(1))
    moved = walker(STEP * t) + way
    seen[t].uv_M2[:] = project(transform(cameras[0], moved), K)[0]
    alone = SingleView(nodes, np.arange(len(nodes)), 0, FrameConfig())
    for time, s in seen.items():
        alone.carried(time - 1, s)
        alone.lifted(time, s)
    found = nodes + dict(alone.in_upright_plane(cameras))[t]
    shown = apart[seen[t].weight_M[apart] > 0]
    assert len(shown) > 5
    off = np.linalg.norm(found - moved, axis=1)[shown]
    assert np.median(off) < 0.15 * np.linalg.norm(way[shown], axis=1).mean()


def test_frames_that_nothing_is_seen_of_stay():
    nodes = walker(0)
    frames = RigidFrames(nodes, FrameConfig(count=24))
    uv = np.zeros((len(nodes), 2))
    frames.solve([Sighting(uv, np.zeros(len(nodes)), K, arc(0, 60)[0])])
    assert np.abs(frames.carried() - nodes).max() < 1e-6
