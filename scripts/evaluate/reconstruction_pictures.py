"""Pictures beside the figures of scripts/evaluate.py reconstruction: truth, drawing, error."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fourreal.atomic import atomic_file
from recon.config import FitConfig
from recon.reconstruct import fit_canonical
from scripts.evaluate.truth_grid import Drawing, SceneDrawing, TruthGrid
from tracking.column import ColumnTracks

FloatArray = NDArray[np.floating]
GAIN = 4.0  # of error pictures


def save_comparison(drawing: Drawing, truth: TruthGrid, path: Path) -> None:
    """Write rows of truth, drawing and error x 4: an input cell, a time and a view held out.

    In the held-out view, pixels that no input view sees are grey in the error picture.
    """
    v, t = truth.views // 2, truth.steps - 1
    rows = [_row(truth.rgb[v, t], drawing.input_view(v, float(truth.times[t])))]
    if len(truth.times) > truth.steps:
        late = len(truth.times) - 1
        rows.append(_row(truth.rgb[v, late], drawing.input_view(v, float(truth.times[late]))))
    if len(truth.w2c) > truth.views:
        w, half = truth.views, truth.steps // 2
        image = drawing.free_view(truth.w2c[w], truth.K[w], float(truth.times[half]))
        rows.append(_row(truth.rgb[w, half], image, truth.seen(w, half)))
    _write(np.concatenate(rows), path)


def save_floaters(truth: TruthGrid, column: ColumnTracks, config: FitConfig, path: Path) -> None:
    """Write the frozen moment from a held-out view (else an input view, for want of one): truth,
    the canonical points before and after the floater stage, and the difference x 4."""
    cameras = bool(np.array_equal(column.w2c, truth.w2c[: truth.views]))
    grid = truth.grid(None, cameras)
    before = deepcopy(config)
    before.floaters.steps = 0
    view = truth.views if len(truth.w2c) > truth.views else 0
    drawn = []
    for settings in (before, config):
        torch.manual_seed(settings.seed)
        scene = SceneDrawing(fit_canonical(grid, column, settings), truth)
        drawn.append(scene.free_view(truth.w2c[view], truth.K[view], float(truth.times[0])))
    change = np.clip(np.abs(drawn[1] - drawn[0]) * GAIN, 0, 1)
    _write(np.concatenate([truth.rgb[view, 0], *drawn, change], 1), path)


def _row(
    target: FloatArray, image: FloatArray, seen: NDArray[np.bool_] | None = None
) -> FloatArray:
    error = np.clip(np.abs(image - target) * GAIN, 0, 1)
    if seen is not None:
        error = np.where(seen[..., None], error, 0.5)
    return np.concatenate([target, image, error], 1)


def _write(rgb: FloatArray, path: Path) -> None:
    """Write RGB 0..1 as a PNG."""
    pixels = np.rint(np.clip(rgb[..., ::-1], 0, 1) * 255).astype(np.uint8)
    encoded = cv2.imencode(".png", pixels)[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
