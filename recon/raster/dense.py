"""Dense PyTorch reference of the rasterizer: every Gaussian against every pixel, then autograd.

It is what the tests trust: any dtype (float64 for gradients), any device, no tiles and no
approximation, O(N H W) memory. The image formation is gsplat's "classic" one (0.3 px^2 blur,
alpha at most 0.999, contributions below 1/255 dropped, front-to-back blending that ends
before the transmittance would fall to 1e-4).
"""

from __future__ import annotations

import torch
from torch import Tensor

from fourreal.cameras import Camera
from recon.gaussians import Gaussians
from recon.raster.covariance import camera_covariances, project_splats

ALPHA_MAX = 0.999
ALPHA_MIN = 1.0 / 255.0
TRANSMITTANCE_MIN = 1e-4
NEAR = 0.01
FAR = 1e10
WEIGHT_FLOOR = 1e-10  # what expected depth divides by where nothing was hit


def rasterize_dense(
    gaussians: Gaussians, camera: Camera, background: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Render rgb [H,W,3], alpha [H,W] and expected depth [H,W].

    Arguments as in `recon.raster.rasterize.rasterize`. Depth is the blending-weighted mean z, 0
    where nothing was hit. Everything is differentiable, w2c and K included.
    """
    height, width = camera.size
    g, w2c, K = gaussians, camera.w2c, camera.K
    means_cam = g.means @ w2c[:3, :3].T + w2c[:3, 3]
    if g.stretch is None or g.rotations is None:
        covariances_cam = torch.diag_embed((g.scales * g.scales)[:, None].expand(-1, 3))
    else:
        covariances_cam = camera_covariances(g.scales, g.stretch, g.rotations, w2c)
    z_all = means_cam[:, 2]
    keep = (z_all >= NEAR) & (z_all <= FAR) & (g.opacities >= ALPHA_MIN)
    keep_idx = torch.nonzero(keep)[:, 0]
    order = keep_idx[torch.argsort(z_all.detach()[keep_idx], stable=True)]
    means_cam, covariances_cam, opacities, colors = (
        v[order] for v in (means_cam, covariances_cam, g.opacities, g.colors)
    )
    uv, cov = project_splats(means_cam, covariances_cam, K, width, height)
    cov_xx, cov_xy, cov_yy = cov.unbind(-1)
    det = cov_xx * cov_yy - cov_xy * cov_xy

    px = torch.arange(width).to(means_cam) + 0.5
    py = torch.arange(height).to(means_cam) + 0.5
    dx = (px[None, :] - uv[:, :1])[:, None, :]
    dy = (py[None, :] - uv[:, 1:])[:, :, None]
    a, b, c = ((v / det)[:, None, None] for v in (cov_yy, -cov_xy, cov_xx))
    power = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    alpha_NHW = torch.clamp(opacities[:, None, None] * torch.exp(-power), max=ALPHA_MAX)
    alpha_NHW = torch.where(alpha_NHW >= ALPHA_MIN, alpha_NHW, torch.zeros_like(alpha_NHW))

    after_NHW = torch.cumprod(1 - alpha_NHW, 0)
    before_NHW = torch.cat((torch.ones_like(after_NHW[:1]), after_NHW[:-1]), 0)
    weight_NHW = torch.where(
        after_NHW > TRANSMITTANCE_MIN, alpha_NHW * before_NHW, torch.zeros_like(alpha_NHW)
    )

    alpha = weight_NHW.sum(0)
    rgb = torch.einsum("nhw,nc->hwc", weight_NHW, colors)
    depth = torch.einsum("nhw,n->hw", weight_NHW, means_cam[:, 2]) / alpha.clamp(min=WEIGHT_FLOOR)
    if background is not None:
        rgb = rgb + (1 - alpha)[..., None] * background
    return rgb, alpha, depth
