"""Differentiable rasterization of isotropic Gaussians: one call, three backends.

Image formation is gsplat's "classic" one on all of them. Shapes: N Gaussians, H x W pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BACKENDS = ("auto", "cpu", "gsplat", "dense")
_NAMES = ("means", "scales", "opacities", "colors")


class RasterOutput(NamedTuple):
    """`rgb` [H,W,3], `alpha` [H,W] in 0..1, `depth` [H,W]: expected camera z, 0 where empty."""

    rgb: Tensor
    alpha: Tensor
    depth: Tensor


def _check(name: str, value: Tensor, shape: tuple[int, ...], like: Tensor | None = None) -> None:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{name} must be a floating-point tensor, got {kind}")
    if tuple(value.shape) != shape:
        raise ValueError(f"{name} must have shape {list(shape)}, got {list(value.shape)}")
    if like is not None and (value.dtype, value.device) != (like.dtype, like.device):
        raise ValueError(
            f"{name} must be {like.dtype} on {like.device} like means, "
            f"got {value.dtype} on {value.device}"
        )


def _check_finite(*values: Tensor) -> None:
    finite = torch.stack([torch.isfinite(v).all() for v in values]).tolist()  # one device sync
    bad = [n for n, ok in zip(_NAMES, finite, strict=True) if not ok]
    if bad:
        raise ValueError(f"{' and '.join(bad)} must be finite; got NaN or infinity")


def rasterize(
    means: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    w2c: Tensor,
    K: Tensor,
    width: int,
    height: int,
    background: Tensor | None = None,
    backend: str = "auto",
) -> RasterOutput:
    """Render isotropic Gaussians from one pinhole camera.

    Args:
        means: [N,3] world positions.
        scales: [N] standard deviations in world units (linear, not log).
        opacities: [N] in 0..1.
        colors: [N,3] RGB.
        w2c: [4,4] world-to-camera, OpenCV axes (x right, y down, z forward).
        K: [3,3] intrinsics in pixels; pixel centres are at +0.5.
        width, height: image size in pixels.
        background: [3] RGB behind everything, black when None.
        backend: "cpu" (numba), "gsplat" (CUDA), "dense" (slow reference, any dtype), or "auto":
            gsplat for CUDA tensors, cpu otherwise.

    Gradients reach means, scales, opacities, colors, background and w2c (K only with "dense").
    `w2c` and `K` of another dtype or device are converted.

    Raises:
        ValueError: a wrong shape, dtype, device, size or backend, or a value that is not finite.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if width < 1 or height < 1:
        raise ValueError(f"width and height must be at least 1, got {width}x{height}")
    n = len(means) if isinstance(means, Tensor) and means.ndim else 0
    _check("means", means, (n, 3))
    _check("scales", scales, (n,), means)
    _check("opacities", opacities, (n,), means)
    _check("colors", colors, (n, 3), means)
    if background is not None:
        _check("background", background, (3,), means)
    w2c, K = torch.as_tensor(w2c).to(means), torch.as_tensor(K).to(means)
    _check("w2c", w2c, (4, 4))
    _check("K", K, (3, 3))
    if not (torch.isfinite(w2c).all() and torch.isfinite(K).all()):
        raise ValueError("w2c and K must be finite; got NaN or infinity")

    if backend == "auto":
        backend = "gsplat" if means.is_cuda else "cpu"
    if backend != "cpu":  # the CPU kernels check while they project
        _check_finite(means, scales, opacities, colors)
    if backend == "gsplat":
        from recon.raster_gsplat import rasterize_gsplat

        return RasterOutput(
            *rasterize_gsplat(means, scales, opacities, colors, w2c, K, width, height, background)
        )
    if backend == "dense":
        from recon.raster_dense import rasterize_dense

        means_cam = means @ w2c[:3, :3].T + w2c[:3, 3]
        return RasterOutput(
            *rasterize_dense(means_cam, scales, opacities, colors, K, width, height, background)
        )
    if means.dtype != torch.float32 or means.device.type != "cpu":
        raise ValueError(
            f'backend "cpu" takes float32 tensors on the CPU, got {means.dtype} on {means.device}'
        )
    from recon.raster_cpu import rasterize_cpu

    return RasterOutput(
        *rasterize_cpu(means, scales, opacities, colors, w2c, K, width, height, background)
    )
