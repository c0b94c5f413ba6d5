"""Score the weight-free tracker on freeze-time clips with exact or COLMAP cameras.

    python scripts/evaluate_tracking.py --data ../shared/data/grids --size 144x256 \
        --json docs/benchmarks/tracking.json --pictures outputs/tracking

DATA holds scene folders as scripts/render_procedural.py writes them (column 0, the input views, is
the clip), or NAME.mp4 beside NAME_cameras.json (cameras only). Intrinsics and cameras are unknown
to the tracker. Clips that the JSON file holds already are skipped, so an interrupted run goes on.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import cv2  # noqa: E402
import numpy as np  # noqa: E402
import tyro  # noqa: E402

import recon  # noqa: E402, F401, I001  (sets the OpenMP wait policy before torch is loaded)
from gen.atomic import atomic_file  # noqa: E402
from gen.cameras import scale_intrinsics  # noqa: E402
from gen.console import say  # noqa: E402
from gen.errors import UserError  # noqa: E402
from gen.run_folder import peak_memory_mb, reset_peak_memory  # noqa: E402
from gen.video_io import read_clip  # noqa: E402
from recon.evaluation import TruthGrid  # noqa: E402
from tracking.column import ColumnTracks, track_column  # noqa: E402
from tracking.scoring import camera_errors, depth_errors, track_errors  # noqa: E402


@dataclass
class Options:
    data: Path = Path("../shared/data/grids")
    """Folder of scenes, or of clips with cameras."""
    size: str = "144x256"
    """Height x width of grids; clips keep their own size."""
    scenes: list[str] = field(default_factory=list)
    """Names; all by default."""
    n: int = 0
    """At most so many; 0: all."""
    json: Path | None = None
    """Result file, updated after every clip."""
    pictures: Path | None = None
    """Folder for one picture a clip: frame, true depth, depth, error, confidence, tracks."""


@dataclass
class Clip:
    """frames [V, H, W, 3]; depth [V, H, W] or None; K [V, 3, 3]; w2c [V, 4, 4]."""

    name: str
    frames: np.ndarray
    depth: np.ndarray | None
    K: np.ndarray
    w2c: np.ndarray


def clips(options: Options, size: tuple[int, int]) -> Iterator[Clip]:
    """Every clip below options.data."""
    for folder in sorted(p.parent for p in options.data.glob("*/cameras.json")):
        if (
            not list(folder.glob("grid_*.npz"))
            or options.scenes
            and folder.name not in options.scenes
        ):
            continue
        try:
            truth = TruthGrid.load(folder, size)
        except UserError as error:
            say(f"{folder.name}: skipped, {error}")
            continue
        v = truth.views
        label = folder.name if options.size == "144x256" else f"{folder.name}@{options.size}"
        yield Clip(label, truth.rgb[:v, 0], truth.depth[:v, 0], truth.K[:v], truth.w2c[:v])
    for path in sorted(options.data.glob("*_cameras.json")):
        name = path.name.removesuffix("_cameras.json")
        video = path.with_name(name + ".mp4")
        if not video.exists() or options.scenes and name not in options.scenes:
            continue
        stored = json.loads(path.read_text())
        frames = np.asarray(read_clip(video)[0], np.float32)
        frames = frames / 255.0 if frames.max() > 1.5 else frames
        K = scale_intrinsics(stored["K"], (stored["height"], stored["width"]), frames.shape[1:3])
        w2c = np.array(stored["w2c"], np.float64)
        yield Clip(name, frames, None, np.broadcast_to(K, (len(w2c), 3, 3)), w2c)


def evaluate(clip: Clip) -> tuple[dict[str, Any], ColumnTracks, np.ndarray | None, float]:
    """Metrics of one clip, its tracks, the relative depth error and the scale."""
    reset_peak_memory()
    clock, cpu = time.perf_counter(), time.process_time()
    column = track_column(clip.frames)
    seconds, cpu = time.perf_counter() - clock, time.process_time() - cpu
    out: dict[str, Any] = {
        "rotation_deg": None, "centre_percent": None, "focal_percent": None,
        "depth_rel_median": None, "coverage": None, "epe3d": None, "aj3d": None, "apd3d": None,
    }  # fmt: skip
    if column.parallax:
        out |= camera_errors(column.w2c, clip.w2c)
    focal = column.K[column.canonical, 0, 0] / clip.K[column.canonical, 0, 0]
    out["focal_percent"] = float(100 * abs(focal - 1))
    error, scale = None, 1.0
    if clip.depth is not None:
        metrics, error, scale = depth_errors(column.depth, column.depth_confidence, clip.depth)
        out |= metrics
        out |= track_errors(column, clip.depth, clip.K, clip.w2c, scale)
    out["seconds"] = round(seconds, 1)
    out["cpu_seconds"] = round(cpu, 1)
    out["peak_mb"] = round(peak_memory_mb(), 0)
    return out, column, error, scale


def coloured(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """[H, W] -> BGR uint8."""
    share = np.clip((np.nan_to_num(value) - low) / max(high - low, 1e-9), 0, 1)
    return cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_TURBO)


def trails(clip: Clip, column: ColumnTracks) -> np.ndarray:
    """The canonical frame with the paths of a coarse grid of tracks, BGR uint8."""
    c = column.canonical
    picture = np.ascontiguousarray((clip.frames[c][..., ::-1] * 160 + 60).astype(np.uint8))
    height, width = column.tracks.size
    for y in range(8, height, max(8, height // 14)):
        for x in range(8, width, max(8, width // 24)):
            path = column.tracks.uv[:, y * width + x][column.tracks.visible[:, y * width + x]]
            hue = np.uint8([[[180 * x // width, 255, 255]]])
            colour = tuple(int(v) for v in cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0])
            cv2.polylines(picture, [np.rint(path).astype(np.int32)], False, colour, 1)
    return picture


def picture(clip: Clip, column: ColumnTracks, error: np.ndarray | None, scale: float) -> np.ndarray:
    """Frame, true depth, depth, error (0..10 %), confidence and trails of the canonical view."""
    c = column.canonical
    rho = 1.0 / (column.depth[c] * scale)
    low, high = np.percentile(rho, [1, 99])
    panels = [(np.clip(clip.frames[c][..., ::-1], 0, 1) * 255).astype(np.uint8)]
    if clip.depth is not None:
        low, high = np.nanpercentile(1.0 / clip.depth[c], [1, 99])
        panels.append(coloured(1.0 / clip.depth[c], low, high))
    panels.append(coloured(rho, low, high))
    if error is not None:
        panels.append(coloured(error[c], 0.0, 0.1))
    panels += [coloured(column.depth_confidence[c], 0.0, 1.0), trails(clip, column)]
    return np.concatenate(panels, 1)


def run(options: Options) -> dict[str, Any]:
    """Evaluate and return the result document."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", options.size)
    if not match:
        raise UserError(f"--size must look like 144x256 (height x width); got {options.size!r}")
    document: dict[str, Any] = {
        "schema": 1,
        "title": "Tracking",
        "command": "python scripts/evaluate_tracking.py " + " ".join(sys.argv[1:]),
        "hardware": f"{os.cpu_count()} CPU threads, {platform.machine()}",
        "notes": [
            "Freeze-time column 0, intrinsics and cameras unknown. centre_percent: RMS of camera "
            "centres in % of the path, epe3d in % of median depth, depth after one scale.",
        ],
        "results": {},
    }
    if options.json is not None and options.json.exists():
        document = json.loads(options.json.read_text())
    found = 0
    for clip in clips(options, (int(match[1]), int(match[2]))):
        found += 1
        if options.n and found > options.n:
            break
        if "default" in document["results"].get(clip.name, {}):
            continue
        metrics, column, error, scale = evaluate(clip)
        document["results"].setdefault(clip.name, {})["default"] = metrics
        for note in column.notes:
            document["notes"].append(f"{clip.name}: {note}")
        if clip.depth is None:
            document["notes"].append(f"{clip.name}: no exact depth; the cameras are COLMAP's")
        short = {k: round(v, 3) for k, v in metrics.items() if isinstance(v, float)}
        say(f"{clip.name}: {short}")
        if options.pictures is not None:
            options.pictures.mkdir(parents=True, exist_ok=True)
            name = clip.name.replace("@", "_") + ".png"
            cv2.imwrite(str(options.pictures / name), picture(clip, column, error, scale))
        if options.json is not None:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(options.json) as temporary:
                temporary.write_text(json.dumps(document, indent=1))
    if not found:
        raise UserError(f"no scenes or clips with cameras in {options.data}")
    return document


def main() -> int:
    """Entry point."""
    try:
        run(tyro.cli(Options, description=__doc__))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
