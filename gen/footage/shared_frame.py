"""Where a fixed-view and a freeze-time clip meet: one frame of each shows the same moment from the
same viewpoint.

The viewpoint tells which frame of the freeze-time clip it is; what moves tells which frame of the
fixed-view clip.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fourreal.errors import UserError
from fourreal.video_io import to_float, to_uint8
from gen.footage.shake import measure_shake, stabilise

WIDTH = 128  # frames are compared at this width
MOVES = 0.04  # a pixel whose grey level varies more than this over the clip
CANDIDATES = 12
SAME = 0.004  # differences of similarity below this say nothing


@dataclass(frozen=True)
class SharedFrame:
    """Frame ``row`` of the fixed-view clip is frame ``column`` of the freeze-time clip.

    ``similarity`` is the normalised cross-correlation (1: equal) of the two, ``first`` that of the
    two clips' first frames; ``nearly``: frames of the fixed-view clip that fit about as well.
    """

    row: int
    column: int
    similarity: float
    first: float
    nearly: tuple[int, ...] = ()


def thumbnail_size(height: int, width: int, longest: int = WIDTH) -> tuple[int, int]:
    """(height, width) that frames are compared at."""
    scale = min(1.0, longest / max(height, width))
    return max(8, round(height * scale)), max(8, round(width * scale))


def find_shared_frame(row: NDArray[np.uint8], column: NDArray[np.uint8]) -> SharedFrame:
    """Compare all thumbnails row [A, h, w, 3] of the fixed-view clip with column [B, h, w, 3].

    First frames are preferred where nothing speaks against them. Both must have one size.
    """
    a, b = _levels(row), _levels(column)
    scores = _normal(a) @ _normal(b).T
    view = int(np.argmax(scores.max(0)))
    if scores[:, 0].max() >= scores.max() - SAME:
        view = 0
    # The rest of the picture is the same at all times and only dilutes the answer.
    nearly: tuple[int, ...] = ()
    moving = cv2.dilate(a.max(0) - a.min(0), np.ones((3, 3))) > MOVES
    among = scores[:, view]
    if moving.mean() > 0.002:
        difference = np.abs(_levelled(a, b[view], ~moving) - b[view])[:, moving].mean(1)
        time = int(np.argmin(difference))
        if difference[0] < difference[time] + 0.002:
            time = 0
        close = np.argsort(difference, kind="stable")[:CANDIDATES]
        nearly = tuple(sorted(int(k) for k in close if difference[k] < 3 * difference.min() + 0.01))
    else:
        time = 0 if among[0] >= among.max() - SAME else int(np.argmax(among))
    return SharedFrame(time, view, float(among[time]), float(scores[0, 0]), nearly)


def nearest_moment(frames: NDArray[np.uint8], meeting: NDArray[np.uint8]) -> int:
    """Which of some frames of the fixed view [n, H, W, 3] shows the moment of ``meeting``.

    They are laid over it first: at full size, shake changes more than a moment does.
    """
    shake = measure_shake(frames, meeting)
    still = stabilise(to_float(frames), shake.homographies, to_float(meeting))
    levels = _levels(to_uint8(np.concatenate([still, meeting[None] / 255])))
    moving = cv2.dilate(levels[:-1].max(0) - levels[:-1].min(0), np.ones((3, 3))) > MOVES
    if not moving.any():
        return 0
    level = _levelled(levels[:-1], levels[-1], ~moving)
    return int(np.argmin(np.abs(level - levels[-1])[:, moving].mean(1)))


def parse_shared_frame(text: str, rows: int, columns: int) -> tuple[int, int]:
    """``A:B``: frame A of the fixed-view clip is frame B of the freeze-time clip (from 0).

    Raises:
        UserError: not of that form, or beyond the clips.
    """
    match = re.fullmatch(r"(\d{1,9}):(\d{1,9})", text)
    if not match:
        raise UserError(
            f"--shared-frame {text}: write A:B, frame A of the fixed-view clip and frame B of the "
            "freeze-time clip, counted from 0"
        )
    row, column = int(match[1]), int(match[2])
    if row >= rows or column >= columns:
        raise UserError(
            f"--shared-frame {text}: the fixed-view clip has frames 0..{rows - 1}, the freeze-time "
            f"clip 0..{columns - 1}"
        )
    return row, column


def _levels(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Blurred grey levels in 0..1, [F, h, w]."""
    grey = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in frames]
    return np.stack([cv2.GaussianBlur(g.astype(np.float32) / 255, (0, 0), 1.2) for g in grey])


def _normal(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors [F, h w] of mean 0 and length 1; pictures of one colour become zero."""
    flat = levels.reshape(len(levels), -1)
    flat = flat - flat.mean(1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.where(length > 1e-3, flat / np.maximum(length, 1e-3), 0)


def _levelled(
    levels: NDArray[np.float32], target: NDArray[np.float32], still: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """``levels`` [F, h, w] with the brightness of ``target`` [h, w] where nothing moves."""
    if still.sum() < 16:
        return levels
    gain = np.median(target[still] / np.maximum(levels[:, still], 0.02), axis=1)
    return levels * gain[:, None, None].astype(np.float32)
