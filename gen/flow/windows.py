"""Windows that cover a clip longer than the model's: neighbours share some frames (paper 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourreal.psnr import decibel

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


@dataclass(frozen=True)
class Seams:
    """PSNR (dB) of a frame against the one before it: across the borders of windows, and inside.

    `jump` = inside - border is above 0 where the border is the larger step.
    """

    border: float
    inside: float

    @property
    def jump(self) -> float:
        return self.inside - self.border


def borders(length: int, window: int = WINDOW, overlap: int = OVERLAP) -> list[int]:
    """Frames that are the first which their window made: the steps onto them cross a border."""
    return [span.stop for span in windows(length, window, overlap)[:-1]]


def measure_seams(frames: NDArray[np.float32]) -> Seams | None:
    """How visible the borders are in clips [..., F, H, W, 3] of 0..1; None: a single window.

    Errors are pooled over all clips before the logarithm.  For the borders along the views of a
    grid [V, T, H, W, 3] give it with its first two axes exchanged.
    """
    length = frames.shape[-4]
    if length <= WINDOW:
        return None
    step = np.diff(frames.astype(np.float64), axis=-4) ** 2
    error = np.moveaxis(step, -4, 0).reshape(length - 1, -1).mean(1)
    across = np.zeros(length - 1, bool)
    across[np.asarray(borders(length)) - 1] = True

    return Seams(float(decibel(error[across].mean())), float(decibel(error[~across].mean())))
