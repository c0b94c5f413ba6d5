"""Sparse SIFT matches between two views: a prior for dense flow at large motion, and a rigid gate.

Where the picture is flat, dense flow likes to stand still and every self-check agrees; a few sure
matches say how far the views really are apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass
class SparseMatch:
    """Matches x -> y (float32 [M, 2], centres at +0.5) that one fundamental matrix explains."""

    x: np.ndarray
    y: np.ndarray
    fundamental: np.ndarray | None  # y^T F x = 0

    def reversed(self) -> SparseMatch:
        """The same matches from y to x."""
        turned = None if self.fundamental is None else self.fundamental.T
        return SparseMatch(self.y, self.x, turned)


def features(gray: np.ndarray, count: int = 2000) -> tuple[np.ndarray, np.ndarray | None]:
    """SIFT positions [M, 2] and RootSIFT descriptors of a uint8 image."""
    points, descriptors = cv2.SIFT.create(count, contrastThreshold=0.02).detectAndCompute(
        gray, None
    )
    xy = np.array([p.pt for p in points], np.float32).reshape(-1, 2) + 0.5
    if descriptors is not None:
        total = np.maximum(descriptors.sum(1, keepdims=True), 1e-6)
        descriptors = np.sqrt(descriptors / total)
    return xy, descriptors


def match(
    a: tuple[np.ndarray, np.ndarray | None],
    b: tuple[np.ndarray, np.ndarray | None],
    ratio: float = 0.85,
) -> SparseMatch:
    """Mutual ratio-test matches, cleaned by MAGSAC; empty when there are not enough."""
    empty = SparseMatch(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32), None)
    if a[1] is None or b[1] is None or len(a[0]) < 16 or len(b[0]) < 16:
        return empty
    similarity = a[1] @ b[1].T
    best = similarity.argmax(1)
    back = similarity.argmax(0)
    rows = np.arange(len(best))
    top = similarity[rows, best].copy()
    similarity[rows, best] = -1.0
    second = similarity.max(1)
    distance = np.sqrt(np.maximum(2 - 2 * top, 0)), np.sqrt(np.maximum(2 - 2 * second, 0))
    keep = (back[best] == rows) & (distance[0] < ratio * distance[1])
    x, y = a[0][keep], b[0][best[keep]]
    if len(x) < 16:
        return empty
    cv2.setRNGSeed(0)
    try:
        fundamental, inliers = cv2.findFundamentalMat(x, y, cv2.USAC_MAGSAC, 1.5, 0.999, 2000)
    except cv2.error:  # MAGSAC asserts that its samples gave a model: matches on a line give none
        return empty
    if fundamental is None or fundamental.shape != (3, 3) or inliers is None:
        return empty
    good = inliers.ravel() > 0
    if good.sum() < 16 or good.mean() < 0.4:
        return empty
    return SparseMatch(x[good], y[good], fundamental)


def spread(match: SparseMatch, size: tuple[int, int]) -> np.ndarray:
    """Dense displacement [h, w, 2] that interpolates the matches smoothly (pyramid push-pull)."""
    total = np.zeros((*size, 2), np.float32)
    mass = np.zeros(size, np.float32)
    x = np.clip(match.x[:, 0].astype(int), 0, size[1] - 1)
    y = np.clip(match.x[:, 1].astype(int), 0, size[0] - 1)
    np.add.at(total, (y, x), match.y - match.x)
    np.add.at(mass, (y, x), 1.0)
    return _pull(total, mass)


def _pull(total: np.ndarray, mass: np.ndarray) -> np.ndarray:
    h, w = mass.shape
    if min(h, w) <= 2:
        mean = total.sum((0, 1)) / max(float(mass.sum()), 1e-9)
        return np.broadcast_to(mean, total.shape).astype(np.float32)
    half = ((w + 1) // 2, (h + 1) // 2)
    coarse = _pull(
        cv2.resize(total, half, interpolation=cv2.INTER_AREA) * 4.0,
        cv2.resize(mass, half, interpolation=cv2.INTER_AREA) * 4.0,
    )
    fine = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_LINEAR)
    # weigh own samples against what the coarser level says
    own = (total + 0.3 * fine) / (mass + 0.3)[..., None]
    return np.where(mass[..., None] > 0, own, fine).astype(np.float32)
