"""Dense displacements from every frame of a clip back to its first one.

Neighbouring frames are matched (DIS optical flow of enlarged frames) and the steps chained, since
the first and the last frame of a freeze-time clip may be 70 degrees apart.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

QUICK, CAREFUL = 2, 4  # factors of enlargement
SMALL = 80  # frames of fewer rows are worth the careful one


def _grey(frame: NDArray[np.uint8], enlarge: int) -> NDArray:
    h, w = frame.shape[:2]
    grey = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (w * enlarge, h * enlarge), interpolation=cv2.INTER_CUBIC)


def to_first(clip_FHWC: NDArray[np.uint8], careful: bool = False) -> Tensor:
    """Displacements [F, H, W, 2] (x, y) in pixels: of a pixel of frame f, to the same point in
    frame 0.

    careful: small frames are enlarged more; four times slower, about 0.1 dB in completed cells.
    """
    frames, height, width = clip_FHWC.shape[:3]
    matcher = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    enlarge = CAREFUL if careful and height < SMALL else QUICK
    grey = [_grey(frame, enlarge) for frame in clip_FHWC]
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    place = np.stack([x, y], -1).astype(np.float32)
    out = np.zeros((frames, height, width, 2), np.float32)
    for f in range(1, frames):
        step = matcher.calc(grey[f], grey[f - 1], np.zeros((*grey[f].shape, 2), np.float32))
        step = cv2.resize(step, (width, height), interpolation=cv2.INTER_AREA) / enlarge
        before = place + step
        out[f] = step + cv2.remap(
            out[f - 1], before[..., 0], before[..., 1], cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
    return torch.from_numpy(out)
