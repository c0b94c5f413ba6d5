"""Dense displacements from every frame of a clip back to its first one (DIS optical flow of
enlarged frames).

For filling cells neighbouring frames are matched and the steps chained, since the first and the
last frame of a freeze-time clip may be 70 degrees apart. Small clips of the generator's world move
less: there every frame is matched with the first, starting where the one before was found, which
finds more.
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


def _matcher() -> cv2.DISOpticalFlow:
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def _shrunk(flow: NDArray, height: int, width: int, enlarge: int) -> NDArray:
    """Displacements of enlarged frames [h, w, 2] as those of the frames."""
    return cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA) / enlarge


def straight_to_first(clip_FHWC: NDArray[np.uint8]) -> Tensor:
    """As `to_first`, careful and without a chain."""
    height, width = clip_FHWC.shape[1:3]
    first, *others = (_grey(frame, CAREFUL) for frame in clip_FHWC)
    flow, matcher = np.zeros((*first.shape, 2), np.float32), _matcher()
    out = [np.zeros((height, width, 2), np.float32)]
    for grey in others:
        flow = matcher.calc(grey, first, flow.copy())
        out.append(_shrunk(flow, height, width, CAREFUL))
    return torch.from_numpy(np.stack(out))


def to_first(clip_FHWC: NDArray[np.uint8], careful: bool = False) -> Tensor:
    """Displacements [F, H, W, 2] (x, y) in pixels: of a pixel of frame f, to the same point in
    frame 0.

    careful: small frames are enlarged more; four times slower, about 0.1 dB in completed cells.
    """
    frames, height, width = clip_FHWC.shape[:3]
    matcher = _matcher()
    enlarge = CAREFUL if careful and height < SMALL else QUICK
    grey = [_grey(frame, enlarge) for frame in clip_FHWC]
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    place = np.stack([x, y], -1).astype(np.float32)
    out = np.zeros((frames, height, width, 2), np.float32)
    for f in range(1, frames):
        step = matcher.calc(grey[f], grey[f - 1], np.zeros((*grey[f].shape, 2), np.float32))
        step = _shrunk(step, height, width, enlarge)
        before = place + step
        out[f] = step + cv2.remap(
            out[f - 1], before[..., 0], before[..., 1], cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
    return torch.from_numpy(out)
