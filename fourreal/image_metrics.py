"""The repository's one PSNR and one SSIM: of images [..., H, W, 3], RGB in 0..1, whole or over a
mask of pixels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

PSNR_CAP = 60.0  # rounding to 8 bit alone costs 59 dB: beyond, pictures are equal


def decibel(squared_error: float | NDArray) -> NDArray:
    """PSNR of mean squared errors of values in 0..1, at most PSNR_CAP; NaN stays NaN."""
    error = np.asarray(squared_error, np.float64)
    return np.minimum(-10 * np.log10(np.maximum(error, 1e-12)), PSNR_CAP)


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


def ssim_map(image: Tensor, target: Tensor) -> Tensor:
    """Structural similarity [H, W] of two images [H, W, 3] (Wang et al. 2004), differentiable.

    Gaussian window of 11 pixels, sigma 1.5; the border is mirrored, channels are averaged.
    Raises ValueError for other shapes and for sides of less than 6 pixels.
    """
    from kornia.metrics import ssim as kornia_ssim

    if image.shape != target.shape or image.ndim != 3:
        raise ValueError(f"ssim: expected two [H, W, 3], got {image.shape} and {target.shape}")
    if min(image.shape[:2]) < 6:
        raise ValueError(f"SSIM needs images of at least 6x6 pixels, got {list(image.shape[:2])}")
    a, b = (x.permute(2, 0, 1)[None] for x in (image, target))
    return kornia_ssim(a, b, 11)[0].mean(0)


def ssim(image: ArrayLike, target: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Mean structural similarity of two [H, W, 3] images, over ``mask`` [H, W] when given."""
    a = torch.as_tensor(np.asarray(image, np.float32))
    b = torch.as_tensor(np.asarray(target, np.float32))
    value = ssim_map(a, b).numpy()
    if mask is not None:
        value = value[np.asarray(mask, bool)]
    return float(value.mean()) if value.size else float("nan")
