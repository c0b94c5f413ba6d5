"""Train what mixes the two-stream model's grids with what completion says of them.

    python scripts/train_blend.py --weights gen/weights --world CACHE --out runs/blend

The weights folder's soft mixer fills grids of training scenes from their row 0 and column 0:
procedural ones, and both looks of the asset world (scripts/render_world.py). A small network then
learns, over all hidden cells, how much of completion's colour each pixel should take; some scenes
are kept out and tell how well. OUT/weights gets blend.json and blend-00.safetensors: copy them
beside the others. About five minutes of one CPU core.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `scripts` is not installed

from fourreal.console import progress, say  # noqa: E402
from fourreal.errors import UserError  # noqa: E402
from fourreal.image_metrics import decibel  # noqa: E402
from fourreal.script import run_script  # noqa: E402
from gen.bundled import GridGenerator, load_bundled  # noqa: E402
from gen.completion.blend import Blend, blend_inputs, save_blend  # noqa: E402
from gen.completion.model import Completer, load_completion  # noqa: E402
from gen.data.assets.cache import CachedScenes  # noqa: E402
from gen.data.assets.captions import caption  # noqa: E402
from gen.data.batches import WORLDS, seeded  # noqa: E402
from gen.data.world.captions import canonical_caption  # noqa: E402
from gen.data.world.procedural import render  # noqa: E402
from gen.data.world.scene_sampling import sample_scenes  # noqa: E402
from gen.flow.windows import WINDOW  # noqa: E402
from gen.generate import GenerateConfig  # noqa: E402

_MOVED = 0.08  # difference of a colour in [-1, 1]: ten grey levels
Scene = tuple[Tensor, str]  # cells [8, 8, H, W, 3] in [-1, 1], words


@dataclass(frozen=True)
class TrainBlendConfig:
    """On what, how long."""

    weights: Path
    """Weights folder with base, soft mixer and completion network."""
    world: Path
    """Cache of the asset world (scripts/render_world.py), both looks."""
    out: Path
    """Folder for the result."""
    n: int = 16
    """Scenes of each kind; a fifth of them are kept out."""
    wide: float = 0.6
    """Weight of scenes without words against the other two kinds."""
    moving: float = 2.0
    """Weight of pixels that are not as they were at time 0, against the others."""
    steps: int = 300
    batch: int = 20
    """Cells of each kind a step."""
    lr: float = 3e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n < 2 or self.steps < 1 or self.batch < 1:
            raise UserError("--n must be at least 2, --steps and --batch at least 1")


@dataclass
class Cells:
    """Hidden cells of filled grids: inputs [N, 10, H, W]; true, made and completion's colours
    [N, 3, H, W]; which pixels are not as they were at time 0 [N, 1, H, W]."""

    inputs: Tensor
    truth: Tensor
    made: Tensor
    said: Tensor
    moving: Tensor

    def mixed(self, blend: Blend, at: Tensor | slice) -> Tensor:
        """Those cells as the network mixes them."""
        return torch.lerp(self.made[at], self.said[at], blend(self.inputs[at]))


def procedural_scenes(n: int, size: tuple[int, int], seed: int) -> list[Scene]:
    """n scenes of the narrow procedural world with their canonical captions."""
    scenes = sample_scenes(n, seeded(77, seed), **WORLDS["narrow"])
    ramp = torch.linspace(0, 1, WINDOW)
    out = []
    for i in range(n):
        rgb = render(scenes[i], ramp, ramp, *size, samples=2).rgb[0]
        out.append((rgb * 2 - 1, canonical_caption(scenes, i)))
    return out


def asset_scenes(cache: Path, look: str, n: int, size: tuple[int, int], seed: int) -> list[Scene]:
    """n training scenes of a look; UserError when there are fewer."""
    held = CachedScenes(cache, *size, 0, kinds=(look,))
    if len(held.scenes) < n:
        raise UserError(f"{cache} has {len(held.scenes)} scenes of look '{look}', --n asks for {n}")
    chosen = np.random.default_rng(seed).permutation(len(held.scenes))[:n]
    return [
        (torch.from_numpy(held.frames[i]).float() / 127.5 - 1, caption(held.scenes[i]))
        for i in chosen
    ]


def hidden_cells(scenes: list[Scene], generator: GridGenerator, completer: Completer) -> Cells:
    """Fill the grids of scenes; what is hidden of them."""
    parts: list[tuple[Tensor, ...]] = []
    known = torch.zeros(WINDOW, WINDOW, dtype=torch.bool)
    known[0] = known[:, 0] = True
    config = GenerateConfig(blend=False)
    for i, (cells, words) in enumerate(progress(scenes, "grids")):
        given = torch.where(known[..., None, None, None], cells, torch.zeros(()))
        made = generator.fill(given, known, words, replace(config, seed=i))[~known]
        guess = completer.guess(cells[0], cells[:, 0])[~known]
        moved = (cells - cells[:, :1]).abs().amax(-1, keepdim=True)[~known] > _MOVED
        colours = (x.permute(0, 3, 1, 2) for x in (cells[~known], made, guess[..., :3], moved))
        parts.append((blend_inputs(made, guess), *colours))
    return Cells(*(torch.cat(x) for x in zip(*parts, strict=True)))


def report(blend: Blend, tests: dict[str, Cells]) -> str:
    """PSNR of kept-out cells: the model's, completion's, mixed."""
    texts = []
    for name, cells in tests.items():
        with torch.no_grad():
            every = (cells.made, cells.said, cells.mixed(blend, slice(None)))
        db = [float(decibel(float(((x - cells.truth) / 2).square().mean()))) for x in every]
        texts.append(f"{name} model {db[0]:.2f} completion {db[1]:.2f} mixed {db[2]:.2f}")
    return "; ".join(texts)


def main(cfg: TrainBlendConfig) -> None:
    """Fill grids, train, save."""
    generator, completer = load_bundled(cfg.weights), load_completion(cfg.weights)
    size = generator.size
    scenes = {
        "procedural": procedural_scenes(cfg.n, size, cfg.seed),
        "assets": asset_scenes(cfg.world, "prompt", cfg.n, size, cfg.seed),
        "wide": asset_scenes(cfg.world, "wide", cfg.n, size, cfg.seed),
    }
    kept = max(1, cfg.n // 5)
    train = {k: hidden_cells(s[:-kept], generator, completer) for k, s in scenes.items()}
    tests = {k: hidden_cells(s[-kept:], generator, completer) for k, s in scenes.items()}
    torch.manual_seed(cfg.seed)
    blend, g = Blend(), seeded(cfg.seed, 5)
    optimiser = torch.optim.Adam(blend.parameters(), cfg.lr)
    falls = 0.6 * cfg.steps  # the last steps, over which the rate falls to 0
    for step in progress(range(cfg.steps), "steps"):
        for group in optimiser.param_groups:
            group["lr"] = cfg.lr * min(1.0, (cfg.steps - step) / falls)
        loss = torch.zeros(())
        for name, cells in train.items():
            at = torch.randint(0, len(cells.truth), (cfg.batch,), generator=g)
            weight = torch.where(cells.moving[at], cfg.moving, 1.0)
            error = (weight * (cells.mixed(blend, at) - cells.truth[at]).square()).mean()
            loss = loss + error * (cfg.wide if name == "wide" else 1.0)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    figures = report(blend.eval(), tests)
    say(figures)
    settings = {k: v for k, v in asdict(cfg).items() if k not in ("weights", "world", "out")}
    made = {"script": "train_blend.py", **settings, "kept_out": figures}
    save_blend(blend, cfg.out / "weights", made)


if __name__ == "__main__":
    sys.exit(run_script(main, TrainBlendConfig, __doc__))
