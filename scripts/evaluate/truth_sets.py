"""Sets of grids whose cells are known, to be completed from row 0 and column 0 and scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fourreal.console import warn
from fourreal.errors import UserError
from fourreal.video_io import resize_frames, to_uint8
from scripts.evaluate.held_out import TrueGrid
from scripts.evaluate.metrics.truth import static_pixels


@dataclass
class TruthSet:
    """True grids that share a row of the table, and what tells this set from another."""

    label: str
    grids: list[TrueGrid]
    settings: dict[str, Any]


def rendered_sets(
    data: Path, size: tuple[int, int], scenes: Sequence[str] = (), most: int | None = None
) -> Iterator[TruthSet]:
    """One test set a scene folder of ``data`` at (height, width); what cannot be read is named and
    left out.

    Args:
        scenes: names of those to take; all by default. most: at most so many.
    """
    from scripts.evaluate.truth_grid import TruthGrid  # slow to import

    if not data.is_dir():
        raise UserError(f"no such folder: {data}; --data takes a folder of scene folders")
    folders = sorted(p.parent for p in data.glob("*/cameras.json"))
    missing = [name for name in scenes if name not in {p.name for p in folders}]
    if missing:
        raise UserError(f"{data} has no scene {missing[0]}; it has {[p.name for p in folders]}")
    folders = [p for p in folders if not scenes or p.name in scenes]
    found = 0
    for folder in folders[:most]:
        sizes = [p.stem.removeprefix("grid_").split("x") for p in folder.glob("grid_*x*.npz")]
        stored = sorted((int(h), int(w)) for h, w in sizes if h.isdigit() and w.isdigit())
        # The smallest that need not be enlarged, or the largest there is.
        enough = [s for s in stored if s[0] >= size[0] and s[1] >= size[1]] or stored[-1:]
        try:
            if not enough:
                raise UserError(f"{folder} has no grid_HEIGHTxWIDTH.npz")
            truth = TruthGrid.load(folder, enough[0])
            grid = scored_grid(truth, size)
        except UserError as error:
            warn(f"scene {folder.name} is left out: {error}")
            continue
        found += 1
        yield TruthSet(folder.name, [grid], {"n": 1})
    if not found:
        raise UserError(f"no usable scenes in {data}; expected SCENE/cameras.json with grids")


def scored_grid(truth: Any, size: tuple[int, int]) -> TrueGrid:
    """The input cells of a `scripts.evaluate.truth_grid.TruthGrid` at (height, width): colours by
    area, depth by the nearest pixel, intrinsics along."""
    v, t = truth.views, truth.steps
    if v < 2 or t < 2:
        raise UserError(f"{v} views x {t} times of input leave nothing to complete")
    height, width = truth.rgb.shape[2:4]
    y = ((np.arange(size[0]) + 0.5) * height / size[0]).astype(int)
    x = ((np.arange(size[1]) + 0.5) * width / size[1]).astype(int)
    frames = resize_frames(np.ascontiguousarray(truth.rgb[:v, :t], np.float32), *size)
    static = static_pixels(frames, truth.depth[:v, :t][:, :, y[:, None], x])
    K = truth.K[:v].copy()
    K[:, 0] *= size[1] / width
    K[:, 1] *= size[0] / height
    return TrueGrid(to_uint8(frames), static, K, truth.w2c[:v])
