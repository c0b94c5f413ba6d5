"""Training clips: what a source of them is, and the pool of procedural scenes that is one.

Every item of a batch has a number, and what it is follows from (seed, step, number) alone: not
from the process that draws it, nor from what was drawn before.  So any number of processes train
on the same batches, and a resumed run sees those it would have seen.

Rendering is cheap but not free, so every procedural scene is drawn a few times (with other noise,
masks and words) before it leaves the pool; processes share the rendering.

Shape legend: n scenes of a chunk, B clips of a batch, F frames, V views, T times, H W pixels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Generator, Tensor

from gen.data.world.captions import caption
from gen.data.world.procedural import render
from gen.data.world.scene import SceneBatch
from gen.data.world.scene_sampling import sample_scenes
from gen.dist import render_shared
from gen.network.dit import Mode
from gen.network.text import split_words

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


def randint(high: int, g: Generator) -> int:
    """A whole number in 0..high-1."""
    return int(torch.randint(0, high, (), generator=g))


Item = TypeVar("Item", covariant=True)


class Source(Protocol[Item]):
    """Training items by number; `item` may be called from several threads."""

    def prepare(self, step: int) -> None:
        """Make ready for items of a step; all processes call this together."""

    def item(self, step: int, number: int) -> Item:
        """One item, a pure function of (step, number)."""


@dataclass
class Clip:
    """One training clip: uint8 frames [F, H, W, 3], its text, and whether it starts canonical.

    A canonical clip starts at view 0 and time 0: only such clips are generated from text alone.
    """

    frames: Tensor
    text: str
    mode: Mode
    canonical: bool


def to_uint8(rgb: Tensor) -> Tensor:
    return (rgb * 255 + 0.5).clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class Rendering:
    """How scenes become pixels: size, rays a pixel and side, where, and whether all processes
    render one set of scenes together (they must then all call at once)."""

    height: int
    width: int
    samples: int = 2
    device: torch.device | str = "cpu"
    shared: bool = False

    def frames(self, scenes: SceneBatch, views: Tensor, times: Tensor) -> Tensor:
        """uint8 [n, V, T, H, W, 3] in main memory; views and times are [n, k] in 0..1."""

        def draw(part: slice) -> Tensor:
            inputs = scenes[part].to(self.device), views[part], times[part]
            out = render(*inputs, self.height, self.width, samples=self.samples)
            return to_uint8(out.rgb).cpu()

        if not self.shared:
            return draw(slice(None))
        shape = (views.shape[1], times.shape[1], self.height, self.width, 3)
        return render_shared(len(scenes), shape, draw)


@dataclass
class Clips:
    """uint8 clips [n, F, H, W, 3], each with its scene, mode and whether it starts canonical."""

    frames: Tensor
    scenes: SceneBatch
    scene_index: list[int]
    mode: Tensor
    canonical: Tensor


def render_clips(
    n: int,
    generator: Generator,
    frames: int,
    height: int,
    width: int,
    samples: int = 2,
    world: str = "full",
    *,
    only: Mode | None = None,
    device: torch.device | str = "cpu",
    shared: bool = False,
) -> Clips:
    """A fixed-view and a freeze-time clip of each of n scenes (for frames = 1: one picture each).

    Half of the clips start at view 0 and time 0, the others at any view (rows) or time (columns),
    since the rows and columns of a grid are such clips.  `only` leaves out the other mode.
    """
    g, scenes = generator, sample_scenes(n, generator, **WORLDS[world])
    rendering = Rendering(height, width, samples, device, shared)
    modes = [m for m in Mode if only in (None, m)]
    if frames == 1:
        start = torch.zeros(n, 1)
        mode = torch.tensor(modes)[torch.randint(0, len(modes), (n,), generator=g)]
        pictures = rendering.frames(scenes, start, start)[:, 0]
        return Clips(pictures, scenes, list(range(n)), mode, torch.ones(n, dtype=torch.bool))
    ramp = torch.linspace(0, 1, frames).expand(n, -1)
    canonical = torch.rand(2, n, generator=g) < 0.5
    starts = torch.where(canonical, 0.0, torch.rand(2, n, generator=g))
    clips = []
    for m in modes:
        start = starts[m][:, None]
        moving = (start, ramp) if m == Mode.DYNAMIC else (ramp, start)
        clips.append(rendering.frames(scenes, *moving).flatten(1, 2))
    mode = torch.tensor(modes).repeat_interleave(n)
    index = list(range(n)) * len(modes)
    return Clips(torch.cat(clips), scenes, index, mode, canonical[modes].flatten())


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
        if min(self.chunk, self.keep, self.start, self.steps_per_chunk) < 1:
            raise ValueError("chunk, keep, start and steps_per_chunk must be at least 1")


Chunk = TypeVar("Chunk")


class ScenePool(Generic[Chunk]):
    """Chunks of rendered procedural scenes that are renewed all the time, by step."""

    def __init__(
        self,
        seed: int,
        height: int,
        width: int,
        config: PoolConfig | None = None,
        device: torch.device | str = "cpu",
    ):
        """device: where to render (the chunks are kept in main memory)."""
        self.seed, self.size, self.device = seed, (height, width), device
        self.config = config or PoolConfig()
        self._chunks: OrderedDict[int, Chunk] = OrderedDict()

    def make(self, g: Generator) -> Chunk:
        """Render one chunk, together with the other processes."""
        raise NotImplementedError

    def _wanted(self, step: int) -> range:
        c = self.config
        last = c.start + step // c.steps_per_chunk
        return range(max(0, last - c.keep), last)

    def prepare(self, step: int) -> None:
        wanted = self._wanted(step)
        for k in list(self._chunks):
            if k not in wanted:
                del self._chunks[k]
        for k in wanted:
            if k not in self._chunks:
                self._chunks[k] = self.make(seeded(self.seed, 0, k))

    def pick(self, step: int, g: Generator) -> Chunk:
        """One of the chunks that belong to a step."""
        wanted = self._wanted(step)
        return self._chunks[wanted[randint(len(wanted), g)]]


class ClipPool(ScenePool[Clips]):
    """Clips of procedural scenes, see `render_clips`."""

    def __init__(
        self,
        seed: int,
        frames: int,
        height: int,
        width: int,
        config: PoolConfig | None = None,
        device: torch.device | str = "cpu",
        only: Mode | None = None,
    ):
        super().__init__(seed, height, width, config, device)
        self.frames, self.only = frames, only

    def make(self, g: Generator) -> Clips:
        c = self.config
        return render_clips(
            c.chunk, g, self.frames, *self.size, world=c.world,
            only=self.only, device=self.device, shared=True,
        )  # fmt: skip

    def item(self, step: int, number: int) -> Clip:
        g = seeded(self.seed, step, number, 7)
        chunk = self.pick(step, g)
        i = randint(len(chunk.frames), g)
        mode = Mode(int(chunk.mode[i]))
        freeze = mode == Mode.FREEZE_TIME
        text = caption(chunk.scenes, g, chunk.scene_index[i], freeze=freeze)
        return Clip(chunk.frames[i], text, mode, bool(chunk.canonical[i]))


@dataclass
class ClipBatch:
    """clean [B, F, H, W, 3] in [-1, 1], texts [B], mode [B], known [B, F], index [F], items [B].

    `items` are the numbers of the clips within the batch of all processes.
    """

    clean: Tensor
    texts: list[str]
    mode: Tensor
    known: Tensor
    index: Tensor
    items: range


Mapping = Callable[[Callable[[int], Any], Iterable[int]], Iterable[Any]]


def draw_clips(
    source: Source[Clip],
    seed: int,
    step: int,
    items: range,
    use_frames: int | None = None,
    uniform: bool = False,
    map_items: Mapping = map,
) -> ClipBatch:
    """Those clips of a step's batch, of `use_frames` of the frames (always the first, the others
    at random, the same ones for the whole batch).

    uniform: the paper's rule of known frames, see `sample_known`.
    map_items: `map`, or that of a pool of threads.
    """
    source.prepare(step)
    clips: list[Clip] = list(map_items(lambda i: source.item(step, i), items))
    total = len(clips[0].frames)
    use = min(use_frames or total, total)
    others = torch.randperm(total - 1, generator=seeded(seed, step, 6))[: use - 1].sort().values + 1
    index = torch.cat([torch.zeros(1, dtype=torch.long), others])
    known = torch.zeros(len(clips), use, dtype=torch.bool)
    if use > 1:
        for row, (i, clip) in enumerate(zip(items, clips, strict=True)):
            canonical, mode = torch.tensor([clip.canonical]), torch.tensor([int(clip.mode)])
            g = seeded(seed, step, i, 9)
            known[row] = sample_known(index, canonical, mode, g, uniform)[0]
    return ClipBatch(
        torch.stack([clip.frames[index] for clip in clips]).float() / 127.5 - 1,
        [clip.text for clip in clips],
        torch.tensor([int(clip.mode) for clip in clips]),
        known,
        index,
        items,
    )


@cache
def _spoken_words(world: str, n: int) -> tuple[str, ...]:
    g = seeded(HELD_OUT_SEED, 3)
    scenes = sample_scenes(n, g, **WORLDS[world])
    texts = (caption(scenes, g, i, freeze=i % 2 == 1) for i in range(n))
    return tuple(sorted({word for text in texts for word in split_words(text)}))


def trained_words(world: str, n: int = 3000) -> list[str]:
    """The words that captions of a world use, from n random ones."""
    return list(_spoken_words(world, n))


# Chance of K = 0..4 given first frames.  The paper draws K evenly; a short training does better to
# lean to what generation asks for: a row from text alone, anything else from its first frame.
FIRST_FRAMES_ROW_START = (0.50, 0.26, 0.08, 0.08, 0.08)
FIRST_FRAMES_COLUMN_START = (0.10, 0.60, 0.10, 0.10, 0.10)
FIRST_FRAMES_ELSEWHERE = (0.0, 0.64, 0.12, 0.12, 0.12)
FIRST_FRAMES_UNIFORM = (0.2, 0.2, 0.2, 0.2, 0.2)


def sample_known(
    index_F: Tensor, canonical_B: Tensor, mode_B: Tensor, g: Generator, uniform: bool = False
) -> Tensor:
    """Which frames are given, [B, F]: the first K in 0..4 (K = 0 only for clips that start at view
    0 and time 0), or, one time in ten, any subset with the first frame (paper 3.1: masked
    training). At least one frame always stays unknown.

    uniform: K evenly in 0..4 for every clip and no other subsets (supplement 1.1).
    """
    b, f = len(canonical_B), len(index_F)
    chances = torch.tensor(
        [FIRST_FRAMES_ELSEWHERE, FIRST_FRAMES_ROW_START, FIRST_FRAMES_COLUMN_START]
    )
    kind = torch.where(canonical_B, 1 + mode_B, 0)
    chance_B5 = torch.tensor(FIRST_FRAMES_UNIFORM).expand(b, -1) if uniform else chances[kind]
    k = torch.multinomial(chance_B5, 1, generator=g)
    known = index_F[None] < k
    if not uniform:
        any_subset = torch.rand(b, f, generator=g) < torch.rand(b, 1, generator=g) * 0.8
        any_subset[:, 0] = True
        instead = (torch.rand(b, 1, generator=g) < 0.1) & (k > 0)
        known = torch.where(instead, any_subset, known)
    known[known.all(1), -1] = False
    return known
