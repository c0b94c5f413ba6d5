"""Do clips of the asset world show what their prompts ask for? Subject, coat and action, read back
by the nearest of the world's renders (those of the training cache; the prompts are of scenes kept
from training).

What is compared: gradients and colours of the first frame for the subject, its colours for the
coat, for the action where and how much the frames change; each in the directions that tell the
renders' labels apart (`gen.data.world.nearest`).  An action is one of those that the subject which
was read can do.  Only what a prompt says is scored: a horse whose coat goes unsaid may wear any.
The reader's own share of right answers on true renders of the same scenes stands beside the
model's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fourreal.console import progress
from fourreal.errors import UserError
from gen.bundled import GridGenerator
from gen.data.assets.cache import CachedScenes
from gen.data.assets.captions import Said, caption, parse_asset_prompt
from gen.data.batches import HELD_OUT_SEED, seeded
from gen.data.world.nearest import NearestExamples
from gen.generate import GenerateConfig

HEIGHT, WIDTH = 40, 64
READ = ("subject", "coat", "action")
_CHANGED = 8  # grey levels


def _gradients(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Histograms of unsigned gradient directions (9) in 8 x 5 cells, normalised in blocks of 2 x 2
    cells (histograms of oriented gradients, Dalal and Triggs 2005)."""
    grey = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    dx, dy = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    strength, turn = np.hypot(dx, dy), np.mod(np.arctan2(dy, dx), np.pi) * (9 / np.pi)
    low = np.floor(turn).astype(int) % 9
    share = (turn - np.floor(turn)).astype(np.float32)
    planes = np.zeros((9, *grey.shape), np.float32)
    y, x = np.indices(grey.shape)
    planes[low, y, x] = strength * (1 - share)
    planes[(low + 1) % 9, y, x] += strength * share
    cells = planes.reshape(9, 5, HEIGHT // 5, 8, WIDTH // 8).sum((2, 4))
    blocks = [cells[:, r : r + 2, c : c + 2].ravel() for r in range(4) for c in range(7)]
    out = np.stack(blocks)
    return (out / np.sqrt((out**2).sum(1, keepdims=True) + 1e-2)).ravel().astype(np.float32)


def _colours(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean colours of 8 x 5 parts, and how often each of 125 colours occurs in the middle."""
    parts = cv2.resize(frame, (8, 5), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    middle = frame[6:36, 14:50].reshape(-1, 3) // 52
    index = middle @ np.array([25, 5, 1])
    return np.concatenate([parts.ravel(), np.sqrt(np.bincount(index, minlength=125) / len(index))])


def features(clip_THWC: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """What is compared of a clip [8, 40, 64, 3], by reading."""
    first = clip_THWC[0]
    look = np.concatenate([_gradients(first), _colours(first)])
    return {"subject": look, "coat": _colours(first), "action": _changes(clip_THWC)}


def _changes(clip_THWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How every frame differs from the first and from the one before: 16 x 10 maps, how much in
    all, and the middle, spread and area of what is no longer as at first."""
    frames = clip_THWC.astype(np.float32)
    y, x = np.indices(frames.shape[1:3])
    maps, amounts, places = [], [], []
    for t in range(1, len(frames)):
        moved, step = (np.abs(frames[t] - frames[s]).mean(-1) for s in (0, t - 1))
        for change in (moved, step):
            maps.append(cv2.resize(change, (16, 10), interpolation=cv2.INTER_AREA).ravel() / 64)
            amounts.append(np.log1p(change.mean()))
        moved = np.where(moved > _CHANGED, moved, 0)
        share = moved / (moved.sum() + 1e-3)
        middle = [(share * x).sum() / WIDTH, (share * y).sum() / HEIGHT]
        spread = [
            np.sqrt((share * (x / WIDTH - middle[0]) ** 2).sum()),
            np.sqrt((share * (y / HEIGHT - middle[1]) ** 2).sum()),
        ]
        places += [*middle, *spread, 10 * (moved > 0).mean()]
    return np.concatenate([*maps, amounts, places]).astype(np.float32)


@dataclass
class AssetReader:
    """Reads subject, coat and action of clips by the renders of a cache.

    ``actions`` are those that each subject was seen in.
    """

    classes: dict[str, list[str]]
    nearest: dict[str, NearestExamples]
    actions: dict[str, set[str]]

    @staticmethod
    def of(cache: Path) -> AssetReader:
        """Learn the labels of all training scenes with one subject, seen from all views.

        UserError: the cache has none.
        """
        held = CachedScenes(cache, HEIGHT, WIDTH, 0)
        rows: dict[str, list[NDArray]] = {name: [] for name in READ}
        labels: dict[str, list[str]] = {name: [] for name in READ}
        actions: dict[str, set[str]] = {}
        for scene, frames in zip(held.scenes, held.frames, strict=True):
            if len(scene.actors) != 1:
                continue
            actor = scene.actors[0]
            actions.setdefault(actor.subject, set()).add(actor.action)
            for view in frames:
                for name, values in features(view).items():
                    rows[name].append(values)
                    labels[name].append(str(getattr(actor, name)))
        classes, nearest = {}, {}
        for name in READ:
            # A label needs a few examples to have a within-class scatter.
            common = [c for c in sorted(set(labels[name])) if labels[name].count(c) >= 16]
            if len(common) < 2:
                raise UserError(f"{cache} has too few scenes to read a {name} by; render more")
            keep = [i for i, label in enumerate(labels[name]) if label in common]
            chosen = np.stack([rows[name][i] for i in keep])
            index = np.array([common.index(labels[name][i]) for i in keep])
            classes[name] = common
            nearest[name] = NearestExamples.fit(chosen, index, len(common), ridge=0.1)
        return AssetReader(classes, nearest, actions)

    def read(self, clip_THWC: NDArray[np.uint8]) -> dict[str, str]:
        """Subject, coat and action of a clip [8, H, W, 3]."""
        small = [cv2.resize(f, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for f in clip_THWC]
        values = features(np.stack(small))
        seen: dict[str, str] = {}
        for name in READ:
            scores = self.nearest[name].scores(values[name])[0]
            if name == "action":
                scores *= [c in self.actions[seen["subject"]] for c in self.classes[name]]
            seen[name] = self.classes[name][int(scores.argmax())]
        return seen


def marks(said: Said, seen: dict[str, str]) -> dict[str, bool | None]:
    """Which readings are as asked; None: not asked."""
    asked = {"subject": said.subject, "coat": said.coat, "action": said.action}
    return {n: None if want is None else seen[n] == want for n, want in asked.items()}


def shares(rows: Sequence[dict[str, bool | None]]) -> dict[str, float | None]:
    """Share of prompts for which each reading is right, of those that ask for it."""
    out: dict[str, float | None] = {}
    for name in READ:
        hits = [bool(row[name]) for row in rows if row[name] is not None]
        out[name] = float(np.mean(hits)) if hits else None
    return out


@dataclass
class AssetPromptScores:
    """Prompts, clips [T, H, W, 3] in 0..1, marks of both and of true renders, seconds a clip."""

    prompts: list[str]
    clips: list[NDArray]
    marks: list[dict[str, bool | None]]
    true_marks: list[dict[str, bool | None]]
    seconds: float


def score_asset_prompts(
    generator: GridGenerator, cache: Path, n: int, config: GenerateConfig
) -> AssetPromptScores:
    """Generate and read back the fixed-view clips of n prompts: random captions of held-out
    scenes with one subject. UserError: the cache has fewer."""
    reader = AssetReader.of(cache)
    held = CachedScenes(cache, HEIGHT, WIDTH, 0, held_out=True)
    single = [i for i, s in enumerate(held.scenes) if len(s.actors) == 1][:n]
    if len(single) < n:
        raise UserError(
            f"{cache} has {len(single)} held-out scenes of one subject; render more with "
            "scripts/render_world.py --held-out"
        )
    prompts, clips, true_marks, made_marks = [], [], [], []
    started = time.monotonic()
    for k in progress(range(n), "prompts"):
        scene = held.scenes[single[k]]
        prompts.append(caption(scene, seeded(HELD_OUT_SEED + 9, config.seed, k)))
        row = generator.row_of(prompts[k], replace(config, seed=config.seed * 1000 + k))
        clips.append((row.cpu().numpy() + 1) / 2)
    seconds = (time.monotonic() - started) / n
    for k in range(n):
        said = parse_asset_prompt(prompts[k])
        made = np.clip(clips[k] * 255 + 0.5, 0, 255).astype(np.uint8)
        made_marks.append(marks(said, reader.read(made)))
        true_marks.append(marks(said, reader.read(held.frames[single[k], 0])))
    return AssetPromptScores(prompts, clips, made_marks, true_marks, seconds)
