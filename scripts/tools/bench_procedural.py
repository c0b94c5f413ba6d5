"""Clips a second of the procedural renderer.

    python -m scripts.tools.bench_procedural --threads 2

A clip is one fixed-view row (row) or one freeze-time column (column) of 8 frames.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from gen.data.world.procedural import render
from gen.data.world.scene_sampling import sample_scenes


@dataclass(frozen=True)
class Config:
    """What to time."""

    threads: int = 2
    batch: int = 32
    frames: int = 8
    repeats: int = 5
    device: str = "cpu"
    json: Path | None = None
    """Also write the figures here."""


def main(config: Config) -> None:
    torch.set_num_threads(config.threads)
    scenes = sample_scenes(config.batch, torch.Generator().manual_seed(0)).to(config.device)
    one, many = torch.zeros(1), torch.linspace(0, 1, config.frames)
    results: dict[str, dict[str, float]] = {}
    for height, width, samples in ((72, 128, 1), (40, 64, 2), (72, 128, 2)):
        for name, views, times in (("row", one, many), ("column", many, one)):
            render(scenes, views, times, height, width, samples=samples)
            if config.device != "cpu":
                torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(config.repeats):
                render(scenes, views, times, height, width, samples=samples)
            if config.device != "cpu":
                torch.cuda.synchronize()
            rate = config.batch * config.repeats / (time.perf_counter() - start)
            variant = f"{height}x{width}_samples{samples}"
            results.setdefault(name, {})[variant] = round(rate, 1)
            print(f"{name:6s} {variant:16s} {rate:8.1f} clips/s", flush=True)
    if config.json is not None:
        record = {
            "schema": 1,
            "command": "python " + " ".join(sys.argv),
            "hardware": f"{config.device}, {config.threads} threads",
            "results": {"clips_per_second": results},
        }
        config.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
