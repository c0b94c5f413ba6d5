"""ColumnTracks as one .npz file (``tracks.npz`` of a run), without pickle."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fourreal.errors import UserError
from fourreal.npz_file import read_npz
from tracking.column import ColumnTracks
from tracking.tracks import Tracks

_MASKS = ("backdrop", "moving", "past")


def save_column(column: ColumnTracks, path: str | Path, frames: np.ndarray | None = None) -> None:
    """Write tracks, dense depth and notes atomically; ``frames`` [V, H, W, 3] go along as video."""
    extra = {
        "depth_confidence": column.depth_confidence.astype(np.float32),
        "parallax": np.array(column.parallax),
        "dropped": np.array(column.dropped, np.int64),
        "notes": np.array(column.notes, dtype=np.str_),
    }
    if column.colours is not None:
        extra["colours"] = column.colours.astype(np.float64)
    for name in _MASKS:
        if (mask := getattr(column, name)) is not None:
            extra[name] = mask
    column.tracks.save(path, frames, column.depth, extra)


def load_column(path: str | Path) -> ColumnTracks:
    """Read what ``save_column`` wrote.

    Raises:
        UserError: unreadable, or only tracks without dense depth.
    """
    try:
        data = read_npz(path, leave_out=("video",))
        tracks = Tracks.from_fields(data, path)
        for name in ("depths", "depth_confidence", "parallax", "dropped", "notes"):
            if name not in data:
                raise UserError(f"{path}: '{name}' is missing; redo the stage with --force tracks")
        shape = (tracks.frames, *tracks.size)
        for name in ("depths", "depth_confidence"):
            if data[name].shape != shape or not np.isfinite(data[name]).all():
                raise ValueError(f"{name} must be finite and {shape}, got {data[name].shape}")
        colours = data.get("colours")
        if colours is not None and (
            colours.shape != (tracks.frames, 3, 2) or not np.isfinite(colours).all()
        ):
            raise ValueError(f"colours must be finite and {(tracks.frames, 3, 2)}")
        masks = {name: data.get(name) for name in _MASKS}
        for name, mask in masks.items():
            if mask is not None and (mask.shape != shape or mask.dtype != bool):
                raise ValueError(f"{name} must be bool and {shape}")
        return ColumnTracks(
            tracks,
            data["depths"],
            data["depth_confidence"],
            tracks.K,
            tracks.w2c,
            tracks.central,
            parallax=bool(data["parallax"]),
            dropped=[int(v) for v in data["dropped"]],
            notes=[str(n) for n in data["notes"]],
            colours=colours,
            **masks,
        )
    except (ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
        raise UserError(
            f"{path}: not a readable .npz of tracks ({error}); redo the stage with --force tracks"
        ) from error
