"""Cuts: from one frame to the next a clip shows something else, and goes on showing it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fourreal.console import say

GOES_ON, CUT = 0.85, 0.45  # correlations of frames with the next: within a shot, across a cut
FEWEST = 3  # frames of a shot


def shots_of(grey: NDArray[np.float32]) -> NDArray[np.intp]:
    """The number of the shot that each of the frames [F, h, w] is of.

    All are of one where frames differ much anyway: nothing is told apart then.
    """
    area = cv2.INTER_AREA
    flat = np.stack([cv2.resize(g, None, fx=0.5, fy=0.5, interpolation=area).ravel() for g in grey])
    flat = flat - flat.mean(1, keepdims=True)
    flat /= np.maximum(flat.std(1, keepdims=True), 1e-6)
    alike = (flat[1:] * flat[:-1]).mean(1)
    if len(alike) < 2 * FEWEST or np.median(alike) < GOES_ON:
        return np.zeros(len(grey), np.intp)
    cut = alike < CUT
    for k in np.flatnonzero(cut):  # both sides go on
        near = [alike[j] for j in (k - 2, k - 1, k + 1, k + 2) if 0 <= j < len(alike)]
        cut[k] = min(near) > (CUT + GOES_ON) / 2
    return np.concatenate([[0], np.cumsum(cut)])


def one_shot(
    index: NDArray[np.intp], shots: NDArray[np.intp], what: str, of: int | None = None
) -> NDArray[np.intp]:
    """The indices of frames that are of one shot, saying what is left out.

    Args:
        shots: of each frame. what: how the clip is called.
        of: a frame whose shot is meant; the longest shot without one.
    """
    if of is None:
        meant = int(np.bincount(shots).argmax())
    else:
        meant = int(shots[int(np.abs(index - of).argmin())])
    kept = shots == meant
    if not kept.all():
        say(
            f"  {what}: cut into {shots.max() + 1} shots; that of frames {index[kept][0]} to "
            f"{index[kept][-1]} is used, {int((~kept).sum())} frame(s) are left out"
        )
    return index[kept]
