"""A logo, a caption or a clock burnt into every picture of a clip.

It stays where it is, edges and all, while everything behind it moves. Edges that merely slide along
themselves do not turn corners; what is plain stays alike anywhere, but has no edges.

Legend: V views, H W image.
"""

from __future__ import annotations

import cv2
import numpy as np

_FEWEST, _FEWEST_OF_LETTERS = 4, 6  # views
_MOVES = 0.03  # median change of brightness from view to view below which the camera stands still
_NOISE = 0.008  # standard deviation over the views that compression makes ...
_PLACE = 0.05  # ... and pixels that an edge may seem to move by
_EDGE = 0.05  # change of brightness a pixel that is an edge
_STAYS = 0.95  # share of the edges' energy, over the views, that is in their mean
_CORNER = 0.2  # of the stronger direction of the edges around, the weaker one
_AMID = 0.03  # of the long side: what is around a letter ...
_BUSY = 0.06  # ... changes by this
_STILL = 0.012  # ... and it by less
_OTHER = 0.15  # brightness by which it differs from what is around, on average
_STROKE, _LETTERS = 5, 3  # pixels, and parts of them that make a word
_CORNERS = 0.2  # of a logo's edges, those where they turn
_BESIDE = 0.04  # change of brightness beside one
_GAP = 0.02  # of the long side: parts that are so near are one
_LEAST = 0.0008  # share of the picture
_MOST = 0.1
_EDGES = 0.06  # share of a part that must be edges that stay
_BEYOND = 1.0  # of its height a part reaches beyond what stays: a clock's last digits do not


def burnt_in(frames: np.ndarray, rim: np.ndarray | None = None) -> np.ndarray | None:
    """Mask [H, W] of what is burnt into frames [V, H, W, 3] (0..1) of a moving camera, or None.

    rim: bool [H, W], what is empty anyway (``tracking.depth.rim``).
    """
    views, height, width = frames.shape[:3]
    if views < _FEWEST:
        return None
    gray = frames.mean(-1)
    spread = gray.std(0)
    if float(np.median(spread)) < _MOVES:
        return None
    along = np.stack([_slopes(image) for image in gray])  # [V, H, W, 2]
    mean = along.mean(0)
    strength = (mean**2).sum(-1)
    stays = strength > _STAYS * (along**2).sum(-1).mean(0)
    slope = np.sqrt(strength)
    edge = stays & (slope > _EDGE) & (spread < _NOISE + _PLACE * slope)
    if rim is not None:
        edge &= cv2.dilate(rim.astype(np.uint8), np.ones((7, 7), np.uint8)) == 0
    strokes = _strokes(gray.mean(0), spread, rim)
    if views < _FEWEST_OF_LETTERS:
        strokes[:] = False
    if (edge | strokes).mean() < _LEAST * _EDGES:
        return None
    corner = edge & _turns(np.where(edge[..., None], mean, 0.0), max(7, round(0.02 * width) | 1))
    _, letter = cv2.connectedComponents(strokes.astype(np.uint8), connectivity=8)
    edge |= strokes
    reach = np.ones((max(3, round(_GAP * max(height, width)) | 1),) * 2, np.uint8)
    grain, ring = (np.ones((2 * n + 1,) * 2, np.uint8) for n in (2, 2 + max(3, len(reach))))
    near = cv2.morphologyEx(edge.astype(np.uint8), cv2.MORPH_CLOSE, reach)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(near, connectivity=8)
    out, share = np.zeros((height, width), bool), 0.0
    for k in range(1, count):
        if not _LEAST < stats[k, cv2.CC_STAT_AREA] / near.size < _MOST:
            continue
        part = labels == k
        written = len(np.unique(letter[part & strokes])) >= _LETTERS
        turning = (corner & part).sum() > _CORNERS * (edge & part).sum()
        if not (written or turning) or edge[part].mean() < _EDGES:
            continue
        x, y, w, h = stats[k, :4]
        beside = cv2.dilate(part.astype(np.uint8), ring) > cv2.dilate(part.astype(np.uint8), grain)
        if np.median(spread[beside]) < _BESIDE:  # what the camera goes around hardly moves either
            continue
        share += float(part.mean())
        more = round(_BEYOND * h)
        out[max(0, y - 2) : y + h + 2, max(0, x - more) : x + w + more] = True
    return out if 0 < share < _MOST else None  # more is a backdrop


def _strokes(mean: np.ndarray, spread: np.ndarray, rim: np.ndarray | None) -> np.ndarray:
    """Small parts [H, W] that never change amid what always does: letters without a ground.

    mean, spread: of the brightness over the views.
    """
    side = 2 * max(3, round(_AMID * max(spread.shape))) + 1
    around = cv2.medianBlur((np.minimum(spread, 0.5) * 510).astype(np.uint8), side) / 510
    other = np.abs(mean - cv2.blur(mean, (side, side))) > _OTHER
    still = (spread < _STILL) & (around > _BUSY) & other
    if rim is not None:
        still &= ~rim
    _, labels, stats, _ = cv2.connectedComponentsWithStats(still.astype(np.uint8), connectivity=8)
    large = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] >= _STROKE)
    return np.isin(labels, large[large > 0])


def _slopes(image: np.ndarray) -> np.ndarray:
    """Change of brightness a pixel along x and y [H, W, 2]."""
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 0.7)
    return np.stack([cv2.Sobel(smooth, cv2.CV_32F, *d, scale=1 / 8) for d in ((1, 0), (0, 1))], -1)


def _turns(slopes: np.ndarray, side: int) -> np.ndarray:
    """Where edges around a pixel run in more than one direction [H, W]."""
    x, y = slopes[..., 0], slopes[..., 1]
    xx, yy, xy = (cv2.blur(a, (side, side)) for a in (x * x, y * y, x * y))
    half, apart = (xx + yy) / 2, np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    return (half - apart) > _CORNER * np.maximum(half + apart, 1e-9)
