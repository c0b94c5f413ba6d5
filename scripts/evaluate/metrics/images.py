"""Frames as the metric networks want them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourreal.video_io import resize_frames, to_uint8


def bytes_N3HW(frames: NDArray[np.float32]) -> Tensor:
    """Frames [N, H, W, 3] in 0..1 as uint8 [N, 3, H, W]."""
    return torch.from_numpy(to_uint8(frames)).permute(0, 3, 1, 2).contiguous()


def floats_N3HW(frames: NDArray[np.float32]) -> Tensor:
    """Frames [N, H, W, 3] in 0..1 as float32 [N, 3, H, W] in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).contiguous()


def with_long_edge(
    frames: NDArray[np.float32], pixels: int, multiple: int = 1
) -> NDArray[np.float32]:
    """Frames resized so that the longer edge has `pixels`, both edges multiples of `multiple`."""
    height, width = frames.shape[-3:-1]
    scale = pixels / max(height, width)
    sides = (max(multiple, round(side * scale / multiple) * multiple) for side in (height, width))
    return resize_frames(frames, *sides)


def at_length(clip_FHWC: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """A clip of that many frames: the nearest of its own at even spacing, first and last kept."""
    index = np.linspace(0, len(clip_FHWC) - 1, frames).round().astype(int)
    return clip_FHWC[index]
