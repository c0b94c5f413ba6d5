import numpy as np
import pytest
import torch

from recon.motion.nodes import choose_nodes, interpolation, node_graph
from recon.motion.offsets import FreeOffsets, MlpOffsets
from recon.motion.spread import Spreader

POINTS = np.random.default_rng(0).normal(size=(400, 3))


def fields(bound=0.3):
    times = torch.linspace(0, 1, 4)
    nodes = torch.as_tensor(POINTS[:20], dtype=torch.float32)
    mlp = MlpOffsets(nodes, times, 1, bound, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mlp.layers[-1].weight.normal_(std=3)
    free = FreeOffsets(20, 4, 1, bound)
    for t in range(4):
        free.set_time(t, torch.randn(20, 3) * 5)
    return [free, mlp]


@pytest.mark.parametrize("field", fields(), ids=["free", "mlp"])
def test_zero_at_canonical_time_and_bounded(field):
    assert torch.count_nonzero(field(1)) == 0
    for t in (0, 2, 3):
        assert 0 < field(t).abs().max() <= 0.3


@pytest.mark.parametrize("field", fields(), ids=["free", "mlp"])
def test_gradients_reach_the_parameters(field):
    index, weights = interpolation(POINTS, POINTS[:20])
    spread = Spreader(torch.from_numpy(index), torch.from_numpy(weights), 20)
    spread(field(2)).square().sum().backward()
    grads = [p.grad for p in field.parameters() if p.grad is not None]
    assert grads and all(torch.isfinite(g).all() for g in grads)
    assert max(float(g.abs().max()) for g in grads) > 0


def test_untrained_network_moves_nothing():
    nodes = torch.as_tensor(POINTS[:20], dtype=torch.float32)
    assert torch.count_nonzero(MlpOffsets(nodes, torch.linspace(0, 1, 3), 0, 1.0)(2)) == 0


def test_held_nodes_never_move():
    free = FreeOffsets(3, 2, 0, 1.0, torch.tensor([True, False, True]))
    free.set_time(1, torch.full((3, 3), 0.5))
    moved = free(1)
    assert moved[1].abs().max() == 0 and torch.allclose(moved[0], torch.full((3,), 0.5))


def test_spreader_is_interpolation_and_its_gradient():
    index, weights = interpolation(POINTS, POINTS[:20])
    i, w = torch.from_numpy(index), torch.from_numpy(weights)
    a = torch.randn(20, 3, requires_grad=True)
    b = a.detach().clone().requires_grad_(True)
    out_a, out_b = Spreader(i, w, 20)(a), (b[i] * w[..., None]).sum(1)
    assert torch.allclose(out_a, out_b, atol=1e-6)
    out_a.square().sum().backward()
    out_b.square().sum().backward()
    assert torch.allclose(a.grad, b.grad, atol=1e-4)


def test_points_move_with_a_rigid_shift_and_still_points_do_not():
    still = np.arange(400) < 100
    index, weights = interpolation(POINTS, POINTS[90:130], 4, still, still[90:130])
    assert np.allclose(weights[100:].sum(1), 1) and weights[:100].max() == 0
    assert (index[100:] >= 10).all()


def test_nodes_are_spread_and_denser_where_things_move():
    weight = (POINTS[:, 0] > 0).astype(np.float32)
    chosen = choose_nodes(POINTS, weight, 100)
    assert 40 <= len(chosen) <= 100 and len(set(chosen.tolist())) == len(chosen)
    assert weight[chosen].mean() > 0.7
    edges = node_graph(POINTS[chosen])
    assert (edges[:, 0] < edges[:, 1]).all() and edges.max() < len(chosen)
