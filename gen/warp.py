"""Frames seen from displaced pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample


def sample(frames_NCHW: Tensor, places_NHW2: Tensor, mode: str = "bilinear") -> Tensor:
    """Values of frames at pixel positions (x, y), (0, 0) the first pixel's centre; beyond the
    border the nearest pixel's. mode: that of ``grid_sample``."""
    h, w = frames_NCHW.shape[-2:]
    scale = torch.tensor([max(w - 1, 1), max(h - 1, 1)], device=places_NHW2.device)
    grid = 2 * places_NHW2 / scale - 1
    return grid_sample(frames_NCHW, grid, mode, padding_mode="border", align_corners=True)


def pixel_places(height: int, width: int) -> Tensor:
    """(x, y) of every pixel [H, W, 2]."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y], -1).float()
