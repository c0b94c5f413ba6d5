"""One picture a clip: what the tracker saw, found and missed, in the canonical view."""

from __future__ import annotations

import cv2
import numpy as np

from scripts.evaluate.tracking_clips import Clip
from tracking.column import ColumnTracks


def coloured(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """[H, W] -> BGR uint8."""
    share = np.clip((np.nan_to_num(value) - low) / max(high - low, 1e-9), 0, 1)
    return cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_TURBO)


def trails(clip: Clip, column: ColumnTracks) -> np.ndarray:
    """The canonical frame with the paths of a coarse grid of tracks, BGR uint8."""
    c = column.central
    picture = np.ascontiguousarray((clip.frames[c][..., ::-1] * 160 + 60).astype(np.uint8))
    height, width = column.tracks.size
    number = np.full((height, width), -1)
    x, y = np.floor(column.tracks.query_uv).astype(int).T
    number[y, x] = np.arange(column.tracks.points)
    for y in range(8, height, max(8, height // 14)):
        for x in range(8, width, max(8, width // 24)):
            near = number[y : y + 8, x : x + 8]
            n = near[near >= 0].min(initial=column.tracks.points)
            if n == column.tracks.points:
                continue
            path = column.tracks.uv[:, n][column.tracks.visible[:, n]]
            hue = np.array([[[180 * x // width, 255, 255]]], np.uint8)
            colour = tuple(int(v) for v in cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0])
            cv2.polylines(picture, [np.rint(path).astype(np.int32)], False, colour, 1)
    return picture


def picture(clip: Clip, column: ColumnTracks, error: np.ndarray | None, scale: float) -> np.ndarray:
    """Frame, true depth, depth, error (0..10 %), confidence and trails, side by side, BGR uint8."""
    c = column.central
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
