"""Measure a test set metric by metric and grid by grid, and take up again what was interrupted.

Every record is a small file WORK/METRIC/METHOD/NAME.npz with a key of what it was made from; a
record whose key still fits is not made again. Figures and intervals come from the records alone.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fourreal.atomic import atomic_file
from fourreal.console import progress, say, warn
from fourreal.errors import UserError
from fourreal.stage_key import content_hash
from fourreal.video_io import read_video
from scripts.evaluate.metrics.bootstrap import Estimate
from scripts.evaluate.metrics.grid_set import GridSet
from scripts.evaluate.metrics.interface import (
    InputPair,
    Metric,
    Record,
    References,
    Sample,
    no_figures,
)
from scripts.evaluate.result_file import ResultFile

TRUTH = "truth"  # the true grids, measured like a method: what a metric reaches at best
INPUTS, LARGE = "inputs", "reference"  # records of the input videos and of a large set
VIDEOS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
CLIP_SECONDS = 2.0  # of a reference video, from its start: the length of the paper's test clips
KEY = "made_from"


def sample_key(sample: Sample) -> str:
    """A hash of all that a metric may look at."""
    parts = [sample.frames, sample.truth, sample.static, sample.K, sample.w2c, sample.prompt]
    return content_hash(*["" if part is None else part for part in parts])


def stored_record(path: Path, key: str) -> Record | None:
    """The record on disk, None when there is none made from the same thing."""
    try:
        with np.load(path, allow_pickle=False) as data:
            if str(data[KEY]) != key:
                return None
            return {name: data[name] for name in data.files if name != KEY}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def recorded(path: Path, key: str, make: Callable[[], Record]) -> Record:
    """The record on disk, made and written when it is not there."""
    record = stored_record(path, key)
    if record is None:
        record = make()
        with atomic_file(path) as temporary:
            with temporary.open("wb") as handle:
                arrays: dict[str, Any] = {KEY: np.array(key), **record}
                np.savez_compressed(handle, **arrays)
    return record


def measure_method(
    metric: Metric, method: str, samples: Iterable[Sample], work: Path, total: int
) -> list[Record]:
    """The records of a method's grids."""
    records = []
    for sample in progress(samples, f"{method} {metric.name}", total=total):
        path = work / metric.name / method / f"{sample.name}.npz"
        key = f"{metric.key()} {sample_key(sample)}"
        records.append(recorded(path, key, lambda s=sample: metric.measure(s)))  # type: ignore[misc]
    return records


def references(metric: Metric, test_set: GridSet, large: Path | None, work: Path) -> References:
    """Records of the inputs and of the large set, for a metric that compares with them."""
    found = References()
    if type(metric).measure_inputs is not Metric.measure_inputs:
        for name, pair in test_set.pairs():
            key = f"{metric.key()} {content_hash(pair.row, pair.column)}"
            path = work / metric.name / INPUTS / f"{name}.npz"
            found.inputs.append(recorded(path, key, lambda p=pair: _inputs(metric, p)))  # type: ignore[misc]
    if large is not None and type(metric).measure_clip is not Metric.measure_clip:
        for video in progress(reference_videos(large), f"reference {metric.name}"):
            stat = video.stat()
            key = f"{metric.key()} {video.name} {stat.st_size} {stat.st_mtime_ns}"
            path = work / metric.name / LARGE / f"{content_hash(str(video))}.npz"
            found.large.append(recorded(path, key, lambda v=video: _clip(metric, v)))  # type: ignore[misc]
    return found


def _inputs(metric: Metric, pair: InputPair) -> Record:
    return metric.measure_inputs(pair)


def _clip(metric: Metric, video: Path) -> Record:
    try:
        frames, fps, _ = read_video(video)
    except ValueError as error:
        raise UserError(f"{video}: {error}") from None
    return metric.measure_clip(frames[: max(2, round(CLIP_SECONDS * fps))])


def reference_videos(folder: Path) -> list[Path]:
    """The videos of a large reference set.  UserError when the folder has none."""
    videos = sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEOS)
    if not videos:
        raise UserError(f"no videos in {folder} (--reference)")
    return videos


def figures(estimates: dict[str, Estimate], keys: Sequence[str]) -> dict[str, float | None]:
    """Figures with their intervals as a row of a result file."""
    row: dict[str, float | None] = {}
    for key in keys:
        e = estimates[key]
        row |= {key: e.value, f"{key}_lo": e.low, f"{key}_hi": e.high}
    return row


def readers(test_set: GridSet, truth: bool) -> dict[str, Callable[[], Iterator[Sample]]]:
    """How to read the grids of each method, and the true grids where all are known."""
    found: dict[str, Callable[[], Iterator[Sample]]] = {
        method: partial(test_set.samples, method) for method in test_set.methods
    }
    if truth and test_set.has_truth():
        found[TRUTH] = test_set.true_samples
    return found


@dataclass(frozen=True)
class MetricRun:
    """Metrics, where their records are kept, and the large set that some compare with."""

    metrics: Sequence[Metric]
    work: Path
    large: Path | None = None

    def evaluate(
        self, test_set: GridSet, results: ResultFile, label: str, truth: bool = True
    ) -> None:
        """Measure every method (and the true grids) with every metric that can run; write rows."""
        known = {}
        for metric in self.metrics:
            ok, reason = metric.is_available()
            if ok:
                known[metric.name] = references(metric, test_set, self.large, self.work)
            else:
                warn(f"{metric.name}: {reason}")
        total = len(test_set.names)
        for method, samples in readers(test_set, truth).items():
            row: dict[str, float | None] = {"grids": total}
            for metric in self.metrics:
                estimates = dict(no_figures(metric.columns))
                if metric.name in known:
                    records = measure_method(metric, method, samples(), self.work, total)
                    estimates = metric.summary(records, known[metric.name])
                row |= figures(estimates, [c.key for c in metric.columns])
            results.add(label, method, row)
            say(f"{method}: done")
