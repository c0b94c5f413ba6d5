import numpy as np
import pytest
import torch

from fourreal.cameras import project, transform
from recon.motion.node_solver import Sighting, solve_step
from recon.motion.nodes import node_graph
from recon.motion.rigidity import LocalTurns, nearest_rotation
from recon.motion.stillness import Sights, _shortest_border, still_points
from tests.recon.scenes import moving_square

FRAMES, DEPTH, K, W2C = moving_square()
KNOWN = np.ones((3, 3), bool)
CROSS = KNOWN.copy()
CROSS[1:, 1:] = False


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


@pytest.mark.parametrize("known", [KNOWN, CROSS], ids=["grid", "cross"])
def test_walls_are_still_and_sliding_things_are_not(known):
    square, wall = square_and_wall()
    points = np.concatenate([square, wall])
    colors = np.concatenate([np.full((64, 3), 0.2), np.full((160, 3), 0.8)])
    still = still_points(Sights(points, colors, FRAMES, known, DEPTH[:, 0], K, W2C))
    assert still[:64].mean() < 0.1
    far = np.abs(wall[:, 0]) > 0.75  # away from where the square passes
    assert still[64:][far].mean() > 0.8


def test_a_leg_on_the_ground_moves_with_its_body():
    # a body of 30 x 8 points on a leg of 10 x 2 at its right end, on a ground of 40 x 10
    pixel = 2.0 / K[0, 0, 0]

    def block(x, y, z):
        grid = np.meshgrid(np.arange(*x), np.arange(*y), np.arange(*z), indexing="ij")
        return np.stack([g.ravel() for g in grid], 1) * pixel + (0, 0, 2.0)

    body, leg = block((0, 30), (0, 8), (0, 1)), block((27, 29), (8, 18), (0, 1))
    ground = block((-5, 35), (18, 19), (-5, 5))
    points = np.concatenate([body, leg, ground])
    sights = Sights(points, np.full((len(points), 3), 0.5), FRAMES, CROSS, DEPTH[:, 0], K, W2C)
    moving = np.arange(len(points)) < 5 * 8  # the body's left end
    still = np.r_[np.zeros(len(body) + len(leg), bool), ground[:, 0] / pixel < 20]
    nothing = np.zeros(len(points), bool)
    label = _shortest_border(sights, still, moving, nothing, nothing)
    assert not label[: len(body)].any() and label[len(body) + len(leg) :].mean() > 0.95
    assert label[len(body) :][: len(leg)].mean() < 0.3


@pytest.mark.parametrize("height", [72, 288])
def test_a_shadow_on_the_ground_does_not_walk_at_any_size(height):
    # a body on a ground that changes around its foot; one point a pixel, f = 1.5 heights
    cell = 2.0 / 1.5 / height

    def block(x, y, z):
        counts = [max(round(height * n), 1) for n in (x[1] - x[0], y[1] - y[0], z[1] - z[0])]
        grid = np.meshgrid(*(np.arange(n) for n in counts), indexing="ij")
        first = np.array([x[0], y[0], z[0]]) * height
        return (np.stack([g.ravel() for g in grid], 1) + first) * cell + (0, 0, 2.0)

    body, ground = (
        block((0, 0.12), (0, 0.25), (0, 0)),
        block((-0.3, 0.4), (0.25, 0.25), (-0.2, 0.2)),
    )
    points = np.concatenate([body, ground])
    K_1 = np.array([[[1.5 * height, 0, height], [0, 1.5 * height, height / 2], [0, 0, 1]]])
    depth, known = np.full((1, height, 2 * height), 2.0), np.ones((1, 1), bool)
    frames = np.zeros((1, 1, height, 2 * height, 3), np.float32)
    sights = Sights(points, np.full((len(points), 3), 0.5), frames, known, depth, K_1, W2C[:1])
    moving = np.arange(len(points)) < len(body) // 2
    x, z = points[:, 0] / cell / height, (points[:, 2] - 2.0) / cell / height
    is_ground = np.arange(len(points)) >= len(body)
    changes = is_ground & (x > -0.25) & (x < 0.3) & (np.abs(z) < 0.18)
    still = is_ground & ~changes
    label = _shortest_border(sights, still, moving, changes, np.zeros(len(points), bool))
    assert label[: len(body)].mean() < 0.05
    assert label[changes].mean() > 0.9


def random_rotation(seed: int) -> torch.Tensor:
    q = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed))).Q
    return q * torch.linalg.det(q)


def test_nearest_rotation_is_that_of_the_singular_vectors():
    g = torch.Generator().manual_seed(0)
    stretch = torch.diag(torch.tensor([3.0, 2.0, 0.5]))
    turned = torch.stack([random_rotation(k) for k in range(20)])
    small = torch.matrix_exp(0.3 * (turned - turned.transpose(1, 2)))
    A = small @ stretch + 0.1 * torch.randn(20, 3, 3, generator=g)
    u, _, vt = torch.linalg.svd(A)
    u[:, :, 2] *= torch.linalg.det(u @ vt)[:, None]
    assert (nearest_rotation(A, 40) - u @ vt).abs().max() < 1e-3


def test_what_turns_as_a_whole_does_not_bend():
    square, _ = square_and_wall()
    nodes = torch.as_tensor(square)
    edges = torch.as_tensor(node_graph(square))
    R = torch.matrix_exp(torch.tensor([[0, -0.5, 0.2], [0.5, 0, -0.3], [-0.2, 0.3, 0]]).double())
    offsets = nodes @ R.T + 0.3 - nodes
    turns = LocalTurns(nodes, edges)
    apart = offsets[edges[:, 0]] - offsets[edges[:, 1]]
    assert (turns(offsets) - apart).abs().max() < 1e-2 * apart.abs().max()
    bent = offsets + 0.1 * (nodes[:, :1] > 0)
    assert (turns(bent) - (bent[edges[:, 0]] - bent[edges[:, 1]])).abs().max() > 0.05


def test_a_turn_seen_by_half_the_nodes_carries_the_others_along():
    square, _ = square_and_wall()
    edges = node_graph(square)
    turns = LocalTurns(torch.as_tensor(square), torch.as_tensor(edges))
    angle = 0.3
    R = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    centre = np.array([0, 0, 2.0])
    moved = (square - centre) @ R.T + centre
    weight = (square[:, 0] < 0.1).astype(float)
    seen = sightings(square, moved, (0, 1, 2), weight)

    def turned(u):
        return turns(torch.as_tensor(u)).numpy()

    alike = solve_step(square, edges, seen, rounds=8)
    rigid = solve_step(square, edges, seen, rounds=8, turned=turned)
    unseen = weight == 0
    error = [np.abs(square + u - moved)[unseen].max() for u in (alike, rigid)]
    assert error[1] < 0.5 * error[0]
