"""The CUDA rasterizer (gsplat) against the CPU one: the same pictures and slopes, and how fast."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from scripts.tools.raster_scene import SIZES, draw_scene, layered_scene

LEARNED = ("means", "scales", "opacities", "colors")
RGB_TOLERANCE = 1e-2  # a threshold decided the other way moves a pixel by about 1/255
RGB_MEAN_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-2


def draw(scene: dict, height: int, width: int) -> tuple[Callable, Callable]:
    """A forward call, and a forward + backward call that returns the gradients."""
    device = scene["means"].device
    leaves = {k: v.clone().requires_grad_(k in LEARNED) for k, v in scene.items()}
    generator = torch.Generator().manual_seed(1)
    shapes = ((height, width, 3), (height, width), (height, width))
    slopes = [torch.randn(shape, generator=generator).to(device) for shape in shapes]

    def forward() -> list[torch.Tensor]:
        with torch.no_grad():
            return list(draw_scene(**scene, width=width, height=height))

    def both() -> list[torch.Tensor]:
        for name in LEARNED:
            leaves[name].grad = None
        torch.autograd.backward(list(draw_scene(**leaves, width=width, height=height)), slopes)
        return [leaves[name].grad for name in LEARNED]

    return forward, both


def median_ms(call: Callable, repeats: int) -> float:
    for _ in range(3):
        call()
    times = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def check_rasterizer(repeats: int, largest: int) -> dict[str, Any]:
    """Compare and time the `largest` first sizes of `raster_scene`; a record with `passed`."""
    import gsplat

    start = time.perf_counter()
    warm_up = {k: v.cuda() for k, v in layered_scene(*SIZES[0]).items()}
    draw(warm_up, *SIZES[0][:2])[1]()
    torch.cuda.synchronize()
    first_call = round(time.perf_counter() - start, 2)
    results: dict[str, dict[str, dict[str, float]]] = {}
    passed = True
    for height, width, count in SIZES[:largest]:
        scene = layered_scene(height, width, count)
        cpu = draw(scene, height, width)
        gpu = draw({k: v.cuda() for k, v in scene.items()}, height, width)
        rgb_error = (gpu[0]()[0].cpu() - cpu[0]()[0]).abs()
        gradient_error = max(
            float((g.cpu() - c).norm() / c.norm()) for g, c in zip(gpu[1](), cpu[1](), strict=True)
        )
        agreement = {
            "rgb_max_difference": float(rgb_error.max()),
            "rgb_mean_difference": float(rgb_error.mean()),
            "grad_relative_difference": gradient_error,
        }
        passed &= agreement["rgb_max_difference"] < RGB_TOLERANCE
        passed &= agreement["rgb_mean_difference"] < RGB_MEAN_TOLERANCE
        passed &= gradient_error < GRADIENT_TOLERANCE
        results[f"{height}x{width}, {len(scene['means'])} Gaussians"] = {
            name: {
                "forward_ms": median_ms(calls[0], repeats),
                "forward_backward_ms": median_ms(calls[1], repeats),
                **(agreement if name == "gsplat_cuda" else {}),
            }
            for name, calls in (("gsplat_cuda", gpu), ("cpu", cpu))
        }
    note = f"gsplat {gsplat.__version__}; its first call, compilation included, took {first_call} s"
    return {"results": results, "passed": bool(passed), "notes": [note]}
