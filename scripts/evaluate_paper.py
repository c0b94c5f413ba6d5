"""The paper's Table 1 and Table 2 for folders of completed grids.

    python scripts/make_test_grids.py --out outputs/pairs --n 24
    python scripts/evaluate_paper.py --grids outputs/pairs/grids --inputs outputs/pairs/inputs \\
        --json docs/benchmarks/paper_metrics.json
    python scripts/evaluate_paper.py --grids my_grids --prompts prompts.tsv --weights networks \\
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

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gen.console import say, warn
from gen.errors import UserError
from gen.metrics.interface import Metric, Sample, no_figures
from gen.metrics.registry import LAYOUTS, METRICS, make_metrics
from gen.metrics.run import TRUTH, figures, measure_method, references
from gen.metrics.test_set import TestSet, find_test_set
from gen.result_file import ResultFile
from gen.result_tables import layout_tables, markdown
from gen.runtime import Runtime
from gen.script import run_script

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


def states(metrics: list[Metric]) -> dict[str, dict[str, Any]]:
    """What each metric is, and whether it can run here ("" or the reason why not)."""
    out = {}
    for metric in metrics:
        needs = asdict(metric.needs)
        out[metric.name] = {
            "figures": [c.title for c in metric.columns],
            "missing": metric.is_available()[1],
            **{k: needs[k] for k in ("licence", "get", "install", "data")},
        }
    return out


def layouts() -> list[dict[str, Any]]:
    """The tables of the result file: columns as (key, title, whether higher is better)."""
    return [
        {"title": x.title, "columns": [[c.key, c.title, c.higher] for c in x.columns()]}
        for x in LAYOUTS
    ]


def chosen(test_set: TestSet, methods: tuple[str, ...]) -> TestSet:
    """The asked methods of a test set."""
    missing = [m for m in methods if m not in test_set.methods]
    if missing:
        raise UserError(f"no grids of {missing[0]!r}; there are {', '.join(test_set.methods)}")
    kept = {m: test_set.methods[m] for m in methods or test_set.methods}
    return TestSet(kept, test_set.inputs, test_set.prompts)


def readers(test_set: TestSet) -> dict[str, Callable[[], Iterator[Sample]]]:
    """How to read the grids of each method, and the true grids where all are known."""
    found: dict[str, Callable[[], Iterator[Sample]]] = {
        method: partial(test_set.samples, method) for method in test_set.methods
    }
    if test_set.has_truth():
        found[TRUTH] = test_set.true_samples
    return found


def evaluate(
    cfg: EvaluatePaperConfig, test_set: TestSet, results: ResultFile, device: torch.device
) -> None:
    """Measure every method with every metric that can run, and write the rows."""
    metrics = make_metrics(cfg.metrics, cfg.weights, device)
    for metric in metrics:
        ok, reason = metric.is_available()
        if not ok:
            warn(f"{metric.name}: {reason}")
    known = [m for m in metrics if m.is_available()[0]]
    found = {m.name: references(m, test_set, cfg.reference, cfg.work) for m in known}
    total = len(test_set.names)
    for method, samples in readers(test_set).items():
        row: dict[str, float | None] = {"grids": total}
        for metric in metrics:
            keys = [c.key for c in metric.columns]
            estimates = dict(no_figures(metric.columns))
            if metric in known:
                records = measure_method(metric, method, samples(), cfg.work, total)
                estimates = metric.summary(records, found[metric.name])
            row |= figures(estimates, keys)
        results.add(cfg.label, method, row)
        say(f"{method}: done")


def main(cfg: EvaluatePaperConfig) -> None:
    if cfg.list:
        for name, state in states(make_metrics(cfg.metrics, cfg.weights, "cpu")).items():
            say(f"{name}: {state['missing'] or 'ready'} (licence: {state['licence']})")
        return
    test_set = chosen(find_test_set(cfg.grids, cfg.inputs, cfg.prompts), cfg.methods)
    torch.manual_seed(0)
    device = Runtime(device=cfg.device).torch_device()
    results = ResultFile(cfg.json, TITLE, device)
    cfg.label = cfg.label or f"{len(test_set.names)} grids"
    results.use_settings(cfg.label, {"grids": test_set.names})
    results.store("layouts", layouts())
    results.store("metrics", states(make_metrics(tuple(METRICS), cfg.weights, "cpu")))
    evaluate(cfg, test_set, results, device)
    for note in NOTES:
        results.note(note)
    for table in layout_tables(results.document):
        say("\n" + markdown(table))


if __name__ == "__main__":
    sys.exit(run_script(main, EvaluatePaperConfig, __doc__))
