"""Test sets: true grids and prompts of the procedural world that training never draws.

Training seeds lie below `HELD_OUT_SEED`; grids and prompts have seeds of their own above it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from numpy.typing import NDArray

from gen.data.captions import canonical_caption
from gen.data.procedural import render
from gen.data.scene_sampling import sample_scenes
from gen.data.world import SceneBatch
from gen.errors import UserError
from gen.metrics_grid import static_pixels
from gen.model import read_config
from gen.train_data import HELD_OUT_SEED, WORLDS, seeded

GRIDS, PROMPTS = 3, 1  # added to HELD_OUT_SEED


@dataclass
class TrueGrid:
    """A complete grid and what scores a method: frames [V,T,H,W,3] in 0..1, static background
    [V,H,W], K [V,3,3] in pixels of the frames, w2c [V,4,4]; the prompt may be shown, or ""."""

    frames: NDArray
    static: NDArray
    K: NDArray
    w2c: NDArray
    prompt: str = ""


def trained_world(folder: Path) -> str:
    """The world a weights folder says it was trained on; 'full' when it does not say.

    Raises:
        UserError: it names a world that does not exist here.
    """
    world = read_config(folder)["how_made"].get("pool", {}).get("world", "full")
    if world not in WORLDS:
        raise UserError(
            f"the weights in {folder} name the world {world!r}; known are {', '.join(WORLDS)}"
        )
    return world


def held_out_scenes(world: str, n: int, seed: int, purpose: int = GRIDS) -> SceneBatch:
    """n scenes of a world; the same ones for the same seed and purpose."""
    if n < 1:
        raise UserError(f"at least one scene is needed; got {n}")
    return sample_scenes(n, seeded(HELD_OUT_SEED + purpose, seed), **WORLDS[world])


def held_out_grids(
    world: str, n: int, seed: int, cells: tuple[int, int], size: tuple[int, int]
) -> list[TrueGrid]:
    """n true grids of (views, times) cells and (height, width) pixels, with canonical captions."""
    scenes = held_out_scenes(world, n, seed)
    views, times = (torch.linspace(0, 1, count) for count in cells)
    grids = []
    for i in range(n):
        out = render(scenes[i], views, times, *size, want_depth=True, samples=2)
        assert out.depth is not None
        frames = out.rgb[0].numpy()
        static = static_pixels(frames, out.depth[0].numpy())
        K, w2c = out.K[0].double().numpy(), out.w2c[0].double().numpy()
        grids.append(TrueGrid(frames, static, K, w2c, canonical_caption(scenes, i)))
    return grids
