"""Does depth hold between views? Every view drawn from what its neighbours show and how far it is.

Each neighbour's depth may explain its own picture and still be wrong; then what it shows lands in
other places than where the next view sees it.

Legend: V views, H W image; z depth in the view's own camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fourreal.cameras import relative_pose
from tracking.depth.consistency import apart_deg, reproject

_LONG_SIDE = 192
_NEIGHBOURS = 2
_LEAST = 0.2  # share of a picture that must be drawn to be compared
_OFF = 0.1  # difference to all colours around a pixel that is another colour


@dataclass
class Redrawn:
    """Share of what neighbours draw of a view that is not what it shows there (mean of the views),
    and degrees between neighbours as the scene sees them (median)."""

    off: float
    apart_deg: float


def redrawn(
    frames: np.ndarray,
    depth: np.ndarray,
    K: np.ndarray,
    w2c: np.ndarray,
    left_out: np.ndarray | None = None,
    dropped: Sequence[int] = (),
) -> Redrawn | None:
    """How well neighbours draw each other; None where no two views share enough.

    frames [V, H, W, 3] in alike colours, 0..1; depth [V, H, W]; K [V, 3, 3]; w2c [V, 4, 4];
    left_out [V, H, W]: pixels of no part of the scene; dropped: views whose camera is a guess.
    """
    height, width = depth.shape[1:]
    factor = min(1.0, _LONG_SIDE / max(height, width))
    size = round(width * factor), round(height * factor)
    views = [v for v in range(len(frames)) if v not in dropped]
    small = {v: cv2.resize(frames[v], size, interpolation=cv2.INTER_AREA) for v in views}
    z = {v: cv2.resize(depth[v], size, interpolation=cv2.INTER_NEAREST) for v in views}
    part = {v: np.ones(size[::-1], bool) for v in views}
    if left_out is not None:
        part = {v: cv2.resize(left_out[v].astype(np.float32), size) < 0.5 for v in views}
    lens = K * np.array([size[0] / width, size[1] / height, 1.0])[:, None]
    wrong, angles = [], []
    grain = np.ones((3, 3), np.uint8)  # an edge that is off by a pixel says nothing
    for v in views:
        near = sorted((u for u in views if u != v), key=lambda u: abs(u - v))[:_NEIGHBOURS]
        if not near:
            continue
        best = np.full(size[::-1], np.inf, np.float32)
        picture = np.zeros((*size[::-1], 3), np.float32)
        for u in near:
            move = relative_pose(w2c[u], w2c[v])
            uv, there = reproject((1.0 / z[u]).astype(np.float32), lens[u], lens[v], move)
            _draw(uv, 1.0 / np.maximum(there, 1e-9), small[u], part[u], best, picture)
        seen = np.isfinite(best) & part[v]
        if seen.mean() < _LEAST:
            continue
        low, high = cv2.erode(small[v], grain), cv2.dilate(small[v], grain)
        off = np.maximum(low - picture, picture - high).max(-1)
        wrong.append(float((off[seen] > _OFF).mean()))
        angles.append(apart_deg(w2c[v], w2c[near[0]], float(np.median(z[v]))))
    return Redrawn(float(np.mean(wrong)), float(np.median(angles))) if wrong else None


def _draw(
    uv: np.ndarray,
    z: np.ndarray,
    colours: np.ndarray,
    use: np.ndarray,
    best: np.ndarray,
    picture: np.ndarray,
) -> None:
    """Pixels of colours [h, w, 3] at uv [h, w, 2] and z, on 2 x 2 pixels each; the nearest stays.

    best [h, w], picture [h, w, 3] are changed in place.
    """
    h, w = best.shape
    corner = np.floor(uv - 0.5).astype(int)[use]
    depth, colour = z[use], colours[use]
    order = np.argsort(-depth, kind="stable")  # what is written last is the nearest
    corner, depth, colour = corner[order], depth[order], colour[order]
    mine = np.full((h, w), np.inf, np.float32)
    own = np.zeros_like(picture)
    for dy in (0, 1):
        for dx in (0, 1):
            x, y = corner[:, 0] + dx, corner[:, 1] + dy
            inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
            layer, shade = np.full((h, w), np.inf, np.float32), np.zeros_like(picture)
            layer[y[inside], x[inside]] = depth[inside]
            shade[y[inside], x[inside]] = colour[inside]
            nearer = layer < mine
            mine[nearer], own[nearer] = layer[nearer], shade[nearer]
    nearer = mine < best
    best[nearer], picture[nearer] = mine[nearer], own[nearer]
