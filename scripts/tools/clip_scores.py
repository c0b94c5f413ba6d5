"""How near what follows a true first frame comes to the true clip: the table of docs/MODEL_CARD.md.

    python -m scripts.tools.clip_scores --world CACHE --sheet outputs/clips.png
    python -m scripts.tools.clip_scores --world CACHE --base

Held-out scenes of the asset world, first frame and caption given: LPIPS (AlexNet) and PSNR of the
seven frames after it. A text does not determine them, so no figure here can be perfect.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fourreal.console import progress, say
from fourreal.contact_sheet import grid_picture, save_contact_sheet
from fourreal.image_metrics import decibel
from fourreal.script import run_script
from gen.bundled import load_bundled
from gen.data.assets.cache import CachedScenes
from gen.data.assets.captions import caption
from gen.data.batches import seeded
from gen.generate import GenerateConfig
from gen.network.dit import Mode
from gen.network.runtime import Runtime
from gen.still import hold_still
from gen.train.perceptual import frame_distances, perceptual_network

NAMES = {Mode.DYNAMIC: "fixed-view", Mode.FREEZE_TIME: "freeze-time"}


@dataclass
class Options:
    world: Path
    """Cache of scripts/render_world.py with held-out scenes."""
    weights: Path | None = None
    """A weights folder; None: the bundled one."""
    base: bool = False
    """The base draws them, without the network for clips."""
    n: int = 30
    """Scenes."""
    sheet: Path | None = None
    """Picture of the first five scenes' clips, the truth above what was made."""


def main(options: Options) -> None:
    """Score every clip, print the means."""
    network = perceptual_network()
    generator = load_bundled(options.weights, Runtime(device="cpu"))
    if options.base:
        generator.clips = generator.base
    held = CachedScenes(options.world, *generator.size, 0, held_out=True, most=options.n)
    scores: dict[str, list[tuple[float, float]]] = {name: [] for name in NAMES.values()}
    pictures = []
    for i in progress(range(len(held.scenes)), "clips"):
        scene, cells = held.scenes[i], held.frames[i]
        for mode, name in NAMES.items():
            row = cells[0] if mode == Mode.DYNAMIC else cells[:, 0]
            true = torch.from_numpy(np.ascontiguousarray(row)).float() / 127.5 - 1
            text = caption(scene, seeded(77, i), freeze=mode == Mode.FREEZE_TIME)
            made = generator.clip(text, mode, len(true), GenerateConfig(seed=i), true[:1])
            made = hold_still(made) if mode == Mode.DYNAMIC else made
            error = float(((made - true)[1:] / 2).square().mean())
            near = float(frame_distances(network, made[1:], true[1:]).mean())
            scores[name].append((near, float(decibel(error))))
            if i < 5:
                both = (torch.stack([true, made]).numpy() + 1) / 2
                pictures.append((text, grid_picture(both)))
    for name, rows in scores.items():
        near, db = np.mean(rows, axis=0)
        say(f"{name}: LPIPS {near:.3f}, PSNR {db:.1f} dB")
    if options.sheet is not None:
        save_contact_sheet(options.sheet, pictures)


if __name__ == "__main__":
    sys.exit(run_script(main, Options, __doc__))
