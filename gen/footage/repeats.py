"""Frames of a fixed view that are shown again: film of 24 pictures a second in a file of 48 or 60,
a screen recording of a video, a slow camera in a fast container.

Motion then stops and goes on in a rhythm of its own. Only an even rhythm is one: what rests and
moves again by itself has none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NEAR = 6  # frames on each side that a change is compared with
NEW = 0.25  # of the largest change near: a frame that changes by less shows the last one again
LEAST = 0.05  # levels of 255: where nothing changes by more, everything rests
OFTEN = 6  # frames a picture may be shown
SLOWEST = 1.15  # pictures shown fewer times on average are not repeated
PICTURES, EVEN = 12, 0.9  # so many are needed, and this share of them in the rhythm


def shown_again(grey: NDArray[np.float32]) -> tuple[NDArray[np.bool_], float]:
    """Which of the frames [F, h, w], in levels of 255, repeat the one before in an even rhythm, and
    how many times a picture is shown on average (1: none is repeated).

    Where everything rests, frames are kept in that rhythm, so that a rest stays one.
    """
    none = np.zeros(len(grey), bool), 1.0
    if len(grey) < 2 * PICTURES:
        return none
    change = np.abs(np.diff(grey, axis=0)).mean((1, 2))
    padded = np.pad(change, NEAR)
    largest = np.lib.stride_tricks.sliding_window_view(padded, 2 * NEAR + 1).max(1)
    new = np.flatnonzero((change > NEW * largest) & (largest > LEAST)) + 1
    gaps = np.diff(new)
    if len(gaps) < PICTURES:
        return none
    pairs = [np.isin(gaps, (n, n + 1)) for n in range(1, OFTEN)]
    usual = pairs[int(np.argmax([pair.sum() for pair in pairs]))]
    times = float(gaps[usual].mean()) if usual.sum() >= PICTURES else 1.0
    if times < SLOWEST:
        return none
    steps = np.where(gaps <= np.ceil(times), 1, np.maximum(1, np.round(gaps / times)))
    late = np.concatenate([[0], np.cumsum(gaps - steps * times)])
    near = [np.median(late[max(0, k - NEAR) : k + NEAR + 1]) for k in range(len(late))]
    even = (np.abs(late - near) <= 0.75)[1:] & (usual | (gaps >= 2 * times - 0.5))
    if even.mean() < EVEN:
        return none
    kept = [0]
    for at in (*new.tolist(), len(grey)):
        while at - kept[-1] >= 2 * times:  # a rest
            kept.append(round(kept[-1] + times))
        if at < len(grey) and at > kept[-1]:
            kept.append(at)
    again = np.ones(len(grey), bool)
    again[kept] = False
    return again, times
