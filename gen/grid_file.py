"""Files of a grid: a folder of images, an npz or a tiled mp4, read into the fields of a VideoGrid.

Formats: docs/FORMATS.md. ``gen.grid.VideoGrid`` writes them and checks what is read here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fourreal import video_io
from fourreal.errors import UserError
from fourreal.natural_order import natural_key
from fourreal.npz_file import read_npz
from fourreal.read_text import parse_json, read_json
from fourreal.video_facts import probe
from gen.frame_files import frame_files

MARKER = "grid.json"
FINE = "fine"
VERSION = 1
MAX_CELLS = 4096
OVERSHOOT = 0.5  # of floats in 0..1, as filters and renderers leave it; it is clipped


def read_grid_fields(path: str | Path, tiles: tuple[int, int] | None = None) -> dict[str, Any]:
    """The fields of a VideoGrid that a grid folder, an ``.npz`` or a tiled ``.mp4`` holds.

    Args:
        path: what a VideoGrid wrote; also a folder of ``v00/t000.png`` images without
            ``grid.json``, and any npz with ``rgb`` or ``frames`` as [V, T, H, W, 3].
        tiles: (rows, columns) of a tiled mp4 that does not say so itself.

    Raises:
        UserError: nothing there.
        ValueError, TypeError, OverflowError: not a readable grid.
    """
    p = Path(path)
    if not p.exists():
        raise UserError(f"no such grid: {p}; give a folder, an .npz or a tiled .mp4")
    if p.is_dir():
        return _read_folder(p)
    if p.suffix.lower() == ".npz":
        return _read_npz(p)
    return _read_tiled(p, tiles)


def tile_layout(count: int) -> tuple[int, int]:
    """(rows, columns) of a near-square arrangement of ``count`` tiles."""
    columns = int(np.ceil(np.sqrt(count)))
    return int(np.ceil(count / columns)), columns


def _check_cells(V: int, T: int) -> None:
    if V * T > MAX_CELLS:
        raise ValueError(f"{V} views x {T} times is more than {MAX_CELLS} cells; pick fewer")


def _check_bytes(V: int, T: int, H: int, W: int) -> None:
    """Refuse what would not fit in memory as float32 frames."""
    if V * T * H * W * 12 > video_io.MAX_CLIP_BYTES:
        raise ValueError(
            f"{V} x {T} frames of {H}x{W} take more than {video_io.MAX_CLIP_BYTES >> 30} GB; make "
            "it of fewer or smaller frames"
        )


def _read_folder(folder: Path) -> dict[str, Any]:
    marker = folder / MARKER
    if not marker.exists() and (folder / "grid" / MARKER).exists():
        folder, marker = folder / "grid", folder / "grid" / MARKER
    meta: dict[str, Any] = {}
    if marker.exists():
        try:
            meta = read_json(marker)
        except ValueError as error:
            raise ValueError(f"{MARKER} is {error}") from error
        if meta.get("version", VERSION) != VERSION:
            raise ValueError(f"{MARKER} has an unknown version; expected {VERSION}")
    folders = (d for d in folder.glob("v[0-9]*") if d.is_dir())
    views = sorted(folders, key=lambda d: natural_key(d.name))
    if not views:
        raise ValueError("no v00/, v01/, … folders with t000.png, t001.png, … inside")
    if "known" in meta:
        known = np.asarray(meta["known"], bool)
        if known.ndim != 2 or known.shape[0] != len(views):
            raise ValueError(f"{MARKER} lists {known.shape} known cells for {len(views)} views")
    else:
        counts = [sum(1 for _ in d.glob("t*.png")) for d in views]
        known = np.zeros((len(views), max(counts)), bool)
        for v, d in enumerate(views):
            for t in range(known.shape[1]):
                known[v, t] = (d / f"t{t:03d}.png").exists()
    _check_cells(*known.shape)
    unread = frame_files(views, known)
    frames = _read_all(views, known) if unread is None else cast(NDArray[np.float32], unread)
    fine = None
    if (folder / FINE).is_dir():
        files = [folder / FINE / f"{d.name}.jpg" for d in views]
        fine = np.stack([video_io.to_uint8(video_io.read_image(file)) for file in files])
    return {"frames": frames, "known": known, "fine": fine, **_optional(meta)}


def _read_all(views: list[Path], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The images of a folder, read at once. Raises ValueError."""
    frames: NDArray[np.float32] | None = None
    for v, d in enumerate(views):
        for t in np.flatnonzero(known[v]).tolist():
            image = video_io.read_image(d / f"t{t:03d}.png")
            if frames is None:
                _check_bytes(*known.shape, *image.shape[:2])
                frames = np.zeros((*known.shape, *image.shape), np.float32)
            if image.shape != frames.shape[2:]:
                raise ValueError(f"{d.name}/t{t:03d}.png differs in size from the first image")
            frames[v, t] = image
    if frames is None:
        raise ValueError("it holds no images")
    return frames


def _read_npz(path: Path) -> dict[str, Any]:
    data = read_npz(path)
    key = next((k for k in ("rgb", "frames") if k in data), None)
    if key is None:
        raise ValueError("the npz has neither 'rgb' nor 'frames'")
    frames = data[key]
    if frames.ndim != 5:
        raise ValueError(f"'{key}' must be [V, T, H, W, 3], got {list(frames.shape)}")
    _check_cells(*frames.shape[:2])
    _check_bytes(*frames.shape[:4])
    if frames.dtype != np.uint8 and not np.issubdtype(frames.dtype, np.floating):
        raise ValueError(f"'{key}' must be uint8 or float, got {frames.dtype}")
    if frames.dtype != np.uint8 and frames.size:
        low, high = (float(f.reduce(frames, axis=None)) for f in (np.fmin, np.fmax))
        if low < -OVERSHOOT or high > 1 + OVERSHOOT:
            raise ValueError(
                f"'{key}' holds values from {low:.3g} to {high:.3g}: floats are in 0..1 (write "
                "0..255 as uint8)"
            )
    return {"frames": frames, "known": data.get("known"), **_optional(data)}


def _read_tiled(path: Path, tiles: tuple[int, int] | None) -> dict[str, Any]:
    views = None
    if tiles is None:
        comment = probe(path).comment
        try:
            layout = parse_json(comment)
            rows, columns = (int(n) for n in layout["fourreal_tiles"])
            views = int(layout["views"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                "a tiled mp4 of unknown layout; say it with --tiles ROWSxCOLUMNS"
            ) from None
    else:
        rows, columns = tiles
    clip, fps, _ = video_io.read_video(path)
    T, height, width = clip.shape[:3]
    if rows < 1 or columns < 1 or height // rows < 8 or width // columns < 8:
        raise ValueError(f"{rows}x{columns} tiles do not fit frames of {height}x{width}")
    H, W = height // rows, width // columns
    if tiles is None and layout.get("height", H) <= H and layout.get("width", W) <= W:
        H, W = int(layout.get("height", H)), int(layout.get("width", W))
    count = views or rows * columns
    _check_cells(count, T)
    frames = np.stack(
        [
            clip[:, r * H : (r + 1) * H, c * W : (c + 1) * W]
            for r, c in (divmod(v, columns) for v in range(count))
        ]
    )
    return {"frames": frames, "fps": fps}


def _optional(meta: dict[str, Any]) -> dict[str, Any]:
    """The optional fields of a VideoGrid from JSON or npz values."""
    out: dict[str, Any] = {}
    for name in ("times", "K", "w2c"):
        if meta.get(name) is not None:
            out[name] = np.asarray(meta[name], np.float64)
    if meta.get("fps") is not None:
        out["fps"] = float(meta["fps"])
    if meta.get("prompt") is not None:
        out["prompt"] = str(meta["prompt"])
    if meta.get("shared") is not None:
        view, time = np.asarray(meta["shared"], int).tolist()
        out["shared"] = (view, time)
    return out
