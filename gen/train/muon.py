"""Muon for matrices: momentum, orthogonalised by Newton-Schulz, in float32 and batched by shape.

torch.optim.Muon works in bfloat16, which a CPU without bf16 units runs slower than float32; this
one stacks equal shapes into one batched product.  The update is scaled by 0.2 sqrt(max(rows,
columns)), so that learning rates of AdamW carry over (the rule of Moonlight, arXiv 2502.16982).
Sharded parameters are gathered for the product, one shape at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gen.dist import full, like


def orthogonalise(g: Tensor, steps: int = 5) -> Tensor:
    """Approximate U V^T of each matrix of a stack [..., R, C] (quintic Newton-Schulz)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.mT if g.shape[-2] > g.shape[-1] else g
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if g.shape[-2] > g.shape[-1] else x


def orthogonalise_shared(stack: Tensor) -> Tensor:
    """`orthogonalise`, each process of a group taking its share of the stack [n, R, C]."""
    if not dist.is_initialized():
        return orthogonalise(stack)
    mine = slice(dist.get_rank(), None, dist.get_world_size())
    result = torch.zeros_like(stack)
    if len(stack[mine]):
        result[mine] = orthogonalise(stack[mine])
    dist.all_reduce(result)
    return result


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum for 2-D parameters; ValueError for any other shape."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95):
        super().__init__(list(params), {"lr": lr, "momentum": momentum})
        for group in self.param_groups:
            for p in group["params"]:
                if p.dim() != 2:
                    raise ValueError(f"Muon takes matrices, got a parameter of shape {p.shape}")

    @torch.no_grad()
    def step(self, closure=None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    by_shape[p.shape].append(p)
            for shape, params in by_shape.items():
                updates = []
                for p in params:
                    assert p.grad is not None
                    buf = self.state[p].setdefault("momentum", torch.zeros_like(p))
                    buf.lerp_(p.grad, 1 - group["momentum"])
                    updates.append(full(p.grad.lerp(buf, group["momentum"])))
                scale = 0.2 * max(shape) ** 0.5
                for p, u in zip(params, orthogonalise_shared(torch.stack(updates)), strict=True):
                    p.add_(like(u, p), alpha=-group["lr"] * scale)
