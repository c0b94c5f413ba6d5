"""What was understood of a clip, a grid or a data set: lines for the user, and a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourreal.errors import UserError
from fourreal.video_io import to_uint8
from gen.footage.column import Column, open_column
from gen.footage.detect import is_known, is_marker, read_source
from gen.footage.footage import Footage
from gen.footage.photo_folder import find_photos
from gen.footage.selection import default_size
from gen.footage.sheet import cell_size, contact_sheet, shrink, some
from gen.footage.sync import find_offsets
from gen.grid import VideoGrid

VIEWS, TIMES, FRAMES = 8, 8, 24  # shown on a sheet


@dataclass(frozen=True)
class Report:
    """Lines for the user, and the sheet uint8 [H, W, 3]."""

    lines: list[str]
    sheet: NDArray[np.uint8]


def inspect_footage(path: Path, tiles: tuple[int, int] | None = None, cameras: str = "") -> Report:
    """Look into a grid, a data set or a clip; ``cameras`` as in ``read_source``.

    Raises:
        UserError: nothing there that is known, or it is damaged or cannot make a grid.
    """
    if path.is_file() and not tiles and path.suffix.lower() != ".npz" and not is_marker(path):
        try:
            return _grid(path, read_source(path, tiles))
        except UserError as error:
            if "unknown layout" not in str(error):
                raise
            return _clip(path, cameras)
    if path.is_dir() and not cameras and not is_known(path) and find_photos(path) is not None:
        return _photos(path)
    return _grid(path, read_source(path, tiles, cameras))


def _grid(path: Path, source: VideoGrid | Footage) -> Report:
    if isinstance(source, Footage):
        return _footage(path, source)
    known = np.asarray(source.known)
    cameras = "given" if source.w2c is not None else "unknown (they will be estimated)"
    line = (
        f"{path}: grid of {source.V} views x {source.T} times, {source.height}x{source.width}, "
        f"{source.fps:.4g} fps, {int(known.sum())} of {known.size} cells known, cameras {cameras}"
    )
    views, times = some(source.V, VIEWS), some(source.T, TIMES)
    cells = shrink(
        to_uint8(source.frames[np.ix_(views, times)]), *cell_size(source.height, source.width)
    )
    names = [f"view {v}" for v in views]
    sheet = _sheet(cells, known[np.ix_(views, times)], names, [f"time {t}" for t in times], line)
    return Report([line], sheet)


def _footage(path: Path, source: Footage) -> Report:
    try:
        lines = [f"{path}: {source.describe()[0]}", *(f"  {x}" for x in source.describe()[1:])]
        lines += [f"  {x}; `grid --sync on` evens that out" for x in find_offsets(source).lines()]
        views, times = source.usable()
        height, width = source.size
        V, T = source.known.shape
        if (len(views), len(times)) != (V, T):
            lines.append(f"  complete enough for a grid: {len(views)} views x {len(times)} times")
        work = default_size(height, width)
        lines.append(f"  `grid` works at {work[0]}x{work[1]} unless --size says otherwise")
        shown_v, shown_t = views[some(len(views), VIEWS)], times[some(len(times), TIMES)]
        known = source.known[np.ix_(shown_v, shown_t)]
        size = cell_size(height, width)
        cells = np.stack(
            [source.views[v].read(shown_t.tolist(), *size, source.lenses[v]) for v in shown_v]
        )
    except ValueError as error:
        raise UserError(f"{path} ({source.kind}) makes no grid: {error}") from error
    names = [source.views[v].name for v in shown_v]
    stamps = [f"{source.seconds[t]:.2f} s" for t in shown_t]
    return Report(lines, _sheet(cells, known, names, stamps, lines[0]))


def _photos(path: Path) -> Report:
    """A folder of photos without cameras: a clip."""
    column = open_column(str(path), "", "clip")
    height, width = column.size
    line = f"{path}: clip of {column.count} photos, {height}x{width}, cameras not given"
    lines = [line, *(f"  {x}" for x in column.lines[1:])]
    lines.append(f"  a still scene is made of them by `videos --freeze-time {path}`")
    return Report(lines, _strip(column, line))


def _clip(path: Path, cameras: str) -> Report:
    column = open_column(str(path), cameras, "clip")
    height, width = column.size
    count, fps = column.count, column.fps
    line = f"{path}: clip of {count} frames, {height}x{width}, {fps:.4g} fps, {count / fps:.1f} s"
    return Report([line, *(f"  {x}" for x in column.lines)], _strip(column, line))


def _strip(column: Column, line: str) -> NDArray[np.uint8]:
    """A contact sheet of frames of a clip."""
    index = some(column.count, FRAMES)
    size = cell_size(*column.size)
    frames = column.read(index, size)
    across = 6
    rows = -(-len(index) // across)
    cells = np.zeros((rows * across, *frames.shape[1:]), np.uint8)
    cells[: len(frames)] = frames
    known = np.arange(rows * across) < len(frames)
    names = [f"from {index[r * across]}" for r in range(rows)]
    return _sheet(
        cells.reshape(rows, across, *frames.shape[1:]),
        known.reshape(rows, across),
        names,
        [""] * across,
        line,
    )


def _sheet(
    cells: NDArray[np.uint8],
    known: NDArray[np.bool_],
    rows: Sequence[str],
    columns: Sequence[str],
    line: str,
) -> NDArray[np.uint8]:
    return contact_sheet(cells, known, rows, columns, line.split(": ", 1)[1])
