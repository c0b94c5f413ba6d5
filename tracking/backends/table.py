"""Trackers and depth estimators by name: what each needs, its licence, and which are usable here.

Everything but `flow` comes from the user's disk: a checkout of its repository and a weights file,
given as options or in environment variables. Nothing is downloaded and no code of theirs is kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fourreal.errors import UserError
from tracking.protocols import Depth, DepthEstimator, Tracker
from tracking.tracks import Tracks


class FlowTracker:
    """The built-in tracker behind the common interface."""

    def is_available(self) -> tuple[bool, str]:
        """Always usable."""
        return True, ""

    def __call__(
        self, frames: np.ndarray, depth: Depth | None, K: np.ndarray | None, query_view: int
    ) -> Tracks:
        """frames [F, H, W, 3] -> tracks; depth is not used, it makes its own."""
        from tracking.column import track_column
        from tracking.config import TrackConfig

        return track_column(frames, K=K, config=TrackConfig(central=query_view)).tracks


class FlowDepth:
    """The built-in depth behind the common interface: triangulated, one scale for the clip."""

    def is_available(self) -> tuple[bool, str]:
        """Always usable."""
        return True, ""

    def __call__(self, frames: np.ndarray) -> Depth:
        """frames [F, H, W, 3] -> depth, confidence, K."""
        from tracking.column import track_column

        column = track_column(frames)
        return Depth(column.depth, column.depth_confidence, column.K[column.central], "scale")


class TracksFile:
    """Tracks made elsewhere, from an .npz in the layout of docs/FORMATS.md."""

    def __init__(self, path: str) -> None:
        """path: the file."""
        self.path = path

    def is_available(self) -> tuple[bool, str]:
        """(usable, reason when it is not)."""
        if not self.path:
            return False, "no file given"
        return (True, "") if Path(self.path).is_file() else (False, f"no file {self.path}")

    def __call__(
        self, frames: np.ndarray, depth: Depth | None, K: np.ndarray | None, query_view: int
    ) -> Tracks:
        """The file's tracks; they must be of these frames, and of this query view.

        Raises:
            UserError: unreadable, or of another clip.
        """
        ok, reason = self.is_available()
        if not ok:
            raise UserError(f"npz is not available: {reason}")
        tracks = Tracks.load(self.path)
        count, height, width = frames.shape[:3]
        if tracks.frames != count or tracks.size != (height, width):
            raise UserError(
                f"{self.path} holds tracks of {tracks.frames} frames of {tracks.size[0]}x"
                f"{tracks.size[1]}; the clip has {count} of {height}x{width} (--size, --max-views)"
            )
        return tracks


@dataclass(frozen=True)
class Backend:
    """One choice: its licence and how to make it from (path, weights)."""

    licence: str
    make: Callable[[str, str], Tracker | DepthEstimator]
    variable: str = ""  # environment variable of the path; its weights' is NAME_WEIGHTS


def _alltracker(path: str, weights: str) -> Tracker:
    from tracking.backends.alltracker import AllTracker

    return AllTracker(path, weights)


def _delta(path: str, weights: str) -> Tracker:
    from tracking.backends.delta import Delta

    return Delta(path, weights)


def _delta_v2(path: str, weights: str) -> Tracker:
    from tracking.backends.delta import Delta

    return Delta(path, weights, 2)


def _moge(path: str, weights: str) -> DepthEstimator:
    from tracking.backends.moge import MoGe

    return MoGe(path, weights)


def _depth_anything(path: str, weights: str) -> DepthEstimator:
    from tracking.backends.depth_anything import DepthAnything

    return DepthAnything(path, weights)


SNAP = "Snap, non-commercial research only"
TRACKERS: dict[str, Backend] = {
    "flow": Backend("Apache-2.0, ours", lambda path, weights: FlowTracker()),
    "alltracker": Backend("MIT", _alltracker, "FOURREAL_ALLTRACKER"),
    "delta": Backend(SNAP, _delta, "FOURREAL_DELTA"),
    "delta-v2": Backend(SNAP, _delta_v2, "FOURREAL_DELTA_V2"),
    "npz": Backend("that of its maker", lambda path, weights: TracksFile(path), "FOURREAL_TRACKS"),
}
DEPTHS: dict[str, Backend] = {
    "flow": Backend("Apache-2.0, ours", lambda path, weights: FlowDepth()),
    "moge": Backend("MIT", _moge, "FOURREAL_MOGE"),
    "depth-anything": Backend(
        "Apache-2.0 (Small; larger ones non-commercial)", _depth_anything, "FOURREAL_DEPTH_ANYTHING"
    ),
}


@dataclass(frozen=True)
class Choice:
    """Which programs follow the points and say how far they are; `doctor` lists what is usable.

    Also the options of the command line. Empty paths are looked up in the environment
    (FOURREAL_ALLTRACKER, FOURREAL_ALLTRACKER_WEIGHTS and so on).
    """

    tracker: Literal["flow", "alltracker", "delta", "delta-v2", "npz"] = "flow"
    """flow: built in, no weights. The others run from a checkout of yours; npz: a tracks file."""
    depth: Literal["flow", "moge", "depth-anything"] = "flow"
    """flow: triangulated. The networks fill in where that is not sure."""
    tracker_path: str = ""
    """Folder of the tracker's checkout, or the tracks file."""
    tracker_weights: str = ""
    """The tracker's checkpoint."""
    depth_path: str = ""
    """Folder of the depth network's checkout (not needed when it is installed)."""
    depth_weights: str = ""
    """The depth network's checkpoint, or its folder."""
    allow_stand_in: bool = False
    """Go on with a smooth stand-in for depth where cameras cannot be found, instead of ending."""
    keep_cameras: bool = False
    """Cameras that are given stay as they are to the last digit, even if they are slightly off."""

    def __post_init__(self) -> None:
        for kind, name, table in (
            ("--tracker", self.tracker, TRACKERS),
            ("--depth", self.depth, DEPTHS),
        ):
            if name not in table:
                raise UserError(f"{kind} {name}: choose from {', '.join(table)}")

    def resolved(self) -> Choice:
        """The same choice with the paths that the environment gives."""
        tracker = _filled(TRACKERS[self.tracker], self.tracker_path, self.tracker_weights)
        depth = _filled(DEPTHS[self.depth], self.depth_path, self.depth_weights)
        return Choice(
            self.tracker, self.depth, *tracker, *depth, self.allow_stand_in, self.keep_cameras
        )

    def files(self) -> list[Path]:
        """The checkouts and weights on disk that a resolved choice names."""
        named = (self.tracker_path, self.tracker_weights, self.depth_path, self.depth_weights)
        return [Path(name) for name in named if name and Path(name).exists()]

    def check(self) -> None:
        """Find out before any work is done whether both can be used.

        Raises:
            UserError: one cannot, with what is missing.
        """
        self.make_tracker()
        self.make_depth()

    def make_tracker(self) -> Tracker:
        """The tracker.

        Raises:
            UserError: it cannot be used here, with what is missing.
        """
        full = self.resolved()
        made = TRACKERS[self.tracker].make(full.tracker_path, full.tracker_weights)
        _refuse(made, f"--tracker {self.tracker}", "--tracker-path, --tracker-weights")
        return made  # type: ignore[return-value]

    def make_depth(self) -> DepthEstimator:
        """The depth estimator.

        Raises:
            UserError: it cannot be used here, with what is missing.
        """
        full = self.resolved()
        made = DEPTHS[self.depth].make(full.depth_path, full.depth_weights)
        _refuse(made, f"--depth {self.depth}", "--depth-path, --depth-weights")
        return made  # type: ignore[return-value]


def _filled(backend: Backend, path: str, weights: str) -> tuple[str, str]:
    """Path and weights, looked up in the environment where they are empty."""
    if backend.variable:
        path = path or os.environ.get(backend.variable, "")
        weights = weights or os.environ.get(f"{backend.variable}_WEIGHTS", "")
    return path, weights


def _refuse(made: Tracker | DepthEstimator, name: str, options: str) -> None:
    ok, reason = made.is_available()
    if not ok:
        raise UserError(f"{name} cannot be used: {reason}; see {options} and `doctor`")


def listing() -> list[str]:
    """One line a backend: usable or not, its licence, and why not."""
    lines = []
    for kind, table in (("tracker", TRACKERS), ("depth", DEPTHS)):
        for name, backend in table.items():
            ok, reason = backend.make(*_filled(backend, "", "")).is_available()
            why = "" if ok else f": {reason}" + (f" [{backend.variable}]" if reason else "")
            lines.append(f"{kind}: {'yes' if ok else 'no '} {name} ({backend.licence}){why}")
    return lines
