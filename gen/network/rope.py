"""3-D rotary positions: one temporal slot, for time or view alike, and normalised y and x.

Shape legend: B clips, F frames, S patches a frame, N = F*S tokens, h heads, d values a head.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gen.network.params import DiTParams


class Rope(NamedTuple):
    """Rotation of queries and keys: cos and sin, each [N, head_dim / 2]."""

    cos: Tensor
    sin: Tensor


def rope_table(
    params: DiTParams, index_F: Tensor, height: int, width: int, picture_width: float | None = None
) -> Rope:
    """The table for frames of `height` x `width` pixels.

    The temporal slot holds the frame's index in its clip (time or view alike; training also uses
    subsets of a clip's frames); y and x are patch centres in units of 1/16 of the picture's width
    measured from its centre, so that 36x64 and 72x128 share weights.  `picture_width` is that
    width where it is not the frames' own: for a crop, or to count in other units.
    """
    frames, device = len(index_F), index_F.device
    pairs = params.head_dim // 2
    n_space = pairs // 3
    n_time = pairs - 2 * n_space
    rows, cols = height // params.patch, width // params.patch
    t = index_F.float()
    scale = 16.0 * params.patch / (picture_width or width)
    y = (torch.arange(rows, device=device, dtype=torch.float32) - (rows - 1) / 2) * scale
    x = (torch.arange(cols, device=device, dtype=torch.float32) - (cols - 1) / 2) * scale

    def freqs(n: int) -> Tensor:
        exponent = torch.arange(n, device=device, dtype=torch.float32) / max(n, 1)
        return params.rope_theta**-exponent

    shape = (frames, rows, cols)
    angle = torch.cat(
        [
            (t[:, None] * freqs(n_time))[:, None, None, :].expand(*shape, n_time),
            (y[:, None] * freqs(n_space))[None, :, None, :].expand(*shape, n_space),
            (x[:, None] * freqs(n_space))[None, None, :, :].expand(*shape, n_space),
        ],
        dim=-1,
    ).reshape(-1, pairs)
    return Rope(angle.cos(), angle.sin())


def apply_rope(x_BNhd: Tensor, rope: Rope) -> Tensor:
    """Rotate the two halves of the last axis against each other."""
    a, b = x_BNhd.chunk(2, dim=-1)
    cos, sin = rope.cos[:, None, :].to(x_BNhd.dtype), rope.sin[:, None, :].to(x_BNhd.dtype)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
