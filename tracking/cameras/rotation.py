"""A camera that stays in its place: it turns, and perhaps zooms, and its lens may bend the picture.

Then nothing tells how far away things are, and cameras that move would be read into a bent picture.

Legend: V views; pixels are working pixels (tracking.flow.optical) with centres at +0.5. A lens is
taken as straight after pixels at distance r of the picture's centre are moved out to r (1 + bend
(r / R)^2), R being that of a corner.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tracking.cameras.bundle import Observations, rays
from tracking.cameras.fallbacks import FallbackConfig
from tracking.cameras.follow import matches
from tracking.cameras.poses import focal_of_fov
from tracking.flow.optical import PairFlows

_FOVS = (30.0, 40.0, 50.0, 62.0, 75.0)  # degrees, refined between
_FINE = 0.3
_BENDS = (0.06, 0.12, 0.2, 0.3, 0.45, -0.06)
_NEARLY = 0.15  # share of the motion that must be left at most for a bent lens to be tried
_ZOOM = 1.03  # less is read as no zoom


@dataclass(frozen=True)
class Turning:
    """Focal length of the central view in pixels, bend of the lens, whether it zooms."""

    focal: float
    bend: float = 0.0
    zooms: bool = False

    @property
    def what(self) -> str:
        """What the camera does, in words."""
        if self.zooms:
            return "the camera only zooms and turns (or nears a flat wall)"
        return "the camera only turns on the spot"


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


def straight(uv: np.ndarray, bend: float, centre: np.ndarray) -> np.ndarray:
    """Pixels uv [M, 2] as a lens without distortion shows them."""
    out = uv - centre
    r = (out * out).sum(1, keepdims=True) / float((centre * centre).sum())
    return centre + out * (1.0 + bend * r)


def zoom_of(x: np.ndarray, y: np.ndarray) -> float:
    """How much larger y [M, 2] is than x [M, 2]: the median over pairs of points."""
    half = len(x) // 2
    if not half:
        return 1.0
    near, far = (np.linalg.norm(uv[:half] - uv[half : 2 * half], axis=1) for uv in (x, y))
    good = near > 1.0
    return float(np.median(far[good] / near[good])) if good.any() else 1.0


def rotation_only(
    obs: Observations,
    pairs: PairFlows,
    central: int,
    focal: float | None,
    config: FallbackConfig,
) -> Turning | None:
    """How a camera that stays in its place explains the clip, or None when none does.

    Looks at the farthest pair that still has enough matches: there parallax would be largest.
    """
    centre = np.array([pairs.size[1] / 2, pairs.size[0] / 2])
    for partner in sorted(range(pairs.views), key=lambda v: -abs(v - central)):
        x, y = matches(obs, central, partner)
        if partner == central or len(x) < 40:
            continue
        some = slice(None, None, max(1, len(x) // 200))
        x, y = x[some], y[some]
        moved = float(np.median(np.linalg.norm(y - x, axis=1)))
        zoom = zoom_of(x, y)
        for zooms in (False, True) if max(zoom, 1 / zoom) > _ZOOM else (False,):
            y_there = centre + (y - centre) / zoom if zooms else y
            if focal:
                if turns_only(x, y_there, focal, centre, config)[1]:
                    return Turning(focal, 0.0, zooms)
                continue
            best = np.inf
            for bend in (0.0, *_BENDS):
                if bend and best > _NEARLY * moved:
                    break
                a, b = (straight(uv, bend, centre) for uv in (x, y_there))
                found, left = _focal_of_turn(a, b, pairs.size, centre, config)
                if found is not None:
                    return Turning(found, bend, zooms)
                best = min(best, left)
        return None
    return None


def _focal_of_turn(
    x: np.ndarray,
    y: np.ndarray,
    size: tuple[int, int],
    centre: np.ndarray,
    config: FallbackConfig,
) -> tuple[float | None, float]:
    """The focal length with which a turn explains x -> y [M, 2] (None: none does), and the least
    median of what is left, pixels.

    After a wide turn the best focal length leaves nothing, and one beside it a pixel.
    """
    fovs, step = list(_FOVS), 6.0
    tried: list[tuple[float, float]] = []
    while True:
        for fov in fovs:
            f = focal_of_fov(fov, size)
            median, fits = turns_only(x, y, f, centre, config)
            if fits:
                return f, median
            tried.append((median, fov))
        least, best = min(tried)
        if step <= _FINE:
            return None, least
        fovs, step = [best - step, best + step], step / 2


def rotation_cameras(
    obs: Observations, pairs: PairFlows, central: int, turning: Turning
) -> tuple[np.ndarray, np.ndarray]:
    """World-to-camera [V, 4, 4] of a camera that only turns (no turn where matches are missing),
    and how much each view is zoomed in beside the central one, [V]."""
    centre = np.array([pairs.size[1] / 2, pairs.size[0] / 2])
    w2c, zooms = np.tile(np.eye(4), (pairs.views, 1, 1)), np.ones(pairs.views)
    for v, before in _outwards(central, pairs.views):
        x, y = matches(obs, before, v)
        zooms[v] = zooms[before] * (zoom_of(x, y) if turning.zooms and len(x) >= 12 else 1.0)
        x, y = (
            straight(centre + (uv - centre) / zooms[u], turning.bend, centre)
            for uv, u in ((x, before), (y, v))
        )
        turn = best_rotation(x, y, turning.focal, centre) if len(x) >= 12 else np.eye(3)
        w2c[v, :3, :3] = turn @ w2c[before, :3, :3]
    return w2c, zooms


def _outwards(central: int, views: int) -> Iterator[tuple[int, int]]:
    """(view, the one before it on the way from the central view)."""
    for step, stop in ((1, views), (-1, -1)):
        for v in range(central + step, stop, step):
            yield v, v - step
