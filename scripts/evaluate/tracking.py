"""Score trackers on freeze-time clips with exact or COLMAP cameras.

    python scripts/evaluate.py tracking --data ../shared/data/grids ../shared/data/real \
        --json docs/benchmarks/tracking.json --pictures outputs/tracking

A DATA folder holds scene folders as scripts/render_procedural.py writes them (column 0, the input
views, is the clip), NAME.mp4 beside NAME_cameras.json (cameras only), or folders of cam*.mp4 with
a cameras.json; procedural clips need no data. Intrinsics and cameras are unknown to the tracker.
Clips that the JSON file holds already are skipped, so an interrupted run goes on.
"""

from __future__ import annotations

import contextlib
import io
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import cv2
import numpy as np
from tyro.conf import arg

from fourreal.console import say
from fourreal.errors import UserError
from fourreal.run_folder import peak_memory_mb, reset_peak_memory
from fourreal.script import run_script
from scripts.evaluate.pycolmap_poses import pycolmap_cameras
from scripts.evaluate.result_file import ResultFile
from scripts.evaluate.tracking_clips import Clip, procedural_clips, real_clips, rendered_clips
from scripts.evaluate.tracking_pictures import picture
from scripts.evaluate.tracking_scores import camera_errors, depth_errors, track_errors
from tracking.backends.table import Choice
from tracking.backends.with_any import track_with
from tracking.cameras.fallbacks import FallbackConfig
from tracking.column import ColumnTracks, track_column
from tracking.config import TrackConfig

COMPARED = "pycolmap"
POSE_RUNS = 5


@dataclass
class Options:
    data: tuple[Path, ...] = (Path("../shared/data/grids"), Path("../shared/data/real"))
    """Folders of scenes, or of clips with cameras."""
    size: str = "144x256"
    """Height x width of grids and procedural clips; other clips keep their own size."""
    procedural: int = 2
    """Number of procedural clips."""
    scenes: list[str] = field(default_factory=list)
    """Names; all by default (then procedural clips are left out)."""
    n: int = 0
    """At most so many clips; 0: all."""
    json: Path | None = None
    """Result file, updated after every clip."""
    pictures: Path | None = None
    """Folder for one picture a clip: frame, true depth, depth, error, confidence, tracks."""
    backend: Annotated[Choice, arg(name="")] = field(default_factory=Choice)
    pycolmap: bool = False
    """Also recover the cameras with pycolmap."""

    @property
    def variant(self) -> str:
        """Name of the rows: `default` for the built-in tracker, else TRACKER+DEPTH."""
        names = (self.backend.tracker, self.backend.depth)
        return "default" if names == ("flow", "flow") else "+".join(names)


def clips(options: Options, size: tuple[int, int]) -> Iterator[Clip]:
    """Every clip that is asked for."""
    for data in options.data:
        yield from rendered_clips(data, size, options.scenes)
        yield from real_clips(data, options.scenes)
    yield from procedural_clips(0 if options.scenes else options.procedural, size)


def evaluate(
    clip: Clip, choice: Choice
) -> tuple[dict[str, Any], ColumnTracks, np.ndarray | None, float]:
    """Metrics of one clip, its tracks, the relative depth error and the scale."""
    reset_peak_memory()
    clock, cpu = time.perf_counter(), time.process_time()
    stages: dict[str, tuple[float, float]] = {}

    def note_time(stage: str, done: int, total: int) -> None:
        stages[stage] = time.perf_counter() - clock, time.process_time() - cpu

    column = track_with(clip.frames, replace(choice, allow_stand_in=True), progress=note_time)
    seconds, busy = time.perf_counter() - clock, time.process_time() - cpu
    out: dict[str, Any] = {
        "rotation_deg": None, "centre_percent": None, "focal_percent": None,
        "depth_rel_median": None, "coverage": None, "epe3d": None, "aj3d": None, "apd3d": None,
    }  # fmt: skip
    if column.parallax:
        out |= camera_errors(column.w2c, clip.w2c)
        focal = column.K[column.central, 0, 0] / clip.K[column.central, 0, 0]
        out["focal_percent"] = float(100 * abs(focal - 1))
    error, scale = None, 1.0
    if clip.depth is not None:
        metrics, error, scale = depth_errors(column.depth, column.depth_confidence, clip.depth)
        out |= metrics
        out |= track_errors(column, clip.depth, clip.K, clip.w2c, scale)
    out["seconds"] = round(seconds, 1)
    poses = stages.get("cameras")
    out["seconds_poses"] = None if poses is None else round(poses[0], 2)
    out["seconds_cpu"] = round(busy, 1)
    out["seconds_cpu_poses"] = None if poses is None else round(poses[1], 2)
    out["peak_mb"] = round(peak_memory_mb(), 0)
    return out, column, error, scale


class _CamerasFound(Exception):
    """Ends a run whose cameras alone are timed."""


def pose_seconds(clip: Clip) -> float:
    """Seconds of the built-in tracker from frames to cameras."""

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "cameras" and done == total:
            raise _CamerasFound

    clock = time.perf_counter()
    with contextlib.suppress(_CamerasFound), contextlib.redirect_stderr(io.StringIO()):
        limits = FallbackConfig(allow_stand_in=True, wide=False)
        track_column(clip.frames, config=TrackConfig(fallbacks=limits), progress=stop)
    return time.perf_counter() - clock


def compare(clip: Clip) -> dict[str, Any]:
    """The same camera metrics for pycolmap; null when it does not register every frame.

    Its time is that of features, matching and mapping, ours that from frames to cameras; both are
    run POSE_RUNS times in turn, and the medians and their ratio are kept.
    """
    ours, theirs, busy = [], [], []
    for _ in range(POSE_RUNS):
        ours.append(pose_seconds(clip))
        cpu = time.process_time()
        w2c, focal, seconds = pycolmap_cameras(clip.frames)
        busy.append(time.process_time() - cpu)
        theirs.append(seconds)
    registered = np.isfinite(w2c[:, 0, 0])
    out: dict[str, Any] = {"rotation_deg": None, "centre_percent": None, "focal_percent": None}
    if registered.all():
        out |= camera_errors(w2c, clip.w2c)
        out["focal_percent"] = float(100 * abs(focal / clip.K[0, 0, 0] - 1))
    return out | {
        "registered": int(registered.sum()),
        "seconds_poses": round(median(theirs), 2),
        "seconds_cpu_poses": round(median(busy), 2),
        "seconds_our_poses": round(median(ours), 2),
        "poses_ratio": round(median(ours) / median(theirs), 2),
    }


def run(options: Options) -> dict[str, Any]:
    """Evaluate and return the result document."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", options.size)
    if not match:
        raise UserError(f"--size must look like 144x256 (height x width); got {options.size!r}")
    options.backend.check()
    document = ResultFile(options.json, "Tracking", order=("default",))
    document.note(
        "Freeze-time column 0, intrinsics and cameras unknown. centre_percent: RMS of camera "
        "centres in % of the path, epe3d in % of median depth, depth after one scale, aj3d and "
        "apd3d as in TAPVid-3D. seconds_poses, "
        "seconds_cpu_poses: from frames to cameras (wall time, CPU time of all threads), kernels "
        "compiled before; pycolmap: features, matching and mapping. seconds_our_poses: ours, run "
        f"in turn with it, medians of {POSE_RUNS}; poses_ratio: ours over pycolmap's."
    )
    warmed = False
    found = 0
    for clip in clips(options, (int(match[1]), int(match[2]))):
        if not warmed:  # compiled kernels are loaded (the first time, compiled): no clip's time
            load_kernels()
            warmed = True
        found += 1
        if options.n and found > options.n:
            break
        if clip.note:
            document.note(f"{clip.name}: {clip.note}")
        if options.pycolmap and not document.done(clip.name, COMPARED):
            metrics = compare(clip)
            document.add(clip.name, COMPARED, metrics)
            say(f"{clip.name} {COMPARED}: {brief(metrics)}")
        if document.done(clip.name, options.variant):
            continue
        metrics, column, error, scale = evaluate(clip, options.backend)
        document.add(clip.name, options.variant, metrics)
        for note in column.notes:
            document.note(f"{clip.name}: {note}")
        say(f"{clip.name} {options.variant}: {brief(metrics)}")
        if options.pictures is not None:
            options.pictures.mkdir(parents=True, exist_ok=True)
            name = clip.name.replace("@", "_") + ".png"
            cv2.imwrite(str(options.pictures / name), picture(clip, column, error, scale))
    if not found:
        where = ", ".join(str(data) for data in options.data)
        raise UserError(f"no scenes or clips with cameras in {where}")
    return document.document


def load_kernels() -> None:
    """Track something small, so that no clip's time holds the compilation of kernels."""
    clip = next(procedural_clips(1, (48, 64), views=3))
    with contextlib.redirect_stderr(io.StringIO()):  # its warnings are nobody's
        track_column(clip.frames)


def brief(metrics: dict[str, Any]) -> dict[str, float]:
    """Metrics that exist, short enough to print."""
    return {name: round(value, 3) for name, value in metrics.items() if value is not None}


def command() -> int:
    """Run from the command line; the exit code."""
    return run_script(run, Options, __doc__)
