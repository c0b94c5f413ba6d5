"""Test sets: true grids and prompts of the procedural world that training never draws.

Training seeds lie below `HELD_OUT_SEED`; grids and prompts have seeds of their own above it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fourreal.console import warn
from fourreal.errors import UserError
from fourreal.video_io import to_uint8
from gen.data.assets.cache import CachedScenes
from gen.data.assets.captions import caption
from gen.data.batches import HELD_OUT_SEED, WORLDS, seeded
from gen.data.world.captions import canonical_caption
from gen.data.world.procedural import render
from gen.data.world.scene import SceneBatch
from gen.data.world.scene_sampling import sample_scenes
from gen.network.base import read_config, training_world
from scripts.evaluate.metrics.truth import static_pixels

GRIDS, PROMPTS = 3, 1  # added to HELD_OUT_SEED


@dataclass
class TrueGrid:
    """A complete grid and what scores a method: rgb uint8 [V,T,H,W,3], static background [V,H,W],
    K [V,3,3] in pixels of the frames, w2c [V,4,4]; the prompt may be shown, or ""."""

    rgb: NDArray[np.uint8]
    static: NDArray[np.bool_]
    K: NDArray
    w2c: NDArray
    prompt: str = ""

    @property
    def frames(self) -> NDArray[np.float32]:
        """[V, T, H, W, 3] in 0..1; made anew, since many float grids take much memory."""
        return self.rgb.astype(np.float32) / np.float32(255)

    def part(self, views: int, times: int) -> TrueGrid:
        """The same scene at so many evenly spread views and times."""
        v = np.linspace(0, len(self.rgb) - 1, views).round().astype(int)
        t = np.linspace(0, self.rgb.shape[1] - 1, times).round().astype(int)
        cells = self.rgb[v][:, t]
        return replace(self, rgb=cells, static=self.static[v], K=self.K[v], w2c=self.w2c[v])


def trained_world(folder: Path, asked: str | None = None) -> str:
    """The world to test on: the one that is asked for, or that a weights folder says it was
    trained on; 'full', with a warning, when it does not say.

    Raises:
        UserError: there is no such world.
    """
    world = asked or training_world(read_config(folder))
    if world is None:
        warn(f"the weights in {folder} do not say their world; testing on the full one (--world)")
        return "full"
    if world not in WORLDS:
        raise UserError(f"unknown world {world!r}; choose from {', '.join(WORLDS)} with --world")
    return world


def held_out_scenes(world: str, n: int, seed: int, purpose: int = GRIDS) -> SceneBatch:
    """n scenes of a world; the same ones for the same seed and purpose."""
    if n < 1:
        raise UserError(f"at least one scene is needed; got {n}")
    return sample_scenes(n, seeded(HELD_OUT_SEED + purpose, seed), **WORLDS[world])


def held_out_assets(cache: Path, n: int | None, size: tuple[int, int]) -> list[TrueGrid]:
    """Grids of the asset world that are never trained on (clips, headings and grounds of their
    own), with canonical captions.

    What stands still is told by colours (the cache holds no depth). UserError: there are none.
    """
    held = CachedScenes(cache, *size, 0, held_out=True, most=n)
    grids = []
    for scene, rgb in zip(held.scenes, held.frames, strict=True):
        frames = rgb.astype(np.float32) / np.float32(255)
        static = static_pixels(frames, np.zeros(frames.shape[:-1]))
        K = np.tile(scene.intrinsics(*size), (len(rgb), 1, 1))
        grids.append(TrueGrid(rgb, static, K, scene.cameras(), caption(scene)))
    return grids


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
        grids.append(TrueGrid(to_uint8(frames), static, K, w2c, canonical_caption(scenes, i)))
    return grids
