"""View-dependent compensation: where the frames of a freeze-time clip disagree with one 3D scene.

Legend: V views, N points. For point p, view i shows it at x_i = R_i p + t_i + e_i in the camera's
frame (Eq. 11 with the camera's rotation written out). What is stored is d_i = R_i^T e_i in world
axes, without the part along the viewing ray: that is depth noise, invisible in view i itself.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fourreal.cameras import camera_centres, transform

FloatArray = NDArray[np.floating]


class ColumnPoints(Protocol):
    """What is needed of ``tracking.tracks.Tracks`` over the freeze-time column."""

    @property
    def xyz(self) -> FloatArray: ...  # [V, M, 3] in each view's own camera, NaN where unobserved

    visible: NDArray[np.bool_]  # [V, M]
    confidence: FloatArray  # [V, M]
    w2c: FloatArray  # [V, 4, 4]
    central: int


def view_offsets(
    tracks: ColumnPoints,
    points_N3: FloatArray,
    neighbours: int = 9,
    min_confidence: float = 0.3,
    sigmas: float = 3.0,
) -> NDArray[np.float32]:
    """Offsets d_i of ``points_N3`` (world axes) in every view: float32 [V, N, 3].

    The residuals of the tracks that a view sees confidently, as the median over the nearest
    ``neighbours`` tracks and clipped to ``sigmas`` robust standard deviations; zero where no such
    track is near, and zero for views in which fewer than ``neighbours`` tracks are seen.
    """
    V = len(tracks.w2c)
    out = np.zeros((V, len(points_N3), 3), np.float32)
    c2w = np.linalg.inv(tracks.w2c)
    xyz = np.asarray(tracks.xyz, np.float64)
    home = transform(c2w[tracks.central], xyz[tracks.central])
    centres = camera_centres(tracks.w2c)
    for v in range(V):
        if v == tracks.central:
            continue
        good = tracks.visible[v] & (tracks.confidence[v] >= min_confidence)
        good &= np.isfinite(xyz[v]).all(-1) & np.isfinite(home).all(-1)
        if good.sum() < neighbours:
            continue
        anchor = home[good]
        residual = transform(c2w[v], xyz[v, good]) - anchor
        residual = _across_ray(residual, anchor - centres[v])
        length = np.linalg.norm(residual, axis=-1)
        limit = sigmas * 1.4826 * float(np.median(length)) + 1e-12
        residual *= np.minimum(1.0, limit / np.maximum(length, 1e-12))[:, None]
        distance, near = cKDTree(anchor).query(points_N3, k=neighbours, workers=1)
        offsets = np.median(residual[near], axis=1)
        # points far from every track, measured by their depth, are left alone
        reach = 0.1 * np.linalg.norm(points_N3 - centres[v], axis=-1)
        offsets[distance[:, neighbours // 2] > reach] = 0.0
        out[v] = _across_ray(offsets, points_N3 - centres[v])
    return out


def disagreement_px(
    offsets_VN3: FloatArray, points_N3: FloatArray, K_V33: FloatArray, w2c_V44: FloatArray
) -> float:
    """How far the offsets move points in their views: 75th percentile in pixels, of those that are
    not zero.

    A tenth to half a pixel is what tracks of a consistent clip are off by; frames that a model made
    disagree by one or two.
    """
    moved = []
    for offsets, K, w2c in zip(offsets_VN3, K_V33, w2c_V44, strict=True):
        there = (offsets != 0).any(-1)
        z = np.maximum(transform(w2c, points_N3[there])[:, 2], 1e-6)
        moved.append(np.linalg.norm(offsets[there], axis=-1) * K[0, 0] / z)
    every = np.concatenate(moved)
    return float(np.percentile(every, 75)) if len(every) else 0.0


def _across_ray(offsets: FloatArray, rays: FloatArray) -> FloatArray:
    """The part of ``offsets`` [N, 3] perpendicular to ``rays`` [N, 3]."""
    direction = rays / np.maximum(np.linalg.norm(rays, axis=-1, keepdims=True), 1e-12)
    return offsets - (offsets * direction).sum(-1, keepdims=True) * direction
