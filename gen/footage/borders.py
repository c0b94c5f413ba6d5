"""Borders that are no part of what was filmed: black bars, and what a recorded screen shows around
a video. They never change while the camera moves, and end in a straight edge behind which all does.

A plain backdrop does not change either, but it has no such edge: it is left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fourreal.console import say
from fourreal.errors import UserError
from gen.footage.new_frames import spread
from gen.footage.views import VideoView

LOOKED_AT, LONG_SIDE = 12, 640  # frames, and the size they are compared at
STILL, BLACK = 8, 40  # levels of 255: what changes by less is still; what is darker may be a bar
ALONG = 0.5  # of what usually is alive is so along an edge and in a corner
CORNER = 0.1  # of height and width
NOTHING, SMEARED = 0.04, 4  # share of a line that codecs may liven up; lines that they smear
ALIVE_IN_BARS, ALIVE = 0.3, 0.7  # share of what is inside that has to be
PLAIN = 20  # levels by which a border varies that shows something
LEAST, MOST = 0.01, 0.65  # of a side that is worth cutting off, and of the picture that may be


@dataclass(frozen=True)
class Box:
    """The part of a picture between borders, in shares of its height and width."""

    top: float
    bottom: float
    left: float
    right: float

    def of(self, view: VideoView) -> VideoView:
        """The view without its borders."""
        facts = view.facts
        # even numbers: colours are kept for two by two pixels
        top = math.ceil(facts.height * self.top / 2) * 2
        left = math.ceil(facts.width * self.left / 2) * 2
        height = int(facts.height * self.bottom - top) // 2 * 2
        width = int(facts.width * self.right - left) // 2 * 2
        square = f"scale={facts.width}:{facts.height}:flags=bicubic,setsar=1"
        crop = f"crop={width}:{height}:{left}:{top}"
        filters = ",".join(f for f in (facts.filters, square, crop) if f)
        cut = replace(facts, filters=filters, height=height, width=width)
        return replace(view, facts=cut)


@dataclass(frozen=True, eq=False)
class Borders:
    """What lies between the borders of a freeze-time clip (None: it has none), and the frames
    [F, h, w, 3] that it was told by."""

    box: Box | None
    frames: NDArray[np.uint8]

    def cut(self, view: VideoView) -> VideoView:
        """The clip without its borders, saying what is cut off."""
        return _cut(view, self.box, "freeze-time clip")

    def cut_row(self, view: VideoView, index: NDArray[np.intp]) -> VideoView:
        """The fixed view that goes with it without its own: the same ones, or black bars.

        Args:
            index: the frames that are used.

        Raises:
            UserError: it cannot be read.
        """
        what = "fixed-view clip"
        own = _some(view, index, what)
        if self.box is not None and own.shape[1:] == self.frames.shape[1:]:
            height, width = own.shape[1], own.shape[2]
            outside = np.ones((height, width), bool)
            rows = slice(int(self.box.top * height), math.ceil(self.box.bottom * height))
            columns = slice(int(self.box.left * width), math.ceil(self.box.right * width))
            outside[rows, columns] = False
            apart = np.abs(np.median(own, axis=0) - np.median(self.frames, axis=0)).mean(-1)
            if outside.any() and apart[outside].mean() < STILL:
                return _cut(view, self.box, what)
        return _cut(view, _between(own.max((0, -1)) > BLACK, own), what)


def borders_of(view: VideoView, index: NDArray[np.intp]) -> Borders:
    """The borders of a clip whose camera moves; ``index``: the frames that are used.

    Raises:
        UserError: it cannot be read.
    """
    frames = _some(view, index, "freeze-time clip")
    changes = np.ptp(frames.max(-1).astype(np.int16), axis=0) > STILL
    return Borders(_between(changes, frames), frames)


def _cut(view: VideoView, box: Box | None, what: str) -> VideoView:
    if box is None:
        return view
    cut = box.of(view)
    say(
        f"  {what}: a border that never changes (bars, a recorded screen?) is cut off: "
        f"{view.size[0]}x{view.size[1]} becomes {cut.size[0]}x{cut.size[1]}"
    )
    return cut


def _some(view: VideoView, index: NDArray[np.intp], what: str) -> NDArray[np.uint8]:
    height, width = view.size
    scale = min(1.0, LONG_SIDE / max(height, width))
    size = max(16, round(height * scale)), max(16, round(width * scale))
    try:
        return view.quick(spread(index, LOOKED_AT).tolist(), *size)
    except ValueError as error:
        raise UserError(f"cannot read the {what}: {error}") from error


def _between(alive: NDArray[np.bool_], frames: NDArray[np.uint8]) -> Box | None:
    """The box of what is alive [h, w] in frames [F, h, w, 3], if borders surround it: with straight
    edges, and black or showing something. A plain wall at the side of a scene is none."""
    height, width = alive.shape
    rows = _straight(alive.mean(1))
    if rows is None:
        return None
    columns = _straight(alive[rows[0] : rows[1]].mean(0))
    if columns is None:
        return None
    (top, bottom), (left, right) = rows, columns
    inner = alive[top:bottom, left:right]
    h, w = (max(2, round(CORNER * n)) for n in inner.shape)
    corners = inner[:h, :w], inner[:h, -w:], inner[-h:, :w], inner[-h:, -w:]
    sides = np.array([top / height, 1 - bottom / height, left / width, 1 - right / width])
    cut = sides >= LEAST
    if not cut.any() or min(c.mean() for c in corners) < ALONG * inner.mean():
        return None
    outside = np.ones(alive.shape, bool)
    outside[top:bottom, left:right] = False
    around = frames[len(frames) // 2][outside & ~alive]
    black = np.percentile(around, 95) <= BLACK
    if inner.mean() < (ALIVE_IN_BARS if black else ALIVE) or not (black or around.std() > PLAIN):
        return None
    pixel = np.array([1 / height, 1 / height, 1 / width, 1 / width])  # an edge is smeared over one
    t, b, le, r = np.where(cut, sides + pixel, 0.0).tolist()
    return Box(t, 1 - b, le, 1 - r) if (1 - t - b) * (1 - le - r) >= 1 - MOST else None


def _straight(share: NDArray[np.float64]) -> tuple[int, int] | None:
    """First and behind the last of the lines of which a good part is alive; None where lines of
    which some is alive lie beyond those: the edge is not straight."""
    some = np.flatnonzero(share > NOTHING)
    if len(some) < 8:
        return None
    most = np.flatnonzero(share > ALONG * np.median(share[some]))
    if max(most[0] - some[0], some[-1] - most[-1]) > SMEARED:
        return None
    return int(most[0]), int(most[-1]) + 1
