"""Whole clips: which of their times are knots, and what the stages before the joint fit see.

A clip of more times than ``most_stamps`` is followed from knot to knot, like a grid that has only
those times; the joint fit then draws every time of it along the curves through the knots
(``recon.motion.knots``).
"""

from __future__ import annotations

from copy import copy

import numpy as np
from numpy.typing import NDArray

from gen.frame_files import picked
from gen.grid import VideoGrid
from recon.config import FitConfig
from recon.motion.knots import choose_knots

_USUAL = 10  # knots that the joint fit's number of steps is meant for


def clip_knots(grid: VideoGrid, config: FitConfig) -> NDArray[np.intp]:
    """The times of a grid that are knots of its motion; all where there are few.

    A network is a function of time already: it gets all of them.
    """
    settings = config.deformation
    if settings.kind != "nodes":
        return np.arange(grid.T)
    return choose_knots(grid.T, grid.shared[1], settings.most_stamps, settings.knot_every)


def at_times(grid: VideoGrid, times: NDArray[np.intp]) -> VideoGrid:
    """The grid at some of its times, the shared one among them; it itself when that is all."""
    if len(times) == grid.T:
        return grid
    out = copy(grid)  # not built anew: for the fit, the column may have holes
    out.frames = picked(grid.frames, slice(None), times)
    out.known = np.asarray(grid.known)[:, times]
    out.times = np.asarray(grid.times)[times]
    out.shared = (grid.shared[0], int(np.flatnonzero(times == grid.shared[1])[0]))
    return out


def more_steps(knots: int) -> float:
    """Factor on the steps of a joint fit of so many knots."""
    return max(1.0, knots / _USUAL)
