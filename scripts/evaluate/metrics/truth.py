"""How near completed grids are to the true ones, with bootstrap intervals over scenes.

Scored are the cells that were not given: v >= 1 and t >= 1. Frames are RGB in 0..1.

| metric | what |
|---|---|
| psnr | squared errors of all pixels and scenes averaged, then dB |
| psnr_changing | the same over pixels that differ from the same view's first frame |
| ssim | mean over cells |
| psnr_rows | dB of each fixed-view clip (a row, t >= 1), averaged over clips and scenes |
| psnr_columns | dB of each freeze-time clip (a column, v >= 1), averaged likewise |
| static_psnr | like psnr, over background where nothing ever moves in that view |
| flicker | mean change from frame to frame of that background, in grey levels of 255 |

Shape legend: V views, T times, H W pixels, N scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from fourreal.image_metrics import decibel, ssim
from scripts.evaluate.metrics.bootstrap import interval, number, resamples

CHANGE = 0.06  # a channel's change that counts as one
STILL = 0.03  # background may vary by this (noise of a renderer) and is still static
DEPTH_STILL = 0.005  # relative change of depth that a static pixel may have


def changing_pixels(true_VTHWC: NDArray) -> NDArray[np.bool_]:
    """Pixels [V, T, H, W] that differ from their view's first frame in some channel."""
    return np.abs(true_VTHWC - true_VTHWC[:, :1]).max(-1) > CHANGE


def static_pixels(true_VTHWC: NDArray, depth_VTHW: NDArray) -> NDArray[np.bool_]:
    """Pixels [V, H, W] where neither the surface nor its light (a shadow) moves at any time.

    depth: NaN or inf where background.
    """
    depth = np.where(np.isfinite(depth_VTHW), depth_VTHW, 0.0)
    moved = np.abs(depth - depth[:, :1]) > DEPTH_STILL * np.maximum(depth[:, :1], 1e-6)
    changed = np.abs(true_VTHWC - true_VTHWC[:, :1]).max(-1) > STILL
    return ~(moved | changed).any(1)


@dataclass(frozen=True)
class SceneScore:
    """What one completed grid adds to the figures: sums with their counts, and means."""

    error: float  # mean squared error of the scored cells
    changing_error: float  # sum of squared errors
    changing_count: int
    static_error: float
    static_count: int
    ssim: float
    rows: float  # mean dB of the rows
    columns: float
    flicker: float  # mean over static pixels, 0 when there are none


def score_grid(out_VTHWC: NDArray, true_VTHWC: NDArray, static_VHW: NDArray) -> SceneScore:
    """Compare a completed grid with the true one.

    Raises:
        ValueError: shapes differ, or there is nothing but row 0 and column 0.
    """
    if out_VTHWC.shape != true_VTHWC.shape or min(true_VTHWC.shape[:2]) < 2:
        raise ValueError(
            f"score_grid: expected two equal grids of at least 2 views and 2 times; got "
            f"{out_VTHWC.shape} and {true_VTHWC.shape}"
        )
    out, truth = out_VTHWC.astype(np.float64), true_VTHWC.astype(np.float64)
    error = ((out - truth)[1:, 1:] ** 2).mean(-1)
    moved = changing_pixels(true_VTHWC)[1:, 1:]
    still = np.broadcast_to(static_VHW[1:, None], error.shape)
    change = np.abs(np.diff(out[1:], axis=1)).mean(-1)[still]
    cells = [
        ssim(out[v, t], truth[v, t])
        for v in range(1, truth.shape[0])
        for t in range(1, truth.shape[1])
    ]
    return SceneScore(
        error=float(error.mean()),
        changing_error=float(error[moved].sum()),
        changing_count=int(moved.sum()),
        static_error=float(error[still].sum()),
        static_count=int(still.sum()),
        ssim=float(np.mean(cells)),
        rows=float(decibel(error.mean((1, 2, 3))).mean()),
        columns=float(decibel(error.mean((0, 2, 3))).mean()),
        flicker=255 * float(change.mean()) if change.size else 0.0,
    )


def columns_of(scores: Sequence[SceneScore]) -> dict[str, NDArray[np.float64]]:
    """The fields of the scores as arrays [N]."""
    rows = [asdict(s) for s in scores]
    return {name: np.array([row[name] for row in rows], np.float64) for name in rows[0]}


def pooled_psnr(error: NDArray, count: NDArray) -> NDArray:
    """dB of summed errors [..., N] over summed counts; NaN where nothing is counted."""
    counts = count.sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return decibel(np.where(counts > 0, error.sum(-1) / counts, np.nan))


def summary(scores: Sequence[SceneScore]) -> dict[str, float | None]:
    """The metrics of the module's table, with `_lo` and `_hi` of the two main ones."""
    x = columns_of(scores)
    n = len(scores)
    draws = resamples(n) if n > 1 else np.zeros((0, n), np.intp)
    out: dict[str, float | None] = {}
    for name, error, count in (
        ("psnr", x["error"], np.ones(n)),
        ("psnr_changing", x["changing_error"], x["changing_count"]),
    ):
        out[name] = number(pooled_psnr(error, count))
        low, high = interval(pooled_psnr(error[draws], count[draws]))
        out[f"{name}_lo"], out[f"{name}_hi"] = low, high
    out["ssim"] = float(x["ssim"].mean())
    out["psnr_rows"] = float(x["rows"].mean())
    out["psnr_columns"] = float(x["columns"].mean())
    out["static_psnr"] = number(pooled_psnr(x["static_error"], x["static_count"]))
    total = x["static_count"].sum()
    flicker = (x["flicker"] * x["static_count"]).sum() / total if total else np.nan
    out["flicker"] = number(flicker)
    return out


def paired_gain(
    error: Sequence[float], other_error: Sequence[float], count: Sequence[int]
) -> tuple[float | None, float | None, float | None]:
    """PSNR over changing pixels of one method minus that of another on the same N scenes, in dB;
    low and high end of the difference's interval under the same resampled scenes."""
    a, b, c = (np.array(x, np.float64) for x in (error, other_error, count))
    draws = resamples(len(c)) if len(c) > 1 else np.zeros((0, len(c)), np.intp)
    low, high = interval(pooled_psnr(a[draws], c[draws]) - pooled_psnr(b[draws], c[draws]))
    gain = number(pooled_psnr(a, c) - pooled_psnr(b, c))
    return gain, low, high
