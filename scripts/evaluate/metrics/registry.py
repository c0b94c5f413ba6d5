"""All metrics by name, and how the paper's tables arrange their figures.

Table 1 (visual quality) and Table 2 (view consistency) are the paper's; Table 3 holds what 4Real-
Video-V2 adds and what needs no network at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from scripts.evaluate.metrics.clip_score import ClipScore
from scripts.evaluate.metrics.dust3r import Dust3rConfidence
from scripts.evaluate.metrics.fid import FID
from scripts.evaluate.metrics.fvd import I3DFVD, VideoMAEFVD
from scripts.evaluate.metrics.gim import GimConfidence
from scripts.evaluate.metrics.interface import Column, Metric
from scripts.evaluate.metrics.met3r import MEt3R
from scripts.evaluate.metrics.video_score import VideoScore
from scripts.evaluate.metrics.weight_free import Epipolar, Flicker, ToTruth

METRICS: dict[str, type[Metric]] = {
    m.name: m
    for m in (
        FID, ClipScore, I3DFVD, VideoMAEFVD, VideoScore, GimConfidence, Dust3rConfidence, MEt3R,
        Epipolar, Flicker, ToTruth,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """A table: its title and the metrics whose columns it shows."""

    title: str
    metrics: tuple[str, ...]

    def columns(self) -> list[Column]:
        return [column for name in self.metrics for column in METRICS[name].columns]


LAYOUTS = (
    Layout(
        "Table 1: visual quality along time (fixed-view videos) and view (freeze-time videos)",
        ("fid", "clip", "fvd", "fvd_mae", "video_score"),
    ),
    Layout("Table 2: multi-view consistency", ("gim", "dust3r")),
    Layout(
        "Table 3: beyond the paper; all but MEt3R without networks",
        ("met3r", "epipolar", "flicker", "truth"),
    ),
)


def make_metrics(
    names: Sequence[str], weights: Path | None, device: torch.device | str
) -> list[Metric]:
    """The metrics of these names."""
    return [METRICS[name](weights, device) for name in names]


def states(metrics: Sequence[Metric]) -> dict[str, dict[str, Any]]:
    """What each metric is, and what it lacks here ("" when it can run), for a result file."""
    out = {}
    for metric in metrics:
        needs = asdict(metric.needs)
        out[metric.name] = {
            "figures": [c.title for c in metric.columns],
            "missing": metric.is_available()[1],
            **{k: needs[k] for k in ("licence", "get", "install", "data")},
        }
    return out


def layouts(names: Sequence[str] = tuple(METRICS)) -> list[dict[str, Any]]:
    """The tables with the columns of these metrics, as (key, title, whether higher is better), for
    a result file."""
    kept = [Layout(x.title, tuple(m for m in x.metrics if m in names)) for x in LAYOUTS]
    return [
        {"title": x.title, "columns": [[c.key, c.title, c.higher] for c in x.columns()]}
        for x in kept
        if x.metrics
    ]
