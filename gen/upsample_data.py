"""Training clips of the upsampler: procedural renders and what a base model would make of them.

The low-resolution input is the area-shrunk render, or a base model's own version of it (noise is
added and taken away again by the model, so that its blur and its seams between patches are the
real ones, and yet it shows the same thing), then disturbed a little more.  Scenes are rendered at
twice the target size: halved, they are whole pictures at the target size; uncropped, they give
details of pictures twice as large.

Shape legend: n scenes of a chunk, B clips of a batch, F frames, H W target pixels, h w
low-resolution pixels.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from gen.data.captions import caption
from gen.dit import Mode
from gen.flow import add_noise
from gen.model import BaseModel
from gen.sampling import sample_euler
from gen.train_data import Clips, PoolConfig, render_clips, seeded, to_uint8
from gen.upsample import coordinate_width, enlarge

FACTOR = 4  # target over low-resolution pixels, for whole pictures; twice that for details
SEAM = 8  # low-resolution pixels of a patch of the base model


@dataclass
class UpsampleBatch:
    """clean, low [B,F,H,W,3] in [-1,1] (low: enlarged), level [B], texts [B], mode [B],
    known [B,F], index [F]; picture_width: see `gen.upsample.coordinate_width`."""

    clean: Tensor
    low: Tensor
    level: Tensor
    texts: list[str]
    mode: Tensor
    known: Tensor
    index: Tensor
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
    """Clips in [-1, 1] as the base model draws them: noised to a random level, then denoised."""
    out = []
    device = base.device
    for clip, text, mode in zip(low_BFHWC, texts, mode_B, strict=True):
        features, mask = base.encode_text([text])
        level = 0.15 + 0.45 * float(torch.rand((), generator=g))
        noise = torch.randn(clip.shape, generator=g).to(device)
        x = add_noise(clip[None].to(device), noise[None], torch.full((1,), level, device=device))
        known = torch.zeros(1, len(clip), dtype=torch.bool, device=device)
        index = torch.arange(len(clip), device=device).float()
        mode_1 = mode.reshape(1).to(device)

        def model(
            x: Tensor, sigma: Tensor, known=known, mode_1=mode_1, features=features, mask=mask,
            index=index,
        ) -> Tensor:  # fmt: skip
            return base.dit(x, known, sigma.reshape(1), mode_1, features, mask, index)

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
class _Chunk:
    """Renders at twice the target size, and the base model's version of the low-resolution ones."""

    clips: Clips
    base_low: Tensor | None  # uint8 [n, F, h, w, 3]
    texts: list[str]


class UpsamplePool:
    """Batches for the upsampler, reproducible by (seed, rank, step)."""

    def __init__(
        self,
        seed: int,
        rank: int,
        frames: int,
        height: int,
        width: int,
        config: PoolConfig,
        base: BaseModel | None = None,
    ):
        self.seed, self.rank, self.frames = seed, rank, frames
        self.size, self.config, self.base = (height, width), config, base
        self._chunks: OrderedDict[int, _Chunk] = OrderedDict()

    def _render(self, k: int) -> _Chunk:
        g = seeded(self.seed, self.rank, k, 5)
        height, width = self.size
        c = self.config
        clips = render_clips(
            c.chunk, g, self.frames, 2 * height, 2 * width, samples=1, world=c.world
        )
        texts = [
            caption(clips.scenes, g, scene, freeze=bool(mode == Mode.FREEZE_TIME))
            for scene, mode in zip(clips.scene_index, clips.mode, strict=True)
        ]
        if self.base is None:
            return _Chunk(clips, None, texts)
        low = shrink(clips.frames.float() / 127.5 - 1, 2 * FACTOR)
        drawn = base_version(self.base, low, texts, clips.mode, g)
        return _Chunk(clips, to_uint8((drawn + 1) / 2), texts)

    def _chunks_at(self, step: int) -> list[_Chunk]:
        c = self.config
        last = c.start + step // c.steps_per_chunk
        wanted = range(max(0, last - c.keep), last)
        for k in list(self._chunks):
            if k not in wanted:
                del self._chunks[k]
        for k in wanted:
            if k not in self._chunks:
                self._chunks[k] = self._render(k)
        return [self._chunks[k] for k in wanted]

    def batch(
        self,
        step: int,
        n: int,
        use_frames: int,
        *,
        detail: float = 0.3,
        from_base: float = 0.5,
        max_level: float = 0.2,
    ) -> UpsampleBatch:
        """n clips of `use_frames` of the frames (the same ones for the whole batch).

        detail: the share of batches that show parts of pictures twice as large; from_base: the
        share of clips whose input was drawn by the base model; max_level: of the noise added to
        every other input.  Three clips in ten have some frames given, as later windows do.
        """
        chunks = self._chunks_at(step)
        g = seeded(self.seed, self.rank, step, 9)
        use = min(use_frames, self.frames)
        index = torch.randperm(self.frames, generator=g)[:use].sort().values
        as_detail = float(torch.rand((), generator=g)) < detail
        high, low, texts, modes = [], [], [], []
        for which in torch.randint(0, len(chunks), (n,), generator=g).tolist():
            chunk = chunks[which]
            i = int(torch.randint(0, len(chunk.texts), (1,), generator=g))
            frames = chunk.clips.frames[i, index].float() / 127.5 - 1
            drawn = float(torch.rand((), generator=g)) < from_base
            if drawn and chunk.base_low is not None:
                small = chunk.base_low[i, index].float() / 127.5 - 1
            else:
                small = shrink(frames, 2 * FACTOR)
            high.append(frames if as_detail else shrink(frames, 2))
            low.append(small)
            texts.append(chunk.texts[i])
            modes.append(chunk.clips.mode[i])
        small_B = disturb(torch.stack(low), g)
        level = torch.rand(n, generator=g) * max_level * (torch.rand(n, generator=g) < 0.5)
        noise = torch.randn(small_B.shape, generator=g)
        small_B = small_B + noise * level.reshape(n, 1, 1, 1, 1)
        clean = torch.stack(high)
        enlarged = enlarge(small_B, *clean.shape[2:4])
        if as_detail:
            clean, enlarged = _same_crop(clean, enlarged, self.size, g)
        unit = coordinate_width(self.size[1] // FACTOR, self.size[1] * (2 if as_detail else 1))
        known = torch.rand(n, use, generator=g) < 0.5
        known &= (torch.rand(n, 1, generator=g) < 0.3) & (use > 1)
        known[known.all(1), -1] = False
        return UpsampleBatch(clean, enlarged, level, texts, torch.stack(modes), known, index, unit)


def _same_crop(
    a_BFHWC: Tensor, b_BFHWC: Tensor, size: tuple[int, int], g: Generator
) -> tuple[Tensor, Tensor]:
    """One random crop of `size` a clip, at multiples of 4 pixels, from both."""
    height, width = a_BFHWC.shape[2:4]
    parts: tuple[list[Tensor], list[Tensor]] = ([], [])
    for a, b in zip(a_BFHWC, b_BFHWC, strict=True):
        y = 4 * int(torch.randint(0, (height - size[0]) // 4 + 1, (1,), generator=g))
        x = 4 * int(torch.randint(0, (width - size[1]) // 4 + 1, (1,), generator=g))
        for part, frames in zip(parts, (a, b), strict=True):
            part.append(frames[:, y : y + size[0], x : x + size[1]])
    return torch.stack(parts[0]), torch.stack(parts[1])
