"""Differentiable rasterization of Gaussians: one call, three backends.

Image formation is gsplat's "classic" one on all of them. Shapes: N Gaussians, H x W pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fourreal.cameras import Camera
from recon.gaussians import Gaussians
from recon.raster import cuda
from recon.raster.inputs import check_camera, check_finite, check_inputs

BACKENDS = ("auto", "cpu", "gsplat", "dense")


class RasterOutput(NamedTuple):
    """`rgb` [H,W,3], `alpha` [H,W] in 0..1, `depth` [H,W]: expected camera z, 0 where empty."""

    rgb: Tensor
    alpha: Tensor
    depth: Tensor


def rasterize(
    gaussians: Gaussians,
    camera: Camera,
    background: Tensor | None = None,
    backend: str = "auto",
) -> RasterOutput:
    """Render Gaussians from one pin-hole camera.

    Args:
        gaussians: N of them, world axes (`recon.gaussians.Gaussians` says shapes and units).
        camera: w2c [4,4], OpenCV axes (x right, y down, z forward), K [3,3] in pixels, pixel
            centres at +0.5, and size (height, width).
        background: [3] RGB behind everything, black when None.
        backend: "cpu" (numba), "gsplat" (CUDA), "dense" (slow reference, any dtype), or "auto":
            gsplat for CUDA tensors, cpu otherwise.

    Gradients reach everything of the Gaussians, the background and w2c (K only with "dense").
    `w2c` and `K` of another dtype or device than the means are converted.

    Raises:
        ValueError: a wrong shape, dtype, device, size or backend, or a value that is not finite.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    check_inputs(gaussians, background)
    means = gaussians.means
    w2c, K = torch.as_tensor(camera.w2c).to(means), torch.as_tensor(camera.K).to(means)
    camera = Camera(w2c, K, camera.size)
    check_camera(camera)

    if backend == "auto":
        backend = "gsplat" if cuda.on_gpu(means) else "cpu"
    if backend != "cpu":  # the CPU kernels check while they project
        check_finite(means, gaussians.scales, gaussians.opacities, gaussians.colors)
    if backend == "gsplat":
        return RasterOutput(*cuda.rasterize_gsplat(gaussians, camera, background))
    if backend == "dense":
        from recon.raster.dense import rasterize_dense

        return RasterOutput(*rasterize_dense(gaussians, camera, background))
    if means.dtype != torch.float32 or means.device.type != "cpu":
        raise ValueError(
            f'backend "cpu" takes float32 tensors on the CPU, got {means.dtype} on {means.device}'
        )
    from recon.raster.cpu.function import rasterize_cpu

    return RasterOutput(*rasterize_cpu(gaussians, camera, background))
