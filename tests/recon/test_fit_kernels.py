"""The kernels of a fit's step against the same in plain torch."""

import pytest
import torch

from fourreal.kernel_threads import run_threaded
from recon.fit.adam import Adam
from recon.fit.camera_step import corrected
from recon.fit.shading import shaded
from recon.motion.nodes import node_graph
from recon.motion.rigidity import LocalTurns, nearest_rotation
from recon.motion.rigidity_kernels import nearest_rotations

NODES = 2500  # enough for two threads


def graph(dtype: torch.dtype) -> tuple[LocalTurns, torch.Tensor, torch.Generator]:
    g = torch.Generator().manual_seed(0)
    nodes = torch.randn(NODES, 3, generator=g).to(dtype)
    edges = torch.as_tensor(node_graph(nodes.numpy()))
    return LocalTurns(nodes, edges), edges, g


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_turns_of_surroundings_equal_those_by_torch(dtype):
    turns, _, g = graph(dtype)
    offsets = 0.02 * torch.randn(NODES, 3, generator=g).to(dtype)
    slow = turns._by_torch(offsets)
    assert turns(offsets).dtype == dtype
    assert (turns(offsets) - slow).abs().max() < 1e-3 * slow.abs().max()


def test_kernel_and_torch_find_the_same_rotation():
    g = torch.Generator().manual_seed(1)
    R = torch.linalg.qr(torch.randn(50, 3, 3, generator=g)).Q
    R = torch.matrix_exp(0.4 * (R - R.transpose(1, 2)))
    A = R @ torch.diag(torch.tensor([3.0, 2.0, 0.5]))
    A[0] = 0
    found = torch.empty(50, 9)
    run_threaded(1, nearest_rotations, A.reshape(50, 9).numpy(), found.numpy())
    found = found.reshape(50, 3, 3) + torch.eye(3)
    assert (found - nearest_rotation(A)).abs().max() < 1e-4
    assert (found[1:] - R[1:]).abs().max() < 1e-3


def test_penalty_and_its_gradient_equal_those_by_torch():
    turns, edges, g = graph(torch.float32)
    offsets = 0.1 * torch.randn(NODES, 3, generator=g)
    offsets[::7] = 0
    apart = turns(offsets)
    fast, slow = offsets.clone().requires_grad_(), offsets.clone().requires_grad_()
    value = turns.penalty(fast, apart, 0.5, 2.0)
    (3 * value).backward()
    difference = slow[edges[:, 0]] - slow[edges[:, 1]] - apart
    expected = 0.5 * slow.abs().mean() + 2.0 * difference.abs().mean()
    (3 * expected).backward()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(fast.grad, slow.grad, atol=1e-9, rtol=1e-4)


def test_a_node_without_neighbours_costs_its_offset_alone():
    turns = LocalTurns(torch.zeros(1, 3), torch.zeros(0, 2, dtype=torch.long))
    offset = torch.tensor([[1.0, -2.0, 0.0]], requires_grad=True)
    value = turns.penalty(offset, turns(offset), 0.5, 2.0)
    value.backward()
    assert value.item() == pytest.approx(0.5)
    assert offset.grad.tolist() == [pytest.approx([1 / 6, -1 / 6, 0])]


def test_shaded_colours_and_their_gradient_equal_those_by_torch():
    g = torch.Generator().manual_seed(2)
    colors, shade = torch.rand(9000, 3, generator=g), torch.randn(9000, generator=g)
    v_drawn = torch.randn(9000, 3, generator=g)
    found = [t.clone().requires_grad_() for t in (colors, shade)]
    expected = [t.clone().requires_grad_() for t in (colors, shade)]
    drawn, size = shaded(*found)
    ((drawn * v_drawn).sum() + 4 * size).backward()
    plain = expected[0] * (1 + expected[1])[:, None]
    ((plain * v_drawn).sum() + 4 * expected[1].abs().mean()).backward()
    torch.testing.assert_close(drawn, plain)
    torch.testing.assert_close(size, expected[1].abs().mean())
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("step", [[0.0] * 6, [0.1, -0.2, 0.05, 0.3, -0.1, 0.2]])
def test_a_corrected_camera_and_its_gradient_equal_those_by_torch(step):
    w2c = torch.eye(4)
    w2c[:3, :3] = torch.matrix_exp(torch.tensor([[0, -0.5, 0.2], [0.5, 0, -0.3], [-0.2, 0.3, 0]]))
    w2c[:3, 3] = torch.tensor([0.3, -0.2, 1.0])
    weight = torch.randn(4, 4, generator=torch.Generator().manual_seed(4))
    fast, slow = (torch.tensor(step, requires_grad=True) for _ in range(2))
    found = corrected(w2c, fast, 2.5)
    (found * weight).sum().backward()
    x, y, z = slow[:3]
    zero = torch.zeros(())
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    move = torch.cat([torch.matrix_exp(skew), 2.5 * slow[3:, None]], 1)
    expected = torch.cat([move, torch.eye(4)[3:]]) @ w2c
    (expected * weight).sum().backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(fast.grad, slow.grad)


@pytest.mark.parametrize("kernel", ["fused", "absent"])
def test_adam_takes_the_steps_of_torch(kernel, monkeypatch):
    if kernel == "absent":
        monkeypatch.delattr(torch, "_fused_adam_")
    g = torch.Generator().manual_seed(3)
    start = [torch.randn(40, 3, generator=g), torch.randn(7, generator=g)]
    ours = [t.clone().requires_grad_() for t in start]
    theirs = [t.clone().requires_grad_() for t in start]
    one = Adam([{"params": [ours[0]], "lr": 0.1}, {"params": [ours[1]], "lr": 0.01}])
    two = torch.optim.Adam(
        [{"params": [theirs[0]], "lr": 0.1}, {"params": [theirs[1]], "lr": 0.01}], eps=1e-15
    )
    for step in range(12):
        one.param_groups[0]["lr"] = two.param_groups[0]["lr"] = 0.1 / (step + 1)
        for values, optimiser in ((ours, one), (theirs, two)):
            optimiser.zero_grad()
            loss = values[0].square().sum()
            if step % 3:  # the second has no gradient in every third step
                loss = loss + values[1].sin().sum()
            loss.backward()
            optimiser.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
        assert not torch.equal(a, start[0] if a.ndim == 2 else start[1])
