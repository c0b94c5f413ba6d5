"""Time our CPU rasterizer against gsplat's PyTorch reference, forward and forward + backward.

    python -m scripts.tools.bench_rasterizer --json docs/benchmarks/rasterizer.json

Both draw the same scene (about 47 Gaussians a pixel) in the same process, by turns; times are
medians. gsplat's CUDA kernels are compared by scripts/gpu_check.py. Two more rows are of work for
which others have published figures on a CPU.
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

from recon.fit.adam import Adam
from recon.fit.photometric import photometric_loss
from scripts.evaluate.result_file import processor
from scripts.tools.gsplat_torch_reference import rasterize_gsplat_torch
from scripts.tools.raster_scene import SIZES, draw_scene, layered_scene

PUBLISHED = (
    "200x320: published for as many, every splat and the sort: 47 ms, four cores (ThreeMojo).",
    "378x504: a step is drawing, L1 and SSIM, gradients and Adam. Published for as many on Fern, of"
    " a size that is not stated: 10.6 steps a second on an M4's CPU (splat-apple).",
)
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
    published: bool = True
    """Also time what others have published figures of."""
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

    def forget(self) -> None:
        """Leave out what was timed so far: compiling and warming up."""
        self.wall, self.cpu = [], []


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


def drawing_row(repeats: int) -> dict[str, float]:
    """445409 Gaussians at 200x320, forward alone: ThreeMojo's wiki gives 47 ms on four cores."""
    scene = layered_scene(200, 320, 445_409)
    clock = Clock(passes(draw_scene, scene, 200, 320)[0])
    clock.run(2)
    clock.forget()
    clock.run(repeats)
    return {
        "forward_ms": statistics.median(clock.wall),
        "forward_cpu_ms": statistics.median(clock.cpu),
    }


def training_row(steps: int) -> dict[str, float]:
    """Steps a second of 10091 Gaussians at 378x504: drawing, loss, gradients and Adam.

    splat-apple gives 10.6 on an M4 for as many on Fern, at a size it does not state.
    """
    height, width = 378, 504
    scene = layered_scene(height, width, 10_091)
    leaves = {k: v.clone().requires_grad_(k in LEARNED) for k, v in scene.items()}
    target = torch.rand(height, width, 3, generator=torch.Generator().manual_seed(2))
    optimiser = Adam([{"params": [leaves[k] for k in LEARNED], "lr": 1e-4}])

    def step() -> None:
        optimiser.zero_grad()
        rgb = draw_scene(**leaves, width=width, height=height).rgb
        photometric_loss(rgb, target, 0.2).backward()
        optimiser.step()

    clock = Clock(step)
    clock.run(2)
    clock.forget()
    clock.run(steps)
    return {
        "steps_per_second": 1e3 / statistics.median(clock.wall),
        "steps_per_cpu_second": 1e3 / statistics.median(clock.cpu),
    }


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
    if config.published:
        results["200x320, 445409 Gaussians"] = {"default": drawing_row(config.repeats)}
        results["378x504, 10091 Gaussians"] = {"default": training_row(config.repeats)}
        for name in list(results)[-2:]:
            print(f"{name}: {results[name]['default']}", flush=True)
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
                *PUBLISHED,
            ],
        }
        config.json.parent.mkdir(parents=True, exist_ok=True)
        config.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(BenchConfig, description=__doc__))
