import numpy as np
import pytest

from fourreal.cameras import project, transform
from recon.motion.frames import FrameConfig, RigidFrames
from recon.motion.node_solver import Sighting, solve_step
from recon.motion.nodes import node_graph
from recon.motion.single_view import SingleView

K = np.array([[130.0, 0, 64], [0, 130, 36], [0, 0, 1]])
W2C = np.eye(4)


def bar() -> np.ndarray:
    """A box of nodes, [M, 3], three metres in front of the camera."""
    axes = np.linspace(-0.6, 0.6, 13), np.linspace(-0.15, 0.15, 4), np.linspace(-0.15, 0.15, 4)
    return np.stack(np.meshgrid(*axes), -1).reshape(-1, 3) + (0, 0, 3.0)


def seen_by_one(moved, weight=None, noise=0.0):
    uv, _ = project(transform(W2C, moved), K)
    uv = uv + noise * np.random.default_rng(0).normal(size=uv.shape)
    return [Sighting(uv, np.ones(len(moved)) if weight is None else weight, K, W2C)]


def turned(nodes, angle):
    c, s = np.cos(angle), np.sin(angle)
    centre = np.array([0, 0, 3.0])
    return (nodes - centre) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T + centre


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize(
    "motion", [lambda x: x + (0.1, 0, -0.4), lambda x: turned(x, 0.5)], ids=["nearer", "turn"]
)
def test_one_view_tells_how_far_a_part_has_come(motion, noise):
    nodes = bar()
    moved = motion(nodes)
    frames = RigidFrames(nodes, FrameConfig(count=24))
    frames.solve(seen_by_one(moved, noise=noise))
    along = np.abs(frames.carried() - moved)[:, 2].mean() / np.abs(moved - nodes)[:, 2].mean()
    assert along < (0.15 if noise == 0 else 0.3)
    alone = solve_step(nodes, node_graph(nodes), seen_by_one(moved))  # knows of no parts
    assert (
        np.abs(alone - (moved - nodes))[:, 2].mean() > 2 * np.abs(frames.carried() - moved).mean()
    )


def test_what_the_view_does_not_see_turns_along():
    nodes = bar()
    moved = turned(nodes, 0.4)
    front = (nodes[:, 2] < 3.0).astype(float)
    frames = RigidFrames(nodes, FrameConfig(count=24))
    frames.solve(seen_by_one(moved, front))
    hidden = front == 0
    error = np.linalg.norm(frames.carried() - moved, axis=1)[hidden].mean()
    assert error < 0.2 * np.linalg.norm(moved - nodes, axis=1)[hidden].mean()


def test_frames_at_rest_stay():
    nodes = bar()
    frames = RigidFrames(nodes, FrameConfig(count=24))
    frames.solve(seen_by_one(nodes))
    assert np.abs(frames.carried() - nodes).max() < 1e-6


def test_wild_sightings_are_outvoted():
    nodes = bar()
    moved = nodes + (0.1, 0, 0)
    seen = seen_by_one(moved)
    seen[0].uv_M2[::9] += 40.0
    frames = RigidFrames(nodes, FrameConfig(count=24))
    frames.solve(seen)
    assert np.abs(frames.carried() - moved).max() < 0.03


def test_growth_is_believed_the_less_the_worse_sightings_fit():
    nodes = bar()
    grown, _ = project(transform(W2C, nodes + (0, 0, -0.15)), K)

    def nearer(noise, distance):
        frames = RigidFrames(nodes, FrameConfig(count=24, distance=distance))
        uv = grown + noise * np.random.default_rng(1).normal(size=grown.shape)
        frames.solve([Sighting(uv, np.ones(len(nodes)), K, W2C)])
        return (nodes - frames.carried())[:, 2].mean() / 0.15

    default = FrameConfig().distance
    assert nearer(0.1, default) == pytest.approx(1, abs=0.1)
    assert abs(nearer(1.5, default)) < 0.85 * abs(nearer(1.5, 0.0))


def test_frames_are_as_stiff_in_larger_pictures_of_the_same():
    nodes = bar()
    moved = turned(nodes, 0.4) + (0.1, 0, -0.2)
    found = []
    for times in (4, 8):  # links are longer than 15 pixels in both
        uv, larger = seen_by_one(moved, noise=0.3)[0].uv_M2 * times, K.copy()
        larger[:2] *= times
        alone = SingleView(nodes, np.arange(len(nodes)), 0, FrameConfig(count=24))
        found.append(alone.carried(0, Sighting(uv, np.ones(len(nodes)), larger, W2C)))
    assert np.abs(found[0]).max() > 0.1
    np.testing.assert_allclose(found[0], found[1], atol=1e-9)


def test_a_node_torn_from_those_around_it_stays_with_them():
    """What the nodes around leave the frames by as well, a node may: it is bent, not torn."""
    nodes = bar()
    sighting = seen_by_one(nodes + (0.1, 0, 0))[0]
    torn, end = 7, nodes[:, 0] > 0.45
    uv = sighting.uv_M2.copy()
    uv[torn] += (0.0, 12.0)
    uv[end] += (0.0, 4.0)
    alone = SingleView(nodes, np.arange(len(nodes)), 0, FrameConfig(count=24))
    there = nodes + alone.lifted(1, Sighting(uv, np.ones(len(nodes)), K, W2C))
    found, _ = project(transform(W2C, there), K)
    off = np.linalg.norm(found - uv, axis=-1)
    assert off[torn] > 9 and off[end].max() < 1e-6
