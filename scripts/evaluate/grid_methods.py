"""Every way to complete a grid that the evaluation compares, by name.

Two need no learning: the bar that a model has to clear. The others run the bundled kind of model
with a mixer of `gen.sync.mixers`, trained or training-free, on all or on some of its layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fourreal.stage_key import content_hash
from fourreal.video_io import resize_frames
from gen.bundled import GridGenerator
from gen.generate import GenerateConfig
from gen.sync.mixers import Drop, MixerName
from scripts.evaluate.held_out import TrueGrid

Complete = Callable[[TrueGrid, int], NDArray]  # (grid, seed) -> all cells; reads row 0, column 0


def copy_nearest(grid_VTHWC: NDArray) -> NDArray:
    """Cell (v, t) = row 0 at t or column 0 at v, whichever is fewer steps away."""
    out = grid_VTHWC.copy()
    for v in range(1, out.shape[0]):
        for t in range(1, out.shape[1]):
            out[v, t] = out[0, t] if v <= t else out[v, 0]
    return out


def additive(grid_VTHWC: NDArray) -> NDArray:
    """Cell (v, t) = row + column - corner, clamped to 0..1."""
    grid = grid_VTHWC
    out = np.clip(grid[:1] + grid[:, :1] - grid[:1, :1], 0, 1)
    out[0], out[:, 0] = grid[0], grid[:, 0]
    return out


@dataclass(frozen=True)
class Learned:
    """A way to run the model: which mixer, trained or not, and which third of its layers is off
    (the supplement of the paper drops the first or the last 33 %)."""

    mixer: MixerName
    untrained: bool = False
    drop: Drop = "none"


BASELINES: dict[str, Callable[[NDArray], NDArray]] = {
    "copy_nearest": copy_nearest,
    "additive": additive,
}
LEARNED: dict[str, Learned] = {
    "none": Learned("none", untrained=True),
    "soft_untrained": Learned("soft", untrained=True),
    "hard_untrained": Learned("hard", untrained=True),
    "sequential_untrained": Learned("sequential", untrained=True),
    "fused_untrained": Learned("fused", untrained=True),
    "sequential": Learned("sequential"),
    "hard": Learned("hard"),
    "fused": Learned("fused"),
    "soft_without_first_third": Learned("soft", drop="first"),
    "soft_without_last_third": Learned("soft", drop="last"),
    "soft": Learned("soft"),
}


def completion(name: str, generator: GridGenerator, steps: int) -> Complete:
    """The method of a name.  UserError when its trained weights are missing or do not fit."""
    if name in BASELINES:
        return lambda grid, seed: BASELINES[name](grid.frames)
    how = LEARNED[name]
    settings = GenerateConfig(
        mixer=how.mixer, untrained_sync=how.untrained, drop_sync=how.drop, grid_steps=steps
    )
    generator.two_stream(settings)

    def complete(grid: TrueGrid, seed: int) -> NDArray:
        frames = grid.frames
        made = generator.complete_grid(
            frames[0], frames[:, 0], grid.prompt, replace(settings, seed=seed)
        )
        return resize_frames(made.grid.frames, *frames.shape[2:4])

    return complete


def weights_key(name: str, generator: GridGenerator) -> str:
    """What a row is made from besides the test set: the mixer's weights, "absent" without them."""
    how = LEARNED.get(name)
    if how is None or how.untrained:
        return ""
    assert generator.folder is not None
    files = [generator.folder / f"{how.mixer}.json"]
    files += sorted(generator.folder.glob(f"{how.mixer}-*.safetensors"))
    return content_hash(*files) if files[0].is_file() else "absent"
