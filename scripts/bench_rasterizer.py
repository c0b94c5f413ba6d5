"""Time our CPU rasterizer against gsplat's PyTorch reference, forward and forward + backward.

    python scripts/bench_rasterizer.py --json docs/benchmarks/rasterizer.json

Both draw the same scene (about 47 Gaussians a pixel) in the same process, by turns; times are
medians. gsplat's CUDA kernels are compared by scripts/gpu_check.py.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# isort: off
import recon  # noqa: F401  first: it sets how torch's threads wait
import torch
import tyro

# isort: on
from gsplat_torch_reference import rasterize_gsplat_torch
from raster_scene import SIZES, layered_scene

from recon.rasterize import rasterize

LEARNED = ("means", "scales", "opacities", "colors")


@dataclass
class BenchConfig:
    repeats: int = 30
    """Timed calls of ours at every size."""
    reference_repeats: int = 3
    """Timed calls of the reference; 0 leaves it out."""
    threads: int = min(2, os.cpu_count() or 1)
    largest: int = 3
    """How many of the three sizes to run, smallest first."""
    json: Path | None = None


def passes(draw: Callable, scene: dict, height: int, width: int) -> tuple[Callable, Callable]:
    """A forward call without gradients, and a forward + backward call."""
    leaves = {k: v.clone().requires_grad_(k in LEARNED) for k, v in scene.items()}
    generator = torch.Generator().manual_seed(1)
    slopes = [
        torch.randn(s, generator=generator) for s in ((height, width, 3), *[(height, width)] * 2)
    ]

    def forward() -> list[torch.Tensor]:
        with torch.no_grad():
            return list(draw(**scene, width=width, height=height))

    def both() -> list[torch.Tensor]:
        for name in LEARNED:
            leaves[name].grad = None
        torch.autograd.backward(list(draw(**leaves, width=width, height=height)), slopes)
        return [leaves[name].grad for name in LEARNED]

    return forward, both


def milliseconds(call: Callable, repeats: int) -> list[float]:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def processor() -> str:
    """Model name of the processor where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def load() -> str:
    """How busy the machine is: other programs' work shows in the times."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def main(config: BenchConfig) -> None:
    busy = load()
    torch.set_num_threads(config.threads)
    results: dict[str, dict[str, dict[str, float | None]]] = {}
    for height, width, count in SIZES[: config.largest]:
        scene = layered_scene(height, width, count)
        ours = passes(rasterize, scene, height, width)
        reference = passes(rasterize_gsplat_torch, scene, height, width)
        times: dict[str, list[float]] = {k: [] for k in ("f", "fb", "ref f", "ref fb")}
        for call in ours:
            milliseconds(call, 3)  # compile, load, warm up
        for _ in range(max(config.reference_repeats, 1)):
            share = max(config.repeats // max(config.reference_repeats, 1), 1)
            times["f"] += milliseconds(ours[0], share)
            times["fb"] += milliseconds(ours[1], share)
            if config.reference_repeats:
                times["ref f"] += milliseconds(reference[0], 1)
                times["ref fb"] += milliseconds(reference[1], 1)
        f, fb = statistics.median(times["f"]), statistics.median(times["fb"])
        row: dict[str, dict[str, float | None]] = {
            "default": {"forward_ms": f, "forward_backward_ms": fb}
        }
        line = f"{height}x{width} {len(scene['means'])}: ours {f:.2f} / {fb:.2f} ms"
        if config.reference_repeats:
            ref_f, ref_fb = statistics.median(times["ref f"]), statistics.median(times["ref fb"])
            row["gsplat_pytorch"] = {"forward_ms": ref_f, "forward_backward_ms": ref_fb}
            row["default"] |= {"speedup_forward": ref_f / f, "speedup_total": ref_fb / fb}
            image, want = ours[0]()[0], reference[0]()[0]
            row["default"]["rgb_max_difference"] = float((image - want).abs().max())
            row["default"]["grad_relative_difference"] = max(
                float((a - b).norm() / b.norm())
                for a, b in zip(ours[1](), reference[1](), strict=True)
            )
            line += (
                f", gsplat PyTorch {ref_f:.0f} / {ref_fb:.0f} ms"
                f" ({ref_f / f:.0f}x / {ref_fb / fb:.0f}x),"
                f" rgb differs by at most {row['default']['rgb_max_difference']:.1e}"
            )
        print(line, flush=True)
        results[f"{height}x{width}, {len(scene['means'])} Gaussians"] = row
    if config.json is not None:
        record = {
            "schema": 1,
            "title": "Rasterizer on a CPU",
            "command": "python " + " ".join(sys.argv),
            "hardware": f"{processor()}, {config.threads} threads, torch {torch.__version__};"
            f" load average {busy} when started",
            "results": results,
            "notes": [
                "gsplat_pytorch: gsplat's own PyTorch projection and accumulation; its two steps"
                " that need CUDA (intersection, nerfacc's scan) replaced by vectorised PyTorch.",
                "Differences in rgb above 1e-5 are pixels where rounding decides whether a"
                " Gaussian passes the 1/255 or the transmittance threshold.",
            ],
        }
        config.json.parent.mkdir(parents=True, exist_ok=True)
        config.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(BenchConfig, description=__doc__))
