"""gsplat's own PyTorch rasterizer made to run on a CPU, as a yardstick for speed and values.

gsplat ships a pure PyTorch version of its kernels (`gsplat.cuda._torch_impl`), but two steps of it
need CUDA: finding which Gaussian meets which pixel, and nerfacc's scan along a pixel. Both are
replaced here by vectorised PyTorch; projection and accumulation are gsplat's functions,
unchanged. The replacements are written to be fast, so that the comparison is fair.
"""

from __future__ import annotations

import sys
import types

import torch
from torch import Tensor

ALPHA_MIN = 1 / 255
TRANSMITTANCE_MIN = 1e-4


def exclusive_transmittance(alphas: Tensor, rays: Tensor) -> Tensor:
    """Product of (1 - alpha) over earlier entries of the same ray; sorted by ray, [M]."""
    logs = torch.log1p(-alphas.double())
    running = torch.cumsum(logs, 0) - logs
    first = torch.ones_like(rays, dtype=torch.bool)
    first[1:] = rays[1:] != rays[:-1]
    starts = running[first]
    return torch.exp(running - starts[torch.cumsum(first, 0) - 1]).to(alphas.dtype)


def _install_nerfacc_stand_in() -> None:
    """`gsplat.cuda._torch_impl.accumulate` imports two nerfacc functions; give it ours."""
    module = types.ModuleType("nerfacc")

    def render_weight_from_alpha(alphas, ray_indices, n_rays):
        trans = exclusive_transmittance(alphas, ray_indices)
        return alphas * trans, trans

    def accumulate_along_rays(weights, values, ray_indices, n_rays):
        values = weights[:, None] if values is None else weights[:, None] * values
        return torch.zeros(n_rays, values.shape[1]).index_add(0, ray_indices, values)

    module.render_weight_from_alpha = render_weight_from_alpha
    module.accumulate_along_rays = accumulate_along_rays
    sys.modules["nerfacc"] = module


@torch.no_grad()
def intersect(
    means2d: Tensor,
    conics: Tensor,
    radii: Tensor,
    depths: Tensor,
    opacities: Tensor,
    width: int,
    height: int,
) -> tuple[Tensor, Tensor]:
    """(Gaussian, pixel) pairs that blend, sorted by pixel and then depth: two [M] index tensors."""
    low = torch.floor(means2d - radii).clamp(min=0).long()
    high = torch.ceil(means2d + radii).long()
    high = torch.minimum(high, torch.tensor([width, height]))
    extent = torch.where((radii > 0).all(-1, keepdim=True), high - low, 0).clamp(min=0)
    order = torch.argsort(depths, stable=True)  # pairs come out by depth, a stable sort keeps it
    low, extent = low[order], extent[order]
    count = extent.prod(-1)
    gaussians = torch.repeat_interleave(order, count)
    within = torch.arange(len(gaussians)) - torch.repeat_interleave(count.cumsum(0) - count, count)
    columns = torch.repeat_interleave(extent[:, 0], count)
    corner = torch.repeat_interleave(low, count, dim=0)
    x, y = corner[:, 0] + within % columns, corner[:, 1] + within // columns
    dx = x + 0.5 - means2d[gaussians, 0]
    dy = y + 0.5 - means2d[gaussians, 1]
    c = conics[gaussians]
    sigma = 0.5 * (c[:, 0] * dx * dx + c[:, 2] * dy * dy) + c[:, 1] * dx * dy
    alphas = torch.clamp_max(opacities[gaussians] * torch.exp(-sigma), 0.999)
    keep = torch.nonzero(alphas >= ALPHA_MIN)[:, 0]
    gaussians, pixels, alphas = gaussians[keep], (y * width + x)[keep], alphas[keep]
    pixels, by_pixel = torch.sort(pixels.int(), stable=True)
    gaussians, pixels, alphas = gaussians[by_pixel], pixels.long(), alphas[by_pixel]
    blends = exclusive_transmittance(alphas, pixels) * (1 - alphas) > TRANSMITTANCE_MIN
    return gaussians[blends], pixels[blends]


def rasterization(
    *,
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    near_plane: float,
    packed: bool,
    render_mode: str,
    rasterize_mode: str,
) -> tuple[Tensor, Tensor, dict]:
    """`gsplat.rasterization` for one camera, by gsplat's PyTorch code on the CPU.

    Same arguments and outputs, so that it can stand in where there is no GPU: rendered [1,H,W,4]
    (RGB and expected depth), alpha [1,H,W,1]. ValueError for modes other than the ones we use.
    """
    from gsplat.cuda import _torch_impl as gsplat_torch

    if (render_mode, rasterize_mode, packed, len(viewmats)) != ("RGB+ED", "classic", False, 1):
        raise ValueError("only one camera, RGB+ED, classic and unpacked is implemented here")
    if "nerfacc" not in sys.modules:
        _install_nerfacc_stand_in()
    covars, _ = gsplat_torch._quat_scale_to_covar_preci(quats, scales, True, False, False)
    radii, means2d, depths, conics, _ = gsplat_torch._fully_fused_projection(
        means, covars, viewmats, Ks, width, height, near_plane=near_plane
    )
    gaussians, pixels = intersect(
        means2d[0], conics[0], radii[0], depths[0], opacities, width, height
    )
    channels = torch.cat((colors, depths[0][:, None]), -1)
    rendered, alpha = gsplat_torch.accumulate(
        means2d,
        conics,
        opacities[None],
        channels[None],
        gaussians,
        pixels,
        torch.zeros_like(pixels),
        width,
        height,
    )
    depth = rendered[..., 3:] / alpha.clamp(min=1e-10)
    return torch.cat((rendered[..., :3], depth), -1), alpha, {}


def rasterize_gsplat_torch(
    means: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    w2c: Tensor,
    K: Tensor,
    width: int,
    height: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Arguments and outputs of `scripts.tools.raster_scene.draw_scene`, through gsplat's PyTorch
    code."""
    rendered, alpha, _ = rasterization(
        means=means,
        quats=torch.tensor([1.0, 0, 0, 0]).expand(len(means), 4),
        scales=scales[:, None].expand(-1, 3),
        opacities=opacities,
        colors=colors,
        viewmats=w2c[None],
        Ks=K[None],
        width=width,
        height=height,
        near_plane=0.01,
        packed=False,
        render_mode="RGB+ED",
        rasterize_mode="classic",
    )
    return rendered[0, ..., :3], alpha[0, ..., 0], rendered[0, ..., 3]
