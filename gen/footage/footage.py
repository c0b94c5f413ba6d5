"""Footage: what a folder of several views holds, before any frame is decoded -> VideoGrid.

Legend: V views (in the order of the cameras' path), T times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourreal.cameras import check_rigid, path_order, scale_intrinsics
from fourreal.console import progress
from fourreal.errors import UserError
from fourreal.natural_order import natural_key
from gen.footage.calibration import some_of
from gen.footage.cut_view import one_shape
from gen.footage.lens import Lens
from gen.footage.selection import fine_size
from gen.footage.views import SAME_SHAPE, ImagesView, View
from gen.frame_files import as_floats
from gen.grid import VideoGrid, canonical_cell, shared_cell
from gen.grid_file import MAX_CELLS


@dataclass
class Footage:
    """Views over time, and the cameras when they are given.

    Attributes:
        kind: the format, as it is named to the user.
        path: where it was found.
        views: V views. known: bool [V, T]: which cells there are.
        seconds: [T] increasing time stamps.
        K: [V, 3, 3] in pixels of each view's own frames, or None; w2c: [V, 4, 4], or None.
        lenses: per view what undistorts it, or None; its pin-hole K replaces ``K``.
        notes: what was done or left out, one line each.

    Raises:
        ValueError: cameras that are none, or fewer than two views.
    """

    kind: str
    path: Path
    views: Sequence[View]
    known: NDArray[np.bool_]
    seconds: NDArray[np.float64]
    K: NDArray[np.float64] | None = None
    w2c: NDArray[np.float64] | None = None
    lenses: Sequence[Lens | None] = ()
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if len(self.views) < 2:
            raise ValueError(f"it holds {len(self.views)} view(s); a grid needs at least 2")
        self.lenses = list(self.lenses) or [None] * len(self.views)
        self.views, self.K, self.lenses, cut = one_shape(self.views, self.K, self.lenses)
        self.notes += [cut] if cut else []
        if self.w2c is not None:
            self.w2c = check_rigid(self.w2c)
            order = path_order(self.w2c)
            if (order != np.arange(len(order))).any():
                self._reorder(order)
                listed = " ".join(v.name for v in self.views)
                self.notes.append(f"views put in the order of the cameras' path: {listed}")

    def miss(self, names: Sequence[str]) -> None:
        """Note the images that are listed and not there: their cells are left out."""
        if names:
            there = int(self.known.sum())
            self.notes.append(
                f"{len(names)} of {there + len(names)} images are missing, their cells are left "
                f"out: {some_of(names)}"
            )

    def _reorder(self, order: NDArray[np.intp]) -> None:
        self.views = [self.views[k] for k in order]
        self.lenses = [self.lenses[k] for k in order]
        self.known = self.known[order]
        self.K = None if self.K is None else self.K[order]
        self.w2c = None if self.w2c is None else self.w2c[order]

    @property
    def fps(self) -> float:
        """Frames per second on average; 8 for a single time."""
        span = float(self.seconds[-1] - self.seconds[0]) if len(self.seconds) > 1 else 0.0
        return (len(self.seconds) - 1) / span if span > 0 else 8.0

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the first view, which the others are resized to.

        Raises:
            ValueError: a view of another shape.
        """
        height, width = self.views[0].size
        for view in self.views[1:]:
            h, w = view.size
            if abs(w * height / (h * width) - 1) > SAME_SHAPE:
                raise ValueError(
                    f"{view.name} is {h}x{w}, {self.views[0].name} {height}x{width}: "
                    "cut them to one shape"
                )
        return height, width

    def describe(self) -> list[str]:
        """What was understood, for the user, one line each.

        Raises:
            ValueError: views of different shapes.
        """
        height, width = self.size
        V, T = self.known.shape
        cameras = "given" if self.w2c is not None else "not given (they will be estimated)"
        if any(self.lenses):
            cameras += ", lens distortion is removed"
        lines = [
            f"{self.kind}: {V} views x {T} times, {height}x{width}, {self.fps:.4g} fps, cameras "
            f"{cameras}, {int(self.known.sum())} of {V * T} cells there"
        ]
        lines += self.notes
        own: dict[str, list[str]] = {}
        for view in self.views:
            for note in view.notes:
                own.setdefault(note, []).append(view.name)
        told = {n: x[0] if len(x) == 1 else f"{len(x)} views" for n, x in own.items()}
        return lines + [f"{who}: {note}" for note, who in told.items() if note not in self.notes]

    def usable(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The views and times to use so that one view has all times and one time all views.

        Raises:
            ValueError: hardly anything would be left, as with a single camera that moves.
        """
        V, T = self.known.shape
        if shared_cell(self.known) is not None:
            return np.arange(V), np.arange(T)
        worth = self.known.sum(1)[:, None] * self.known.sum(0)[None] * self.known
        v, t = np.unravel_index(int(np.argmax(worth)), worth.shape)
        views, times = np.flatnonzero(self.known[:, t]), np.flatnonzero(self.known[v])
        if len(views) < 2 or (T > 1 and len(times) < 2):
            raise ValueError(
                f"a grid needs one view that is seen at every time and one time that is seen from "
                f"every view, but of {V} viewpoints and {T} times the best view has {len(times)} "
                f"time(s) and the best time {len(views)} view(s): this is footage of one camera "
                "that moves while the scene does"
            )
        return views, times

    def intrinsics(
        self, views: NDArray[np.intp], height: int, width: int
    ) -> NDArray[np.float64] | None:
        """K [n, 3, 3] of undistorted frames of these views at a size; None when not given."""
        if self.K is None:
            return None
        out = np.zeros((len(views), 3, 3))
        for row, v in enumerate(views.tolist()):
            lens = self.lenses[v]
            own = self.K[v] if lens is None else lens.pinhole
            out[row] = scale_intrinsics(own, self.views[v].size, (height, width))
        return out

    def grid(
        self, views: NDArray[np.intp], times: NDArray[np.intp], height: int, width: int
    ) -> VideoGrid:
        """Read these views and times, at this size.

        Raises:
            ValueError, UserError: a frame cannot be read, or no complete row and column are left.
        """
        known = self.known[np.ix_(views, times)]
        shared = canonical_cell(known)
        if shared is None:
            raise ValueError("no picked view is known at every time, or no time in every view")
        if known.size > MAX_CELLS:
            raise UserError(
                f"{len(views)} views x {len(times)} times is more than {MAX_CELLS} cells; "
                "pick fewer (--max-views, --max-times, --fps)"
            )
        frames = np.zeros((*known.shape, height, width, 3), np.uint8)
        for row, v in enumerate(progress(views.tolist(), "reading the views")):
            frames[row] = self.views[v].read(times.tolist(), height, width, self.lenses[v])
        fine = None
        finer = fine_size(self.size, (height, width)) if self.w2c is None else None
        if finer is not None:  # cameras have to be found
            at = [int(times[shared[1]])]
            fine = np.concatenate(
                [self.views[v].read(at, *finer, self.lenses[v]) for v in views.tolist()]
            )
        stamps = self.seconds[times] - self.seconds[times[0]]
        span = float(stamps[-1])
        return VideoGrid(
            as_floats(frames),
            known,
            times=(stamps / span if span > 0 else stamps).astype(np.float32),
            K=self.intrinsics(views, height, width),
            w2c=None if self.w2c is None else self.w2c[views],
            fps=(len(times) - 1) / span if span > 0 else self.fps,
            shared=shared,
            fine=fine,
        )


@dataclass(frozen=True)
class Cell:
    """One image of a data set that lists its images: which view and time, and its camera.

    ``stored``: the camera is of the pixels as they are stored, see ``ImagesView``.
    """

    view: str
    time: float
    file: Path
    K: NDArray[np.float64]
    w2c: NDArray[np.float64]
    lens: Lens | None = None
    stored: bool = False


def footage_of_cells(kind: str, path: Path, cells: Sequence[Cell], seconds: float) -> Footage:
    """Footage of a list of images; ``seconds``: how long it lasts from the first to the last time.

    Raises:
        ValueError: two images of one cell, or a view whose camera moves.
    """
    names = sorted({c.view for c in cells}, key=natural_key)
    stamps = np.unique([c.time for c in cells])
    at = {(names.index(c.view), int(np.searchsorted(stamps, c.time))): c for c in cells}
    if len(at) < len(cells):
        raise ValueError(
            f"{len(cells) - len(at)} images share view and time with another ('camera_id' missing?)"
        )
    known = np.zeros((len(names), len(stamps)), bool)
    for v, t in at:
        known[v, t] = True
    first = [at[v, int(np.argmax(known[v]))] for v in range(len(names))]
    for (v, _), cell in at.items():
        if np.abs(cell.w2c - first[v].w2c).max() > 1e-3 * (1 + np.abs(first[v].w2c).max()):
            raise ValueError(f"the camera of view {names[v]} moves; a row needs a still camera")
    rows = [[at.get((v, t)) for t in range(len(stamps))] for v in range(len(names))]
    views = [
        ImagesView(
            name,
            tuple(None if c is None else c.file for c in row),
            all(c is None or c.stored for c in row),
        )
        for name, row in zip(names, rows, strict=True)
    ]
    notes = []
    uneven = [n for n, row in zip(names, rows, strict=True) if _zooms(row)]
    if uneven:
        said = "the focal length changes over time, that of the first image is used"
        notes.append(f"{said}: {some_of(uneven)}")
    span = float(stamps[-1] - stamps[0])
    return Footage(
        kind,
        path,
        views,
        known,
        (stamps - stamps[0]) * (seconds / span if span > 0 else 1.0),
        np.stack([c.K for c in first]),
        np.stack([c.w2c for c in first]),
        [c.lens for c in first],
        notes,
    )


def _zooms(row: Sequence[Cell | None]) -> bool:
    """Whether the focal lengths of a view, in parts of the image's width, differ by over 1 %."""
    wide = [c.K[0, 0] / (c.K[0, 2] or 1.0) for c in row if c is not None]
    return max(wide) > 1.01 * min(wide)
