"""Every way to complete a grid that the evaluation compares, by name.

Some need no learning: the bar that a model has to clear. One is the network for footage. The others
run the bundled kind of model with a mixer of `gen.sync.mixers`, trained or training-free, on all or
on some of its layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from numpy.typing import NDArray

from fourreal.stage_key import content_hash
from fourreal.video_io import resize_frames
from gen.bundled import GridGenerator
from gen.completion.blend import NAME as BLEND
from gen.completion.model import load_completion
from gen.completion.rules import additive, column_moved, copy_nearest, row_moved
from gen.generate import GenerateConfig
from gen.network.base import BASE, CLIP, PICTURE, description, shards
from gen.sync.mixers import Drop
from gen.sync.names import MixerName
from scripts.evaluate.held_out import TrueGrid

Complete = Callable[[TrueGrid, int], NDArray]  # (grid, seed) -> all cells; reads row 0, column 0


@dataclass(frozen=True)
class Learned:
    """A way to run the model: which mixer, trained or not, and which third of its layers is off
    (the supplement of the paper drops the first or the last 33 %); whether what completion says
    is mixed in, as `prompt` does."""

    mixer: MixerName
    untrained: bool = False
    drop: Drop = "none"
    blend: bool = True


BASELINES: dict[str, Callable[[NDArray], NDArray]] = {
    "copy_nearest": copy_nearest,
    "additive": additive,
    "row_moved": row_moved,
    "column_moved": column_moved,
}
FOOTAGE = "completion"  # the network for footage, which starts from what the rules say
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
    "soft_alone": Learned("soft", blend=False),
    "soft": Learned("soft"),
}


def completion(name: str, generator: GridGenerator, steps: int) -> Complete:
    """The method of a name.  UserError when its trained weights are missing or do not fit."""
    if name in BASELINES:
        return lambda grid, seed: BASELINES[name](grid.frames)
    if name == FOOTAGE:
        assert generator.folder is not None
        completer = load_completion(generator.folder)

        def fill(grid: TrueGrid, seed: int) -> NDArray:
            frames = grid.frames
            made = completer.complete_grid(frames[0], frames[:, 0])
            return resize_frames(made.grid.frames, *frames.shape[2:4])

        return fill
    how = LEARNED[name]
    settings = GenerateConfig(
        mixer=how.mixer, untrained_sync=how.untrained, drop_sync=how.drop, grid_steps=steps,
        blend=how.blend,
    )  # fmt: skip
    generator.two_stream(settings)

    def complete(grid: TrueGrid, seed: int) -> NDArray:
        frames = grid.frames
        made = generator.complete_grid(
            frames[0], frames[:, 0], grid.prompt, replace(settings, seed=seed)
        )
        return resize_frames(made.grid.frames, *frames.shape[2:4])

    return complete


def network_files(folder: Path) -> list[Path]:
    """The shards of a weights folder's networks for clips, grids and first frames."""
    there = [n for n in (BASE, PICTURE, CLIP) if description(folder, n).is_file()]
    return [file for name in there for file in shards(folder, name)]


def weights_key(name: str, generator: GridGenerator) -> str:
    """What a row is made from besides the test set: the mixer's weights, "absent" without them."""
    how = LEARNED.get(name)
    if name in BASELINES or name not in LEARNED and name != FOOTAGE:
        return ""
    assert generator.folder is not None
    stems = [FOOTAGE] if how is None or how.blend else []
    if how is not None:
        stems += [BLEND] if how.blend else []
        stems += [] if how.untrained else [how.mixer]
    files = [p for s in stems for p in sorted(generator.folder.glob(f"{s}[.-]*"))]
    own = FOOTAGE if how is None else how.mixer
    if (how is None or not how.untrained) and not (generator.folder / f"{own}.json").is_file():
        return "absent"
    return content_hash(*files) if files else ""
