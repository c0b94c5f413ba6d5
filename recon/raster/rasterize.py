"""Differentiable rasterization of Gaussians: one call, three backends.

Image formation is gsplat's "classic" one on all of them. Shapes: N Gaussians, H x W pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from recon.raster.inputs import check_camera, check_finite, check_inputs

BACKENDS = ("auto", "cpu", "gsplat", "dense")


class RasterOutput(NamedTuple):
    """`rgb` [H,W,3], `alpha` [H,W] in 0..1, `depth` [H,W]: expected camera z, 0 where empty."""

    rgb: Tensor
    alpha: Tensor
    depth: Tensor


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
    stretch: Tensor | None = None,
    rotations: Tensor | None = None,
) -> RasterOutput:
    """Render Gaussians, round ones by default, from one pinhole camera.

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
        stretch: [N,3] factors on `scales` along the Gaussians' own axes; None: round.
        rotations: [N,4] quaternions w, x, y, z of those axes in the world, of any length but 0.

    Gradients reach means, scales, opacities, colors, background, stretch, rotations and w2c (K
    only with "dense").
    `w2c` and `K` of another dtype or device are converted.

    Raises:
        ValueError: a wrong shape, dtype, device, size or backend, or a value that is not finite.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    check_inputs(means, scales, opacities, colors, background, stretch, rotations)
    w2c, K = torch.as_tensor(w2c).to(means), torch.as_tensor(K).to(means)
    check_camera(w2c, K, width, height)

    if backend == "auto":
        backend = "gsplat" if means.is_cuda else "cpu"
    if backend != "cpu":  # the CPU kernels check while they project
        check_finite(means, scales, opacities, colors)
    given = (means, scales, opacities, colors, w2c, K, width, height, background)
    if backend == "gsplat":
        from recon.raster.cuda import rasterize_gsplat

        return RasterOutput(*rasterize_gsplat(*given, stretch, rotations))
    if backend == "dense":
        from recon.raster.dense import rasterize_dense
        from recon.raster.shape import camera_covariances

        means_cam = means @ w2c[:3, :3].T + w2c[:3, 3]
        cov = None
        if stretch is not None and rotations is not None:
            cov = camera_covariances(scales, stretch, rotations, w2c)
        splats = (means_cam, scales, opacities, colors, K, width, height, background, cov)
        return RasterOutput(*rasterize_dense(*splats))
    if means.dtype != torch.float32 or means.device.type != "cpu":
        raise ValueError(
            f'backend "cpu" takes float32 tensors on the CPU, got {means.dtype} on {means.device}'
        )
    from recon.raster.cpu.function import rasterize_cpu

    return RasterOutput(*rasterize_cpu(*given, stretch, rotations))
