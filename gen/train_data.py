"""Training clips of the procedural world: a pool of rendered scenes that is renewed all the time.

Rendering is cheap but not free, so every scene is drawn a few times (with other noise, masks and
words) before it leaves the pool.  What the pool holds at a step is a pure function of (seed, rank,
step), so that a resumed run sees exactly the batches it would have seen.

Shape legend: n scenes of a chunk, B clips of a batch, F frames, V views, T times, H W pixels.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from gen.data.captions import caption
from gen.data.procedural import render
from gen.data.scene_sampling import sample_scenes
from gen.data.world import SceneBatch
from gen.dit import Mode
from gen.text import split_words

# Parts of the procedural world to train on: arguments of `sample_scenes`.
WORLDS: dict[str, dict[str, Any]] = {
    "full": {},
    # What a network trained for about an hour on CPU cores can learn: 5 shapes, 6 colours,
    # 6 motions, 3 floors, 2 skies, one camera move, one or two objects.
    "narrow": {
        "shapes": ("sphere", "cube", "cylinder", "cone", "torus"),
        "colours": ("red", "orange", "yellow", "green", "blue", "purple"),
        "motions": ("still", "bounce", "slide_left", "slide_right", "grow", "shrink"),
        "floor": ("plain", "checkered", "wooden"),
        "sky": ("blue", "grey"),
        "camera_move": "arc_left",
        "relation": ("alone", "beside"),
    },
}
HELD_OUT_SEED = 2**40  # chunk seeds of training stay below


def seeded(*numbers: int) -> Generator:
    """A generator seeded by several integers at once."""
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        state = ((state ^ (number & (2**62 - 1))) * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) % 2**63
    return Generator().manual_seed(state)


@dataclass
class Clips:
    """uint8 clips [n, F, H, W, 3], each with its scene, its mode and whether it starts canonical.

    A canonical clip starts at view 0 and time 0: only such clips are generated from text alone.
    """

    frames: Tensor
    scenes: SceneBatch
    scene_index: list[int]
    mode: Tensor
    canonical: Tensor


def to_uint8(rgb: Tensor) -> Tensor:
    return (rgb * 255 + 0.5).clamp(0, 255).to(torch.uint8)


def render_clips(
    n: int,
    generator: Generator,
    frames: int,
    height: int,
    width: int,
    samples: int = 2,
    world: str = "full",
) -> Clips:
    """A fixed-view and a freeze-time clip of each of n scenes (for frames = 1: one picture each).

    Half of the clips start at view 0 and time 0, the others at any view (rows) or time (columns),
    since the rows and columns of a grid are such clips.
    """
    scenes = sample_scenes(n, generator, **WORLDS[world])
    if frames == 1:
        out = render(scenes, torch.zeros(1), torch.zeros(1), height, width, samples=samples)
        ones = torch.ones(n, dtype=torch.bool)
        mode = torch.randint(0, 2, (n,), generator=generator)
        return Clips(to_uint8(out.rgb[:, 0]), scenes, list(range(n)), mode, ones)
    ramp = torch.linspace(0, 1, frames)
    canonical = torch.rand(2, n, generator=generator) < 0.5
    start = torch.where(canonical, 0.0, torch.rand(2, n, generator=generator))
    rows = render(scenes, start[0][:, None], ramp, height, width, samples=samples).rgb[:, 0]
    columns = render(scenes, ramp, start[1][:, None], height, width, samples=samples).rgb[:, :, 0]
    mode = torch.tensor([Mode.DYNAMIC] * n + [Mode.FREEZE_TIME] * n)
    both = to_uint8(torch.cat([rows, columns]))
    return Clips(both, scenes, [*range(n), *range(n)], mode, canonical.flatten())


@dataclass(frozen=True)
class PoolConfig:
    """How many scenes are rendered at once, how many such chunks are kept, how fast they change."""

    chunk: int = 128
    keep: int = 12
    start: int = 4
    steps_per_chunk: int = 16
    world: str = "full"

    def __post_init__(self) -> None:
        if self.world not in WORLDS:
            raise ValueError(f"unknown world {self.world!r}; choose from {', '.join(WORLDS)}")


@dataclass
class ClipBatch:
    """clean [B, F, H, W, 3] in [-1, 1], texts [B], mode [B], known [B, F], index [F]."""

    clean: Tensor
    texts: list[str]
    mode: Tensor
    known: Tensor
    index: Tensor


class ClipPool:
    """Batches of training clips of `frames` frames, reproducible by (seed, rank, step)."""

    def __init__(
        self,
        seed: int,
        rank: int,
        frames: int,
        height: int,
        width: int,
        config: PoolConfig | None = None,
    ):
        self.seed, self.rank, self.frames = seed, rank, frames
        self.size = (height, width)
        self.config = config or PoolConfig()
        self._chunks: OrderedDict[int, Clips] = OrderedDict()

    def _chunks_at(self, step: int) -> list[Clips]:
        c = self.config
        last = c.start + step // c.steps_per_chunk
        wanted = range(max(0, last - c.keep), last)
        for k in list(self._chunks):
            if k not in wanted:
                del self._chunks[k]
        for k in wanted:
            if k not in self._chunks:
                generator = seeded(self.seed, self.rank, k)
                self._chunks[k] = render_clips(
                    c.chunk, generator, self.frames, *self.size, world=c.world
                )
        return [self._chunks[k] for k in wanted]

    def batch(self, step: int, n: int, use_frames: int | None = None) -> ClipBatch:
        """n clips with their texts and known masks, of `use_frames` of the frames (always the
        first, the others at random, the same ones for the whole batch)."""
        chunks = self._chunks_at(step)
        g = seeded(self.seed, self.rank, step, 7)
        use = min(use_frames or self.frames, self.frames)
        others = torch.randperm(self.frames - 1, generator=g)[: use - 1].sort().values + 1
        index = torch.cat([torch.zeros(1, dtype=torch.long), others])
        frames, texts, modes, canonical = [], [], [], []
        for which in torch.randint(0, len(chunks), (n,), generator=g).tolist():
            chunk = chunks[which]
            i = int(torch.randint(0, len(chunk.frames), (1,), generator=g))
            frames.append(chunk.frames[i, index])
            modes.append(chunk.mode[i])
            canonical.append(chunk.canonical[i])
            freeze = bool(chunk.mode[i] == Mode.FREEZE_TIME)
            texts.append(caption(chunk.scenes, g, chunk.scene_index[i], freeze=freeze))
        clean = torch.stack(frames).float() / 127.5 - 1
        if use == 1:
            known = torch.zeros(n, 1, dtype=torch.bool)
        else:
            known = sample_known(index, torch.stack(canonical), torch.stack(modes), g)
        return ClipBatch(clean, texts, torch.stack(modes), known, index)


def trained_words(world: str, n: int = 3000) -> list[str]:
    """The words that captions of a world use, from n random ones."""
    g = seeded(HELD_OUT_SEED, 3)
    scenes = sample_scenes(n, g, **WORLDS[world])
    texts = (caption(scenes, g, i, freeze=i % 2 == 1) for i in range(n))
    return sorted({word for text in texts for word in split_words(text)})


# Chance of K = 0..4 given first frames.  The paper draws K evenly; a short training does better to
# lean to what generation asks for: a row from text alone, anything else from its first frame.
FIRST_FRAMES_ROW_START = (0.50, 0.26, 0.08, 0.08, 0.08)
FIRST_FRAMES_COLUMN_START = (0.10, 0.60, 0.10, 0.10, 0.10)
FIRST_FRAMES_ELSEWHERE = (0.0, 0.64, 0.12, 0.12, 0.12)


def sample_known(index_F: Tensor, canonical_B: Tensor, mode_B: Tensor, g: Generator) -> Tensor:
    """Which frames are given: the first K in 0..4 (K = 0 only for clips that start at view 0 and
    time 0), or, one time in ten, any subset with the first frame (paper 3.1: masked training).
    At least one frame always stays unknown.
    """
    b, f = len(canonical_B), len(index_F)
    chances = torch.tensor(
        [FIRST_FRAMES_ELSEWHERE, FIRST_FRAMES_ROW_START, FIRST_FRAMES_COLUMN_START]
    )
    kind = torch.where(canonical_B, 1 + mode_B, 0)
    k = torch.multinomial(chances[kind], 1, generator=g)
    known = index_F[None] < k
    any_subset = torch.rand(b, f, generator=g) < torch.rand(b, 1, generator=g) * 0.8
    any_subset[:, 0] = True
    instead = (torch.rand(b, 1, generator=g) < 0.1) & (k > 0)
    known = torch.where(instead, any_subset, known)
    known[known.all(1), -1] = False
    return known
