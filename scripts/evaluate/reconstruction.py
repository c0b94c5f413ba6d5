"""Score the reconstruction on grids with ground truth, against baselines and ablations.

    python scripts/evaluate.py reconstruction --data ../shared/data/grids --size 144x256 \
        --procedural 2 --variants table --json docs/benchmarks/reconstruction.json

DATA holds one folder per scene as scripts/render_procedural.py writes them; procedural scenes need
no data. Only the input views and times are shown to the method. Scenes and variants that the JSON
file holds already are skipped, so an interrupted run goes on. A variant whose name starts with
``given_`` gets the true cameras; in the others they are estimated and aligned by Sim(3) on the
input views for scoring. The scene ``mean`` is the mean over the scenes that have every variant.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fourreal.console import say
from fourreal.errors import UserError
from fourreal.run_folder import peak_memory_mb, reset_peak_memory
from fourreal.script import run_script
from gen.grid import VideoGrid
from recon.config import FitConfig, PresetName
from recon.reconstruct import fit_scene
from scripts.evaluate import truth_grid as evaluation
from scripts.evaluate.motion_error import motion_error
from scripts.evaluate.no_scene import FlowBetween, NearestCell
from scripts.evaluate.reconstruction_pictures import save_comparison, save_floaters
from scripts.evaluate.reconstruction_variants import (
    VARIANTS,
    base_name,
    configure,
    expand,
    given,
)
from scripts.evaluate.result_file import ResultFile
from scripts.evaluate.truth_grid import Drawing, SceneDrawing, TruthGrid
from tracking.column import ColumnTracks, track_column

Metrics = dict[str, float | None]
USUAL_SIZE = (144, 256)
NO_SCENE = {"nearest_cell": NearestCell, "flow_between": FlowBetween}


@dataclass
class Options:
    data: Path | None = Path("../shared/data/grids")
    """Folder of ground-truth scenes; None: procedural ones only."""
    procedural: int = 0
    """Number of procedural scenes beside them."""
    size: str = "144x256"
    """Height x width."""
    variants: list[str] = field(default_factory=lambda: ["default"])
    """Names of variants; 'table': those of the benchmark page, 'all': every one."""
    scenes: list[str] = field(default_factory=list)
    """Names of scenes; all by default."""
    n: int = 0
    """At most so many scenes; 0: all."""
    heldout_cells: list[str] = field(
        default_factory=lambda: ["default", "given_cameras", "nearest_cell"]
    )
    """Variants that are fitted a second time, a checkerboard of cells left out, for
    psnr_heldout_cells; it is null in the others."""
    json: Path | None = None
    """Result file, updated after every variant."""
    pictures: Path | None = None
    """Folder for pictures: every variant beside the truth, and every scene before and after the
    floater stage."""
    preset: PresetName = "cpu"
    """Settings of the fit that every variant starts from."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", self.size):
            raise UserError(f"--size must look like 144x256 (height x width); got {self.size!r}")
        if self.n < 0 or self.procedural < 0:
            raise UserError("--n and --procedural must not be negative")
        self.variants, self.heldout_cells = expand(self.variants), expand(self.heldout_cells)

    @property
    def frame(self) -> tuple[int, int]:
        """(height, width)."""
        height, width = (int(x) for x in self.size.split("x"))
        return height, width

    def label(self, scene: str) -> str:
        """NAME at the usual size, NAME@HxW at another."""
        return scene if self.frame == USUAL_SIZE else f"{scene}@{self.size}"


def checkerboard(views: int, times: int) -> np.ndarray:
    """Cells [V, T] left out of the second fit: every other one outside row 0 and column 0."""
    board = np.add.outer(np.arange(views), np.arange(times)) % 2 == 0
    board[0], board[:, 0] = False, False
    return board


def listed(mask: np.ndarray) -> list[tuple[int, int]]:
    """The cells (view, time) of a mask [V, T]."""
    return [(int(v), int(t)) for v, t in np.argwhere(mask)]


class Columns:
    """The tracks of a scene's column, found once for each kind of grid that they are asked for.

    A grid that is not whole has other cameras: those are found from its own cells alone.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[bool, int], tuple[ColumnTracks, float]] = {}

    def of(self, grid: VideoGrid) -> tuple[ColumnTracks, float]:
        """Tracks of the grid's column, and the seconds that they took."""
        moments = grid.other_moments()
        key = grid.w2c is not None, len(moments)
        if key not in self._found:
            clock = time.perf_counter()
            column = track_column(grid.freeze_time, K=grid.K, w2c=grid.w2c, moments=moments)
            self._found[key] = column, round(time.perf_counter() - clock, 1)
        return self._found[key]


def evaluate(
    truth: TruthGrid, variant: str, columns: Columns, config: FitConfig, options: Options
) -> tuple[Metrics, Drawing]:
    """All metrics of one scene and variant, and what drew the pictures they are of."""
    V, T = truth.views, truth.steps
    known = np.ones((V, T), bool)
    no_scene = NO_SCENE.get(base_name(variant))
    settings = VARIANTS[base_name(variant)]
    if settings.cross:
        known[1:, 1:] = False
    motion = settings.known_motion(truth) if settings.known_motion else None
    extra: Metrics = {}

    def fit(shown: np.ndarray) -> Drawing:
        if no_scene is not None:
            return no_scene(truth, shown)
        grid = truth.grid(shown, given(variant))
        column, tracking = columns.of(grid)
        clock = time.perf_counter()
        scene, report = fit_scene(grid, column, config, known_motion=motion)
        if not extra:  # the fit of all known cells comes first
            extra["depth_rel_median"] = evaluation.score_depth(scene, truth)
            extra["points"] = len(scene)
            extra["seconds"] = round(time.perf_counter() - clock, 1)
            extra.update({f"seconds_{k}": v for k, v in report["seconds"].items()})
            extra["peak_mb"] = round(peak_memory_mb(), 0)
            extra["seconds_tracking"] = tracking
        return SceneDrawing(scene, truth)

    if no_scene is None:
        columns.of(truth.grid(known, given(variant)))  # the peak of memory is that of the fit
    reset_peak_memory()
    drawing = fit(known)
    out: Metrics = {"psnr_input": None, "ssim_input": None}
    out |= {"psnr_heldout_cells": None, "ssim_heldout_cells": None}
    if no_scene is None:  # of an input cell it is that cell
        out |= evaluation.score_cells(drawing, truth, listed(known), "input")
    if not known.all():
        out |= evaluation.score_cells(drawing, truth, listed(~known), "unseen")
        out |= evaluation.baselines(truth)
    elif variant in options.heldout_cells:
        board = checkerboard(V, T)
        out |= evaluation.score_cells(fit(~board), truth, listed(board), "heldout_cells")
    between = [(v, t) for v in range(V) for t in range(T, len(truth.times))]
    out |= evaluation.score_cells(drawing, truth, between, "heldout_times")
    out |= evaluation.score_views(drawing, truth)
    out |= dict.fromkeys(("epe", "epe_along", "epe_across"))
    if isinstance(drawing, SceneDrawing):
        out |= motion_error(drawing.scene, truth)
    return out | {"depth_rel_median": None, "points": None, "seconds": None, "peak_mb": None} | (
        extra
    ), drawing


def sources(options: Options) -> list[tuple[str, Callable[[], TruthGrid]]]:
    """Name and loader of every scene that is asked for."""
    found: list[tuple[str, Callable[[], TruthGrid]]] = []
    if options.data is not None:
        for path in sorted(options.data.glob("*/cameras.json")):
            found.append((path.parent.name, lambda f=path.parent: TruthGrid.load(f, options.frame)))
    for seed in range(options.procedural):
        name = f"procedural{seed:03d}"
        found.append((name, lambda s=seed: TruthGrid.procedural(s, options.frame)))
    found = [(n, load) for n, load in found if not options.scenes or n in options.scenes]
    if not found:
        raise UserError(
            f"no scenes in {options.data}; expected SCENE/cameras.json and grids, or --procedural N"
        )
    return found[: options.n or None]


def add_means(results: ResultFile, options: Options) -> None:
    """The row ``mean`` of every variant, over the scenes of this size that have all of them."""
    rows = {
        scene: variants
        for scene, variants in results.document["results"].items()
        if scene == options.label(scene.partition("@")[0])
        and scene != options.label("mean")
        and all(v in variants for v in options.variants)
    }
    if len(rows) < 2 or len(options.variants) < 2:
        return
    for variant in options.variants:
        columns: dict[str, list[float]] = {}
        for values in (rows[scene][variant] for scene in rows):
            for metric, value in values.items():
                if value is not None and metric.startswith(
                    ("psnr", "ssim", "depth", "coverage", "epe")
                ):
                    columns.setdefault(metric, []).append(value)
        means = {m: round(sum(c) / len(c), 3) for m, c in columns.items() if len(c) == len(rows)}
        results.add(options.label("mean"), variant, means)
    results.note(f"{options.label('mean')}: mean over {', '.join(sorted(rows))}")


def run(options: Options) -> dict[str, Any]:
    """Evaluate and return the result document."""
    device = configure("default", options.preset).device
    results = ResultFile(options.json, "Reconstruction", device, order=list(VARIANTS))
    settings = {"seed": options.seed, "preset": options.preset}
    for name, load in sources(options):
        label = options.label(name)
        results.use_settings(label, settings)
        todo = [v for v in options.variants if not results.done(label, v)]
        if not todo:
            say(f"{label}: done before")
            continue
        try:
            truth = load()
        except UserError as error:
            say(f"{label}: skipped, {error}")
            results.note(f"{label}: skipped, {error}", instead_of=f"{label}: skipped")
            continue
        columns = Columns()
        for variant in todo:
            config = configure(variant, options.preset, options.seed)
            metrics, drawing = evaluate(truth, variant, columns, config, options)
            results.add(label, variant, metrics)
            results.note(f"{variant}: {describe(variant)}", instead_of=f"{variant}:")
            if options.pictures is not None:
                save_comparison(drawing, truth, options.pictures / f"{label}_{variant}.png")
                if variant == "default":
                    picture = options.pictures / f"{label}_floaters.png"
                    save_floaters(truth, columns.of(truth.grid())[0], config, picture)
            brief = {k: v for k, v in metrics.items() if k.startswith("psnr")}
            say(f"{label} {variant}: {brief} {metrics['seconds']} s")
    results.note(
        "psnr_heldout_cells: null where the variant was not fitted a second time without the "
        "checkerboard of cells, and for cross, whose unseen cells are psnr_unseen",
        instead_of="psnr_heldout_cells:",
    )
    add_means(results, options)
    return results.document


def describe(variant: str) -> str:
    """What a variant is, in words."""
    if variant in VARIANTS:
        return VARIANTS[variant].about
    return f"{VARIANTS[base_name(variant)].about}, with the true cameras"


def command() -> int:
    """Run from the command line; the exit code."""
    return run_script(run, Options, __doc__)
