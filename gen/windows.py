"""Windows that cover a clip longer than the model's: neighbours share some frames (paper 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor

WINDOW = 8  # frames of a training clip
OVERLAP = 4  # frames a later window starts from


def windows(length: int, window: int = WINDOW, overlap: int = OVERLAP) -> list[range]:
    """Ranges that cover 0..length-1; each but the first starts with >= `overlap` earlier frames.

    Raises ValueError unless 0 < overlap < window and length >= 1.
    """
    if not 0 < overlap < window or length < 1:
        raise ValueError(f"cannot cover {length} frames by windows of {window} over {overlap}")
    result = [range(0, min(window, length))]
    while result[-1].stop < length:
        stop = min(length, result[-1].stop + window - overlap)
        result.append(range(stop - window, stop))
    return result


def frame_index(length: int, window: int = WINDOW) -> Tensor:
    """Places of `length` <= window frames in the model's clip: spread so that they span it all."""
    if length == window or length == 1:
        return torch.arange(length).float()
    return torch.linspace(0, window - 1, length)
