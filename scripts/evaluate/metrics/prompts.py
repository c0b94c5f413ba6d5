"""Do generated clips show what their prompts ask for? Colour, shape and motion, read back.

Prompts are drawn from the caption grammar over the world that the weights were trained on. Colour
and shape are read from the generated first frame, motion from the fixed-view clip, each by the
nearest render among all candidates of the whole world (`gen.data.world.attributes`). An object
that grows is only a few pixels high in its first frame, so colour and shape are read from the
whole clip too.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from fourreal.console import progress
from gen.bundled import GridGenerator
from gen.data.batches import HELD_OUT_SEED, seeded
from gen.data.world.attributes import read_clip, read_objects
from gen.data.world.captions import caption
from gen.data.world.procedural import render
from gen.data.world.scene import Attributes, attributes_of
from gen.generate import GenerateConfig
from scripts.evaluate.held_out import PROMPTS, held_out_scenes

READINGS = {
    "colour": "colour",
    "shape": "shape",
    "both": "colour_and_shape",
    "clip": "colour_and_shape_clip",
    "motion": "motion",
}
Marks = dict[str, list[bool]]


def marks(want: Attributes, clip: NDArray) -> Marks:
    """Per object: colour and shape right in the first frame, both and the motion in the clip.

    What the attributes leave open is right; clip [T, H, W, 3] in 0..1.
    """
    count = len(want.objects)
    first = read_objects(clip[0], count)
    followed = [a for a, _, _ in read_clip(clip, count)]
    result: Marks = {name: [] for name in READINGS}
    for k, asked in enumerate(want.objects):
        shape, colour = first[k][:2] if k < len(first) else (None, None)
        seen = followed[k] if k < len(followed) else None
        right_colour = asked.colour in (None, colour)
        right_shape = asked.shape in (None, shape)
        result["colour"].append(right_colour)
        result["shape"].append(right_shape)
        result["both"].append(right_colour and right_shape)
        result["clip"].append(
            seen is not None
            and asked.colour in (None, seen.colour)
            and asked.shape in (None, seen.shape)
        )
        result["motion"].append(seen is not None and asked.motion in (None, seen.motion))
    return result


def shares(all_marks: list[Marks]) -> dict[str, float | None]:
    """Share of objects, over all prompts, for which each reading is right."""
    out: dict[str, float | None] = {}
    for name, title in READINGS.items():
        hits = [hit for m in all_marks for hit in m[name]]
        out[title] = float(np.mean(hits)) if hits else None
    return out


def verdict(mark: Marks) -> str:
    """Which readings of one prompt are wrong, in words."""
    wrong = [title for name, title in READINGS.items() if not all(mark[name])]
    return f"read differently: {', '.join(wrong)}" if wrong else "read back as asked"


@dataclass
class PromptScores:
    """The prompts, their clips [T, H, W, 3] in 0..1 and marks, and the marks of true renders."""

    prompts: list[str]
    clips: list[NDArray]
    marks: list[Marks]
    true_marks: list[Marks]
    seconds: float  # a clip


def score_prompts(
    generator: GridGenerator, world: str, n: int, config: GenerateConfig
) -> PromptScores:
    """Generate and read back the fixed-view clips of n prompts over a world; config.seed draws
    the prompts and the noise."""
    scenes = held_out_scenes(world, n, config.seed, PROMPTS)
    words = seeded(HELD_OUT_SEED + 2, config.seed)
    prompts = [caption(scenes, words, i) for i in range(n)]
    started = time.monotonic()
    clips = []
    for i in progress(range(n), "prompts"):
        clip = generator.row_of(prompts[i], replace(config, seed=config.seed * 1000 + i))
        clips.append((clip.cpu().numpy() + 1) / 2)
    seconds = (time.monotonic() - started) / n
    wanted = [attributes_of(scenes, i) for i in range(n)]
    ramp = torch.linspace(0, 1, config.times)
    truth = render(scenes, torch.zeros(1), ramp, *generator.size, samples=2).rgb[:, 0].numpy()
    return PromptScores(
        prompts,
        clips,
        [marks(a, c) for a, c in zip(wanted, clips, strict=True)],
        [marks(a, c) for a, c in zip(wanted, truth, strict=True)],
        seconds,
    )
