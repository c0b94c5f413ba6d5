"""Seconds and memory of the reconstruction against its size, with a plot.

    python scripts/evaluate.py cost --json docs/benchmarks/cost.json --picture docs/images/cost.png

All on procedural scenes, so nothing has to be downloaded. ``points``: steps of the joint fit with a
given number of Gaussians that cover the picture. ``cells`` and ``resolution``: tracking and the
whole fit of a whole grid; ``times``: the same of 8 views over ever longer clips. Rows that the JSON
file holds already are not measured again; without rows left to measure the picture is only drawn
anew.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fourreal.cameras import invert, pixel_grid, transform, unproject
from fourreal.console import say
from fourreal.errors import UserError
from fourreal.option_values import parse_size
from fourreal.run_folder import peak_memory_mb, reset_peak_memory
from fourreal.script import run_script
from recon.config import PresetName, preset
from recon.fit.scene_fit import JointFit
from recon.reconstruct import fit_scene
from recon.scene import Scene4D, empty_motion
from scripts.evaluate.result_file import ResultFile
from scripts.evaluate.truth_grid import TruthGrid
from tracking.column import track_column

CURVES = ("points", "cells", "resolution", "times")
AXIS = {"points": "points", "cells": "cells", "resolution": "pixels", "times": "times"}


@dataclass
class CostConfig:
    points: tuple[int, ...] = (10_000, 25_000, 50_000, 100_000, 200_000, 400_000)
    """Numbers of Gaussians."""
    cells: tuple[int, ...] = (16, 64, 144, 256)
    """Numbers of cells, squares: 64 is 8 views x 8 times."""
    sizes: tuple[str, ...] = ("72x128", "144x256", "216x384", "288x512")
    """Resolutions, height x width, of 8 x 8 cells."""
    times: tuple[int, ...] = (8, 16, 40, 120)
    """Lengths of clips of 8 views."""
    size: str = "144x256"
    """Resolution of the curves over points, cells and times."""
    steps: int = 60
    """Timed steps for every number of Gaussians."""
    preset: PresetName = "cpu"
    """Settings of the fit."""
    threads: int = min(2, os.cpu_count() or 1)
    seed: int = 0
    json: Path | None = None
    """Result file, updated after every row."""
    picture: Path | None = None
    """Plot to write (needs matplotlib)."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.threads < 1 or min(self.points, default=1) < 1:
            raise UserError("--steps, --threads and --points must be at least 1")
        if min(self.times, default=2) < 2:
            raise UserError(f"--times must be at least 2; got {self.times}")
        if any(math.isqrt(c) ** 2 != c or c < 9 for c in self.cells):
            raise UserError(f"--cells must be squares of 3 or more; got {self.cells}")


def covering_scene(truth: TruthGrid, count: int, seed: int) -> Scene4D:
    """`count` true surface points of all input views at time 0, wide enough to cover the picture.

    Fewer points are wider by the root of the ratio, so that every pixel meets about as many.
    """
    height, width = truth.rgb.shape[2:4]
    means, colors, sigmas = [], [], []
    for v in range(truth.views):
        z = truth.depth[v, 0].reshape(-1).astype(np.float64)
        hit = np.isfinite(z)
        camera = unproject(pixel_grid(height, width).reshape(-1, 2)[hit], z[hit], truth.K[v])
        means.append(transform(invert(truth.w2c[v]), camera))
        colors.append(truth.rgb[v, 0].reshape(-1, 3)[hit])
        sigmas.append(z[hit] / truth.K[v, 0, 0])
    every = sum(len(m) for m in means)
    if every < count:
        raise UserError(f"the scene shows only {every} points; ask for fewer than {count}")
    chosen = np.sort(np.random.default_rng(seed).permutation(every)[:count])
    spread = 0.7 * math.sqrt(max(height * width / count, 1.0))

    def pick(parts: list[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(parts)[chosen].astype(np.float32))

    return Scene4D(
        means=pick(means),
        log_scales=torch.log(pick(sigmas) * spread),
        opacity_logits=torch.full((count,), 0.85),
        colors=pick(colors),
        times=torch.from_numpy(truth.times[:1].astype(np.float32)),
        **empty_motion(count, 1),
        view_offsets=torch.zeros(truth.views, count, 3),
        K=torch.from_numpy(truth.K[: truth.views].astype(np.float32)),
        w2c=torch.from_numpy(truth.w2c[: truth.views].astype(np.float32)),
        size=(height, width),
    )


def points_cost(truth: TruthGrid, count: int, config: CostConfig) -> dict[str, float | None]:
    """Milliseconds a step, seconds of the preset's joint fit at that rate, peak memory."""
    settings = preset(config.preset)
    reset_peak_memory()
    scene = covering_scene(truth, count, config.seed).to(settings.device)
    frames = torch.from_numpy(truth.grid().frames[:, :1].copy()).to(settings.device)
    fit = JointFit(scene, frames, settings)
    cells = [(v, 0) for v in range(truth.views)]
    fit.run(cells, 2, "warming up")
    clock, busy = time.perf_counter(), time.process_time()
    fit.run(cells, config.steps, f"{count} points")
    if settings.device == "cuda":
        torch.cuda.synchronize()
    step = (time.perf_counter() - clock) / config.steps
    busy = (time.process_time() - busy) / config.steps
    return {
        "points": count,
        "ms_per_step": round(1e3 * step, 3),
        "seconds": round(step * settings.deformation.steps, 2),
        "seconds_cpu": round(busy * settings.deformation.steps, 2),
        "peak_mb": round(peak_memory_mb()),
    }


def grid_cost(truth: TruthGrid, config: CostConfig) -> dict[str, float | None]:
    """Tracking and the whole fit of a whole grid, cameras unknown."""
    settings = preset(config.preset)
    settings.seed = config.seed
    reset_peak_memory()
    grid = truth.grid().centred()  # as the commands have it
    clock, busy = time.perf_counter(), time.process_time()
    column = track_column(grid.freeze_time, moments=grid.other_moments())
    tracking, tracking_cpu = time.perf_counter() - clock, time.process_time() - busy
    clock, busy = time.perf_counter(), time.process_time()
    scene, report = fit_scene(grid, column, settings)
    seconds, seconds_cpu = time.perf_counter() - clock, time.process_time() - busy
    return {
        "cells": truth.views * truth.steps,
        "times": truth.steps,
        "pixels": math.prod(scene.size),
        "points": len(scene),
        "psnr_input": report["psnr_input"],
        "seconds": round(seconds, 2),
        "seconds_cpu": round(seconds_cpu, 2),
        "seconds_tracking": round(tracking, 2),
        "seconds_cpu_tracking": round(tracking_cpu, 2),
        "peak_mb": round(peak_memory_mb()),
    }


def rows(config: CostConfig) -> Iterator[tuple[str, str, Callable[[], dict[str, float | None]]]]:
    """(curve, variant, measurement), smallest first so that peaks are each row's own."""
    size = parse_size(config.size)
    most = max(config.points, default=0)
    views = max(8, math.ceil(1.5 * most / math.prod(size)))  # some pixels show the sky

    def shown(views: int, steps: int, at: tuple[int, int]) -> TruthGrid:
        return TruthGrid.procedural(config.seed, at, views, steps)

    for count in sorted(config.points):
        yield (
            "points", str(count),
            lambda n=count: points_cost(shown(views, 2, size), n, config),
        )  # fmt: skip
    for cells in sorted(config.cells):
        side = math.isqrt(cells)
        yield "cells", f"{side}x{side}", lambda s=side: grid_cost(shown(s, s, size), config)
    for text in sorted(config.sizes, key=lambda s: math.prod(parse_size(s))):
        at = parse_size(text)
        yield "resolution", text, lambda a=at: grid_cost(shown(8, 8, a), config)
    for steps in sorted(config.times):
        yield "times", f"8x{steps}", lambda n=steps: grid_cost(shown(8, n, size), config)


def exponents(results: dict[str, Any]) -> dict[str, float]:
    """How CPU seconds grow along every curve of three rows or more: the slope of a line through
    their logarithms (1: in proportion; least squares); a curve with tracking has one for that, too.
    """
    out = {}
    for curve in (c for c in CURVES if c in results):
        table = list(results[curve].values())
        if len(table) < 3:
            continue
        x = np.log([row[AXIS[curve]] for row in table])
        for metric in ("seconds_cpu", "seconds_cpu_tracking"):
            if all(row.get(metric) for row in table):
                y = np.log([row[metric] for row in table])
                label = curve if metric == "seconds_cpu" else f"{curve}, tracking"
                out[label] = round(float(np.polyfit(x, y, 1)[0]), 2)
    return out


def draw(results: dict[str, Any], path: Path) -> None:
    """One panel a curve: seconds and memory over a logarithmic axis; UserError without
    matplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise UserError("the picture needs matplotlib: pip install 'fourreal[eval]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    xlabel_of = {
        "points": "Gaussians",
        "cells": "views x times",
        "resolution": "height x width",
        "times": "views x times",
    }
    curves = [c for c in CURVES if c in results]
    figure, panels = pyplot.subplots(
        1, len(curves), figsize=(4 * len(curves), 3.4), layout="constrained", squeeze=False
    )
    for axes, curve in zip(panels[0], curves, strict=True):
        named = sorted(results[curve].items(), key=lambda item: item[1][AXIS[curve]])
        table = [row for _, row in named]
        x = [r[AXIS[curve]] for r in table]
        axes.set_xscale("log")
        axes.plot(x, [r["seconds"] for r in table], "o-", color="tab:blue", label="fit, seconds")
        if curve != "points":
            tracking = [r["seconds_tracking"] for r in table]
            axes.plot(x, tracking, "s--", color="tab:green", label="tracking, seconds")
        memory = axes.twinx()
        memory.plot(x, [r["peak_mb"] for r in table], "^:", color="tab:red", label="MiB")
        memory.set_ylabel("peak memory, MiB", color="tab:red")
        labels = [f"{int(n) // 1000}k" if n.isdigit() else n for n, _ in named]
        axes.set_xticks(x, labels)
        axes.minorticks_off()
        axes.set(xlabel=xlabel_of[curve], ylabel="seconds")
        for each in (axes, memory):
            each.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def main(config: CostConfig) -> None:
    torch.set_num_threads(config.threads)
    results = ResultFile(config.json, "Cost of the reconstruction", preset(config.preset).device)
    for curve in CURVES:
        settings = {"seed": config.seed, "preset": config.preset, "threads": config.threads}
        if curve != "resolution":
            settings["size"] = config.size
        results.use_settings(curve, settings)
    for curve, variant, measure in rows(config):
        if results.done(curve, variant):
            continue
        metrics = measure()
        results.add(curve, variant, metrics)
        say(f"{curve} {variant}: {metrics['seconds']} s, {metrics['peak_mb']} MiB")
    results.note(
        "points: seconds are those of the preset's joint fit at the measured milliseconds a step; "
        "cells, resolution and times: the whole fit, without seconds_tracking; seconds_cpu: of all "
        "threads together, which other programs on the machine disturb less"
    )
    grown = ", ".join(f"{k} {v}" for k, v in exponents(results.document["results"]).items())
    if grown:
        say(f"CPU seconds grow with the power of {grown}")
        results.note(f"CPU seconds grow with the power of: {grown}", instead_of="CPU seconds grow")
    if config.picture is not None:
        draw(results.document["results"], config.picture)
        say(str(config.picture))


def command() -> int:
    """Run from the command line; the exit code."""
    return run_script(main, CostConfig, __doc__)
