"""CUDA rasterizer: gsplat's kernels behind the same signature as ours."""

from __future__ import annotations

import torch
from torch import Tensor

from fourreal.cameras import Camera
from recon.gaussians import Gaussians

NEAR = 0.01  # the near plane of the other backends


def gsplat_available() -> tuple[bool, str]:
    """Whether gsplat can run here, and if not, why."""
    if not torch.cuda.is_available():
        return False, "no CUDA device"
    try:
        import gsplat  # noqa: F401
    except ImportError as error:
        return False, f"gsplat cannot be imported ({error})"
    return True, ""


def on_gpu(tensor: Tensor) -> bool:
    """Whether a tensor is where gsplat's kernels run."""
    return tensor.is_cuda


def rasterize_gsplat(
    gaussians: Gaussians, camera: Camera, background: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Render rgb [H,W,3], alpha [H,W] and expected depth [H,W] on the GPU.

    Arguments as in `recon.raster.rasterize.rasterize`, all on one CUDA device. The first call after
    installation may compile gsplat's kernels (minutes). Raises ValueError without CUDA: gsplat
    is imported only after that check, because with nvcc at hand its import starts a build.
    """
    available, reason = gsplat_available()
    if not available:
        raise ValueError(f'backend "gsplat" cannot run: {reason}; use backend "cpu"')
    means = gaussians.means
    if not on_gpu(means):
        raise ValueError(f'backend "gsplat" takes CUDA tensors, got {means.device}')
    from gsplat import rasterization

    radii = gaussians.scales[:, None].expand(-1, 3)
    if gaussians.stretch is not None:
        radii = radii * gaussians.stretch
    quats = gaussians.rotations
    if quats is None:
        quats = torch.zeros(len(means), 4, dtype=means.dtype, device=means.device)
        quats[:, 0] = 1
    rendered, alpha, _ = rasterization(
        means=means,
        quats=quats,
        scales=radii.contiguous(),
        opacities=gaussians.opacities,
        colors=gaussians.colors,
        viewmats=camera.w2c[None],
        Ks=camera.K[None],
        width=camera.size[1],
        height=camera.size[0],
        near_plane=NEAR,
        packed=False,
        render_mode="RGB+ED",
        rasterize_mode="classic",
    )
    rgb, depth, alpha = rendered[0, ..., :3], rendered[0, ..., 3], alpha[0, ..., 0]
    if background is not None:
        rgb = rgb + (1 - alpha)[..., None] * background
    return rgb, alpha, depth
