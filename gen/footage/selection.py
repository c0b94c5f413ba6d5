"""Which views and times of footage are used: slices, seconds, frame rate, an upper number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fourreal.console import say
from fourreal.errors import UserError
from fourreal.option_values import parse_slice

VIEWS = 16  # of a clip, unless told otherwise
MAX_VIEWS = 256  # that are tracked together
SHORT_SIDE = 288  # px that footage is worked at, if it has as many
FINE_LONG_SIDE = 1600  # of frames kept for features
FINER = 1.25  # than the frames that are worked at: below, nothing is kept


def check_timing(start: float, fps: float) -> None:
    """Refuse impossible values of --start and --fps. Raises UserError."""
    if not 0 <= start < 1e6:
        raise UserError(f"--start {start:g}: give seconds from the beginning")
    if not 0 <= fps <= 1000:
        raise UserError(f"--fps {fps:g}: give frames per second, or 0 for all")


def choose_times(
    seconds: NDArray[np.floating], pick: str = "", start: float = 0.0, fps: float = 0.0
) -> NDArray[np.intp]:
    """Indices of the frames to use: those of ``pick``, from ``start`` on, at ``fps``.

    Args:
        seconds: [T] increasing time stamps, the first one 0.
        pick: ``A:B[:STEP]``, '' for all. start: seconds after the first. fps: 0 for all; else the
            frame nearest to every 1/fps of a second.

    Raises:
        UserError: nothing is left.
    """
    index = np.arange(len(seconds))[parse_slice(pick, "--pick-times")]
    index = index[seconds[index] >= start - 1e-6]
    if not len(index):
        length = float(seconds[-1]) if len(seconds) else 0.0
        raise UserError(
            f"the picked times are empty: there are {len(seconds)} times in {length:.2f} s; choose "
            "--pick-times and --start within them"
        )
    if fps:
        stamps = seconds[index] - seconds[index[0]]
        wanted = np.arange(0, stamps[-1] + 0.5 / fps, 1 / fps)
        near = np.abs(stamps[None] - wanted[:, None]).argmin(1)
        index = index[np.unique(near)]
    return index


def choose_views(count: int, pick: str = "") -> NDArray[np.intp]:
    """Indices of the views of ``pick`` (``A:B[:STEP]``, '' for all)."""
    return np.arange(count)[parse_slice(pick, "--pick-views")]


def default_size(height: int, width: int, short_side: int = SHORT_SIDE) -> tuple[int, int]:
    """The size a clip is worked at unless told otherwise: its short side at most ``short_side``
    px."""
    scale = min(1.0, short_side / min(height, width))
    return max(16, round(height * scale)), max(16, round(width * scale))


def fine_size(own: tuple[int, int], size: tuple[int, int]) -> tuple[int, int] | None:
    """The size to keep frames at for features, or None where it adds nothing to ``size``.

    own: (height, width) of the source.
    """
    scale = min(1.0, FINE_LONG_SIDE / max(own))
    fine = round(own[0] * scale), round(own[1] * scale)
    return fine if fine[0] > FINER * size[0] else None


def thin(
    index: NDArray[np.intp], limit: int, what: str, flags: str, keep: int | None = None
) -> NDArray[np.intp]:
    """At most ``limit`` evenly spaced ones of the indices, saying so.

    ``keep`` stays among them: its nearest one makes way.
    """
    if not limit or len(index) <= limit:
        return index
    chosen = np.round(np.linspace(0, len(index) - 1, limit)).astype(np.intp)
    if keep is not None and keep in index:
        at = int(np.flatnonzero(index == keep)[0])
        chosen[np.abs(chosen - at).argmin()] = at
    say(f"  {what}: {len(index)}, using {limit} evenly spaced ones ({flags} chooses)")
    return index[chosen]


def check_counts(views: int, times: int) -> None:
    """Refuse impossible upper numbers; 0 times are all. Raises UserError."""
    if not 2 <= views <= MAX_VIEWS:
        raise UserError(f"--max-views {views}: choose 2..{MAX_VIEWS}")
    if times and not 2 <= times <= MAX_VIEWS:
        raise UserError(f"--max-times {times}: choose 2..{MAX_VIEWS}, or 0 for all")
