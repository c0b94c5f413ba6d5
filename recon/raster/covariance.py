"""Gaussians with three radii and a rotation: their covariance, and its projection.

Gaussians start isotropic (one radius, as in the paper); the joint fit stretches them. N: number
of Gaussians. The CPU rasterizer has the same as kernels (`recon.raster.cpu.anisotropic`).
"""

from __future__ import annotations

import torch
from torch import Tensor

BLUR_PX2 = 0.3  # as gsplat's "classic" image formation


def rotation_matrices(quats_N4: Tensor) -> Tensor:
    """Rotations [N,3,3] of quaternions w, x, y, z of any length but 0."""
    w, x, y, z = torch.nn.functional.normalize(quats_N4, dim=-1).unbind(-1)
    rows = (
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack(rows, -1).reshape(*quats_N4.shape[:-1], 3, 3)


def camera_covariances(
    scales_N: Tensor, stretch_N3: Tensor, rotations_N4: Tensor, w2c: Tensor
) -> Tensor:
    """Covariances [N,3,3] in the axes of a camera [4,4]; radii are scales times stretch."""
    axes = w2c[:3, :3] @ rotation_matrices(rotations_N4) * (scales_N[:, None] * stretch_N3)[:, None]
    return axes @ axes.transpose(-1, -2)


def clamped_rays(means_cam_N3: Tensor, K: Tensor, width: int, height: int) -> tuple[Tensor, Tensor]:
    """x/z and y/z [N] for the Jacobian, clamped to 1.3 times the half field of view around the
    image, as gsplat does."""
    x, y, z = means_cam_N3.unbind(-1)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    margin_x, margin_y = 0.3 * 0.5 * width / fx, 0.3 * 0.5 * height / fy
    low_x, high_x = -(cx / fx + margin_x), (width - cx) / fx + margin_x
    low_y, high_y = -(cy / fy + margin_y), (height - cy) / fy + margin_y
    return (
        torch.minimum(torch.maximum(x / z, low_x), high_x),
        torch.minimum(torch.maximum(y / z, low_y), high_y),
    )


def project_splats(
    means_cam_N3: Tensor, covariances_N33: Tensor, K: Tensor, width: int, height: int
) -> tuple[Tensor, Tensor]:
    """Pixel centres uv [N,2] and 2-D covariances (xx, xy, yy) [N,3], px^2, blur included.

    First-order projection at the (clamped) ray of the centre; the centre itself is not clamped.
    """
    x, y, z = means_cam_N3.unbind(-1)
    rx, ry = clamped_rays(means_cam_N3, K, width, height)
    gx, gy = K[0, 0] / z, K[1, 1] / z
    c = covariances_N33
    cov = torch.stack(
        (
            gx * gx * (c[:, 0, 0] - 2 * rx * c[:, 0, 2] + rx * rx * c[:, 2, 2]) + BLUR_PX2,
            gx * gy * (c[:, 0, 1] - rx * c[:, 1, 2] - ry * c[:, 0, 2] + rx * ry * c[:, 2, 2]),
            gy * gy * (c[:, 1, 1] - 2 * ry * c[:, 1, 2] + ry * ry * c[:, 2, 2]) + BLUR_PX2,
        ),
        -1,
    )
    return torch.stack((gx * x + K[0, 2], gy * y + K[1, 2]), -1), cov
