"""Frames <-> the latent lattice, through Wan's causal video autoencoder.

The autoencoder never looks ahead in time: the first latent of a video is that of its first frame
alone, and latents 0..k do not see later frames.  So row 0 of a grid is one video encode, column 0
is V encodes of single frames, and these are exactly the latents that the whole grid would have.

`time_stride` 4: a latent is 4 frames of one view (the first is a single frame), so a row has
4k + 1 frames.  `time_stride` 1: every frame is encoded as an image, the lattice of the paper.

Shape legend: V views, T times, L latent times, F frames, H W pixels, C channels, h w latent pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from gen.wan.params import TIME_STRIDE

TimeStride = Literal[1, 4]


def latent_times(frames: int, time_stride: int = TIME_STRIDE) -> int:
    """How many latents cover so many frames."""
    return frames if time_stride == 1 else 1 + -(-(frames - 1) // TIME_STRIDE)


def covered_frames(latents: int, time_stride: int = TIME_STRIDE) -> int:
    """How many frames so many latents decode to."""
    return latents if time_stride == 1 else 1 + TIME_STRIDE * (latents - 1)


def fitting_size(height: int, width: int, side: int) -> tuple[int, int]:
    """The nearest size whose sides are multiples of `side` (pixels that a token spans)."""
    return tuple(max(side, round(x / side) * side) for x in (height, width))  # type: ignore[return-value]


class LatentCodec:
    """Encodes and decodes grids; frames are float32 in [-1, 1], latents have unit scale."""

    def __init__(self, vae: Any, time_stride: TimeStride = TIME_STRIDE):
        """vae: diffusers' `AutoencoderKLWan`; ValueError for another time stride than 1 or 4."""
        if time_stride not in (1, TIME_STRIDE):
            raise ValueError(f"got time_stride {time_stride}, expected 1 or {TIME_STRIDE}")
        self.vae = vae
        self.time_stride = time_stride
        config = vae.config
        self.space: int = config.scale_factor_spatial
        self.mean = torch.tensor(config.latents_mean).view(-1, 1, 1, 1)
        self.deviation = torch.tensor(config.latents_std).view(-1, 1, 1, 1)

    @torch.no_grad()
    def _encode(self, clip_FHWC: Tensor) -> Tensor:
        """One video [F, H, W, 3] of 4k + 1 frames -> latents [k+1, C, h, w] on the CPU."""
        weight = next(self.vae.parameters())
        x = clip_FHWC.to(weight.device, weight.dtype).permute(3, 0, 1, 2)[None]
        z = self.vae.encode(x).latent_dist.mode()[0].float().cpu()  # [C, L, h, w]
        return ((z - self.mean) / self.deviation).transpose(0, 1)

    @torch.no_grad()
    def _decode(self, latents_LCHW: Tensor) -> Tensor:
        """Latents of one video -> frames [F, H, W, 3] on the CPU."""
        weight = next(self.vae.parameters())
        z = latents_LCHW.float().cpu().transpose(0, 1) * self.deviation + self.mean
        x = self.vae.decode(z[None].to(weight.device, weight.dtype)).sample[0]
        return x.permute(1, 2, 3, 0).float().cpu()

    def encode_images(self, images_FHWC: Tensor) -> Tensor:
        """Every frame by itself: [F, H, W, 3] -> [F, C, h, w]."""
        return torch.cat([self._encode(image[None]) for image in images_FHWC])

    def encode_clip(self, clip_FHWC: Tensor) -> Tensor:
        """A row: [F, H, W, 3] -> [L, C, h, w].

        Where F is not 4k + 1, the last frame is repeated: the latents before the last one do not
        see that.
        """
        if self.time_stride == 1:
            return self.encode_images(clip_FHWC)
        missing = covered_frames(latent_times(len(clip_FHWC))) - len(clip_FHWC)
        return self._encode(torch.cat([clip_FHWC, clip_FHWC[-1:].expand(missing, -1, -1, -1)]))

    def decode_clip(self, latents_LCHW: Tensor, frames: int) -> Tensor:
        """The first `frames` frames [F, H, W, 3] of a row of latents."""
        if self.time_stride == 1:
            parts: Sequence[Tensor] = [self._decode(z[None]) for z in latents_LCHW]
            return torch.cat(list(parts))[:frames]
        return self._decode(latents_LCHW)[:frames]

    def encode_cross(self, row_THWC: Tensor, column_VHWC: Tensor) -> tuple[Tensor, Tensor]:
        """Row 0 and column 0 of a grid -> lattice [V, L, C, h, w] and what is known of it [V, L].

        The other latents are 0.
        """
        row = self.encode_clip(row_THWC)
        lattice = row.new_zeros(len(column_VHWC), *row.shape)
        lattice[1:, 0] = self.encode_images(column_VHWC[1:])
        lattice[0] = row
        known = torch.zeros(lattice.shape[:2], dtype=torch.bool)
        known[0] = known[:, 0] = True
        return lattice, known

    def encode_grid(self, frames_VTHWC: Tensor) -> Tensor:
        """A whole grid -> lattice [V, L, C, h, w]."""
        return torch.stack([self.encode_clip(row) for row in frames_VTHWC])

    def decode_grid(self, lattice_VLCHW: Tensor, times: int) -> Tensor:
        """A lattice -> frames [V, T, H, W, 3]."""
        return torch.stack([self.decode_clip(row, times) for row in lattice_VLCHW])
