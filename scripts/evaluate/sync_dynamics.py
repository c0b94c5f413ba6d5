"""What synchronisation does inside the network, layer by layer: Figure 3 of the paper.

    python scripts/evaluate.py sync-dynamics --n 4 --picture sync_dynamics.png --json \\
        sync_dynamics.json

Held-out pairs of clips of the procedural world are completed to grids, and after every block it is
recorded, for each noise level of the sampling:

(a) the update strength |x - y| / |y| of the row and of the column stream, where y is what the block
    made of the tokens and x what the mixer made of y (Eq. 8-10);
(b) the similarity of the two streams, the cosine between the tokens of a cell in either, before
    the mixer and after it.

Means are over tokens, grids, and (the thick lines) noise levels. The picture needs matplotlib
(the extra `eval`); the numbers do not.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fourreal.console import progress, say
from fourreal.errors import UserError
from fourreal.script import run_script
from gen.bundled import load_bundled
from gen.flow.rectified import linear_sigmas
from gen.generate import GenerateConfig
from gen.sync.names import MixerName
from gen.sync.two_stream import TwoStream
from scripts.evaluate.held_out import held_out_grids, trained_world
from scripts.evaluate.result_file import ResultFile

UPDATES = ("update_row", "update_column")
MEASURES = (*UPDATES, "similarity_before", "similarity_after")


@dataclass
class SyncDynamicsConfig:
    """How many held-out pairs, through which mixer of which weights."""

    n: int = 4
    seed: int = 0
    weights: Path | None = None
    mixer: MixerName = "soft"
    untrained_sync: bool = False
    views: int = 8
    times: int = 8
    grid_steps: int = GenerateConfig.grid_steps
    picture: Path | None = Path("sync_dynamics.png")
    json: Path | None = None

    def __post_init__(self) -> None:
        if self.mixer not in ("soft", "hard"):
            raise UserError(f"--mixer {self.mixer}: two streams exist in soft and hard only")


class Recorder:
    """Forward hook of a mixer that adds up the measures of every (sampling step, layer)."""

    def __init__(self) -> None:
        self.step = 0
        self.sums: dict[tuple[int, int], NDArray[np.float64]] = defaultdict(lambda: np.zeros(5))

    def __call__(self, mixer: object, inputs: tuple[Any, ...], outputs: tuple[Tensor, Tensor]):
        layer, y_row, y_column = inputs[:3]
        x_row, x_column = outputs
        values = [strength(y_row, x_row), strength(y_column, x_column)]
        values += [F.cosine_similarity(y_row, y_column, -1), F.cosine_similarity(*outputs, -1)]
        sums = [float(value.double().sum()) for value in values]
        self.sums[self.step, layer] += [*sums, x_row[..., 0].numel()]

    def next_step(self, name: str, step: int, steps: int) -> None:
        """Report of the generator: called after each pass of the network."""
        self.step = step % steps

    def means(self, steps: int, layers: int) -> NDArray[np.float64]:
        """[steps, layers, 4], the last axis as in MEASURES."""
        table = np.array([[self.sums[s, i] for i in range(layers)] for s in range(steps)])
        return table[..., :4] / table[..., 4:]


def strength(before: Tensor, after: Tensor) -> Tensor:
    """|after - before| / |before| of every token."""
    return (after - before).norm(dim=-1) / before.norm(dim=-1).clamp(min=1e-9)


def measure(cfg: SyncDynamicsConfig) -> tuple[NDArray[np.float64], list[float], str]:
    """[steps, layers, 4] means, the noise levels of the steps, and the world of the pairs."""
    generator = load_bundled(cfg.weights)
    assert generator.folder is not None
    config = GenerateConfig(
        views=cfg.views, times=cfg.times, grid_steps=cfg.grid_steps, mixer=cfg.mixer,
        untrained_sync=cfg.untrained_sync, seed=cfg.seed,
    )  # fmt: skip
    model: TwoStream = generator.two_stream(config)
    recorder = Recorder()
    model.mixer.register_forward_hook(recorder)
    world = trained_world(generator.folder)
    grids = held_out_grids(world, cfg.n, cfg.seed, (cfg.views, cfg.times), generator.size)
    for grid in progress(grids, "grids", total=len(grids)):
        cells = torch.from_numpy(grid.frames).float() * 2 - 1
        known = torch.zeros(cells.shape[:2], dtype=torch.bool)
        known[0] = known[:, 0] = True
        generator.fill(cells, known, grid.prompt, config, recorder.next_step, model)
    levels = linear_sigmas(config.grid_steps, config.shift)[:-1].tolist()
    return recorder.means(cfg.grid_steps, generator.base.params.depth), levels, world


def draw(means: NDArray[np.float64], levels: list[float], title: str, path: Path) -> None:
    """Both panels as a PNG; UserError when matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        raise UserError(
            "the picture needs matplotlib: pip install 'fourreal[eval]' (or --picture None)"
        ) from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    layers = np.arange(1, means.shape[1] + 1)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    colours = {name: pyplot.get_cmap(name)(np.linspace(0.3, 0.8, len(levels))) for name in
               ("Oranges", "Blues", "Greys", "Greens")}  # fmt: skip
    series = (
        (left, 0, "Oranges", "row stream (time)"),
        (left, 1, "Blues", "column stream (view)"),
        (right, 2, "Greys", "before the mixer"),
        (right, 3, "Greens", "after the mixer"),
    )
    for axes, index, colour, label in series:
        for step in range(len(levels)):
            axes.plot(layers, means[step, :, index], color=colours[colour][step], lw=0.8)
        strong = pyplot.get_cmap(colour)(0.9)
        axes.plot(layers, means[..., index].mean(0), "o-", color=strong, lw=2.2, label=label)
    left.set(title="(a) update strength |x - y| / |y|", ylim=(0, None))
    right.set(title="(b) similarity of the streams (cosine)")
    for axes in (left, right):
        axes.set(xlabel="layer", xticks=layers)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    span = f"noise levels {levels[0]:.2f} (light) to {levels[-1]:.2f} (dark), thick: mean"
    figure.suptitle(f"{title}; {span}", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def main(cfg: SyncDynamicsConfig) -> None:
    means, levels, world = measure(cfg)
    variant = f"{cfg.mixer}_untrained" if cfg.untrained_sync else cfg.mixer
    result = ResultFile(cfg.json, "Synchronisation, layer by layer")
    scene = f"procedural_{world}, {variant}"
    result.use_settings(scene, {"n": cfg.n, "seed": cfg.seed, "noise_levels": levels})
    for layer in range(means.shape[1]):
        name = f"layer {layer + 1}"
        values = dict(zip(MEASURES, means[:, layer].mean(0).tolist(), strict=True))
        result.add(scene, name, values)
        by_level = means[:, layer].T.tolist()
        result.keep("by_noise_level", scene, name, dict(zip(MEASURES, by_level, strict=True)))
        say(f"{name}  " + "  ".join(f"{k} {v:.3f}" for k, v in values.items()))
    if cfg.picture is not None:
        title = f"{variant}, {cfg.n} held-out grids of {cfg.views}x{cfg.times}"
        draw(means, levels, title, cfg.picture)
        say(f"{cfg.picture}")


def command() -> int:
    """Run from the command line; the exit code."""
    return run_script(main, SyncDynamicsConfig, __doc__)
