"""Pictures of whole grids side by side, each with a line of text above it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fourreal.atomic import atomic_file
from fourreal.video_io import to_uint8, write_image

LINE = 22  # height of a text line, pixels
GAP = 8


def grid_picture(frames_VTHWC: NDArray, least_width: int = 96) -> NDArray[np.uint8]:
    """All cells of a grid in 0..1, views down and times across, enlarged by a whole factor until a
    cell is `least_width` pixels wide."""
    v, t, h, w, _ = frames_VTHWC.shape
    factor = max(1, -(-least_width // w))
    picture = to_uint8(frames_VTHWC).transpose(0, 2, 1, 3, 4).reshape(v * h, t * w, 3)
    return picture.repeat(factor, 0).repeat(factor, 1)


def _labelled(text: str, picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    out = np.full((height + LINE + GAP, width + GAP, 3), 255, np.uint8)
    out[LINE : LINE + picture.shape[0], : picture.shape[1]] = picture
    scale = 0.5
    (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    scale = min(scale, scale * width / max(wide, 1))
    where = (2, LINE - 7)
    cv2.putText(out, text, where, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return out


def save_contact_sheet(
    path: Path, pictures: Sequence[tuple[str, NDArray[np.uint8]]], columns: int = 2
) -> None:
    """Write labelled pictures [H, W, 3] row by row as one PNG, atomically."""
    height = max(p.shape[0] for _, p in pictures)
    width = max(p.shape[1] for _, p in pictures)
    tiles = [_labelled(text, p, height, width) for text, p in pictures]
    columns = min(columns, len(tiles))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles), columns)]
    with atomic_file(path) as temporary:
        write_image(temporary, np.concatenate(rows))
