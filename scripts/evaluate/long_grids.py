"""Do grids longer than the model's window run in bounded memory, and how visible are the seams?

    python scripts/evaluate.py long-grids --json docs/benchmarks/long_grids.json

Each grid comes from one prompt; clips and cells beyond the first window are made window by window,
each starting from the last 4 frames of the one before (paper 3.3). A seam is the step from a frame
to the next across the border of two windows: `border_times` is the PSNR (dB) of such steps along
time, `inside_times` that of all other steps, `jump_times` = inside - border (above 0: the border
shows); `_views` the same along the camera path. Memory is the process's highest.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from fourreal.console import reporting, say
from fourreal.contact_sheet import grid_picture, save_contact_sheet
from fourreal.option_values import parse_pair
from fourreal.run_folder import peak_memory_mb, reset_peak_memory
from fourreal.script import run_script
from gen.bundled import load_bundled
from gen.flow.windows import Seams, measure_seams
from gen.generate import GenerateConfig
from gen.grid import VideoGrid
from gen.network.runtime import Runtime
from scripts.evaluate.result_file import ResultFile

SCENE = "long grids"


@dataclass
class EvaluateLongGridsConfig:
    """Which grids (views x times), of which prompt and weights."""

    grids: tuple[str, ...] = ("8x8", "8x24", "24x8", "4x120")
    prompt: str = "a red ball bouncing on a checkered floor"
    steps: int = GenerateConfig.steps
    grid_steps: int = GenerateConfig.grid_steps
    seed: int = 0
    weights: Path | None = None
    max_memory: float = 0.0
    """GB that the working set of one window may take; 0: no bound."""
    json: Path | None = None
    """Result file; grids it holds already are kept."""
    sheet: Path | None = None
    """Contact sheet PNG of the grids made now, thinned to at most 6 views and 12 times each."""


def grid_shape(name: str) -> tuple[int, int]:
    """``8x24`` -> (8 views, 24 times); UserError when it is not of that form."""
    return parse_pair(name, "--grids", "VIEWSxTIMES", "8x24")


def seam_columns(seams: Seams | None, axis: str) -> dict[str, float | None]:
    """The three figures of one axis; None where a single window covers it."""
    return {
        f"border_{axis}": None if seams is None else round(seams.border, 2),
        f"inside_{axis}": None if seams is None else round(seams.inside, 2),
        f"jump_{axis}": None if seams is None else round(seams.jump, 2),
    }


def measure(grid: VideoGrid) -> dict[str, float | None]:
    """Seams of a finished grid along time and along view."""
    return {
        **seam_columns(measure_seams(grid.frames), "times"),
        **seam_columns(measure_seams(grid.frames.swapaxes(0, 1)), "views"),
    }


def main(config: EvaluateLongGridsConfig) -> None:
    generator = load_bundled(config.weights, Runtime(max_memory_gb=config.max_memory or None))
    results = ResultFile(config.json, "Grids longer than a window", generator.base.device)
    settings = {"prompt": config.prompt, "steps": config.steps, "seed": config.seed}
    results.use_settings(SCENE, {**settings, "grid_steps": config.grid_steps})
    pictures = []
    for name in config.grids:
        views, times = grid_shape(name)
        if results.done(SCENE, name):
            say(f"{name}: kept from {config.json}")
            continue
        reset_peak_memory()
        started = time.monotonic()
        asked = GenerateConfig(
            views=views, times=times, steps=config.steps, grid_steps=config.grid_steps,
            seed=config.seed,
        )  # fmt: skip
        with reporting() as report:
            made = generator.from_prompt(config.prompt, asked, report)
        row = measure(made.grid)
        row |= {"seconds": round(time.monotonic() - started, 1), "peak_mb": peak_memory_mb()}
        results.add(SCENE, name, row)
        say(f"{name}: " + "  ".join(f"{k} {v:.2f}" for k, v in row.items() if v is not None))
        few = made.grid.frames[:: -(-views // 6), :: -(-times // 12)]
        pictures.append((f"{name}: {config.prompt}", grid_picture(few)))
    if config.sheet is not None and pictures:
        save_contact_sheet(config.sheet, pictures, 1)


def command() -> int:
    """Run from the command line; the exit code."""
    return run_script(main, EvaluateLongGridsConfig, __doc__)
