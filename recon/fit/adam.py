"""Adam by torch's fused kernel, without the optimiser classes around it.

On a CPU their bookkeeping takes a millisecond of every step of a fit, and the first one made loads
torch's compiler for a second and a half. The kernel is not public; where a torch lacks it, the
same steps are taken by ``torch.optim.Adam``, which is slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Adam:
    """Adam (Kingma and Ba 2015), step for step as ``torch.optim.Adam(fused=True)``.

    Args:
        groups: of parameters ("params") that share a learning rate ("lr", may be changed between
            steps).

    A parameter without a gradient keeps its value and its state. ``state[parameter]`` holds
    "step", "exp_avg" and "exp_avg_sq".
    """

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-15,
    ) -> None:
        self.param_groups = list(groups)
        self.betas, self.eps = betas, eps
        self.state: dict[Tensor, dict[str, Tensor]] = {}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """One step on every parameter that has a gradient."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            states = [self._state(p) for p in params]
            for state in states:
                state["step"] += 1
            _take(params, states, group["lr"], self.betas, self.eps)

    def _state(self, parameter: Tensor) -> dict[str, Tensor]:
        if parameter not in self.state:
            self.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        return self.state[parameter]


def _take(
    params: list[Tensor],
    states: list[dict[str, Tensor]],
    lr: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """One step in place; the states count it already."""
    fused = getattr(torch, "_fused_adam_", None)
    if fused is None:
        _take_by_optim(params, states, lr, betas, eps)
        return
    averages, squares, steps = (
        [s[name] for s in states] for name in ("exp_avg", "exp_avg_sq", "step")
    )
    grads = [p.grad for p in params]
    rates = {"lr": lr, "beta1": betas[0], "beta2": betas[1], "eps": eps, "weight_decay": 0.0}
    fused(params, grads, averages, squares, [], steps, amsgrad=False, maximize=False, **rates)


def _take_by_optim(
    params: list[Tensor],
    states: list[dict[str, Tensor]],
    lr: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """The same step by torch's public optimiser, which counts the steps itself."""
    optimiser = torch.optim.Adam(params, lr=lr, betas=betas, eps=eps)
    for parameter, state in zip(params, states, strict=True):
        optimiser.state[parameter] = {**state, "step": state["step"] - 1}
    optimiser.step()
