"""What every rasterizer checks of its inputs, in one place."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from fourreal.cameras import Camera
from fourreal.health import NotFinite
from recon.gaussians import Gaussians

NAMES = ("means", "scales", "opacities", "colors")


def check_inputs(gaussians: Gaussians, background: Tensor | None) -> None:
    """Shapes, dtypes and devices as `recon.gaussians` says; ValueError otherwise."""
    means, stretch, rotations = gaussians.means, gaussians.stretch, gaussians.rotations
    n = len(means) if isinstance(means, Tensor) and means.ndim else 0
    check_tensor("means", means, (n, 3))
    check_tensor("scales", gaussians.scales, (n,), means)
    check_tensor("opacities", gaussians.opacities, (n,), means)
    check_tensor("colors", gaussians.colors, (n, 3), means)
    if background is not None:
        check_tensor("background", background, (3,), means)
    if (stretch is None) != (rotations is None):
        raise ValueError("stretch and rotations go together; got only one of them")
    if stretch is not None:
        check_tensor("stretch", stretch, (n, 3), means)
    if rotations is not None:
        check_tensor("rotations", rotations, (n, 4), means)


def check_camera(camera: Camera) -> None:
    """Matrices [4,4] and [3,3] without NaN, and a size; ValueError otherwise."""
    height, width = camera.size
    if width < 1 or height < 1:
        raise ValueError(f"width and height must be at least 1, got {width}x{height}")
    check_tensor("w2c", camera.w2c, (4, 4))
    check_tensor("K", camera.K, (3, 3))
    if not (torch.isfinite(camera.w2c).all() and torch.isfinite(camera.K).all()):
        raise ValueError("w2c and K must be finite; got NaN or infinity")


def check_tensor(
    name: str, value: Tensor, shape: tuple[int, ...], like: Tensor | None = None
) -> None:
    """A floating-point tensor of this shape, of dtype and device of ``like``; else ValueError."""
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


def check_finite(*values: Tensor) -> None:
    """ValueError that names which of means, scales, opacities, colors hold NaN or infinity."""
    finite = torch.stack([torch.isfinite(v).all() for v in values]).tolist()  # one device sync
    raise_not_finite([not ok for ok in finite])


def raise_not_finite(flags: Iterable[object]) -> None:
    """NotFinite (a ValueError) for the inputs, in the order of NAMES, whose flag is set."""
    bad = [name for name, flag in zip(NAMES, flags, strict=False) if flag]
    if bad:
        raise NotFinite(f"{' and '.join(bad)} must be finite; got NaN or infinity")
