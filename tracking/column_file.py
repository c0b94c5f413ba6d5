"""ColumnTracks as one .npz file (``tracks.npz`` of a run), without pickle."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gen.errors import UserError
from tracking.column import ColumnTracks
from tracking.tracks import Tracks


def save_column(column: ColumnTracks, path: str | Path, frames: np.ndarray | None = None) -> None:
    """Write tracks, dense depth and notes atomically; ``frames`` [V, H, W, 3] go along as video."""
    extra = {
        "depth_confidence": column.depth_confidence.astype(np.float32),
        "parallax": np.array(column.parallax),
        "dropped": np.array(column.dropped, np.int64),
        "notes": np.array(column.notes, dtype=np.str_),
    }
    column.tracks.save(path, frames, column.depth, extra)


def load_column(path: str | Path) -> ColumnTracks:
    """Read what ``save_column`` wrote.

    Raises:
        UserError: unreadable, or only tracks without dense depth.
    """
    tracks = Tracks.load(path)
    with np.load(path, allow_pickle=False) as data:
        for name in ("depths", "depth_confidence", "parallax", "dropped", "notes"):
            if name not in data.files:
                raise UserError(f"{path}: '{name}' is missing; redo the stage with --force tracks")
        return ColumnTracks(
            tracks,
            data["depths"],
            data["depth_confidence"],
            tracks.K,
            tracks.w2c,
            tracks.canonical,
            parallax=bool(data["parallax"]),
            dropped=[int(v) for v in data["dropped"]],
            notes=[str(n) for n in data["notes"]],
        )
