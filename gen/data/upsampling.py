"""Training clips of the upsampler: renders and what a base model would make of them.

The low-resolution input is the area-shrunk render, or a base model's own version of it (noise is
added and taken away again by the model, so that its blur and its seams between patches are the
real ones, and yet it shows the same thing), then disturbed a little more.  Procedural scenes are
rendered at twice the target size: halved, they are whole pictures at the target size; uncropped,
they give details of pictures twice as large.  Scenes of the asset world are whole pictures alone,
from a cache rendered at the target size.

Shape legend: n scenes of a chunk, B clips of a batch, F frames, H W target pixels, h w
low-resolution pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from gen.data.assets.cache import CachedClips
from gen.data.batches import (
    ClipBatch,
    Clips,
    Mapping,
    PoolConfig,
    ScenePool,
    randint,
    render_clips,
    seeded,
    to_uint8,
)
from gen.data.world.captions import caption
from gen.flow.rectified import add_noise
from gen.flow.samplers import sample_euler
from gen.network.around import Given, clip_model
from gen.network.base import BaseModel
from gen.network.dit import Mode
from gen.upsample import coordinate_width, enlarge

FACTOR = 4  # target over low-resolution pixels, for whole pictures; twice that for details
SEAM = 8  # low-resolution pixels of a patch of the base model


@dataclass
class UpsampleBatch(ClipBatch):
    """A clip batch with low [B,F,H,W,3] in [-1,1], enlarged, the level of its noise [B], and
    picture_width: see `gen.upsample.coordinate_width`."""

    low: Tensor
    level: Tensor
    picture_width: float


def shrink(frames: Tensor, factor: int) -> Tensor:
    """Average blocks of factor x factor pixels of frames [..., H, W, 3]."""
    flat = frames.flatten(0, -4).permute(0, 3, 1, 2)
    out = F.avg_pool2d(flat, factor).permute(0, 2, 3, 1)
    return out.reshape(*frames.shape[:-3], *out.shape[1:])


@torch.no_grad()
def base_version(
    base: BaseModel, low_BFHWC: Tensor, texts: list[str], mode_B: Tensor, g: Generator
) -> Tensor:
    """Clips in [-1, 1] as a model draws them: noised to a random level, then denoised.  To one that
    copies the first frame is given, so that the others are seen through its displacements."""
    out = []
    device = base.device
    for clip, text, mode in zip(low_BFHWC, texts, mode_B, strict=True):
        features, mask = base.encode_text([text])
        clean = clip[None].to(device)
        known = torch.zeros(1, len(clip), dtype=torch.bool, device=device)
        known[:, 0] = base.params.copies
        level = 0.15 + 0.45 * float(torch.rand((), generator=g))
        noise = torch.randn(clip.shape, generator=g).to(device)
        x = add_noise(clean, noise[None], torch.full((1,), level, device=device))
        index = torch.arange(len(clip), device=device).float()
        model = clip_model(base, Given(clean, known), index, Mode(int(mode)), features, mask)
        sigmas = torch.tensor([level, level / 3, 0.0], device=device)
        out.append(sample_euler(model, x, sigmas)[0].clamp(-1, 1).cpu())
    return torch.stack(out)


def disturb(low_BFHWC: Tensor, g: Generator) -> Tensor:
    """Blur, offsets of whole patches and noise, each by a random amount a clip (often none)."""
    b, f, h, w, _ = low_BFHWC.shape

    def amount(most: float, chance: float) -> Tensor:
        here = torch.rand(b, generator=g) < chance
        return (torch.rand(b, generator=g) * most * here).reshape(b, 1, 1, 1, 1)

    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    flat = F.pad(low_BFHWC.flatten(0, 1).permute(0, 3, 1, 2), (2, 2, 2, 2), mode="replicate")
    flat = F.conv2d(flat.flatten(0, 1)[:, None], (kernel[:, None] * kernel)[None, None])
    blurred = flat.unflatten(0, (b, f, 3))[:, :, :, 0].permute(0, 1, 3, 4, 2)
    low = torch.lerp(low_BFHWC, blurred, amount(1.0, 0.6))
    patches = (-(-h // SEAM), -(-w // SEAM))
    offsets = torch.randn(b, f, *patches, 3, generator=g)
    offsets = offsets.repeat_interleave(SEAM, 2).repeat_interleave(SEAM, 3)[:, :, :h, :w]
    low = low + offsets * amount(0.04, 0.5)
    return low + torch.randn(low.shape, generator=g) * amount(0.03, 0.4)


@dataclass
class Rendered:
    """Clips at twice the target size with texts, and the base model's small versions of them."""

    clips: Clips
    texts: list[str]
    drawn: Tensor | None  # uint8 [n, F, h, w, 3]


@dataclass
class Item:
    """One clip: frames [F, sH, sW, 3] at s times the target size and perhaps the base model's
    [F, h, w, 3], both uint8."""

    frames: Tensor
    drawn: Tensor | None
    text: str
    mode: Mode
    times_target: int


class UpsamplePool(ScenePool[Rendered]):
    """Procedural clips at twice the size (height, width); `base` draws small versions of them."""

    def __init__(
        self,
        seed: int,
        frames: int,
        height: int,
        width: int,
        config: PoolConfig,
        base: BaseModel | None = None,
        device: torch.device | str = "cpu",
    ):
        super().__init__(seed, height, width, config, device)
        self.frames, self.base = frames, base

    def make(self, g: Generator) -> Rendered:
        c, (height, width) = self.config, self.size
        clips = render_clips(
            c.chunk, g, self.frames, 2 * height, 2 * width, samples=1, world=c.world,
            device=self.device, shared=True,
        )  # fmt: skip
        texts = [
            caption(clips.scenes, g, scene, freeze=bool(mode == Mode.FREEZE_TIME))
            for scene, mode in zip(clips.scene_index, clips.mode, strict=True)
        ]
        if self.base is None:
            return Rendered(clips, texts, None)
        low = shrink(clips.frames.float() / 127.5 - 1, 2 * FACTOR)
        drawn = base_version(self.base, low, texts, clips.mode, g)
        return Rendered(clips, texts, to_uint8((drawn + 1) / 2))

    def item(self, step: int, number: int) -> Item:
        g = seeded(self.seed, step, number, 7)
        chunk = self.pick(step, g)
        i = randint(len(chunk.texts), g)
        drawn = None if chunk.drawn is None else chunk.drawn[i]
        mode = Mode(int(chunk.clips.mode[i]))
        return Item(chunk.clips.frames[i], drawn, chunk.texts[i], mode, 2)


class AssetClips:
    """Clips of the asset world at the target size; `base` draws small versions of them."""

    def __init__(
        self,
        cache: Path,
        seed: int,
        frames: int,
        height: int,
        width: int,
        base: BaseModel | None = None,
        held_out: bool = False,
    ):
        """UserError when the cache holds no such scenes."""
        self.clips = CachedClips(cache, height, width, seed, held_out=held_out, frames=frames)
        self.seed, self.base = seed, base

    def item(self, step: int, number: int) -> Item:
        clip = self.clips.item(step, number)
        drawn = None
        if self.base is not None:
            low = shrink(clip.frames[None].float() / 127.5 - 1, FACTOR)
            g = seeded(self.seed, step, number, 8)
            made = base_version(self.base, low, [clip.text], torch.tensor([int(clip.mode)]), g)
            drawn = to_uint8((made[0] + 1) / 2)
        return Item(clip.frames, drawn, clip.text, clip.mode, 1)


@dataclass(frozen=True)
class Inputs:
    """How the low-resolution inputs are made."""

    detail: float = 0.3  # the share of batches that show parts of pictures twice as large
    from_base: float = 0.5  # the share of inputs drawn by the base model
    max_level: float = 0.2  # of the noise added to half of the inputs, told to the network
    given: float = 0.3  # the share of clips with some frames given, as later windows have them
    assets: float = 0.6  # the share of the asset world in batches of whole pictures: --world


def draw_upsample(
    pool: UpsamplePool,
    seed: int,
    step: int,
    items: range,
    use_frames: int,
    inputs: Inputs,
    map_items: Mapping = map,
    assets: AssetClips | None = None,
) -> UpsampleBatch:
    """Those clips of a step's batch, of `use_frames` of the frames (the same ones for the whole
    batch).  map_items: `map`, or that of a pool of threads; assets: drawn beside the pool."""
    pool.prepare(step)
    g = seeded(seed, step, 6)
    index = torch.randperm(pool.frames, generator=g)[:use_frames].sort().values
    detail = float(torch.rand((), generator=g)) < inputs.detail

    def one(number: int) -> tuple[Item, Tensor, Tensor, Tensor, Tensor]:
        from_assets = assets is not None and not detail
        from_assets &= float(torch.rand((), generator=seeded(seed, step, number, 10))) < (
            inputs.assets
        )
        clip = assets.item(step, number) if assets and from_assets else pool.item(step, number)
        g = seeded(seed, step, number, 9)
        clean, low, level = input_and_target(clip, index, detail, pool.size, inputs, g)
        known = torch.rand(use_frames, generator=g) < 0.5
        known &= float(torch.rand((), generator=g)) < inputs.given
        if bool(known.all()):
            known[-1] = False
        return clip, clean, low, level, known

    clips, clean, low, level, known = zip(*map_items(one, items), strict=True)
    width = pool.size[1]
    return UpsampleBatch(
        clean=torch.stack(clean),
        texts=[clip.text for clip in clips],
        mode=torch.tensor([int(clip.mode) for clip in clips]),
        known=torch.stack(known),
        index=index,
        items=items,
        low=torch.stack(low),
        level=torch.stack(level),
        picture_width=coordinate_width(width // FACTOR, width * (2 if detail else 1)),
    )


def input_and_target(
    clip: Item, index_F: Tensor, detail: bool, size: tuple[int, int], inputs: Inputs, g: Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """clean [F, H, W, 3] and the enlarged input [F, H, W, 3] of a clip, with its noise level [].

    detail: a random part of frames at twice the size, at multiples of 4 pixels.
    """
    frames = clip.frames[index_F].float() / 127.5 - 1
    small = shrink(frames, clip.times_target * FACTOR)
    if float(torch.rand((), generator=g)) < inputs.from_base and clip.drawn is not None:
        small = clip.drawn[index_F].float() / 127.5 - 1
    small = disturb(small[None], g)[0]
    level = torch.rand((), generator=g) * inputs.max_level
    level = level * (torch.rand((), generator=g) < 0.5)
    small = small + level * torch.randn(small.shape, generator=g)
    clean = frames if detail else shrink(frames, clip.times_target)
    low = enlarge(small, *clean.shape[1:3])
    if detail:
        y, x = (
            4 * randint((whole - part) // 4 + 1, g)
            for whole, part in zip(clean.shape[1:3], size, strict=True)
        )
        clean, low = (f[:, y : y + size[0], x : x + size[1]] for f in (clean, low))
    return clean, low, level
