"""The picture of docs/MODEL_CARD.md: hidden cells of a grid, the truth above what fills them.

Row 0 and column 0 are given. A rule, the two-stream model, completion, and the scene that `videos`
fits to the two clips.

    python -m scripts.tools.completion_picture --data ../shared/data/grids/fox_run
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourreal.contact_sheet import save_contact_sheet
from fourreal.image_metrics import psnr
from fourreal.script import run_script
from fourreal.video_io import to_uint8
from gen.bundled import load_bundled
from recon.reconstruct import fit_scene
from scripts.evaluate.grid_methods import completion
from scripts.evaluate.truth_grid import SceneDrawing, TruthGrid
from scripts.evaluate.truth_sets import scored_grid
from tracking.column import track_column

CELLS = (2, 2), (3, 5), (5, 3), (7, 6)
METHODS = {
    "additive": "row + column - corner",
    "soft_alone": "two-stream model, soft",
    "completion": "completion",
}


@dataclass
class Options:
    data: Path = Path("../shared/data/grids/fox_run")
    """Folder of a ground-truth scene of 8 x 8 cells or more."""
    out: Path = Path("docs/images/completion.jpg")
    """The picture."""
    size: str = "144x256"
    """Height x width."""


def fitted(truth: TruthGrid) -> NDArray[np.float32]:
    """Frames [V, T, H, W, 3] of the scene that is fitted to row 0 and column 0."""
    known = np.zeros((truth.views, truth.steps), bool)
    known[0], known[:, 0] = True, True
    grid = truth.grid(known)
    scene, _ = fit_scene(grid, track_column(grid.column(0)))
    drawing = SceneDrawing(scene, truth)
    times = [float(t) for t in truth.times[: truth.steps]]
    return np.stack([[drawing.input_view(v, t) for t in times] for v in range(truth.views)])


def main(options: Options) -> None:
    """Fill the grid in every way and show four cells."""
    height, width = (int(n) for n in options.size.split("x"))
    truth = TruthGrid.load(options.data, (height, width))
    grid = scored_grid(truth, (height, width))
    rows = {"truth": grid.frames}
    generator = load_bundled()
    for name, title in METHODS.items():
        rows[title] = completion(name, generator, 6)(grid, 0)
    rows["the fitted scene"] = fitted(truth)
    pictures = []
    for title, frames in rows.items():
        for v, t in CELLS:
            text = f"view {v}, time {t}: {title}"
            if title != "truth":
                text += f", {psnr(frames[v, t], grid.frames[v, t]):.1f} dB"
            pictures.append((text, to_uint8(frames[v, t])))
    save_contact_sheet(options.out, pictures, columns=len(CELLS))


if __name__ == "__main__":
    sys.exit(run_script(main, Options, __doc__))
