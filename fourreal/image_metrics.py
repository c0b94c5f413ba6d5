"""PSNR and SSIM of images [..., H, W, 3], RGB in 0..1, whole or over a mask of pixels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from fourreal.psnr import decibel

_C1, _C2 = 0.01**2, 0.03**2


def psnr(image: ArrayLike, target: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Peak signal-to-noise ratio in dB, over the pixels of ``mask`` [..., H, W] when given.

    Returns NaN for an empty mask and PSNR_CAP (60) for equal images.
    """
    a, b = np.asarray(image, np.float64), np.asarray(target, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"psnr: image {a.shape} and target {b.shape} differ in shape")
    error = ((a - b) ** 2).mean(-1)
    if mask is not None:
        error = error[np.asarray(mask, bool)]
    if error.size == 0:
        return float("nan")
    return float(decibel(error.mean()))


def _gaussian_window(sigma: float = 1.5, radius: int = 5) -> Tensor:
    x = torch.arange(-radius, radius + 1, dtype=torch.float32)
    g = torch.exp(-0.5 * (x / sigma) ** 2)
    return g / g.sum()


def ssim_map(image: Tensor, target: Tensor) -> Tensor:
    """Structural similarity [H, W] of two images [H, W, 3] (Wang et al. 2004).

    Gaussian window of 11 pixels, sigma 1.5; the border is reflected, channels are averaged.
    """
    if image.shape != target.shape or image.ndim != 3:
        raise ValueError(f"ssim: expected two [H, W, 3], got {image.shape} and {target.shape}")
    g = _gaussian_window().to(image)
    radius = len(g) // 2
    a, b = image.permute(2, 0, 1), target.permute(2, 0, 1)
    stack = torch.cat([a, b, a * a, b * b, a * b])[:, None]
    mode = "reflect" if min(image.shape[:2]) > radius else "replicate"
    stack = torch.nn.functional.pad(stack, (radius,) * 4, mode=mode)
    stack = torch.nn.functional.conv2d(stack, g.view(1, 1, 1, -1))
    stack = torch.nn.functional.conv2d(stack, g.view(1, 1, -1, 1))[:, 0]
    ma, mb, aa, bb, ab = stack.split(3)
    va, vb, cov = aa - ma * ma, bb - mb * mb, ab - ma * mb
    value = (2 * ma * mb + _C1) * (2 * cov + _C2) / ((ma**2 + mb**2 + _C1) * (va + vb + _C2))
    return value.mean(0)


def ssim(image: ArrayLike, target: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Mean structural similarity of two [H, W, 3] images, over ``mask`` [H, W] when given."""
    a = torch.as_tensor(np.asarray(image, np.float32))
    b = torch.as_tensor(np.asarray(target, np.float32))
    value = ssim_map(a, b).numpy()
    if mask is not None:
        value = value[np.asarray(mask, bool)]
    return float(value.mean()) if value.size else float("nan")
