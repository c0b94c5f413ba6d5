"""What can be wrong with a freeze-time clip, how it is noticed, and what is done instead.

Every fallback says so in one line through the caller's `notes`; nothing is silent. Thresholds are
in working pixels (see tracking.flow.optical) unless they say degrees or shares.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tracking.cameras.bundle import Observations, Solution, rays
from tracking.cameras.follow import matches
from tracking.cameras.poses import focal_of_fov
from tracking.flow.optical import PairFlows


@dataclass(frozen=True)
class FallbackConfig:
    """Thresholds of the detectors."""

    static_px: float = 0.35  # median motion of the widest pair below this: the camera stands still
    rotation_px: float = 0.35  # median parallax left after the best rotation
    rotation_p90_px: float = 1.2
    low_angle_deg: float = 1.0  # best triangulation angle below this: weak depth
    useless_angle_deg: float = 0.15
    turntable_angle_deg: float = 3.0  # what turns before a still camera must turn by this
    min_inliers: float = 0.35
    min_cheirality: float = 0.7
    textureless_share: float = 0.4
    nonrigid_share: float = 0.05
    allow_stand_in: bool = False  # a smooth depth where cameras cannot be found, instead of an end
    wide: bool = True  # wide-baseline features where flow cannot link the views
    lost_share: float = 0.25  # of the views: more than this left out by flow, and these are asked
    wide_placed: float = 0.6  # share of the views that these must place
    wide_error_px: float = 1.5
    wide_agreed: float = 0.1  # share of the central picture whose depth must be sure


def is_static(pairs: PairFlows, config: FallbackConfig) -> bool:
    """The frames show no motion at all: adjacent views are the same picture."""
    for i in range(pairs.views - 1):
        corner = cv2.cornerMinEigenVal(pairs.gray_Vhw[i], 5)[::2, ::2]
        textured = np.sqrt(np.maximum(corner, 0)) > 2e-3
        if textured.mean() < 0.01:
            change = cv2.absdiff(pairs.gray_Vhw[i], pairs.gray_Vhw[i + 1]).mean()
            motion = float(change) / 2.0
        else:
            flow = np.linalg.norm(pairs.flow[i, i + 1][::2, ::2], axis=-1)
            motion = float(np.percentile(flow[textured], 75))
        if motion >= config.static_px:
            return False
    return True


def best_rotation(x: np.ndarray, y: np.ndarray, focal: float, centre: np.ndarray) -> np.ndarray:
    """Rotation [3, 3] taking rays of x onto rays of y [M, 2], robust (IRLS Kabsch)."""
    a, b = rays(x, focal, centre), rays(y, focal, centre)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    weight = np.ones(len(a))
    rotation = np.eye(3)
    for _ in range(12):
        u, _, vt = np.linalg.svd((b * weight[:, None]).T @ a)
        rotation = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
        residual = focal * np.linalg.norm(b - a @ rotation.T, axis=1)
        weight = 1.0 / (1.0 + (residual / max(0.3, 2.0 * float(np.median(residual)))) ** 2)
    return rotation


def parallax_px(x: np.ndarray, y: np.ndarray, focal: float, centre: np.ndarray) -> np.ndarray:
    """Motion that the best rotation leaves, pixels [M]."""
    moved = rays(x, focal, centre) @ best_rotation(x, y, focal, centre).T
    projected = focal * moved[:, :2] / np.maximum(moved[:, 2:], 1e-6) + centre
    return np.linalg.norm(projected - y, axis=1)


def turns_only(
    x: np.ndarray, y: np.ndarray, focal: float, centre: np.ndarray, config: FallbackConfig
) -> tuple[float, bool]:
    """Median motion that a turn leaves of matches [M, 2], pixels, and whether it explains them."""
    left = parallax_px(x, y, focal, centre)
    median = float(np.median(left))
    fits = median < config.rotation_px and np.percentile(left, 90) < config.rotation_p90_px
    return median, bool(fits)


def rotation_only(
    obs: Observations,
    pairs: PairFlows,
    central: int,
    focal: float | None,
    config: FallbackConfig,
) -> float | None:
    """Focal (working pixels) with which a turning camera alone explains the clip, else None.

    Looks at the farthest pair that still has enough matches: there parallax would be largest.
    """
    centre = np.array([pairs.size[1] / 2, pairs.size[0] / 2])
    for partner in sorted(range(pairs.views), key=lambda v: -abs(v - central)):
        x, y = matches(obs, central, partner)
        if partner == central or len(x) < 40:
            continue
        some = slice(None, None, max(1, len(x) // 200))
        x, y = x[some], y[some]
        if focal:
            return focal if turns_only(x, y, focal, centre, config)[1] else None
        # after a wide turn the best focal length leaves nothing, and one beside it a pixel
        fovs, step = [30.0, 40.0, 50.0, 62.0, 75.0], 6.0
        tried: list[tuple[float, float]] = []
        while True:
            for fov in fovs:
                f = focal_of_fov(fov, pairs.size)
                median, fits = turns_only(x, y, f, centre, config)
                if fits:
                    return f
                tried.append((median, fov))
            if step <= 0.3:
                return None
            _, best = min(tried)
            fovs, step = [best - step, best + step], step / 2
    return None


def rotation_cameras(obs: Observations, pairs: PairFlows, central: int, focal: float) -> np.ndarray:
    """World-to-camera [V, 4, 4] of a camera that only turns (no turn where matches are missing)."""
    centre = np.array([pairs.size[1] / 2, pairs.size[0] / 2])
    w2c = np.tile(np.eye(4), (pairs.views, 1, 1))
    for step in (1, -1):
        stop = pairs.views if step > 0 else -1
        for v in range(central + step, stop, step):
            x, y = matches(obs, v - step, v)
            turn = best_rotation(x, y, focal, centre) if len(x) >= 12 else np.eye(3)
            w2c[v, :3, :3] = turn @ w2c[v - step, :3, :3]
    return w2c


def pseudo_depth(views: int, height: int, width: int) -> np.ndarray:
    """A smooth stand-in [V, H, W] with median 1: nearer at the bottom of the picture."""
    rho = np.linspace(0.75, 1.25, height, dtype=np.float32)[None, :, None]
    return np.broadcast_to(1.0 / rho, (views, height, width)).astype(np.float32).copy()


def triangulation_angle_deg(solution: Solution, obs: Observations) -> float:
    """Median over tracks of the widest angle between the rays that see them, degrees."""
    anchor = obs.anchor[obs.track]
    centres = -np.einsum("vji,vj->vi", solution.rotation, solution.translation)
    baseline = np.linalg.norm(centres[obs.view] - centres[anchor], axis=1)
    rho = np.maximum(np.nan_to_num(solution.inverse_depth[obs.track]), 0.0)
    widest = np.zeros(len(obs.anchor))
    np.maximum.at(widest, obs.track, np.degrees(np.arctan(baseline * rho)))
    seen = widest[np.unique(obs.track)]
    return float(np.median(seen)) if len(seen) else 0.0


def unusable(solution: Solution, obs: Observations, config: FallbackConfig) -> str | None:
    """Why the recovered cameras cannot be trusted, or None."""
    kept = np.isfinite(solution.residual)
    if kept.mean() < config.min_inliers:
        return f"only {100 * kept.mean():.0f} % of the matches fit one rigid scene"
    rho = solution.inverse_depth[np.isfinite(solution.inverse_depth)]
    if (rho > 0).mean() < config.min_cheirality:
        return "the matches put the scene behind the camera"
    return None


def interpolate_missing(w2c: np.ndarray, registered: np.ndarray) -> np.ndarray:
    """Give views that could not be placed the camera of their neighbours (blended, or nearest)."""
    out = w2c.copy()
    good = np.flatnonzero(registered)
    for v in np.flatnonzero(~registered):
        before, after = good[good < v], good[good > v]
        if not len(before) or not len(after):
            out[v] = w2c[before[-1] if len(before) else after[0]]
            continue
        a, b = before[-1], after[0]
        share = (v - a) / (b - a)
        turn = cv2.Rodrigues(w2c[b, :3, :3] @ w2c[a, :3, :3].T)[0]
        rotation = cv2.Rodrigues(turn * share)[0] @ w2c[a, :3, :3]
        centre_a = -w2c[a, :3, :3].T @ w2c[a, :3, 3]
        centre_b = -w2c[b, :3, :3].T @ w2c[b, :3, 3]
        out[v, :3, :3] = rotation
        out[v, :3, 3] = -rotation @ ((1 - share) * centre_a + share * centre_b)
    return out
