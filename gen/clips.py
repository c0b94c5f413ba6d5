"""A fixed-view clip and a freeze-time clip of the user become a grid of known row and column."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gen.console import say, warn
from gen.errors import UserError
from gen.grid import VideoGrid
from gen.option_values import parse_slice
from gen.video_io import read_clip, resize_frames

SAME_SCENE = 0.75
DIFFERENT_SIZE = 0.03


@dataclass(frozen=True)
class PairCheck:
    """How the clips agree: similarity of the shared frame, and the best match elsewhere.

    ``similarity`` is the zero-mean normalised cross-correlation of the two first frames (1: equal)
    after blurring; ``best`` the highest value over all frames of the freeze-time clip, found at
    frame ``best_view``.
    """

    similarity: float
    best: float
    best_view: int


def default_size(height: int, width: int, short_side: int = 144) -> tuple[int, int]:
    """The size a clip is worked at unless told otherwise: its short side at most 144 px."""
    scale = min(1.0, short_side / min(height, width))
    return max(16, round(height * scale)), max(16, round(width * scale))


def thin(
    frames: NDArray[np.float32], limit: int, what: str, flag: str
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Keep at most ``limit`` evenly spaced frames, saying so; also returns their indices."""
    index = np.arange(len(frames))
    if len(frames) > limit:
        index = np.round(np.linspace(0, len(frames) - 1, limit)).astype(np.intp)
        say(f"  {what}: {len(frames)} frames, using {limit} evenly spaced ones ({flag} chooses)")
    return frames[index], index


def similarity(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Normalised cross-correlation in -1..1 of two images [H, W, 3] after blurring to 64 px."""
    small = [
        cv2.GaussianBlur(cv2.resize(x, (64, 64), interpolation=cv2.INTER_AREA), (0, 0), 1.0)
        for x in (a, b)
    ]
    flat = [(x - x.mean((0, 1))).ravel() for x in small]
    norms = np.linalg.norm(flat[0]) * np.linalg.norm(flat[1])
    if norms < 1e-6:
        return 1.0 if np.abs(small[0] - small[1]).max() < 0.05 else 0.0
    return float(flat[0] @ flat[1] / norms)


def check_pair(row: NDArray[np.float32], column: NDArray[np.float32]) -> PairCheck:
    """Compare the first frame of the fixed-view clip with every frame of the freeze-time clip."""
    scores = [similarity(row[0], frame) for frame in column]
    best = int(np.argmax(scores))
    return PairCheck(scores[0], scores[best], best)


def load_pair(
    freeze_time: str | Path,
    fixed_view: str | Path | None,
    pick_views: str = "",
    pick_times: str = "",
    size: tuple[int, int] | None = None,
    max_views: int = 16,
    max_times: int = 16,
    force_pair: bool = False,
) -> VideoGrid:
    """Read the clips into a grid whose row 0 and column 0 are known (T = 1 without a row).

    Args:
        freeze_time: clip or image folder in which only the camera moves (the column).
        fixed_view: clip or image folder from a still camera whose first frame is also the first
            of ``freeze_time`` (the row); None for a static scene.
        pick_views, pick_times: ``A:B[:STEP]`` on the frames of each clip.
        size: (height, width) to work at; by default the short side becomes 144 px.
        force_pair: accept clips that do not seem to show the same scene.

    Raises:
        UserError: a clip is missing, unreadable, too short, or the two do not belong together.
    """
    column, _ = read_clip(freeze_time, "freeze-time clip")
    column = column[parse_slice(pick_views, "--pick-views")]
    if len(column) < 2:
        raise UserError(
            f"the freeze-time clip {freeze_time} has {len(column)} frame(s) after picking; "
            "at least 2 views are needed"
        )
    height, width = size or default_size(*column.shape[1:3])
    column, _ = thin(column, max_views, "freeze-time clip", "--pick-views or --max-views")
    if fixed_view is None:
        say("  no fixed-view clip: a static scene")
        return VideoGrid(resize_frames(column, height, width)[:, None])

    row, fps = read_clip(fixed_view, "fixed-view clip")
    row = row[parse_slice(pick_times, "--pick-times")]
    if len(row) < 2:
        raise UserError(
            f"the fixed-view clip {fixed_view} has {len(row)} frame(s) after picking; at least 2 "
            "times are needed (leave --fixed-view away for a static scene)"
        )
    total = len(row)
    row, index = thin(row, max_times, "fixed-view clip", "--pick-times or --max-times")
    _check_same_scene(row, column, fixed_view, freeze_time, force_pair)
    row = resize_frames(row, height, width)
    column = resize_frames(column, height, width)

    frames = np.zeros((len(column), len(row), height, width, 3), np.float32)
    frames[:, 0] = column
    frames[0, 1:] = row[1:]
    known = np.zeros(frames.shape[:2], bool)
    known[0] = known[:, 0] = True
    return VideoGrid(
        frames,
        known,
        times=(index / index[-1]).astype(np.float32),
        fps=fps * (len(row) - 1) / max(1, total - 1),
    )


def _check_same_scene(
    row: NDArray[np.float32],
    column: NDArray[np.float32],
    fixed_view: str | Path,
    freeze_time: str | Path,
    force: bool,
) -> None:
    ratio = (row.shape[2] / row.shape[1]) / (column.shape[2] / column.shape[1])
    check = check_pair(row, column)
    if check.similarity >= SAME_SCENE and abs(ratio - 1) <= DIFFERENT_SIZE:
        return
    if abs(ratio - 1) > DIFFERENT_SIZE:
        reason = (
            f"the clips have different shapes ({row.shape[1]}x{row.shape[2]} and "
            f"{column.shape[1]}x{column.shape[2]})"
        )
        if check.best < SAME_SCENE:
            reason += " and show different scenes"
    elif check.best >= SAME_SCENE:
        reason = (
            f"the first frame of {fixed_view} looks like frame {check.best_view} of {freeze_time}, "
            f"not like its first; start there with --pick-views {check.best_view}:"
        )
    else:
        reason = (
            f"{fixed_view} and {freeze_time} seem to show different scenes (first frames agree by "
            f"{check.similarity:.2f}, {SAME_SCENE} is needed)"
        )
    if not force:
        raise UserError(f"{reason}; --force-pair goes on all the same")
    warn(f"{reason}; going on because of --force-pair")
