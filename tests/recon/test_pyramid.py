"""Coarse nodes over nodes: their steps add up, and their gradients are right."""

from __future__ import annotations

import numpy as np
import torch

from recon.motion.pyramid import Pyramid


def nodes(count: int = 300) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (count, 3))


def test_levels_move_what_is_free_and_start_at_nothing():
    free = torch.ones(300, dtype=torch.bool)
    free[:50] = False
    pyramid = Pyramid(nodes(), free, (10, 60, 900))
    assert len(pyramid.levels) == 2  # 900 are more than there are
    fine = torch.randn(300, 3)
    parts = pyramid.start(fine)
    assert torch.equal(pyramid.total(parts), fine)
    parts[1] += torch.tensor([1.0, 2.0, 3.0])
    moved = pyramid.total(parts) - fine
    assert not moved[:50].any()
    torch.testing.assert_close(moved[50:], torch.tensor([[1.0, 2.0, 3.0]]).expand(250, 3))


def test_gradients_are_those_of_the_total():
    pyramid = Pyramid(nodes(), torch.ones(300, dtype=torch.bool), (10, 60))
    parts = [torch.randn_like(p).requires_grad_() for p in pyramid.start(torch.zeros(300, 3))]
    weight = torch.randn(300, 3)
    total = parts[0] + sum(s(p) for s, p in zip(pyramid.levels, parts[1:], strict=True))
    (total * weight).sum().backward()
    for part, grad in zip(parts, pyramid.gradients(weight), strict=True):
        torch.testing.assert_close(part.grad, grad)


def test_few_nodes_have_no_levels():
    pyramid = Pyramid(nodes(20), torch.ones(20, dtype=torch.bool))
    assert pyramid.levels == [] and len(pyramid.start(torch.zeros(20, 3))) == 1
