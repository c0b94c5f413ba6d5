"""Which of two clips has the camera that stands still, and which the one that moves.

Clips are given in the wrong places, or a fixed view was carried about.

All is told from thumbnails, by what most corners do all over the picture (``gen.footage.shake``).
Measured: still cameras hold 0.9 of the frames and more within 0.007 of the width; cameras that move
lose the first frame (0.6 are found at most) while each frame is found again in the next, 0.01 to
0.08 of the width away. Before a plain background neither is the case, and nothing is said.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fourreal.video_io import to_uint8
from gen.footage.shake import Shake, measure_shake
from gen.footage.shared_frame import thumbnail_size

COMPARED = 24  # frames
STANDS, MOST = 0.01, 0.8  # within this share of the width, in so many of the frames
GOES_ON, FOLLOWED = 0.004, 0.7  # share of the width from frame to frame, in so many of them
Frames = NDArray[np.float32] | NDArray[np.uint8]


def stands_still(frames: Frames, reference: int) -> bool:
    """Whether the camera of frames [F, H, W, 3] surely stays where it is in frame ``reference``."""
    return _stays(_against(frames, reference))


def goes_on(frames: Frames, reference: int) -> bool:
    """Whether the camera of frames [F, H, W, 3] surely moves on from each one to the next, so that
    frame ``reference`` is lost; one that only trembles comes back to it."""
    return _leaves(frames, _against(frames, reference))


def why_no_pair(row: Frames, at: int, column: Frames, over: int, names: tuple[str, str]) -> str:
    """Why clips are not a fixed view and a freeze-time clip, in words; "" where nothing says so.

    ``at``, ``over``: the shared frame in ``row`` and in ``column``; ``names``: of the two clips.
    """
    fixed, freeze = names
    shake = _against(row, at)
    if _stays(shake):
        if not stands_still(column, over):
            return ""
        return (
            f"the cameras of {fixed} and {freeze} both stand still: a freeze-time clip is filmed "
            "by a camera that moves around what holds still"
        )
    if stands_still(column, over):
        return (
            f"the camera of {freeze} stands still, that of {fixed} does not: are they swapped? "
            f"Try --fixed-view {freeze} --freeze-time {fixed}"
        )
    if _leaves(row, shake):
        return (
            f"the camera of {fixed} is not fixed: it moves on from frame to frame; a fixed view is "
            "filmed by a camera that stands"
        )
    return ""


def _against(frames: Frames, reference: int) -> Shake:
    return measure_shake(_small(frames), _small(frames[reference : reference + 1])[0])


def _stays(shake: Shake) -> bool:
    near = shake.found & (_moved(shake) < STANDS)
    return bool(near.mean() >= MOST)


def _leaves(frames: Frames, shake: Shake) -> bool:
    if shake.found.mean() >= FOLLOWED:
        return False
    small = _small(frames)
    steps = [measure_shake(b[None], a) for a, b in zip(small[:-1], small[1:], strict=True)]
    moved = np.array([_moved(step)[0] for step in steps if step.found[0]])
    return len(moved) >= FOLLOWED * len(steps) and bool(np.median(moved) > GOES_ON)


def _moved(shake: Shake) -> NDArray[np.float64]:
    return shake.displacement / shake.size[1]


def _small(frames: Frames) -> NDArray[np.uint8]:
    """Up to ``COMPARED`` of the frames as thumbnails, uint8."""
    index = np.unique(np.linspace(0, len(frames) - 1, COMPARED).round().astype(int))
    height, width = thumbnail_size(*frames.shape[1:3])
    area = cv2.INTER_AREA
    return np.stack(
        [cv2.resize(to_uint8(frames[k]), (width, height), interpolation=area) for k in index]
    )
