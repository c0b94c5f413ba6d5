"""The metrics that need no network: epipolar consistency of the views, flicker, and what true
frames say where there are any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from scripts.evaluate.metrics.bootstrap import (
    MISSING,
    Estimate,
    interval,
    mean_of,
    number,
    resamples,
    statistic_of,
)
from scripts.evaluate.metrics.epipolar import epipolar_errors
from scripts.evaluate.metrics.interface import (
    Column,
    Metric,
    Needs,
    Record,
    References,
    Sample,
    arrays_of,
    no_figures,
    values_of,
)
from scripts.evaluate.metrics.truth import SceneScore, columns_of, pooled_psnr, score_grid

OWN = "ours (Apache-2.0)"
TSED_MATCHES = 10  # a pair of views with fewer matches does not count as consistent
TSED_PIXELS = 2.0  # nor does one with a larger median error
RESAMPLES = 500


class Epipolar(Metric):
    """Do neighbouring views of one time fit the true cameras? SIFT matches and their Sampson error.

    cse_px: median over all matches; tsed: share of the pairs of views with at least 10 matches and
    a median below 2 pixels; matches: their number a pair (few matches are a bad sign themselves).
    """

    name = "epipolar"
    needs: ClassVar = Needs(OWN, data="cameras (K and w2c)")
    columns: ClassVar = (
        Column("cse_px", "CSE, px", False),
        Column("tsed", "TSED", True),
        Column("matches", "matches", True),
    )

    def measure(self, sample: Sample) -> Record:
        if sample.K is None or sample.w2c is None:
            return {}
        errors = epipolar_errors(sample.frames, sample.K, sample.w2c)
        if not errors:
            return {}
        good = [len(e) >= TSED_MATCHES and np.median(e) < TSED_PIXELS for e in errors]
        return {
            "errors": np.concatenate(errors).astype(np.float32),
            "matches": np.array([len(e) for e in errors]),
            "good": np.array(good),
        }

    def summary(self, records: Sequence[Record], references: References) -> dict[str, Estimate]:
        errors = arrays_of(records, "errors")

        def median(chosen: np.ndarray) -> float:
            every = np.concatenate([errors[i] for i in chosen]) if len(chosen) else np.zeros(0)
            return float(np.median(every)) if len(every) else float("nan")

        return {
            "cse_px": statistic_of(len(errors), median, RESAMPLES) if errors else MISSING,
            "tsed": mean_of(values_of(records, "good")),
            "matches": mean_of(values_of(records, "matches")),
        }


class Flicker(Metric):
    """Mean change from frame to frame in grey levels of 255, over all pixels: along time (VBench's
    temporal flickering, not subtracted from 255) and along the views, where a moving camera is
    most of it. To be read beside the same figure of true frames."""

    name = "flicker"
    needs: ClassVar = Needs(OWN)
    columns: ClassVar = (
        Column("flicker_time", "Flicker, time", False),
        Column("flicker_view", "Flicker, view", False),
    )

    def measure(self, sample: Sample) -> Record:
        made = sample.frames[1:, 1:]
        record = {}
        for axis, name in ((1, "time"), (0, "view")):
            if made.shape[axis] > 1:
                change = np.abs(np.diff(made, axis=axis)).mean(dtype=np.float64)
                record[name] = np.array([255 * change])
        return record

    def summary(self, records: Sequence[Record], references: References) -> dict[str, Estimate]:
        return {f"flicker_{name}": mean_of(values_of(records, name)) for name in ("time", "view")}


class ToTruth(Metric):
    """Nearness to the true frames, as `scripts.evaluate.metrics.truth` scores a grid: all pixels,
    pixels that change, fixed-view (time) and freeze-time (view) clips, static background and its
    flicker."""

    name = "truth"
    needs: ClassVar = Needs(OWN, data="true frames of all cells")
    columns: ClassVar = (
        Column("psnr", "PSNR", True),
        Column("psnr_changing", "PSNR, changing pixels", True),
        Column("psnr_time", "PSNR, time", True),
        Column("psnr_view", "PSNR, view", True),
        Column("ssim", "SSIM", True),
        Column("static_psnr", "PSNR, static background", True),
        Column("static_flicker", "Flicker, static background", False),
    )

    def measure(self, sample: Sample) -> Record:
        if sample.truth is None:
            return {}
        static = sample.static
        if static is None:
            static = np.zeros((len(sample.frames), *sample.frames.shape[2:4]), bool)
        score = score_grid(sample.frames, sample.truth, static)
        return {name: np.array(value) for name, value in asdict(score).items()}

    def summary(self, records: Sequence[Record], references: References) -> dict[str, Estimate]:
        scores = [SceneScore(**{k: v.item() for k, v in r.items()}) for r in records if r]
        if not scores:
            return dict(no_figures(self.columns))
        x = columns_of(scores)
        still = x["static_count"]
        return {
            "psnr": _pooled(x["error"], np.ones(len(scores)), pooled_psnr),
            "psnr_changing": _pooled(x["changing_error"], x["changing_count"], pooled_psnr),
            "psnr_time": mean_of(x["rows"]),
            "psnr_view": mean_of(x["columns"]),
            "ssim": mean_of(x["ssim"]),
            "static_psnr": _pooled(x["static_error"], still, pooled_psnr),
            "static_flicker": _pooled(x["flicker"] * still, still, _ratio),
        }


def _ratio(total: NDArray, count: NDArray) -> NDArray:
    counts = count.sum(-1)
    return np.where(counts > 0, total.sum(-1) / np.maximum(counts, 1), np.nan)


def _pooled(
    total: NDArray, count: NDArray, figure: Callable[[NDArray, NDArray], NDArray]
) -> Estimate:
    """A figure of sums over scenes [N] and of their counts, with its interval."""
    value = number(figure(total, count))
    if value is None or len(total) < 2:
        return Estimate(value)
    draws = resamples(len(total))
    return Estimate(value, *interval(figure(total[draws], count[draws])))
