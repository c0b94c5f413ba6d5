"""Do the cameras of a rig run in step? Told by when things move in each view.

How much of the picture moves, and at which height, goes up and down over time alike in all views
of one moment, whatever the viewpoint. A camera whose curve fits those of the others well, but
only when it is shifted, began at another time. Where curves do not fit, nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gen.footage.footage import Footage
from gen.footage.views import TimedView

SIZE = (36, 64)  # frames are compared at this size
FRAMES, IMAGES = 240, 1200  # at most so many of a view, and of all
LEAST = 6  # fewer times tell nothing
BANDS = (1, 3, 6)  # heights that motion is told apart by
NOISE = 2.0  # grey levels that a pixel may change by itself
SURE, BETTER = 0.8, 0.3  # correlation of curves that belong together; its gain over no shift


@dataclass(frozen=True)
class Offsets:
    """``frames[v]``: view v shows at time t what the others show at t - frames[v]; 0: in step."""

    names: list[str]
    frames: NDArray[np.int64]
    fits: NDArray[np.float64]

    @property
    def in_step(self) -> bool:
        """Whether no view was found to be late or early."""
        return not self.frames.any()

    def lines(self) -> list[str]:
        """One line for each view that is not in step."""
        out = []
        for name, n, fit in zip(self.names, self.frames.tolist(), self.fits.tolist(), strict=True):
            if n:
                how = f"{abs(n)} frame{'s' if abs(n) > 1 else ''} {'late' if n > 0 else 'early'}"
                out.append(f"{name} seems {how} (its motion then agrees by {fit:.2f} with others)")
        return out


def find_offsets(source: Footage) -> Offsets:
    """Compare the motion in all views of a footage, of its beginning if it is long.

    Raises:
        ValueError, UserError: a frame cannot be read.
    """
    V, T = source.known.shape
    names = [v.name for v in source.views]
    none = Offsets(names, np.zeros(V, np.int64), np.zeros(V))
    count = min(T, FRAMES, max(LEAST, IMAGES // V))
    usable = [v for v in range(V) if source.known[v, :count].all()]
    if count < LEAST or len(usable) < 2:
        return none
    curves = [motion(source.views[v].thumbnails(count, *SIZE)) for v in usable]
    frames, fits = np.zeros(V, np.int64), np.zeros(V)
    frames[usable], fits[usable] = offsets_of(curves)
    return Offsets(names, frames, fits)


def in_step(source: Footage, offsets: Offsets) -> Footage:
    """The footage with every view shifted so that its frames belong together.

    Raises:
        ValueError: too few times are left.
    """
    first = offsets.frames - offsets.frames.min()
    V, T = source.known.shape
    left = T - int(first.max())
    if left < 2:
        raise ValueError(f"only {left} time(s) are left when the views are evened out")
    # seen from the view that is shifted least, frame t of a view is its frame t + first
    views = [
        TimedView(view, tuple(range(n, n + left)))
        for view, n in zip(source.views, first.tolist(), strict=True)
    ]
    known = np.stack([source.known[v, n : n + left] for v, n in enumerate(first.tolist())])
    return Footage(
        source.kind, source.path, views, known, source.seconds[:left], source.K, source.w2c,
        source.lenses, source.notes,
    )  # fmt: skip


def motion(frames: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
    """How much moves between neighbouring frames [T, h, w, 3]: [T - 1, bands] for each of BANDS,
    as logarithms."""
    grey = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in frames]
    smooth = np.stack([cv2.GaussianBlur(g, (0, 0), 1.0) for g in grey]).astype(np.float64)
    moved = np.maximum(np.abs(np.diff(smooth, axis=0)) - NOISE, 0)
    curves = []
    for bands in BANDS:
        parts = np.array_split(moved, bands, axis=1)
        curves.append(np.log(np.stack([p.mean((1, 2)) for p in parts], 1) + 0.05))
    return curves


def offsets_of(
    curves: list[list[NDArray[np.float64]]],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Frames that each view is late (below 0: early) against most of them, and how well it fits.

    All zero unless views that fit contradict no other.
    """
    V, n = len(curves), len(curves[0][0])
    reach = max(1, min((n + 1) // 3, 60))
    overlap = max(4, n // 2)
    shifts = [s for s in range(-reach, reach + 1) if n - abs(s) >= overlap]
    late = np.zeros((V, V), np.int64)
    fit = np.zeros((V, V))
    for i in range(V):
        for j in range(i + 1, V):
            scores = [_agreement(curves[i], curves[j], s) for s in shifts]
            best, still = int(np.argmax(scores)), scores[shifts.index(0)]
            if scores[best] >= SURE and (shifts[best] == 0 or scores[best] - still >= BETTER):
                late[i, j], late[j, i] = shifts[best], -shifts[best]
                fit[i, j] = fit[j, i] = scores[best]
    return _common(late, fit)


def _common(
    late: NDArray[np.int64], fit: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Offsets of the largest group of views that fit each other; all zero if two ways to a view
    disagree or the group is no majority."""
    V = len(late)
    out, groups = np.zeros(V, np.int64), -np.ones(V, np.int64)
    for start in range(V):
        if groups[start] >= 0:
            continue
        groups[start] = start
        waiting = [start]
        while waiting:
            i = waiting.pop()
            for j in np.flatnonzero((fit[i] > 0) & (groups < 0)).tolist():
                groups[j], out[j] = start, out[i] + late[i, j]
                waiting.append(j)
    largest = np.bincount(groups).argmax()
    group = np.flatnonzero(groups == largest)
    related = fit[np.ix_(group, group)] > 0
    differ = out[group][None] - out[group][:, None] != late[np.ix_(group, group)]
    if len(group) * 2 <= V or (related & differ).any():
        return np.zeros(V, np.int64), np.zeros(V)
    values, counts = np.unique(out[group], return_counts=True)
    usual = values[counts == counts.max()]
    out[group] -= usual[0] if 0 not in usual else 0
    out[groups != largest] = 0
    return out, fit.max(1)


def _agreement(a: list[NDArray[np.float64]], b: list[NDArray[np.float64]], shift: int) -> float:
    """Mean over BANDS of the correlation of two views when b is ``shift`` frames late."""
    n = len(a[0]) - abs(shift)
    i, j = max(-shift, 0), max(shift, 0)
    found = []
    for one, two in zip(a, b, strict=True):
        x, y = one[i : i + n], two[j : j + n]
        x, y = x - x.mean(0), y - y.mean(0)
        length = np.sqrt((x * x).sum() * (y * y).sum())
        found.append(float((x * y).sum() / length) if length > 1e-6 else 0.0)
    return float(np.mean(found))
