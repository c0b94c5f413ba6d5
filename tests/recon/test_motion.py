import numpy as np

from gen.cameras import project, transform
from recon.deformation import node_graph
from recon.node_solver import Sighting, solve_step
from recon.stillness import grow_still, stillness
from tests.recon.scenes import moving_square

FRAMES, DEPTH, K, W2C = moving_square()
KNOWN = np.ones((3, 3), bool)


def square_and_wall():
    x, y = np.meshgrid(np.linspace(-0.25, 0.25, 8), np.linspace(-0.25, 0.25, 8))
    square = np.stack([x.ravel(), y.ravel(), np.full(64, 2.0)], 1)
    x, y = np.meshgrid(np.linspace(-1.2, 1.2, 16), np.linspace(-0.7, 0.7, 10))
    wall = np.stack([x.ravel(), y.ravel(), np.full(160, 3.0)], 1)
    return square, wall


def sightings(points, moved, views, weight):
    out = []
    for v in views:
        uv, _ = project(transform(W2C[v], moved), K[v])
        out.append(Sighting(uv, weight.astype(float), K[v], W2C[v]))
    return out


def test_nodes_go_where_views_sight_them_and_unseen_ones_follow():
    square, _ = square_and_wall()
    shift = np.array([0.1, -0.05, 0.15])
    weight = np.ones(64)
    weight[::5] = 0
    seen = sightings(square, square + shift, (0, 1, 2), weight)
    found = solve_step(square, node_graph(square), seen, rounds=8)
    assert np.abs(found - shift).max() < 0.03


def test_one_wrong_view_is_outvoted():
    square, _ = square_and_wall()
    seen = sightings(square, square + (0.1, 0, 0), (0, 1, 2, 0, 2), np.ones(64))
    seen[1].uv_M2 += 30.0
    found = solve_step(square, node_graph(square), seen, rounds=10)
    assert np.abs(found[:, 0] - 0.1).max() < 0.03


def test_held_nodes_stay():
    square, _ = square_and_wall()
    free = np.arange(64) >= 8
    seen = sightings(square, square + (0.1, 0, 0), (0, 1, 2), np.ones(64))
    found = solve_step(square, node_graph(square), seen, free=free)
    assert np.abs(found[:8]).max() == 0 and found[20:, 0].min() > 0.05


def test_walls_are_still_and_sliding_things_are_not():
    square, wall = square_and_wall()
    points = np.concatenate([square, wall])
    seen = (points, FRAMES, KNOWN, DEPTH[:, 0], K, W2C)
    still = grow_still(stillness(*seen), *seen)
    assert still[:64].mean() < 0.1
    far = np.abs(wall[:, 0]) > 0.75  # away from where the square passes
    assert still[64:][far].mean() > 0.8
