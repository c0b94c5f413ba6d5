"""Brightness of Gaussians that changes over time (moving shadows), and what it costs.

N Gaussians. On a CPU kernels draw and take the gradients back: a third of the time torch takes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourreal.kernel_threads import run_threaded, take
from fourreal.kernels import njit

CHUNK = 4096  # Gaussians taken at once


def shaded(colors: Tensor, shade: Tensor) -> tuple[Tensor, Tensor]:
    """`colors` [N,3] times 1 + `shade` [N], and the mean of |shade|."""
    if colors.is_cuda or colors.dtype != torch.float32:
        return colors * (1 + shade)[:, None], shade.abs().mean()
    return _Shaded.apply(colors, shade)


class _Shaded(torch.autograd.Function):
    @staticmethod
    def forward(ctx, colors, shade):  # type: ignore[override]
        ctx.save_for_backward(colors, shade)
        drawn, sums = torch.empty(colors.shape), np.zeros(-(-len(shade) // CHUNK))
        given = (t.detach().contiguous().numpy() for t in (colors, shade))
        run_threaded(torch.get_num_threads(), _forth, *given, drawn.numpy(), sums)
        return drawn, colors.new_tensor(sums.sum() / max(len(shade), 1))

    @staticmethod
    @once_differentiable
    def backward(ctx, v_drawn, v_size):  # type: ignore[override]
        colors, shade = ctx.saved_tensors
        v_colors, v_shade = torch.empty(colors.shape), torch.empty(shade.shape)
        run_threaded(
            torch.get_num_threads(), _back, *(t.contiguous().numpy() for t in (colors, shade)),
            v_drawn.contiguous().numpy(), np.float32(float(v_size) / max(len(shade), 1)),
            v_colors.numpy(), v_shade.numpy(),
        )  # fmt: skip
        return v_colors, v_shade


@njit(nogil=True, cache=True, error_model="numpy")
def _forth(counter, colors, shade, drawn, sums):
    n = len(shade)
    while True:
        chunk = take(counter)
        start = chunk * CHUNK
        if start >= n:
            break
        total = 0.0
        for i in range(start, min(start + CHUNK, n)):
            gain = np.float32(1) + shade[i]
            total += abs(shade[i])
            for c in range(3):
                drawn[i, c] = colors[i, c] * gain
        sums[chunk] = total


@njit(nogil=True, cache=True, error_model="numpy")
def _back(counter, colors, shade, v_drawn, v_each, v_colors, v_shade):
    n = len(shade)
    while True:
        start = take(counter) * CHUNK
        if start >= n:
            break
        for i in range(start, min(start + CHUNK, n)):
            gain = np.float32(1) + shade[i]
            along = np.float32(0)
            for c in range(3):
                v_colors[i, c] = v_drawn[i, c] * gain
                along += v_drawn[i, c] * colors[i, c]
            v_shade[i] = along + v_each * np.sign(shade[i])
