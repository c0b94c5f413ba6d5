"""Windows that cover a clip longer than the model's: neighbours share some frames (paper 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourreal.image_metrics import decibel
from gen.flow.rectified import keep_known

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


Part = tuple[slice, ...]  # one slice along each axis of a clip (F) or of a grid (V, T)


def clip_parts(length: int, window: int = WINDOW, overlap: int = OVERLAP) -> list[Part]:
    """The windows of a clip as parts for `grow`."""
    return [(slice(w.start, w.stop),) for w in windows(length, window, overlap)]


def grid_parts(views: int, times: int, window: int = WINDOW, overlap: int = OVERLAP) -> list[Part]:
    """The windows of a grid as parts for `grow`: along time first, then along view."""
    along_times = clip_parts(times, window, overlap)
    return [v + t for v in clip_parts(views, window, overlap) for t in along_times]


def grow(
    cells: Tensor,
    known: Tensor,
    parts: Sequence[Part],
    sample: Callable[[int, Part, Tensor, Tensor], Tensor],
    device: torch.device | str,
) -> Tensor:
    """Complete a clip or a grid window by window, each from what the ones before left.

    Args:
        cells: [F, ...] or [V, T, ...]; known [F] or [V, T]: which of them are given.
        parts: windows that cover it, in order; one that is known already is left alone.
        sample: (number of the part, part, clean [1, ...], known [1, ...]) -> the part, filled. Its
            tensors are on ``device``; the whole stays on the CPU.

    Returns:
        A filled copy on the CPU; known cells are unchanged.
    """
    cells, done = cells.cpu().clone(), known.cpu().clone()
    for number, part in enumerate(parts):
        clean, given = cells[part][None].to(device), done[part][None].to(device)
        if bool(given.all()):
            continue
        made = sample(number, part, clean, given)[0].cpu()
        cells[part] = keep_known(made, cells[part], done[part])
        done[part] = True
    return cells


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
