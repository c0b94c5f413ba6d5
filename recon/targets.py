"""What a fit is shown: the frames of a grid as tensors, all at once or read as it asks for them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gen.frame_files import FrameFiles
from gen.grid import VideoGrid


class Targets(Protocol):
    """A frame float32 [H, W, 3] for every (view, time); a tensor [V, T, H, W, 3] is one of them."""

    def __getitem__(self, cell: tuple[int, int], /) -> Tensor: ...


def targets_of(grid: VideoGrid, device: str) -> Targets:
    """The frames of a grid on ``device``."""
    if isinstance(grid.frames, FrameFiles):
        return _Read(grid.frames, device)
    return torch.from_numpy(np.ascontiguousarray(grid.frames)).to(device)


class _Read:
    def __init__(self, frames: FrameFiles, device: str) -> None:
        self.frames, self.device = frames, device

    def __getitem__(self, cell: tuple[int, int], /) -> Tensor:
        return torch.from_numpy(self.frames.image(*cell)).to(self.device)
