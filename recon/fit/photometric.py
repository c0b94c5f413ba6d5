"""The image loss of every fit: L1 + weight * D-SSIM."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourreal.image_metrics import ssim_map
from fourreal.kernel_threads import run_threaded
from recon.fit import photometric_kernels as kernels


class _PhotometricLoss(torch.autograd.Function):
    """Value and gradient in one go: the loss is a scalar, so backward only scales."""

    @staticmethod
    def forward(ctx, pred, target, ssim_weight, threads):  # type: ignore[override]
        given = (v.detach().contiguous().numpy() for v in (pred, target))
        value, grad = loss_and_slopes(*given, ssim_weight, threads)
        ctx.save_for_backward(torch.from_numpy(grad))
        return pred.new_tensor(value)

    @staticmethod
    @once_differentiable
    def backward(ctx, v_loss):  # type: ignore[override]
        (grad,) = ctx.saved_tensors
        return grad * v_loss, None, None, None


def loss_and_slopes(
    pred: NDArray[np.float32],
    target: NDArray[np.float32],
    ssim_weight: float,
    threads: int,
    count: int | None = None,
) -> tuple[float, NDArray[np.float32]]:
    """`photometric_loss` of pictures [H,W,3] and its slopes [H,W,3].

    count: of numbers that means are taken over, for a part of a picture; by default its own.
    """
    height = len(pred)
    count = pred.size if count is None else count
    x, y = pred.reshape(height, -1), target.reshape(height, -1)
    weights = kernels.vertical_weights(height)
    planes = np.empty((5, *x.shape), np.float32)
    slopes = np.empty((3, *x.shape), np.float32)
    ssim_sums, l1_sums = np.empty((2, height))
    grad = np.empty(pred.shape, np.float32)
    scales = np.float32(1 / count), np.float32(-0.5 * ssim_weight / count)
    run_threaded(threads, kernels.blur_along_rows, x, y, planes)
    run_threaded(threads, kernels.ssim_rows, planes, weights, ssim_sums, slopes)
    run_threaded(
        threads,
        kernels.gradient_rows,
        *(x, y, slopes, weights, *scales, l1_sums),
        grad.reshape(height, -1),
    )
    d_ssim = 0.5 * (pred.size - ssim_sums.sum()) / count
    return l1_sums.sum() / count + ssim_weight * d_ssim, grad


def loss_threads(numbers: int) -> int:
    """Threads for a picture of so many numbers: waking a second one costs, too."""
    return torch.get_num_threads() if numbers > 50_000 else 1


def photometric_loss(pred: Tensor, target: Tensor, ssim_weight: float = 0.2) -> Tensor:
    """Mean |pred - target| + ssim_weight * (1 - mean SSIM) / 2, a scalar.

    `pred` and `target` [H,W,3] in 0..1, both sides at least 6 pixels; only `pred` gets a
    gradient. SSIM: Wang et al. 2004 with an 11 x 11 Gaussian window of sigma 1.5 px, per channel,
    mirrored borders. CPU float32 runs our kernels (about as long as drawing the image),
    anything else `fourreal.image_metrics.ssim_map`, with the same value. Raises ValueError for
    wrong shapes.
    """
    if pred.ndim != 3 or pred.shape[2] != 3 or pred.shape != target.shape:
        raise ValueError(
            f"pred and target must both be [H,W,3], got {list(pred.shape)} and {list(target.shape)}"
        )
    if min(pred.shape[:2]) < 6:
        raise ValueError(f"SSIM needs images of at least 6x6 pixels, got {list(pred.shape[:2])}")
    if target.requires_grad:
        raise ValueError("target must not require a gradient; detach it")
    if pred.device.type == "cpu" and pred.dtype == target.dtype == torch.float32:
        return _PhotometricLoss.apply(pred, target, ssim_weight, loss_threads(pred.numel()))
    return (pred - target).abs().mean() + ssim_weight * 0.5 * (1 - ssim_map(pred, target).mean())
