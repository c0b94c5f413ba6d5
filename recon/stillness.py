"""Which points stand still, from the colours that still cameras see at them over time.

Legend: N points, V views, T times. What is known to be still is never moved by the fit, so that
nothing that passes by drags it along.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gen.cameras import project, transform

FloatArray = NDArray[np.floating]


def stillness(
    points_N3: FloatArray,
    frames_VTHW3: FloatArray,
    known_VT: NDArray[np.bool_],
    depth_VHW: FloatArray,
    K: FloatArray,
    w2c: FloatArray,
    canonical: int = 0,
    tolerance: float = 0.04,
) -> NDArray[np.bool_]:
    """Points [N] that stand still: some still camera sees their surroundings never change.

    One view is enough, because a thing that passes in front changes the others; surroundings of
    7 x 7 pixels, because the inside of a plain moving thing need not change.
    """
    V, _, H, W, _ = frames_VTHW3.shape
    still = np.zeros(len(points_N3), bool)
    for v in range(V):
        times = [t for t in np.flatnonzero(known_VT[v]) if t != canonical]
        if not times or not known_VT[v, canonical]:
            continue
        first = cv2.GaussianBlur(frames_VTHW3[v, canonical], (0, 0), 0.8)
        change = np.zeros((H, W), np.float32)
        for t in times:
            blurred = cv2.GaussianBlur(frames_VTHW3[v, t], (0, 0), 0.8)
            change = np.maximum(change, np.abs(blurred - first).max(-1))
        limit = 0.03 + 2 * float(np.percentile(change, 20))  # flicker of the clip itself
        calm = cv2.dilate(change, np.ones((7, 7), np.uint8)) < min(limit, 0.1)
        pixel, seen = _seen_pixels(points_N3, depth_VHW[v], K[v], w2c[v], tolerance)[1:]
        still |= seen & calm.reshape(-1)[pixel]
    return still


def grow_still(
    still_N: NDArray[np.bool_],
    points_N3: FloatArray,
    frames_VTHW3: FloatArray,
    known_VT: NDArray[np.bool_],
    depth_VHW: FloatArray,
    K: FloatArray,
    w2c: FloatArray,
    canonical: int = 0,
    tolerance: float = 0.04,
    rounds: int = 60,
) -> NDArray[np.bool_]:
    """``still_N`` grown along surfaces, through points that nothing shows to move.

    A point may be still when the pixel it is seen at keeps its colour, up to brightness (shadows
    pass), in at least a third of the views at every time (the others may be covered). The inside
    of a plain moving thing may be still in this sense too, but no still surface touches it.
    """
    V, T, H, W, _ = frames_VTHW3.shape
    n = len(points_N3)
    doubt = np.zeros(n)
    smooth = {
        (v, t): cv2.GaussianBlur(frames_VTHW3[v, t], (0, 0), 0.8).reshape(-1, 3) + 0.02
        for v in range(V)
        for t in range(T)
        if known_VT[v, t]
    }
    sight = [_seen_pixels(points_N3, depth_VHW[v], K[v], w2c[v], tolerance)[1:] for v in range(V)]
    for t in range(T):
        if t == canonical:
            continue
        change = np.full((V, n), np.nan)
        for v in range(V):
            if (v, t) in smooth:
                pixel, seen = sight[v]
                before, after = smooth[v, canonical][pixel], smooth[v, t][pixel]
                gain = after.sum(-1) / before.sum(-1)
                shaded = before * np.clip(gain, 0.4, 1.8)[:, None]
                change[v] = np.where(seen, np.abs(after - shaded).max(-1), np.nan)
        doubt = np.maximum(doubt, np.nan_to_num(_lower_third(change)))
    possible = doubt < 0.05
    centre = transform(w2c[len(w2c) // 2], points_N3)[:, 2]
    spacing = np.abs(centre) / K[0, 0, 0]
    distance, near = cKDTree(points_N3).query(points_N3, k=min(9, n), workers=1)
    linked = distance < 3.0 * spacing[:, None]
    out = still_N.copy()
    for _ in range(rounds):
        votes = (out[near] & linked)[:, 1:].sum(1)
        fresh = ~out & possible & (votes >= 3)
        if not fresh.any():
            break
        out |= fresh
    return out


def _lower_third(values_VN: FloatArray) -> FloatArray:
    """The value at a third of the sorted finite ones of every column; NaN where there is none."""
    ordered = np.sort(values_VN, axis=0)  # NaN last
    count = np.isfinite(values_VN).sum(0)
    place = np.maximum((count - 1) // 3, 0)
    return np.take_along_axis(ordered, place[None], 0)[0]


def _seen_pixels(
    points_N3: FloatArray, depth_HW: FloatArray, K: FloatArray, w2c: FloatArray, tolerance: float
) -> tuple[FloatArray, NDArray[np.int64], NDArray[np.bool_]]:
    """Projection [N, 2], pixel index (0 outside) and whether the view's surface is the point's."""
    H, W = depth_HW.shape
    uv, z = project(transform(w2c, points_N3), K)
    x, y = np.floor(np.nan_to_num(uv, nan=-1.0)).astype(np.int64).T
    inside = (z > 0) & (x >= 0) & (x < W) & (y >= 0) & (y < H)
    pixel = np.where(inside, y * W + x, 0)
    surface = depth_HW.reshape(-1)[pixel]
    with np.errstate(invalid="ignore"):
        seen = inside & (np.abs(z - surface) < tolerance * surface)
    return uv, pixel, seen
