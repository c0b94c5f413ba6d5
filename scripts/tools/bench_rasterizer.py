"""Time our CPU rasterizer against gsplat's PyTorch reference, forward and forward + backward.

    python -m scripts.tools.bench_rasterizer --json docs/benchmarks/rasterizer.json

Both draw the same scene (about 47 Gaussians a pixel) in the same process, by turns; times are
medians. gsplat's CUDA kernels are compared by scripts/gpu_check.py.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from scripts.evaluate.result_file import processor
from scripts.tools.gsplat_torch_reference import rasterize_gsplat_torch
from scripts.tools.raster_scene import SIZES, draw_scene, layered_scene

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


class Clock:
    """Times one call again and again: wall and CPU milliseconds, and what it returned last."""

    def __init__(self, call: Callable) -> None:
        self.call = call
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def run(self, repeats: int) -> None:
        for _ in range(repeats):
            wall, cpu = time.perf_counter(), time.process_time()
            self.result = self.call()
            self.wall.append(1e3 * (time.perf_counter() - wall))
            self.cpu.append(1e3 * (time.process_time() - cpu))


def medians(forward: Clock, both: Clock) -> dict[str, float]:
    return {
        "forward_ms": statistics.median(forward.wall),
        "forward_backward_ms": statistics.median(both.wall),
        "forward_cpu_ms": statistics.median(forward.cpu),
        "forward_backward_cpu_ms": statistics.median(both.cpu),
    }


def show(times: dict[str, float]) -> str:
    wall = f"{times['forward_ms']:.2f} / {times['forward_backward_ms']:.2f} ms"
    return f"{wall} (CPU {times['forward_cpu_ms']:.2f} / {times['forward_backward_cpu_ms']:.2f})"


def load() -> str:
    """How busy the machine is: other programs' work shows in the times."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def main(config: BenchConfig) -> None:
    busy = load()
    torch.set_num_threads(config.threads)
    results: dict[str, dict[str, dict[str, float]]] = {}
    for height, width, count in SIZES[: config.largest]:
        scene = layered_scene(height, width, count)
        ours = [Clock(call) for call in passes(draw_scene, scene, height, width)]
        reference = [Clock(call) for call in passes(rasterize_gsplat_torch, scene, height, width)]
        for clock in ours:
            for _ in range(3):
                clock.call()  # compile, load, warm up
        for _ in range(max(config.reference_repeats, 1)):
            for clock in ours:
                clock.run(max(config.repeats // max(config.reference_repeats, 1), 1))
            if config.reference_repeats:
                for clock in reference:
                    clock.run(1)
        mine = medians(*ours)
        row = {"default": mine}
        line = f"{height}x{width} {len(scene['means'])}: ours {show(mine)}"
        if config.reference_repeats:
            theirs = row["gsplat_pytorch"] = medians(*reference)
            ratio = {k: theirs[k] / mine[k] for k in theirs}
            mine["speedup_forward"] = ratio["forward_ms"]
            mine["speedup_total"] = ratio["forward_backward_ms"]
            mine["speedup_total_cpu"] = ratio["forward_backward_cpu_ms"]
            mine["rgb_max_difference"] = float(
                (ours[0].result[0] - reference[0].result[0]).abs().max()
            )
            mine["grad_relative_difference"] = max(
                float((a - b).norm() / b.norm())
                for a, b in zip(ours[1].result, reference[1].result, strict=True)
            )
            line += (
                f"; gsplat PyTorch {show(theirs)}: {mine['speedup_forward']:.0f}x /"
                f" {mine['speedup_total']:.0f}x (CPU time {mine['speedup_total_cpu']:.0f}x);"
                f" rgb differs by at most {mine['rgb_max_difference']:.1e}"
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
                "forward and forward_backward: wall time; cpu: CPU time of all threads together,"
                " which other programs on the machine disturb less.",
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
