"""How well are grids completed from row 0 and column 0? Held-out procedural scenes, true grids.

    python scripts/evaluate_generation.py --n 24 --json generation.json --sheet generation.png

Scored are the cells that are not given: PSNR over all pixels (`psnr`), over the pixels that change
against the same view's first frame (`psnr_changing`), and SSIM. Baselines in the same table: copy
the nearest given cell (the row's frame of the same time), and row + column - corner. Every trained
mixer of the weights folder is scored, and the training-free soft and hard ones.
"""

from __future__ import annotations

import json
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from gen.console import progress, say
from gen.data.captions import canonical_caption
from gen.data.procedural import render
from gen.data.scene_sampling import sample_scenes
from gen.errors import UserError
from gen.generate import GenerateConfig, GridGenerator, load_bundled
from gen.model import read_config
from gen.sync import MIXERS, MixerName
from gen.train_data import HELD_OUT_SEED, WORLDS, seeded
from gen.train_loop import save_sheet

Method = Callable[[NDArray, str, int], NDArray]


@dataclass
class EvaluateGenerationConfig:
    """How many held-out grids, of which weights."""

    n: int = 24
    seed: int = 0
    weights: Path | None = None
    views: int = 8
    times: int = 8
    grid_steps: int = GenerateConfig.grid_steps
    untrained: bool = True  # score the training-free mixers too
    captions: bool = True  # False: the prompt is left empty
    json: Path | None = None
    sheet: Path | None = None  # first grid: truth above every method


def copy_nearest(grid: NDArray, prompt: str, seed: int) -> NDArray:
    """Cell (v, t) = row 0 at t or column 0 at v, whichever is fewer steps away."""
    out = grid.copy()
    for v in range(1, grid.shape[0]):
        for t in range(1, grid.shape[1]):
            out[v, t] = grid[0, t] if v <= t else grid[v, 0]
    return out


def additive(grid: NDArray, prompt: str, seed: int) -> NDArray:
    """Cell (v, t) = row + column - corner, clamped."""
    out = np.clip(grid[:1] + grid[:, :1] - grid[:1, :1], 0, 1)
    out[0], out[:, 0] = grid[0], grid[:, 0]
    return out


def generated(generator: GridGenerator, config: GenerateConfig, captions: bool) -> Method:
    def method(grid: NDArray, prompt: str, seed: int) -> NDArray:
        text = prompt if captions else ""
        settings = GenerateConfig(**{**vars(config), "seed": seed})
        return generator.complete_grid(grid[0], grid[:, 0], text, settings).grid.frames

    return method


def psnr(error: NDArray) -> float:
    return float(-10 * np.log10(max(float(np.mean(error)), 1e-10)))


def ssim(a: NDArray, b: NDArray) -> float:
    """Mean SSIM of two pictures [H, W, 3] in 0..1 (Gaussian window of 11, sigma 1.5)."""

    def blur(x: NDArray) -> NDArray:
        return cv2.GaussianBlur(x, (11, 11), 1.5)

    a, b = a.astype(np.float64), b.astype(np.float64)
    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma * ma, blur(b * b) - mb * mb, blur(a * b) - ma * mb
    value = (2 * ma * mb + 1e-4) * (2 * cov + 9e-4)
    return float((value / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))).mean())


def score(outs: list[NDArray], truths: list[NDArray]) -> dict[str, float]:
    """Metrics of the cells outside row 0 and column 0. Errors are pooled over the grids before the
    logarithm, since a still scene is no challenge and exact for `additive`."""
    error = np.stack([(o - t)[1:, 1:] ** 2 for o, t in zip(outs, truths, strict=True)])
    moved = np.stack([np.abs(t - t[:, :1]).max(-1)[1:, 1:] > 0.06 for t in truths])
    cells = [
        ssim(out[v, t], truth[v, t])
        for out, truth in zip(outs, truths, strict=True)
        for v in range(1, truth.shape[0])
        for t in range(1, truth.shape[1])
    ]
    return {
        "psnr": psnr(error),
        "psnr_changing": psnr(error[moved]),
        "ssim": float(np.mean(cells)),
    }


def methods_of(generator: GridGenerator, cfg: EvaluateGenerationConfig) -> dict[str, Method]:
    methods: dict[str, Method] = {"copy_nearest": copy_nearest, "additive": additive}
    untrained: tuple[MixerName, ...] = ("none", "soft", "hard", "sequential", "fused")
    for mixer in untrained if cfg.untrained else untrained[:1]:
        config = GenerateConfig(mixer=mixer, untrained_sync=True, grid_steps=cfg.grid_steps)
        name = "none" if mixer == "none" else f"{mixer}_untrained"
        methods[name] = generated(generator, config, cfg.captions)
    assert generator.folder is not None
    for mixer in MIXERS:
        if (generator.folder / f"{mixer}.json").is_file():
            config = GenerateConfig(mixer=mixer, grid_steps=cfg.grid_steps)
            methods[mixer] = generated(generator, config, cfg.captions)
    return methods


def main(cfg: EvaluateGenerationConfig) -> None:
    generator = load_bundled(cfg.weights)
    assert generator.folder is not None
    made = read_config(generator.folder)["how_made"]
    world = made.get("pool", {}).get("world", "full")
    h, w = generator.size
    scenes = sample_scenes(cfg.n, seeded(HELD_OUT_SEED + 3, cfg.seed), **WORLDS[world])
    views, times = torch.linspace(0, 1, cfg.views), torch.linspace(0, 1, cfg.times)
    truths = [render(scenes[i], views, times, h, w, samples=2).rgb[0].numpy() for i in range(cfg.n)]
    results: dict[str, dict[str, float]] = {}
    sheet = [truths[0]]
    for name, method in methods_of(generator, cfg).items():
        outs = []
        started = time.monotonic()
        for i in progress(range(cfg.n), name):
            out = method(truths[i], canonical_caption(scenes, i), cfg.seed * 1000 + i)
            outs.append(out)
        seconds = (time.monotonic() - started) / cfg.n
        sheet.append(outs[0])
        results[name] = score(outs, truths)
        results[name]["seconds"] = seconds
        results[name]["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        say(f"{name:20s} " + "  ".join(f"{k} {v:.2f}" for k, v in results[name].items()))
    if "soft" in results:
        results["default"] = results["soft"]
    if cfg.sheet is not None:
        save_sheet(torch.from_numpy(np.concatenate(sheet)) * 2 - 1, cfg.sheet, 2)
    if cfg.json is not None:
        record = {
            "schema": 1,
            "command": "scripts/evaluate_generation.py " + " ".join(sys.argv[1:]),
            "hardware": f"{torch.get_num_threads()} CPU threads, {platform.machine()}",
            "results": {f"procedural_{world}": results},
            "notes": {"n": cfg.n, "seed": cfg.seed, "size": [h, w]},
        }
        cfg.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main(tyro.cli(EvaluateGenerationConfig, description=__doc__))
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
