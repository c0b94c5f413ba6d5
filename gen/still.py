"""What hardly changes in a fixed-view clip does not change: the camera stands still.

A small model draws every frame a little differently, a few grey levels everywhere, and what follows
the first frame softer than that one.  A viewer sees a shimmering floor, tracking sees motion, and
an animal that was to stand seems to walk.  Changes since the first frame that are as small as this
are taken back, and so are those that all later frames share, up to larger ones: where something
moves, some frame differs from the others.  Near a large change nothing is taken back: the rim of a
subject hardly differs from the ground, and would stay behind as its outline.  Ours, not in the
paper.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Of a change in 0..1: below the first none is left, above the second all.
RANGE = 8 / 255, 20 / 255
SHARED_RANGE = 30 / 255, 60 / 255  # of one that all frames after the first share
_FRAMES = 5  # fewer do not tell what they share
_REACH = 3  # pixels around a change that change with it


def hold_still(clip_THWC: Tensor) -> Tensor:
    """A fixed-view clip [T, H, W, 3] in [-1, 1] without its small changes since frame 0.

    How large a change is is the largest of the three colours', mean over 3 x 3 pixels; what is
    within three pixels of a larger one changes with it.
    """
    first = clip_THWC[:1]
    change = clip_THWC - first
    share = _share(change, *RANGE)
    if len(clip_THWC) >= _FRAMES:
        shared = change[1:].median(0, keepdim=True).values
        moves = _share(change[1:] - shared, *RANGE).amax(0, keepdim=True)
        share = torch.minimum(share, torch.maximum(moves, _share(shared, *SHARED_RANGE)))
    return torch.addcmul(first, change, share)


def _share(change_THWC: Tensor, low: float, high: float) -> Tensor:
    """What is left [T, H, W, 1] of changes: 0 below `low`, 1 above `high`, smooth between; that of
    the largest change nearby."""
    size_T1HW = change_THWC.abs().amax(-1)[:, None] / 2
    around = F.avg_pool2d(size_T1HW, 3, stride=1, padding=1, count_include_pad=False)
    share = ((around - low) / (high - low)).clamp(0, 1)
    share = F.max_pool2d(share, 2 * _REACH + 1, stride=1, padding=_REACH)
    return (share**2 * (3 - 2 * share)).permute(0, 2, 3, 1)
