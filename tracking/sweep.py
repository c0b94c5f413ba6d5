"""Plane sweep: how well every inverse-depth plane of one view explains its neighbours.

Legend: H W image, D planes, n neighbours. Planes are fronto-parallel and even in inverse depth.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numba import njit


@njit(cache=True)
def _mean_of_best(costs, keep, out, d):
    """out[:, :, d] = mean of the `keep` smallest finite costs[n, H, W]; 0.5 where none is."""
    n, h, w = costs.shape
    values = np.empty(n, np.float32)
    for y in range(h):
        for x in range(w):
            count = 0
            for i in range(n):
                value = costs[i, y, x]
                if value < np.float32(1e8):
                    j = count
                    while j > 0 and values[j - 1] > value:
                        values[j] = values[j - 1]
                        j -= 1
                    values[j] = value
                    count += 1
            if count == 0:
                out[y, x, d] = 0.5
            else:
                m = min(count, keep)
                total = np.float32(0.0)
                for i in range(m):
                    total += values[i]
                # few witnesses: lean to the neutral cost
                out[y, x, d] = total / m


def relative_pose(w2c_from: np.ndarray, w2c_to: np.ndarray) -> np.ndarray:
    """4x4 that takes camera-frame points of `from` into `to`."""
    return w2c_to @ np.linalg.inv(w2c_from)


def cost_volume(
    images: np.ndarray,
    view: int,
    neighbours: Sequence[int],
    K: np.ndarray,
    w2c: np.ndarray,
    rho: np.ndarray,
    window: int = 5,
    keep: int = 2,
) -> np.ndarray:
    """Matching cost float32 [H, W, D] in 0..1 of the planes rho [D] (1/z) of `view`.

    images float32 [V, H, W, 3] in 0..1. Per neighbour: half ZNCC over `window`, half colour
    difference over 3x3; across neighbours the mean of the best `keep`, so that a neighbour in which
    the point is hidden does not vote.
    """
    h, w = images.shape[1:3]
    grays = [np.ascontiguousarray(image.mean(-1)) for image in images]
    size = (window, window)
    noise = np.float32((3.0 / 255.0) ** 2)
    reference, gray = images[view], grays[view]
    mean = cv2.blur(gray, size)
    variance = cv2.blur(gray * gray, size) - mean * mean + noise
    out = np.empty((h, w, len(rho)), np.float32)
    costs = np.empty((len(neighbours), h, w), np.float32)
    k_inv = np.linalg.inv(K[view])
    normal = np.array([[0.0, 0.0, 1.0]])
    # index coordinates (centres at 0) for OpenCV's warp
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    unshift = np.linalg.inv(shift)
    for d, r in enumerate(rho):
        for i, other in enumerate(neighbours):
            move = relative_pose(w2c[view], w2c[other])
            homography = K[other] @ (move[:3, :3] + move[:3, 3:] @ normal * r) @ k_inv
            homography = unshift @ homography @ shift
            warped = cv2.warpPerspective(
                images[other],
                homography,
                (w, h),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=(-1.0, -1.0, -1.0, 0.0),
            )
            outside = warped[..., 0] < 0.0
            warped_gray = warped.mean(-1)
            mean_w = cv2.blur(warped_gray, size)
            variance_w = cv2.blur(warped_gray * warped_gray, size) - mean_w * mean_w + noise
            covariance = cv2.blur(gray * warped_gray, size) - mean * mean_w
            zncc = covariance / np.sqrt(variance * np.maximum(variance_w, noise))
            colour = cv2.blur(np.abs(warped - reference).mean(-1), (3, 3))
            cost = 0.5 * np.clip(1.0 - zncc, 0.0, 1.0) + 0.5 * np.minimum(colour / 0.1, 1.0)
            cost[outside] = 1e9
            costs[i] = cost
        _mean_of_best(costs, keep, out, d)
    return out
