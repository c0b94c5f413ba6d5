"""The aperture problem: what a picture tells of a place, and that the rest follows its part."""

from dataclasses import replace

import numpy as np
import pytest

from fourreal.cameras import project
from recon.motion.aperture import told_by
from recon.motion.frames import FrameConfig, RigidFrames
from recon.motion.node_solver import Sighting
from recon.motion.single_view import SingleView


def test_edges_tell_across_corners_both_ways_plain_skin_hardly_anything():
    image = np.zeros((40, 60, 3), np.float32)
    image[:20, 30:] = 0.5  # its left edge is upright, its lower one level
    right, down = np.array([1.0, 0]), np.array([0, 1.0])
    at = np.array([(30.0, 8.0), (45.0, 20.0), (30.0, 20.0), (10.0, 8.0), (200.0, -9.0)])
    told = told_by(image, at)
    np.testing.assert_allclose(told, told.swapaxes(1, 2))
    across = np.linalg.norm(told @ right, axis=1)
    along = np.linalg.norm(told @ down, axis=1)
    assert across[0] > 0.95 and along[0] < 0.3
    assert along[1] > 0.95 and across[1] < 0.3
    assert min(across[2], along[2]) > 0.9
    assert max(across[3], along[3]) < 0.3 and max(across[4], along[4]) < 0.3  # outside: the rim
    assert np.linalg.eigvalsh(told).min() > 0.1  # never nothing at all


@pytest.fixture
def plate():
    """A plate of nodes [M, 3] that goes 8 pixels to the right, of which only the rim shows it: the
    plain middle is sighted where it was. True places and the sighting."""
    grid = np.meshgrid(np.linspace(-0.5, 0.5, 15), np.linspace(-0.3, 0.3, 9), [4.0])
    nodes = np.stack(grid, -1).reshape(-1, 3)
    K = np.array([[200.0, 0, 64], [0, 200, 36], [0, 0, 1]])
    there = nodes + (8 * 4 / 200, 0, 0)
    rim = np.abs(nodes[:, 0]) > 0.45
    uv = project(np.where(rim[:, None], there, nodes), K)[0]
    told = np.where(rim[:, None, None], np.eye(2), 0.03 * np.eye(2))
    return nodes, there, Sighting(uv, np.ones(len(nodes)), K, np.eye(4), told)


def test_a_plain_middle_goes_with_the_rim(plate):
    nodes, there, seen = plate
    off = {}
    for name, sighting in {"told": seen, "as they are": replace(seen, told_M22=None)}.items():
        frames = RigidFrames(nodes, FrameConfig(count=20))
        frames.solve([sighting])
        off[name] = np.linalg.norm(frames.carried() - there, axis=1).mean() / (4 / 200)
    assert off["told"] < 1 and off["as they are"] > 4  # pixels
    alone = SingleView(nodes, np.arange(len(nodes)), 0, FrameConfig(count=20))
    alone.carried(0, seen)
    lifted = nodes + alone.lifted(1, seen)
    assert np.linalg.norm(lifted - there, axis=1).mean() / (4 / 200) < 1
