"""What hardly changes in a fixed-view clip does not change: the camera stands still.

A small model draws every frame a little differently, a few grey levels everywhere. A viewer sees a
shimmering floor, tracking sees motion, and an animal that was to stand seems to walk. Changes since
the first frame that are as small as this are taken back; larger ones stay as they are.
Ours, not in the paper.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LOW, HIGH = 8 / 255, 20 / 255  # of a change in 0..1: below the first none is left, above all


def hold_still(clip_THWC: Tensor, low: float = LOW, high: float = HIGH) -> Tensor:
    """A fixed-view clip [T, H, W, 3] in [-1, 1] without its small changes since frame 0.

    How large a change is is the largest of the three colours', mean over 3 x 3 pixels.
    """
    first = clip_THWC[:1]
    change = clip_THWC - first
    size_T1HW = change.abs().amax(-1)[:, None] / 2
    around = F.avg_pool2d(size_T1HW, 3, stride=1, padding=1, count_include_pad=False)
    share = ((around - low) / (high - low)).clamp(0, 1)
    share = share**2 * (3 - 2 * share)
    return torch.addcmul(first, change, share.permute(0, 2, 3, 1))
