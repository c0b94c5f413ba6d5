"""Score the reconstruction on grids with ground truth.

    python scripts/evaluate_reconstruction.py --data ../shared/data/grids --size 144x256 \
        --variants default given_cameras cross --json docs/benchmarks/reconstruction.json

DATA holds one folder per scene as scripts/render_procedural.py writes them. Only the input views
and times are shown to the method. Scenes and variants that the JSON file holds already are
skipped, so an interrupted run goes on. A variant whose name starts with ``given_`` gets the true
cameras; in the others they are estimated and aligned by Sim(3) on the input views for scoring.
"""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np  # noqa: E402

import recon  # noqa: E402, F401, I001  (sets the OpenMP wait policy before torch is loaded)
from gen.console import say  # noqa: E402
from gen.errors import UserError  # noqa: E402
from gen.result_file import ResultFile  # noqa: E402
from gen.run_folder import peak_memory_mb, reset_peak_memory  # noqa: E402
from gen.script import run_script  # noqa: E402
from recon import evaluation  # noqa: E402
from recon.config import FitConfig  # noqa: E402
from recon.evaluation import TruthGrid  # noqa: E402
from recon.fit import fit_scene  # noqa: E402
from tracking.column import ColumnTracks, track_column  # noqa: E402

VARIANTS = {
    "default": "everything as shipped, cameras unknown",
    "given_cameras": "the same with the true cameras",
    "cross": "only row 0 and column 0 are shown",
    "static": "no motion: the canonical scene at all times",
    "no_compensation": "no view-dependent offsets",
    "no_floaters": "no floater stage",
    "no_track_init": "nodes start from zero instead of being followed",
    "no_shade": "no brightness over time",
    "no_camera_refinement": "estimated cameras are left as they are",
    "literal": "Eq. 11 as printed: temporal offsets are not rotated into the view",
    "mlp": "a 4 x 64 network on the nodes instead of free offsets",
}


@dataclass
class Options:
    data: Path = Path("../shared/data/grids")
    """Folder of ground-truth scenes."""
    size: str = "144x256"
    """Height x width."""
    variants: list[str] = field(default_factory=lambda: ["default"])
    """Any of the names in VARIANTS, or 'all'."""
    scenes: list[str] = field(default_factory=list)
    """Folder names; all by default."""
    n: int = 0
    """At most so many scenes; 0: all."""
    heldout_cells: bool = True
    """Fit a second time with a checkerboard of cells left out, for psnr_heldout_cells."""
    json: Path | None = None
    """Result file, updated after every variant."""
    seed: int = 0


def configure(variant: str, seed: int) -> FitConfig:
    """The settings of a variant."""
    config = FitConfig(seed=seed)
    name = variant.removeprefix("given_")
    if name == "static":
        config.deformation.steps = 0
    elif name == "no_compensation":
        config.compensation = False
    elif name == "no_floaters":
        config.floaters.steps = 0
    elif name == "no_track_init":
        config.deformation.track_init = False
    elif name == "no_shade":
        config.deformation.shade = False
    elif name == "no_camera_refinement":
        config.refine_cameras = False
    elif name == "literal":
        config.offset_frame = "literal"
    elif name == "mlp":
        config.deformation.kind = "mlp-nodes"
    elif name not in ("default", "cameras", "cross"):
        raise UserError(f"unknown variant {variant!r}; known: {', '.join(VARIANTS)}")
    return config


def evaluate(
    truth: TruthGrid, variant: str, column: ColumnTracks, options: Options
) -> dict[str, float | None]:
    """All metrics of one scene and variant."""
    config = configure(variant, options.seed)
    given = variant.startswith("given_")
    V, T = truth.views, truth.steps
    known = np.ones((V, T), bool)
    if variant.removeprefix("given_") == "cross":
        known[1:, 1:] = False
    reset_peak_memory()
    clock = time.perf_counter()
    scene, report = fit_scene(truth.grid(known, given), column, config)
    seconds = time.perf_counter() - clock
    inputs = [(int(v), int(t)) for v, t in np.argwhere(known)]
    unseen = [(int(v), int(t)) for v, t in np.argwhere(~known)]
    out: dict[str, float | None] = evaluation.score_cells(scene, truth, inputs, "input")
    if unseen:
        out |= evaluation.score_cells(scene, truth, unseen, "unseen")
        out |= evaluation.baselines(truth)
    elif options.heldout_cells:
        board = np.add.outer(np.arange(V), np.arange(T)) % 2 == 0
        board[0], board[:, 0] = False, False
        partial, _ = fit_scene(truth.grid(~board, given), column, config)
        left_out = [(int(v), int(t)) for v, t in np.argwhere(board)]
        out |= evaluation.score_cells(partial, truth, left_out, "heldout_cells")
    between = [(v, t) for v in range(V) for t in range(T, len(truth.times))]
    out |= evaluation.score_cells(scene, truth, between, "heldout_times")
    out |= evaluation.score_views(scene, truth)
    out["depth_rel_median"] = evaluation.score_depth(scene, truth)
    out["points"] = len(scene)
    out["seconds"] = round(seconds, 1)
    out |= {f"seconds_{k}": v for k, v in report["seconds"].items()}
    out["peak_mb"] = round(peak_memory_mb(), 0)
    return out


def run(options: Options) -> dict[str, Any]:
    """Evaluate and return the result document."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", options.size)
    if not match:
        raise UserError(f"--size must look like 144x256 (height x width); got {options.size!r}")
    size = (int(match[1]), int(match[2]))
    variants = list(VARIANTS) if options.variants == ["all"] else options.variants
    for variant in variants:
        configure(variant, 0)
    folders = sorted(p.parent for p in options.data.glob("*/cameras.json"))
    if options.scenes:
        folders = [p for p in folders if p.name in options.scenes]
    folders = folders[: options.n or None]
    if not folders:
        raise UserError(f"no scenes in {options.data}; expected SCENE/cameras.json and grids")
    document = ResultFile(options.json, "Reconstruction")
    for folder in folders:
        label = folder.name if options.size == "144x256" else f"{folder.name}@{options.size}"
        todo = [v for v in variants if not document.done(label, v)]
        if not todo:
            continue
        truth = TruthGrid.load(folder, size)
        columns: dict[bool, tuple[ColumnTracks, float]] = {}
        for variant in todo:
            given = variant.startswith("given_")
            if given not in columns:
                clock = time.perf_counter()
                grid = truth.grid(None, given)
                column = track_column(grid.column(0), K=grid.K, w2c=grid.w2c)
                columns[given] = column, round(time.perf_counter() - clock, 1)
            column, tracking_seconds = columns[given]
            metrics = evaluate(truth, variant, column, options)
            metrics["seconds_tracking"] = tracking_seconds
            document.add(label, variant, metrics)
            brief = {k: v for k, v in metrics.items() if k.startswith("psnr")}
            say(f"{label} {variant}: {brief} {metrics['seconds']} s")
    return document.document


if __name__ == "__main__":
    sys.exit(run_script(run, Options, __doc__))
