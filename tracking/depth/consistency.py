"""What the depth maps of several views say about each other: agreement, violations, fusion.

A pixel moved rigidly into another view may agree with that view's own depth, be hidden behind it,
or stand in front of a surface that the other view plainly sees: then it cannot be there.

Legend: V views, H W image; rho = 1/z in the view's own camera.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from fourreal.cameras import camera_centres, relative_pose
from fourreal.kernels import njit
from tracking.flow.optical import inside

WIDE_DEG = 13.0  # to its nearest view, from which on a view is far from all (`apart_deg`)


def reproject(
    rho: np.ndarray, K_from: np.ndarray, K_to: np.ndarray, move: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of one view moved rigidly into another: uv [H, W, 2] there and 1/z there [H, W]."""
    uv, there = np.empty((*rho.shape, 2), np.float32), np.empty(rho.shape, np.float32)
    parts = (rho, np.linalg.inv(K_from), move[:3], K_to)
    _reproject(*(np.ascontiguousarray(part, np.float64) for part in parts), uv, there)
    return uv, there


@njit(cache=True, nogil=True)
def _reproject(rho, back, move, lens, uv, there):
    """``reproject`` into uv [H, W, 2] and there [H, W]; back: K_from inverted; move [3, 4]."""
    ray, point = np.empty(3), np.empty(3)
    for y in range(len(rho)):
        for x in range(rho.shape[1]):
            for i in range(3):
                ray[i] = (x + 0.5) * back[i, 0] + (y + 0.5) * back[i, 1] + back[i, 2]
            for i in range(3):
                turned = ray[0] * move[i, 0] + ray[1] * move[i, 1] + ray[2] * move[i, 2]
                point[i] = turned + rho[y, x] * move[i, 3]
            z = max(point[2], 1e-6)
            for i in range(2):
                total = point[0] / z * lens[i, 0] + point[1] / z * lens[i, 1]
                uv[y, x, i] = total + point[2] / z * lens[i, 2]
            there[y, x] = rho[y, x] / z


def nearest(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """The pixel of image [h, w] that uv [H, W, 2] falls on; never a mixture across an edge."""
    return cv2.remap(
        image,
        np.ascontiguousarray(uv[..., 0] - 0.5, np.float32),
        np.ascontiguousarray(uv[..., 1] - 0.5, np.float32),
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_REPLICATE,
    )


def compare_views(
    rho: np.ndarray,
    rho_VHW: np.ndarray,
    view: int,
    others: Sequence[int],
    K: np.ndarray,
    w2c: np.ndarray,
    tolerance: float,
    trust_VHW: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(agreements, violations) float32 [H, W] of `view`'s rho [H, W] with the depth of `others`.

    Agreement: relative difference of 1/z below `tolerance`. Violation: the other view sees a
    surface at least 2.5 tolerances farther along that ray; weighted by its trust if given.
    """
    h, w = rho.shape
    agree = np.zeros((h, w), np.float32)
    violate = np.zeros((h, w), np.float32)
    for other in others:
        uv, there = reproject(rho, K[view], K[other], relative_pose(w2c[view], w2c[other]))
        on_image = inside(uv, h, w)
        seen = nearest(rho_VHW[other], uv)
        # the bilinear value too, so that a slanted surface does not fail for its slope in a pixel
        blended = cv2.remap(
            rho_VHW[other], uv[..., 0] - 0.5, uv[..., 1] - 0.5, cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        gap = np.minimum(np.abs(seen - there), np.abs(blended - there))
        agree += (gap < tolerance * there) & on_image
        weight = 1.0 if trust_VHW is None else nearest(trust_VHW[other], uv)
        through = np.maximum(seen, blended) < there * (1.0 - 2.5 * tolerance)
        violate += weight * (through & on_image)
    return agree, violate


def asked_views(
    rho: np.ndarray, view: int, others: Sequence[int], K: np.ndarray, w2c: np.ndarray
) -> np.ndarray:
    """Number, float32 [H, W], of `others` in whose picture a pixel of `view` (1/z [H, W]) falls."""
    h, w = rho.shape
    asked = np.zeros((h, w), np.float32)
    for other in others:
        uv, _ = reproject(rho, K[view], K[other], relative_pose(w2c[view], w2c[other]))
        asked += inside(uv, h, w)
    return asked


@njit(cache=True)
def _splat(uv, there, trust, best):
    """Nearest surface wins: best [h, w] keeps the largest 1/z of the 2x2 pixels around uv."""
    h, w = best.shape
    rows, columns = there.shape
    for y in range(rows):
        for x in range(columns):
            if trust[y, x] <= 0.3:
                continue
            u, v = uv[y, x, 0] - 0.5, uv[y, x, 1] - 0.5
            x0, y0 = int(np.floor(u)), int(np.floor(v))
            for dy in range(2):
                for dx in range(2):
                    px, py = x0 + dx, y0 + dy
                    if 0 <= px < w and 0 <= py < h and there[y, x] > best[py, px]:
                        best[py, px] = there[y, x]


def splat_from(
    view: int,
    others: Sequence[int],
    rho_VHW: np.ndarray,
    trust_VHW: np.ndarray,
    K: np.ndarray,
    w2c: np.ndarray,
) -> np.ndarray:
    """What the trusted pixels of `others` look like from `view`: 1/z [H, W], 0 where nothing."""
    best = np.zeros(rho_VHW.shape[1:], np.float32)
    for other in others:
        uv, there = reproject(
            rho_VHW[other], K[other], K[view], relative_pose(w2c[other], w2c[view])
        )
        _splat(uv, there, trust_VHW[other], best)
    return best


def apart_deg(a: np.ndarray, b: np.ndarray, distance: float) -> float:
    """Degrees between two cameras [4, 4] as a point in the middle of the first one's view at
    ``distance`` sees them, or by which they are turned, whichever is more."""
    point = a[:3, :3].T @ (np.array([0, 0, distance]) - a[:3, 3])
    p, q = (ray / np.linalg.norm(ray) for ray in (point - camera_centres(m) for m in (a, b)))
    turned = (np.trace(a[:3, :3] @ b[:3, :3].T) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(min(p @ q, turned), -1, 1))))


def is_far(
    view: int, others: Sequence[int], w2c: np.ndarray, distance: float, wide_deg: float = WIDE_DEG
) -> bool:
    """Whether a view is `wide_deg` or more from all others (`apart_deg`); w2c [V, 4, 4]."""
    return all(apart_deg(w2c[view], w2c[u], distance) >= wide_deg for u in others if u != view)
