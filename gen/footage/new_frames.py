"""Which frames of a clip show something new.

Not the blank ones (black before a film fades in, a flash), nor the title of a fixed view, nor those
that only repeat the one before; and of those in which the camera of a freeze-time clip rests, or is
where it was before, only the first.
Frames that repeat another one are views in one place, between which nothing is far or near; what
they take of a limited number of views is lost to the arc.
"""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from fourreal.console import say
from fourreal.errors import UserError
from gen.footage.repeats import shown_again
from gen.footage.shots import shots_of

COMPARED = 600  # frames of a clip that are looked at
ALL = 3000  # of a fixed view all are, up to so many: between some of them no rhythm is seen
BLANK = 3.0  # levels of 255: a picture that varies by less shows nothing
# Of the change from one used view to the next: below the first a camera rests, and of frames that
# change by less than the second since the last one, none is used.
RESTS, SAME = 0.25, 0.1
LEAST = 0.03  # of the contrast of a picture: where next to nothing changes, nothing rests
# Frames of a still camera correlate by 0.74 and more usually, by 0.65 at least (measured).
ALIKE, OTHER = 0.7, 0.5
USUAL = 80  # percentile of those changes that is the usual one


class Frames(Protocol):
    """A clip that can be read."""

    def quick(self, times: list[int], height: int, width: int) -> NDArray[np.uint8]:
        """Frames of increasing indices at a size, roughly: uint8 [n, height, width, 3]."""
        ...


def spread(index: NDArray[np.intp], most: int = COMPARED) -> NDArray[np.intp]:
    """Evenly spaced ones of a long list, first and last among them."""
    if len(index) <= most:
        return index
    return index[np.round(np.linspace(0, len(index) - 1, most)).astype(np.intp)]


def new_frames(
    clip: Frames, index: NDArray[np.intp], size: tuple[int, int], what: str, views: int = 0
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The indices of frames that show something new, saying which are left out, and the number of
    the shot that each is of.

    All where next to nothing would be left: what is wrong with such a clip is said by whoever
    looks at it as a whole.

    Args:
        index: the frames that may be used. size: (height, width) they are compared at.
        what: how the clip is called.
        views: how many views of a freeze-time clip are used; 0 for a fixed view, which may rest.

    Raises:
        UserError: the clip cannot be read.
    """
    looked_at = spread(index) if views else spread(index, ALL)
    try:
        grey = _grey(clip.quick(looked_at.tolist(), *size))
    except ValueError as error:
        raise UserError(f"cannot read the {what}: {error}") from error
    nearest = np.round(np.linspace(0, len(looked_at) - 1, len(index))).astype(np.intp)
    shown = grey.std((1, 2)) >= BLANK
    keep, again, times = shown.copy(), np.zeros(len(shown), bool), 1.0
    shots = np.zeros(len(shown), np.intp)
    if shown.sum() >= 2:
        even = _evened(grey[shown])
        keep[shown] = moves_on(even, views) if views else without_titles(even)
        shots[shown] = shots_of(even)
    if not views and len(looked_at) == len(index) == np.ptp(index) + 1:
        again, times = shown_again(grey)
    if keep.sum() < 2:
        return index, np.zeros(len(index), np.intp)
    if blank := int((~shown[nearest]).sum()):
        say(f"  {what}: {blank} blank frame(s) are left out")
    if others := int((shown & ~keep)[nearest].sum()):
        why = "in which the camera rests or comes back" if views else "which show something else"
        say(f"  {what}: {others} frame(s) are left out, {why}")
    if (keep & again).any():
        say(
            f"  {what}: every picture is shown {times:.2g} times: "
            f"{int((keep & again).sum())} frame(s) that repeat one are left out"
        )
    used = (keep & ~again)[nearest]
    return index[used], shots[nearest][used]


def without_titles(grey: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of the frames [F, h, w] of a still camera are not of something else at the beginning or
    the end: a title, what was filmed before. Frames are of mean 0 and contrast 1."""
    flat = grey.reshape(len(grey), -1)
    some = spread(np.arange(len(flat)))
    alike = flat[some] @ flat[some].T / flat.shape[1]  # correlations
    usual = np.median(alike, axis=1)
    if usual.max() < ALIKE:  # no still camera's
        return np.ones(len(grey), bool)
    most = flat[some[int(usual.argmax())]]
    inside = np.flatnonzero(flat @ most / flat.shape[1] >= OTHER * usual.max())
    keep = np.zeros(len(grey), bool)
    keep[inside[0] : inside[-1] + 1] = True
    return keep


def moves_on(grey: NDArray[np.float32], views: int) -> NDArray[np.bool_]:
    """Which of the frames [F, h, w] of a camera that moves show another view than all before; all
    where any ``views`` of them, evenly spaced, do. Frames are of one contrast."""
    small = np.stack(
        [cv2.resize(g, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for g in grey]
    )
    used = small[spread(np.arange(len(small)), views)]
    usual = float(np.percentile(np.abs(np.diff(used, axis=0)).mean((1, 2)), USUAL))
    nearest = min(float(_apart(used[:k], used[k]).min()) for k in range(1, len(used)))
    keep = np.ones(len(small), bool)
    if usual < LEAST or nearest >= RESTS * usual:
        return keep
    for k in range(1, len(small)):
        keep[k] = _apart(small[:k][keep[:k]], small[k]).min() >= SAME * usual
    return keep


def _apart(frames: NDArray[np.float32], frame: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much each of the frames [F, h, w] differs from one [h, w]."""
    return np.abs(frames - frame).mean((1, 2))  # type: ignore[no-any-return]


def _evened(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Levels of mean 0 and contrast 1, so that a fade is no movement."""
    return (grey - grey.mean((1, 2), keepdims=True)) / grey.std((1, 2), keepdims=True)


def _grey(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.stack([cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in frames]).astype(np.float32)
