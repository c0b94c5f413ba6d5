"""Do generated clips show what their prompts ask for? Colour, shape and motion, read back.

    python scripts/evaluate_prompts.py --n 20 --json prompts.json --sheet prompts.png

Prompts are drawn from the caption grammar over the world that the weights were trained on. Colour
and shape are read from the generated first frame, motion from the fixed-view clip, each by the
nearest render among all candidates of the whole world (`gen.data.attributes`). An object that grows
is only a few pixels high in its first frame, so colour and shape are read from the whole clip too.
The row `truth` scores true renders of the same scenes: it is what the readers themselves reach.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from gen.console import progress, say
from gen.data.attributes import read_clip, read_objects
from gen.data.captions import caption
from gen.data.procedural import render
from gen.data.scene_sampling import sample_scenes
from gen.data.world import Attributes, attributes_of
from gen.errors import UserError
from gen.generate import GenerateConfig, load_bundled
from gen.train_data import HELD_OUT_SEED, WORLDS, seeded
from gen.train_loop import save_sheet


@dataclass
class EvaluatePromptsConfig:
    """How many prompts, of which weights, how sampled."""

    n: int = 20
    seed: int = 0
    weights: Path | None = None  # a weights folder; the package's own when left out
    world: str | None = None  # default: the one the weights were trained on
    steps: int = GenerateConfig.steps
    guidance: float = GenerateConfig.guidance
    motion_guidance: float = GenerateConfig.motion_guidance
    shift: float = GenerateConfig.shift
    picture_first: bool = GenerateConfig.picture_first
    json: Path | None = None
    sheet: Path | None = None  # contact sheet PNG, one prompt a row


READINGS = {
    "colour": "colour",
    "shape": "shape",
    "both": "colour_and_shape",
    "clip": "colour_and_shape_clip",
    "motion": "motion",
}


def marks(want: Attributes, clip: NDArray) -> dict[str, list[bool]]:
    """Per object: colour and shape right in the first frame, both and the motion in the clip."""
    count = len(want.objects)
    first = read_objects(clip[0], count)
    followed = [a for a, _, _ in read_clip(clip, count)]
    result: dict[str, list[bool]] = {name: [] for name in READINGS}
    for k, asked in enumerate(want.objects):
        shape, colour = first[k][:2] if k < len(first) else (None, None)
        result["colour"].append(colour == asked.colour)
        result["shape"].append(shape == asked.shape)
        result["both"].append(colour == asked.colour and shape == asked.shape)
        seen = followed[k] if k < len(followed) else None
        result["clip"].append(
            seen is not None and seen.colour == asked.colour and seen.shape == asked.shape
        )
        result["motion"].append(seen is not None and seen.motion == asked.motion)
    return result


def summary(all_marks: list[dict[str, list[bool]]]) -> dict[str, float]:
    """Share of objects, over all prompts, for which each reading is right."""
    return {
        out: float(np.mean([hit for m in all_marks for hit in m[name]]))
        for name, out in READINGS.items()
    }


def trained_world(folder: Path) -> str:
    """The world a weights folder says it was trained on; 'full' when it does not say."""
    made: dict[str, Any] = json.loads((folder / "config.json").read_text())["how_made"]
    return made.get("pool", {}).get("world", "full")


def main(cfg: EvaluatePromptsConfig) -> None:
    generator = load_bundled(cfg.weights)
    assert generator.folder is not None
    world = cfg.world or trained_world(generator.folder)
    h, w = generator.size
    scenes = sample_scenes(cfg.n, seeded(HELD_OUT_SEED + 1, cfg.seed), **WORLDS[world])
    ramp = torch.linspace(0, 1, 8)
    truth = render(scenes, torch.zeros(1), ramp, h, w, samples=2).rgb[:, 0].numpy()
    words = seeded(HELD_OUT_SEED + 2, cfg.seed)
    clips, prompts, rows = [], [], []
    started = time.monotonic()
    for i in progress(range(cfg.n), "prompts"):
        prompt = caption(scenes, words, i)
        config = GenerateConfig(
            steps=cfg.steps,
            guidance=cfg.guidance,
            motion_guidance=cfg.motion_guidance,
            shift=cfg.shift,
            picture_first=cfg.picture_first,
            seed=cfg.seed * 1000 + i,
        )
        clip = generator.row_of(prompt, config)
        clips.append(clip)
        prompts.append(prompt)
        rows.append(marks(attributes_of(scenes, i), (clip.cpu().numpy() + 1) / 2))
    seconds = (time.monotonic() - started) / cfg.n
    true_rows = [marks(attributes_of(scenes, i), truth[i]) for i in range(cfg.n)]
    default = {**summary(rows), "seconds": seconds}
    results = {"default": default, "truth": summary(true_rows)}
    for name, values in results.items():
        say(f"{name}: " + "  ".join(f"{k} {v:.2f}" for k, v in values.items()))
    if cfg.sheet is not None:
        save_sheet(torch.stack(clips), cfg.sheet)
        lines = [
            f"{p}  [{' '.join(k for k in m if not all(m[k]))}]"
            for p, m in zip(prompts, rows, strict=True)
        ]
        cfg.sheet.with_suffix(".txt").write_text("\n".join(lines) + "\n")
    if cfg.json is not None:
        record = {
            "schema": 1,
            "command": "scripts/evaluate_prompts.py " + " ".join(sys.argv[1:]),
            "hardware": f"{torch.get_num_threads()} CPU threads, {platform.machine()}",
            "results": {f"prompts_{world}": results},
            "notes": {"n": cfg.n, "seed": cfg.seed, "prompts": prompts},
        }
        cfg.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main(tyro.cli(EvaluatePromptsConfig, description=__doc__))
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
