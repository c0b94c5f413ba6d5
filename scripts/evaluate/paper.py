"""The paper's Table 1 and Table 2 for folders of completed grids.

    python scripts/evaluate.py pairs --out outputs/pairs --n 24
    python scripts/evaluate.py paper --grids outputs/pairs/grids --inputs outputs/pairs/inputs \\
        --json docs/benchmarks/paper_metrics.json
    python scripts/evaluate.py paper --grids my_grids --prompts prompts.tsv --weights networks \\
        --reference videos --device cuda --json mine.json

--grids holds NAME.npz (or .mp4, or grid folders) of one method, or METHOD/NAME.npz of several;
--inputs the grids they were made from, under the same names (complete ones are ground truth).
Fixed-view videos (time) and freeze-time videos (view) are judged apart. Brackets are 95 % bootstrap
intervals over grids with fixed seeds.

Networks are read from --weights DIR and nowhere else; a metric without its files keeps its place
in the tables and says what to get (--list shows all of them). Every record of a grid is kept in
--work, so that an interrupted run goes on and a later one only adds what is new.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from fourreal.console import say
from fourreal.errors import UserError
from fourreal.script import run_script
from gen.network.runtime import Runtime
from scripts.evaluate.metrics.grid_set import find_test_set
from scripts.evaluate.metrics.pairs import COMMANDS
from scripts.evaluate.metrics.registry import METRICS, layouts, make_metrics, states
from scripts.evaluate.metrics.run import TRUTH, MetricRun
from scripts.evaluate.result_file import ResultFile
from scripts.evaluate.result_tables import layout_tables, markdown

TITLE = "The paper's metrics"
NOTES = (
    "time: completed fixed-view videos; view: completed freeze-time videos. Row 0 and column 0 are "
    "given and are no video of their own here.",
    "CSE: median Sampson error of SIFT matches between neighbouring views with the true cameras, "
    "in pixels; TSED: share of the pairs of views with at least 10 matches and a median error "
    "below 2 pixels; matches: their mean number a pair.",
    "Flicker: mean change from frame to frame in grey levels of 255; along the views a moving "
    "camera is most of it. static background: pixels where nothing ever moves.",
    "FID compares completed frames with the frames of the input videos (the paper does not name "
    "its reference); GIM and DUSt3R compare neighbouring views. FID and FVD depend on the number "
    "of clips: compare only rows with equally many.",
    f"{TRUTH}: the true grids, measured like a method.",
)


@dataclass
class EvaluatePaperConfig:
    """Which grids, which metrics, with which networks."""

    grids: Path = Path("outputs/pairs/grids")
    """Folder of completed grids."""
    inputs: Path | None = None
    """Folder of what they were made from; row 0 and column 0 of the grids when left out."""
    prompts: Path | None = None
    """Prompts by grid name (JSON object, or lines of NAME, tab, prompt); else the grids' own."""
    weights: Path | None = None
    """Folder with the metrics' networks."""
    reference: Path | None = None
    """Folder of real videos: the large set that FVD compares with."""
    metrics: tuple[str, ...] = tuple(METRICS)
    """Metrics to measure."""
    methods: tuple[str, ...] = ()
    """Methods in --grids; all by default."""
    label: str = ""
    """Name of the test set in the result file; by default how many grids it has."""
    work: Path = Path("outputs/evaluate_paper")
    """Where the records of single grids are kept."""
    device: str = "auto"
    """cpu or cuda; auto: a GPU where there is one."""
    json: Path | None = None
    """Result file."""
    list: bool = False
    """Only say which metrics can run here and what the others lack."""

    def __post_init__(self) -> None:
        unknown = [m for m in self.metrics if m not in METRICS]
        if unknown:
            raise UserError(f"unknown metric {unknown[0]!r}; choose from {', '.join(METRICS)}")
        if self.weights is not None and not self.weights.is_dir():
            raise UserError(f"no such folder: {self.weights} (--weights)")
        if self.reference is not None and not self.reference.is_dir():
            raise UserError(f"no such folder: {self.reference} (--reference)")


def main(cfg: EvaluatePaperConfig) -> None:
    if cfg.list:
        for name, state in states(make_metrics(cfg.metrics, cfg.weights, "cpu")).items():
            say(f"{name}: {state['missing'] or 'ready'} (licence: {state['licence']})")
        return
    test_set = find_test_set(cfg.grids, cfg.inputs, cfg.prompts).only(cfg.methods)
    torch.manual_seed(0)
    device = Runtime(device=cfg.device).torch_device()
    results = ResultFile(cfg.json, TITLE, device)
    cfg.label = cfg.label or f"{len(test_set.names)} grids"
    results.use_settings(cfg.label, {"grids": test_set.names})
    results.store("layouts", layouts())
    results.store("metrics", states(make_metrics(tuple(METRICS), cfg.weights, device)))
    run = MetricRun(make_metrics(cfg.metrics, cfg.weights, device), cfg.work, cfg.reference)
    run.evaluate(test_set, results, cfg.label)
    made_by = cfg.grids.parent / COMMANDS
    if made_by.is_file():
        text = "grids made by: " + "; ".join(made_by.read_text().splitlines())
        results.note(text, instead_of="grids made by: ")
    for note in NOTES:
        results.note(note)
    for table in layout_tables(results.document):
        say("\n" + markdown(table))


def command() -> int:
    """Run from the command line; the exit code."""
    return run_script(main, EvaluatePaperConfig, __doc__)
