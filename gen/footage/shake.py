"""Is a fixed view really fixed? Small shake is measured on what stands still, and taken out.

A camera that only turns, or looks at something far away, moves the image by a homography. Corners
are followed from the reference frame to every other one; the homography of most of them is the
camera's, the rest is the scene's. It counts only if they lie all over the image: before a blank
wall, what most corners follow is the subject.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

MIN_MATCHES = 12
INLIER_PX = 1.5
CELLS = (6, 8)
SAME_START_PX = 0.5  # a picture that moved by less is looked for where it was
COVERED = 0.35  # share of a grid of CELLS over the image that has to have matches


@dataclass(frozen=True)
class Shake:
    """How the frames of a clip are displaced against a reference frame.

    Attributes:
        homographies: [F, 3, 3], pixels of the reference -> pixels of the frame (centres at +0.5).
        found: bool [F]: whether enough of the frame stands still to tell.
        residual: [F] median distance in pixels of the still matches to their homography.
        size: (height, width).
    """

    homographies: NDArray[np.float64]
    found: NDArray[np.bool_]
    residual: NDArray[np.float64]
    size: tuple[int, int]

    @property
    def displacement(self) -> NDArray[np.float64]:
        """[F] root mean square over the image of how far its points are from their place, px."""
        height, width = self.size
        v, u = np.meshgrid(np.linspace(0, height, 5), np.linspace(0, width, 5), indexing="ij")
        points = np.stack([u, v, np.ones_like(u)], -1).reshape(-1, 3)
        moved = points @ np.swapaxes(self.homographies, -1, -2)
        shift = moved[..., :2] / moved[..., 2:] - points[:, :2]
        return np.sqrt((shift**2).sum(-1).mean(-1))


def measure_shake(
    frames: NDArray[np.floating] | NDArray[np.uint8], reference: NDArray, guess: float = 0.3
) -> Shake:
    """Compare frames [F, H, W, 3] with a reference [H, W, 3] of one size.

    Args:
        guess: no point is looked for farther than this fraction of the image width.
    """
    grey_reference = _grey(reference)
    height, width = grey_reference.shape
    corners = cv2.goodFeaturesToTrack(grey_reference, 600, 0.005, max(3.0, width / 80))
    homographies = np.tile(np.eye(3), (len(frames), 1, 1))
    found, residual = np.zeros(len(frames), bool), np.zeros(len(frames))
    for k, frame in enumerate(frames):
        if corners is None or len(corners) < MIN_MATCHES:
            break
        a, b = _follow(grey_reference, _grey(frame), corners, guess * width)
        if len(a) < MIN_MATCHES:
            continue
        fit = _homography(a, b, (height, width))
        if fit is not None:
            homographies[k], residual[k] = fit
            found[k] = True
    return Shake(homographies, found, residual, (height, width))


def stabilise(
    frames: NDArray[np.float32], homographies: NDArray[np.float64], fill: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Frames [F, H, W, 3] brought into the place of the reference (``Shake.homographies``).

    What no frame shows is taken from ``fill`` [H, W, 3].
    """
    import kornia
    import torch

    height, width = frames.shape[1:3]
    # kornia's pixel centres lie at whole numbers.
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    back = np.linalg.inv(shift) @ homographies @ shift
    to_reference = torch.from_numpy(np.linalg.inv(back)).float()
    images = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    seen = torch.ones(len(frames), 1, height, width)
    size = (height, width)
    warp = kornia.geometry.transform.warp_perspective
    out = warp(images, to_reference, size, mode="bicubic", padding_mode="border")
    inside = warp(seen, to_reference, size, mode="nearest", padding_mode="zeros")
    behind = torch.from_numpy(np.ascontiguousarray(fill)).permute(2, 0, 1)[None]
    out = torch.where(inside > 0.5, out, behind).clamp(0, 1)
    return out.permute(0, 2, 3, 1).numpy()


def _grey(frame: NDArray) -> NDArray[np.uint8]:
    if frame.dtype != np.uint8:
        frame = (np.clip(frame, 0, 1) * 255 + 0.5).astype(np.uint8)
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return cv2.createCLAHE(2.0, (8, 8)).apply(grey)  # type: ignore[return-value]


def _follow(
    first: NDArray[np.uint8], second: NDArray[np.uint8], corners: NDArray, limit: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners of the first image and their places in the second, pixel centres at +0.5.

    They are looked for near where they were, and where the image as a whole seems to have gone, if
    it has; the start from which more of them come back counts.
    """
    window = cv2.createHanningWindow((first.shape[1], first.shape[0]), cv2.CV_32F)
    moved, _ = cv2.phaseCorrelate(first.astype(np.float32), second.astype(np.float32), window)
    whole = np.asarray(moved, np.float32)
    starts = [np.zeros(2, np.float32), whole]
    options: dict[str, Any] = dict(winSize=(21, 21), maxLevel=4, flags=cv2.OPTFLOW_USE_INITIAL_FLOW)
    best = np.zeros((0, 2)), np.zeros((0, 2))
    for shift in starts if np.linalg.norm(whole) > SAME_START_PX else starts[:1]:
        there, ok, _ = cv2.calcOpticalFlowPyrLK(first, second, corners, corners + shift, **options)
        near = np.linalg.norm((there - corners)[:, 0], axis=1) < limit
        good = (ok[:, 0] > 0) & near
        if good.sum() <= len(best[0]):
            continue
        start, end = corners[good], there[good]
        back, again, _ = cv2.calcOpticalFlowPyrLK(second, first, end, end - shift, **options)
        closed = (again[:, 0] > 0) & (np.linalg.norm((back - start)[:, 0], axis=1) < 0.5)
        if closed.sum() > len(best[0]):
            start, end = (x[closed, 0].astype(np.float64) for x in (start, end))
            best = start + 0.5, end + 0.5
    return best


def _homography(
    a: NDArray[np.float64], b: NDArray[np.float64], size: tuple[int, int]
) -> tuple[NDArray[np.float64], float] | None:
    """The homography of most matches and the median distance of those from it; None when they are
    few, or do not lie all over the image."""
    import kornia
    import torch

    rough, inliers = cv2.findHomography(a, b, cv2.USAC_MAGSAC, INLIER_PX, maxIters=2000)
    if rough is None or inliers.sum() < max(MIN_MATCHES, 0.25 * len(a)):
        return None
    chosen = inliers[:, 0] > 0
    cells = np.floor(a[chosen, ::-1] / size * CELLS).astype(int)
    if len(np.unique(cells, axis=0)) < COVERED * CELLS[0] * CELLS[1]:
        return None
    here, there = (torch.from_numpy(x[chosen])[None] for x in (a, b))
    weights = torch.ones(1, int(chosen.sum()), dtype=torch.float64)
    fine = kornia.geometry.homography.find_homography_dlt_iterated(here, there, weights, 0.5, 5)
    H = fine[0].numpy()
    H = H / H[2, 2]
    moved = np.concatenate([a[chosen], np.ones((int(chosen.sum()), 1))], 1) @ H.T
    distance = np.linalg.norm(moved[:, :2] / moved[:, 2:] - b[chosen], axis=1)
    if not np.isfinite(H).all() or abs(np.linalg.det(H[:2, :2]) - 1) > 0.5:
        return None
    return H, float(np.median(distance))
