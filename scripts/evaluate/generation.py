"""How well are grids completed from row 0 and column 0?

    python scripts/evaluate.py generation --n 24 --json generation.json --sheet generation.png
    python scripts/evaluate.py generation --data ../shared/data/grids --json rendered.json
    python scripts/evaluate.py generation --assets CACHE --json assets.json

Without --data the test set is n held-out procedural scenes of the world that the weights were
trained on (200 by default with a GPU, 24 without), with their captions; with it, the grids of that
folder (SCENE/cameras.json and grid_HxW.npz as scripts/render_procedural.py writes them), without
captions; with --assets, the held-out scenes of the asset world, with theirs. Only row 0 and column
0 are shown; true cameras and depth only score. Metrics are those of
`scripts.evaluate.metrics.truth` and `scripts.evaluate.metrics.epipolar`.

Rows that the JSON file holds already are kept, so an interrupted run goes on, and two processes may
share the work: one with `--methods soft hard`, another with `--methods fused sequential`, one file.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from numpy.typing import NDArray

from fourreal.console import progress, say, warn
from fourreal.contact_sheet import grid_picture, save_contact_sheet
from fourreal.errors import UserError
from fourreal.run_folder import peak_memory_mb, reset_peak_memory
from fourreal.script import run_script
from fourreal.stage_key import content_hash
from gen.bundled import GridGenerator, load_bundled
from gen.generate import GenerateConfig
from gen.network.runtime import Runtime
from scripts.evaluate.grid_methods import (
    BASELINES,
    FOOTAGE,
    LEARNED,
    Complete,
    completion,
    network_files,
    weights_key,
)
from scripts.evaluate.held_out import TrueGrid, held_out_assets, held_out_grids, trained_world
from scripts.evaluate.metrics.epipolar import epipolar_errors, epipolar_summary
from scripts.evaluate.metrics.prompts import score_prompts, shares
from scripts.evaluate.metrics.truth import (
    SceneScore,
    paired_gain,
    score_grid,
    summary,
)
from scripts.evaluate.result_file import ResultFile
from scripts.evaluate.truth_sets import TruthSet, rendered_sets

TRUTH = "truth"  # the true frames: what the epipolar and flicker metrics themselves reach
ORDER = (*BASELINES, FOOTAGE, *LEARNED, "default", TRUTH)
SLOW = ("sequential_untrained", "fused_untrained")  # not among the comparisons: only when asked for
METRICS = (
    "psnr", "psnr_lo", "psnr_hi", "psnr_changing", "psnr_changing_lo", "psnr_changing_hi", "ssim",
    "psnr_rows", "psnr_columns", "sampson_px", "matches", "static_psnr", "flicker", "default_gain",
    "default_gain_lo", "default_gain_hi", "seconds", "seconds_cpu",
    "peak_mb",
)  # fmt: skip
NOTES = (
    "psnr, psnr_changing (pixels that change over time) and static_psnr (background where nothing "
    "ever moves, in every row but the first) pool squared errors over scenes; psnr_rows and "
    "psnr_columns are means over fixed-view and freeze-time clips. Brackets: 95 % bootstrap "
    "intervals over scenes. Row 0 and column 0 are given and not scored.",
    "sampson_px: median Sampson error of SIFT matches between neighbouring views of one time with "
    "the true cameras, in pixels of the scored size; matches: their number a pair of views; row "
    "'truth': what true frames reach. flicker: change of static background from frame to frame, in "
    "grey levels of 255.",
    "default_gain: psnr_changing of the default minus that of the row, on the same scenes.",
    "seconds: median a grid, on the wall; seconds_cpu: CPU time of all threads together, which "
    "other programs on the machine disturb less; peak_mb: highest resident memory of the process "
    "while a grid is made (on a GPU, of the GPU's memory).",
)


@dataclass
class EvaluateGenerationConfig:
    """Which grids, which methods, of which weights."""

    n: int | None = None
    """Held-out scenes: 200 with a GPU, 24 without; with --data, at most so many of its scenes."""
    data: Path | None = None
    """Folder of ground-truth scenes to score instead of held-out procedural ones."""
    assets: Path | None = None
    """Cache of scripts/render_world.py: score its held-out scenes instead, with their captions."""
    scenes: tuple[str, ...] = ()
    """Names of scenes in --data; all by default."""
    methods: tuple[str, ...] = tuple(m for m in (*BASELINES, FOOTAGE, *LEARNED) if m not in SLOW)
    """Rows to make."""
    prompts: int = 0
    """Score the fixed-view clips of so many prompts too, as scripts/evaluate.py prompts does."""
    weights: Path | None = None
    """A weights folder; the package's own when left out."""
    world: str | None = None
    """Part of the procedural world to test on; default: what the weights were trained on."""
    size: str = ""
    """Height x width at which grids are scored; the model's own when left out."""
    views: int = 8
    times: int = 8
    grid_steps: int = GenerateConfig.grid_steps
    captions: bool = True
    """Show the model each procedural scene's caption."""
    seed: int = 0
    device: str = "auto"
    """cpu or cuda; auto: a GPU where there is one."""
    json: Path | None = None
    """Result file, updated after every method."""
    sheet: Path | None = None
    """PNG of the first grid: the truth beside every method."""

    def __post_init__(self) -> None:
        unknown = [m for m in self.methods if m not in (*BASELINES, FOOTAGE, *LEARNED)]
        if unknown:
            known = ", ".join((*BASELINES, FOOTAGE, *LEARNED))
            raise UserError(f"unknown method {unknown[0]!r}; choose from {known}")
        if self.n is not None and self.n < 1:
            raise UserError(f"--n must be at least 1; got {self.n}")
        if self.views < 2 or self.times < 2:
            raise UserError("--views and --times must be at least 2: there is nothing to complete")

    def pixels(self, own: tuple[int, int]) -> tuple[int, int]:
        """(height, width) at which grids are scored."""
        if not self.size:
            return own
        height, _, width = self.size.partition("x")
        if not (height.isdigit() and width.isdigit() and int(height) * int(width)):
            raise UserError(f"--size must look like 72x128 (height x width); got {self.size!r}")
        return int(height), int(width)


def truth_sets(cfg: EvaluateGenerationConfig, generator: GridGenerator) -> Iterator[TruthSet]:
    """What is asked for: held-out procedural scenes as one set, or every scene of --data."""
    assert generator.folder is not None
    size = cfg.pixels(generator.size)
    common = {
        "seed": cfg.seed,
        "size": list(size),
        "grid_steps": cfg.grid_steps,
        "weights": content_hash(*network_files(generator.folder)),
    }
    if cfg.data is not None:
        for truth_set in rendered_sets(cfg.data, size, cfg.scenes, cfg.n):
            yield replace(truth_set, settings={**truth_set.settings, **common})
        return
    if cfg.assets is not None:
        grids = held_out_assets(cfg.assets, cfg.n or 24, size)
        if not cfg.captions:
            grids = [replace(grid, prompt="") for grid in grids]
        yield TruthSet("assets", grids, {"n": len(grids), "captions": cfg.captions, **common})
        return
    n = cfg.n or (200 if generator.base.device.type == "cuda" else 24)
    world = trained_world(generator.folder, cfg.world)
    cells = (cfg.views, cfg.times)
    say(f"rendering {n} held-out scenes of the world '{world}'")
    grids = held_out_grids(world, n, cfg.seed, cells, size)
    if not cfg.captions:
        grids = [replace(grid, prompt="") for grid in grids]
    settings = {"n": n, "cells": list(cells), "captions": cfg.captions, **common}
    yield TruthSet(f"procedural_{world}", grids, settings)


def run_timed(
    complete: Complete, grid: TrueGrid, seed: int
) -> tuple[NDArray, tuple[float, float], float]:
    """The completed grid, seconds (on the wall and of CPU time), and the highest memory meanwhile
    in MiB: of the GPU where one computes, otherwise resident memory of the process."""
    gpu = torch.cuda.is_initialized()
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    else:
        reset_peak_memory()
    clock, cpu = time.perf_counter(), time.process_time()
    out = complete(grid, seed)
    seconds = time.perf_counter() - clock, time.process_time() - cpu
    return out, seconds, torch.cuda.max_memory_allocated() / 2**20 if gpu else peak_memory_mb()


@dataclass
class Row:
    """A finished row: its metrics, each scene's score, and the first completed grid."""

    metrics: dict[str, float | None]
    scores: list[SceneScore]
    first: NDArray


def evaluate(complete: Complete, truth_set: TruthSet, name: str, seed: int) -> Row:
    """Run and score one method on every grid of a set."""
    scores, errors, seconds, peaks, first = [], [], [], [], None
    gc.collect()
    for i in progress(range(len(truth_set.grids)), f"{truth_set.label} {name}"):
        grid = truth_set.grids[i]
        out, taken, peak = run_timed(complete, grid, seed * 1000 + i)
        seconds.append(taken)
        peaks.append(peak)
        scores.append(score_grid(out, grid.frames, grid.static))
        errors += epipolar_errors(out, grid.K, grid.w2c)
        first = out if first is None else first
    assert first is not None
    metrics = summary(scores) | epipolar_summary(errors)
    wall, cpu = zip(*seconds, strict=True)
    metrics |= {"seconds": statistics.median(wall), "seconds_cpu": statistics.median(cpu)}
    metrics["peak_mb"] = max(peaks)
    return Row(metrics, scores, first)


def in_order(metrics: dict[str, float | None]) -> dict[str, float | None]:
    """All metrics of the table, null where a row does not have them."""
    return {name: metrics.get(name) for name in METRICS}


def evaluate_set(
    truth_set: TruthSet,
    generator: GridGenerator,
    cfg: EvaluateGenerationConfig,
    results: ResultFile,
) -> dict[str, NDArray]:
    """Make the rows that are missing; returns the first grid of each that was made."""
    label = truth_set.label
    results.use_settings(label, truth_set.settings)
    firsts: dict[str, NDArray] = {}
    for name in cfg.methods:
        key = weights_key(name, generator)
        if results.done(label, name, key):
            say(f"{label} {name}: done before")
            continue
        absent = f"{name}: "
        try:
            complete = completion(name, generator, cfg.grid_steps)
        except UserError as error:
            results.add(label, name, in_order({}), key)
            results.note(f"{name}: {error}", instead_of=absent)
            warn(f"{name} is left out: {error}")
            continue
        results.note("", instead_of=absent)
        row = evaluate(complete, truth_set, name, cfg.seed)
        firsts[name] = row.first
        parts = {
            "error": [float(f"{s.changing_error:.6g}") for s in row.scores],
            "count": [s.changing_count for s in row.scores],
        }
        results.keep("changing", label, name, parts)
        results.add(label, name, in_order(row.metrics), key)
        shown = ("psnr", "psnr_changing", "ssim", "sampson_px", "seconds")
        values = {k: row.metrics[k] for k in shown}
        texts = [f"{k} -" if v is None else f"{k} {v:.2f}" for k, v in values.items()]
        say(f"{label} {name}: " + "  ".join(texts))
        compare_with_default(label, results)
    if not results.done(label, TRUTH):
        errors = [e for g in truth_set.grids for e in epipolar_errors(g.frames, g.K, g.w2c)]
        scores = [score_grid(g.frames, g.frames, g.static) for g in truth_set.grids]
        values = {"flicker": summary(scores)["flicker"], **epipolar_summary(errors)}
        results.add(label, TRUTH, in_order(values))
    compare_with_default(label, results)
    return firsts


def compare_with_default(label: str, results: ResultFile) -> None:
    """Give every row its distance to the variant in use, and that variant its row `default`."""
    results.refresh()
    kept = results.kept("changing", label)
    used = GenerateConfig.mixer
    rows = results.variants(label)
    if used not in rows or used not in kept:
        results.add(label, "default", in_order({}))
        results.note(f"default: no figures of the {used} mixer", instead_of="default: ")
        return
    results.note(f"default: the {used} mixer", instead_of="default: ")
    for name, parts in kept.items():
        if len(parts["count"]) != len(kept[used]["count"]):
            continue
        gain = paired_gain(kept[used]["error"], parts["error"], parts["count"])
        values = dict(
            zip(("default_gain", "default_gain_lo", "default_gain_hi"), gain, strict=True)
        )
        results.add(label, name, in_order({**rows[name], **values}), results.key(label, name))
    results.add(label, "default", results.variants(label)[used])


def save_sheet(
    path: Path, truth_set: TruthSet, firsts: dict[str, NDArray], generator: GridGenerator,
    cfg: EvaluateGenerationConfig, results: ResultFile,
) -> None:  # fmt: skip
    """The first grid, true and by every method that has figures; what an earlier call made is made
    again, which gives the same picture."""
    grid = truth_set.grids[0]
    pictures = [(f"truth: {grid.prompt or truth_set.label}", grid_picture(grid.frames))]
    for name in cfg.methods:
        value = results.variants(truth_set.label).get(name, {}).get("psnr_changing")
        if name not in firsts:
            try:
                firsts[name] = completion(name, generator, cfg.grid_steps)(grid, cfg.seed * 1000)
            except UserError:
                continue  # its weights are missing: said in the table
        title = name if value is None else f"{name}: {value:.2f} dB where it changes"
        pictures.append((title, grid_picture(firsts[name])))
    save_contact_sheet(path, pictures, columns=3)
    say(f"wrote {path}")


def evaluate_prompts(
    generator: GridGenerator, cfg: EvaluateGenerationConfig, results: ResultFile
) -> None:
    """The rows of scripts/evaluate.py prompts in the same file."""
    assert generator.folder is not None
    world = trained_world(generator.folder, cfg.world)
    label = f"prompts_{world}"
    key = content_hash(*network_files(generator.folder))
    results.use_settings(label, {"n": cfg.prompts, "seed": cfg.seed, "weights": key})
    if results.done(label, "default", key) and results.done(label, TRUTH):
        say(f"{label}: done before")
        return
    scored = score_prompts(generator, world, cfg.prompts, GenerateConfig(seed=cfg.seed))
    results.add(label, TRUTH, shares(scored.true_marks))
    results.add(label, "default", {**shares(scored.marks), "seconds": scored.seconds}, key)
    say(f"{label}: {shares(scored.marks)}")


def main(cfg: EvaluateGenerationConfig) -> None:
    """Make every row that is asked for, then the sheets."""
    generator = load_bundled(cfg.weights, Runtime(device=cfg.device))
    title = "Generation" if cfg.data is None else "Generation on rendered grids"
    title = "Generation on held-out scenes of the asset world" if cfg.assets is not None else title
    results = ResultFile(cfg.json, title, generator.base.device, ORDER)
    for number, truth_set in enumerate(truth_sets(cfg, generator)):
        firsts = evaluate_set(truth_set, generator, cfg, results)
        for note in NOTES:
            results.note(note)
        if cfg.sheet is not None:
            path = cfg.sheet
            if number:
                path = path.with_name(f"{path.stem}_{truth_set.label}{path.suffix}")
            save_sheet(path, truth_set, firsts, generator, cfg, results)
    if cfg.prompts:
        evaluate_prompts(generator, cfg, results)


def command() -> int:
    """Run from the command line; the exit code."""
    return run_script(main, EvaluateGenerationConfig, __doc__)
