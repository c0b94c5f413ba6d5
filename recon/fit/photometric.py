"""The image loss of every fit: L1 + weight * D-SSIM."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourreal.image_metrics import ssim_map
from fourreal.kernel_threads import run_threaded
from recon.fit import photometric_kernels as kernels


class _PhotometricLoss(torch.autograd.Function):
    """Value and gradient in one go: the loss is a scalar, so backward only scales."""

    @staticmethod
    def forward(ctx, pred, target, ssim_weight, threads):  # type: ignore[override]
        height, width, _ = pred.shape
        x, y = (v.detach().contiguous().numpy().reshape(height, -1) for v in (pred, target))
        weights = kernels.vertical_weights(height)
        planes = np.empty((5, *x.shape), np.float32)
        slopes = np.empty((3, *x.shape), np.float32)
        ssim_sums, l1_sums = np.empty((2, height))
        grad = torch.empty(pred.shape)
        l1_scale = np.float32(1 / x.size)
        ssim_scale = np.float32(-0.5 * ssim_weight / x.size)
        run_threaded(threads, kernels.blur_along_rows, x, y, planes)
        run_threaded(threads, kernels.ssim_rows, planes, weights, ssim_sums, slopes)
        run_threaded(
            threads,
            kernels.gradient_rows,
            *(x, y, slopes, weights, l1_scale, ssim_scale, l1_sums),
            grad.numpy().reshape(height, -1),
        )
        ctx.save_for_backward(grad)
        d_ssim = 0.5 - 0.5 * ssim_sums.sum() / x.size
        return pred.new_tensor(l1_sums.sum() / x.size + ssim_weight * d_ssim)

    @staticmethod
    @once_differentiable
    def backward(ctx, v_loss):  # type: ignore[override]
        (grad,) = ctx.saved_tensors
        return grad * v_loss, None, None, None


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
        threads = torch.get_num_threads() if pred.numel() > 50_000 else 1
        return _PhotometricLoss.apply(pred, target, ssim_weight, threads)
    return (pred - target).abs().mean() + ssim_weight * 0.5 * (1 - ssim_map(pred, target).mean())
