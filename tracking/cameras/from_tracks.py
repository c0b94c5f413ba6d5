"""Cameras from any backend's 3-D tracks: robust Sim(3) per view, then PnP on the pixels.

A monocular depth network gives each frame its own scale and noise along the rays, so rigid
Procrustes fails; a similarity with re-weighting by depth-relative residuals survives, and the
pixels, which are far more exact than the depths, settle the rest.

Legend: F frames, N points. Convention: x_i ~ (s_i R_i p + t_i), central s = 1, R = I, t = 0.
"""

from __future__ import annotations

import cv2
import numpy as np

from tracking.tracks import Tracks


def weighted_similarity(
    a: np.ndarray, b: np.ndarray, weight: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """(s, R, t) minimising sum w |b - (s R a + t)|^2 over points a, b [N, 3] (Umeyama)."""
    total = max(float(weight.sum()), 1e-12)
    mean_a, mean_b = (weight @ a) / total, (weight @ b) / total
    da, db = a - mean_a, b - mean_b
    u, singular, vt = np.linalg.svd((db * weight[:, None]).T @ da)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    scale = float((singular * sign).sum() / max(float(weight @ (da**2).sum(1)), 1e-12))
    return scale, rotation, mean_b - scale * rotation @ mean_a


def robust_similarity(
    a: np.ndarray, b: np.ndarray, weight: np.ndarray, iterations: int = 30
) -> tuple[float, np.ndarray, np.ndarray]:
    """weighted_similarity with Geman-McClure re-weighting of residuals relative to depth."""
    depth = np.maximum(b[:, 2], 1e-6)
    base = weight / depth**2
    current = base
    scale, rotation, shift = weighted_similarity(a, b, current)
    for _ in range(iterations):
        residual = np.linalg.norm(b - (scale * a @ rotation.T + shift), axis=1) / depth
        sigma = max(1.5 * float(np.median(residual[weight > 0])), 1e-4)
        current = base / (1.0 + (residual / sigma) ** 2) ** 2
        scale, rotation, shift = weighted_similarity(a, b, current)
    return scale, rotation, shift


def pnp_refine(
    points: np.ndarray,
    uv: np.ndarray,
    K: np.ndarray,
    rotation: np.ndarray,
    shift: np.ndarray,
    rounds: int = 4,
) -> tuple[np.ndarray, np.ndarray]:
    """Pose refined on pixels by Levenberg-Marquardt, trimmed to residuals near the median."""
    r, t = cv2.Rodrigues(rotation)[0], np.asarray(shift, np.float64).reshape(3, 1).copy()
    for _ in range(rounds):
        projected = cv2.projectPoints(points, r, t, K, None)[0].reshape(-1, 2)
        residual = np.linalg.norm(projected - uv, axis=1)
        keep = residual < max(2.5 * float(np.median(residual)), 0.5)
        if keep.sum() < 12:
            break
        r, t = cv2.solvePnPRefineLM(
            np.ascontiguousarray(points[keep]), np.ascontiguousarray(uv[keep]), K, None, r, t
        )
    return cv2.Rodrigues(r)[0], t[:, 0]


def cameras_from_tracks(
    tracks: Tracks, *, pnp: bool = True, rounds: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """World-to-camera [F, 4, 4] (central = identity) and depth scale [F] (central = 1).

    A frame's true z is its stored z divided by its scale. Points that deviate (moving, wrong) are
    weighted down; after each round the central points are averaged over all frames, which brings
    the noise of a single depth map down and couples the scales. Frames with fewer than 12 shared
    points keep the identity.
    """
    c = tracks.central
    xyz = tracks.xyz.astype(np.float64)
    weight = (tracks.visible * tracks.confidence * ~tracks.nonrigid).astype(np.float64)
    weight[~np.isfinite(xyz).all(-1)] = 0.0
    xyz = np.nan_to_num(xyz)
    base = xyz[c].copy()
    known = weight[c] > 0
    w2c = np.tile(np.eye(4), (tracks.frames, 1, 1))
    scales = np.ones(tracks.frames)
    for _ in range(rounds):
        estimates = np.full((tracks.frames, tracks.points), np.nan)
        ray = xyz[c] / np.maximum(xyz[c][:, 2:], 1e-9)
        for i in range(tracks.frames):
            use = known & (weight[i] > 0)
            if i == c or use.sum() < 12:
                continue
            s, rotation, shift = robust_similarity(base[use], xyz[i][use], weight[i][use])
            scales[i], shift = s, shift / s
            if pnp:
                rotation, shift = pnp_refine(
                    base[use], tracks.uv[i][use].astype(np.float64), tracks.K[i], rotation, shift
                )
                moved = base[use] @ rotation.T + shift
                ratio = xyz[i][use][:, 2] / np.maximum(moved[:, 2], 1e-9)
                scales[i] = float(np.median(ratio[ratio > 0])) if (ratio > 0).any() else s
            w2c[i, :3, :3], w2c[i, :3, 3] = rotation, shift
            estimates[i, use] = _depth_along_ray(
                ray[use], rotation, shift, tracks.uv[i][use], tracks.K[i], xyz[i][use], scales[i]
            )
        estimates[c, known] = xyz[c][known, 2]
        with np.errstate(all="ignore"):
            z = np.nanmedian(estimates[:, known], axis=0)
        base[known] = ray[known] * z[:, None]
        # the central frame defines the unit: averaging must not drift
        base *= np.median(xyz[c][known, 2]) / np.median(base[known, 2])
    return w2c, scales


def _depth_along_ray(ray, rotation, shift, uv, K, xyz, scale) -> np.ndarray:
    """Central depth [N] at which the ray comes nearest to the point that frame i measured."""
    direction = ray @ rotation.T
    offset = xyz / scale - shift
    return (direction * offset).sum(1) / np.maximum((direction**2).sum(1), 1e-12)
