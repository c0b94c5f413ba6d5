"""The CPU rasterizer against the float64 dense reference, and properties of rasterization."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from recon.raster_cpu import rasterize_cpu  # noqa: F401
from recon.rasterize import RasterOutput, rasterize

NAMES = ("means", "scales", "opacities", "colors")


def intrinsics(width: int, height: int) -> Tensor:
    focal = 0.9 * width
    return torch.tensor(
        [[focal, 0, 0.52 * width], [0, 1.05 * focal, 0.47 * height], [0, 0, 1]],
        dtype=torch.float64,
    )


def tilted_camera() -> Tensor:
    """A world-to-camera matrix that is neither the identity nor axis-aligned."""
    w2c = torch.eye(4, dtype=torch.float64)
    skew = torch.tensor([[0, -0.1, 0.2], [0.1, 0, -0.05], [-0.2, 0.05, 0]], dtype=torch.float64)
    w2c[:3, :3] = torch.linalg.matrix_exp(skew)
    w2c[:3, 3] = torch.tensor([0.1, -0.2, 0.3])
    return w2c


def random_scene(n: int, seed: int = 0, **ranges: tuple[float, float]) -> dict[str, Tensor]:
    """N Gaussians around the view frustum, some behind the camera, some far off the axis."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    z = uniform(*ranges.get("z", (1.0, 4.0)), n, 1)
    xy = uniform(-0.8, 0.8, n, 2) * z
    scene = {
        "means": torch.cat((xy, z), 1),
        "scales": uniform(*ranges.get("scales", (0.02, 0.2)), n) * z[:, 0],
        "opacities": uniform(*ranges.get("opacities", (0.05, 0.95)), n),
        "colors": uniform(0.0, 1.0, n, 3),
    }
    if n >= 40:
        scene["means"][:4, 2] = torch.tensor([-1.0, 0.005, 0.2, 0.0])
        scene["means"][4:8, 0] *= 6
        scene["scales"][8:10] = 2.0
        scene["opacities"][10:16] = torch.tensor([0.9999, 1.0, 0.9995, 0.003, 0.0, 0.0039])
    return scene


def render(scene: dict[str, Tensor], width: int, height: int, **kwargs) -> RasterOutput:
    kwargs = {"w2c": tilted_camera(), "K": intrinsics(width, height), **kwargs}
    return rasterize(**scene, width=width, height=height, **kwargs)


def with_gradients(
    scene: dict[str, Tensor], width: int, height: int, dtype: torch.dtype, **kwargs
) -> tuple[RasterOutput, dict[str, Tensor]]:
    """Render, then gradients of a fixed random linear loss on every output."""
    leaves = {k: v.detach().clone().to(dtype).requires_grad_() for k, v in scene.items()}
    leaves["background"] = torch.tensor([0.2, 0.5, 0.9], dtype=dtype, requires_grad=True)
    leaves["w2c"] = tilted_camera().to(dtype).requires_grad_()
    out = rasterize(**leaves, K=intrinsics(width, height), width=width, height=height, **kwargs)
    generator = torch.Generator().manual_seed(7)
    loss = sum(
        (v * torch.randn(v.shape, generator=generator, dtype=torch.float64).to(dtype)).sum()
        for v in out
    )
    loss.backward()
    return out, {k: v.grad for k, v in leaves.items()}


def relative(got: Tensor, want: Tensor) -> float:
    return float((got.double() - want).norm() / want.norm().clamp(min=1e-12))


@pytest.mark.parametrize(
    ("width", "height", "n", "ranges"),
    [
        (48, 32, 150, {}),
        (97, 35, 200, {"scales": (0.01, 0.05)}),
        (40, 40, 120, {"opacities": (0.95, 0.9999)}),
        (40, 24, 120, {"z": (100.0, 400.0)}),
        (64, 16, 200, {"opacities": (0.004, 0.05), "scales": (0.1, 0.4)}),
        (7, 5, 60, {}),
        (1, 1, 30, {}),
    ],
)
def test_matches_the_float64_reference(width, height, n, ranges):
    scene = random_scene(n, **ranges)
    want, want_grads = with_gradients(scene, width, height, torch.float64, backend="dense")
    got, got_grads = with_gradients(scene, width, height, torch.float32, backend="cpu")
    span = float(scene["means"][:, 2].max())
    for name, tolerance in (("rgb", 1e-5), ("alpha", 1e-5), ("depth", 2e-5 * span)):
        difference = (getattr(got, name) - getattr(want, name)).abs().max()
        assert difference <= tolerance, f"{name} differs by {difference}"
    for name, grad in got_grads.items():
        assert relative(grad, want_grads[name]) <= 1e-4, name
