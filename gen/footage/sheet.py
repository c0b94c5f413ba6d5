"""A contact sheet of what was understood: views down, times across, with their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fourreal.atomic import atomic_file
from fourreal.video_decode import resized
from fourreal.video_io import write_image

WIDEST = 192  # of a cell, pixels
GAP, LINE, MARGIN = 4, 18, 74
UNKNOWN, PAPER, INK = 205, 255, 40


def some(count: int, limit: int) -> NDArray[np.intp]:
    """Evenly spaced indices below ``count``, first and last among them."""
    return np.unique(np.round(np.linspace(0, count - 1, min(count, limit))).astype(np.intp))


def cell_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) of a cell on the sheet."""
    scale = min(1.0, WIDEST / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def contact_sheet(
    frames_VTHW3: NDArray[np.uint8],
    known_VT: NDArray[np.bool_],
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
) -> NDArray[np.uint8]:
    """All cells with a name before every row and above every column; unknown ones are hatched."""
    V, T, H, W, _ = frames_VTHW3.shape
    height = 2 * LINE + V * (H + GAP)
    width = max(MARGIN + T * (W + GAP), 360)
    sheet = np.full((height, width, 3), PAPER, np.uint8)
    _write(sheet, title, 4, LINE - 5, width)
    for t, name in enumerate(columns):
        _write(sheet, name, MARGIN + t * (W + GAP), 2 * LINE - 5, W)
    for v, name in enumerate(rows):
        top = 2 * LINE + v * (H + GAP)
        _write(sheet, name, 4, top + 14, MARGIN - 6)
        for t in range(T):
            left = MARGIN + t * (W + GAP)
            cell = frames_VTHW3[v, t] if known_VT[v, t] else _hatched(H, W)
            sheet[top : top + H, left : left + W] = cell
    return sheet


def save_sheet(sheet: NDArray[np.uint8], path: Path) -> Path:
    """Write a sheet as .png or .jpg, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        write_image(temporary, sheet)
    return path


def shrink(frames: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Frames [..., H, W, 3] at a size."""
    flat = frames.reshape(-1, *frames.shape[-3:])
    out = np.stack([resized(f, height, width) for f in flat])
    return out.reshape(*frames.shape[:-3], height, width, 3)


def _hatched(height: int, width: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[0:height, 0:width]
    return np.where(((x + y) % 12 < 2)[..., None], UNKNOWN - 40, UNKNOWN).astype(np.uint8)


def _write(sheet: NDArray[np.uint8], text: str, x: int, y: int, room: int) -> None:
    fits = max(1, int(room / 6.2))
    shown = text if len(text) <= fits else text[: fits - 1] + "."
    ascii_ = shown.encode("ascii", "replace").decode()
    cv2.putText(
        sheet, ascii_, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (INK, INK, INK), 1, cv2.LINE_AA
    )
