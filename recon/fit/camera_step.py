"""A camera corrected by a small turn and shift, differentiable in both."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def corrected(w2c: Tensor, step: Tensor, unit: float) -> Tensor:
    """`w2c` [4,4] moved, in its own axes, by `step` [6]: rotation vector, then shift / `unit`."""
    return _Corrected.apply(w2c, step, unit)


class _Corrected(torch.autograd.Function):
    """By numpy: torch's matrix exponential of so small a matrix takes half a millisecond."""

    @staticmethod
    def forward(ctx, w2c, step, unit):  # type: ignore[override]
        numbers = step.detach().cpu().double().numpy()
        turn, slopes = cv2.Rodrigues(numbers[:3])  # [3, 3]; of its nine entries [3, 9]
        move = np.eye(4)
        move[:3, :3], move[:3, 3] = turn, numbers[3:] * unit
        start = w2c.detach().cpu().double().numpy()
        ctx.kept, ctx.unit = (start, slopes), unit
        return torch.from_numpy(move @ start).to(w2c)

    @staticmethod
    @once_differentiable
    def backward(ctx, v_w2c):  # type: ignore[override]
        start, slopes = ctx.kept
        v_move = v_w2c.cpu().double().numpy() @ start.T
        v_turn = slopes @ v_move[:3, :3].reshape(-1)
        v_step = np.concatenate([v_turn, v_move[:3, 3] * ctx.unit])
        return None, torch.from_numpy(v_step).to(v_w2c), None
