"""The scene that rasterizer timings draw: three wavy surfaces, one behind the other."""

from __future__ import annotations

import torch
from torch import Tensor

from fourreal.cameras import Camera
from recon.gaussians import Gaussians
from recon.raster.rasterize import RasterOutput, rasterize

SIZES = ((36, 64, 3_000), (72, 128, 10_000), (288, 512, 100_000))  # height, width, Gaussians


def layered_scene(height: int, width: int, count: int, seed: int = 0) -> dict[str, Tensor]:
    """About `count` Gaussians lifted from jittered pixels of three surfaces, in random order.

    Their sigma is 0.46 to 0.92 times the spacing on the surface and their opacity 0.3 to 0.95,
    so that about 47 of them contribute to a pixel, as in a scene that is being fitted. The camera
    `w2c` is the identity, `K` has a focal length of 0.9 image widths.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    focal = 0.9 * width
    per_layer = count / 3
    columns = round((per_layer * width / height) ** 0.5)
    rows = round(per_layer / columns)
    spacing = (width * height / per_layer) ** 0.5
    grid_y, grid_x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    means, scales = [], []
    for layer in range(3):
        u = (grid_x + uniform(0.1, 0.9, rows, columns)).flatten() * width / columns
        v = (grid_y + uniform(0.1, 0.9, rows, columns)).flatten() * height / rows
        z = 1 + 0.5 * layer + 0.2 * torch.sin(6 * u / width) + uniform(0, 0.05, len(u))
        means.append(torch.stack(((u - width / 2) / focal * z, (v - height / 2) / focal * z, z), 1))
        scales.append(uniform(0.46, 0.92, len(u)) * spacing * z / focal)
    order = torch.randperm(3 * rows * columns, generator=generator)
    n = len(order)
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return {
        "means": torch.cat(means)[order],
        "scales": torch.cat(scales)[order],
        "opacities": uniform(0.3, 0.95, n),
        "colors": torch.rand(n, 3, generator=generator),
        "w2c": torch.eye(4),
        "K": K,
    }


def draw_scene(
    width: int, height: int, w2c: Tensor, K: Tensor, **gaussians: Tensor
) -> RasterOutput:
    """A scene as ``layered_scene`` gives it, by our rasterizer."""
    return rasterize(Gaussians(**gaussians), Camera(w2c, K, (height, width)))
