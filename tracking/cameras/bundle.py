"""Anchored bundle adjustment: cameras, focal length and one inverse depth per track.

A track is a fixed ray in its anchor frame plus one unknown, its inverse depth there, so the Schur
complement of the points is diagonal and the reduced system has 6 unknowns per view plus the focal.

Legend: V views, N tracks, O observations. Pixels have centres at +0.5; poses are world-to-camera,
OpenCV axes; the central view is the identity and its median depth is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tracking.cameras.normal_equations import (
    eliminate,
    linearise,
    reprojection,
    robust_cost,
    substitute,
)
from tracking.cameras.silhouettes import Silhouettes

_FOCAL_PULL = 4.0  # of the prior, square pixels a square of the log of the focal length ...
_ALONE_PULL = 0.02  # ... times matches and their scale: before a plain backdrop they err together
OUTLINE_PX = 1.5  # scale of the distances to silhouettes, at least: masks are exact to a pixel


@dataclass
class Observations:
    """Matches of N anchored tracks: track `track[o]` is seen in view `view[o]` at `uv[o]`."""

    anchor: np.ndarray  # int [N]
    anchor_uv: np.ndarray  # float64 [N, 2]
    track: np.ndarray  # int [O]
    view: np.ndarray  # int [O]
    uv: np.ndarray  # float64 [O, 2]

    def select(self, keep: np.ndarray) -> Observations:
        """Only the observations where `keep` [O] holds; tracks stay numbered as they are."""
        return Observations(
            self.anchor, self.anchor_uv, self.track[keep], self.view[keep], self.uv[keep]
        )

    def of_tracks(self, keep: np.ndarray) -> Observations:
        """Only the tracks where `keep` [N] holds, renumbered, and what is seen of them."""
        number, use = np.cumsum(keep) - 1, keep[self.track]
        return Observations(
            self.anchor[keep], self.anchor_uv[keep], number[self.track[use]], self.view[use],
            self.uv[use],
        )  # fmt: skip


@dataclass
class Solution:
    """Cameras and inverse depths; `residual` [O] in pixels, `cost` the mean Cauchy cost."""

    rotation: np.ndarray  # [V, 3, 3]
    translation: np.ndarray  # [V, 3]
    focal: float
    inverse_depth: np.ndarray  # [N]
    residual: np.ndarray
    cost: float
    registered: np.ndarray  # bool [V]

    @property
    def w2c(self) -> np.ndarray:
        """[V, 4, 4] world-to-camera."""
        out = np.tile(np.eye(4), (len(self.rotation), 1, 1))
        out[:, :3, :3], out[:, :3, 3] = self.rotation, self.translation
        return out


def rays(uv: np.ndarray, focal: float, centre: np.ndarray) -> np.ndarray:
    """uv [N, 2] -> directions with z = 1, [N, 3]."""
    xy = (uv - centre) / focal
    return np.concatenate([xy, np.ones_like(xy[:, :1])], 1)


def triangulate(
    obs: Observations,
    rotation: np.ndarray,
    translation: np.ndarray,
    focal: float,
    centre: np.ndarray,
    registered: np.ndarray,
) -> np.ndarray:
    """Linear inverse depth of every track from its registered observations; NaN without one."""
    use = registered[obs.view] & registered[obs.anchor[obs.track]]
    track, view = obs.track[use], obs.view[use]
    anchor = obs.anchor[track]
    relative = rotation[view] @ rotation[anchor].transpose(0, 2, 1)
    offset = translation[view] - np.einsum("oij,oj->oi", relative, translation[anchor])
    far = np.einsum("oij,oj->oi", relative, rays(obs.anchor_uv, focal, centre)[track])
    seen = (obs.uv[use] - centre) / focal
    # seen * (far + rho offset)_z = (far + rho offset)_xy, divided by z so errors are in pixels
    depth = np.maximum(far[:, 2], 0.1)[:, None]
    a = (offset[:, :2] - seen * offset[:, 2:]) / depth
    b = (seen * far[:, 2:] - far[:, :2]) / depth
    count = len(obs.anchor)
    numerator = np.bincount(track, (a * b).sum(1), count)
    denominator = np.bincount(track, (a * a).sum(1), count)
    return np.where(denominator > 1e-12, numerator / np.maximum(denominator, 1e-12), np.nan)


def refine(
    obs: Observations,
    start: Solution,
    centre: np.ndarray,
    central: int,
    *,
    fixed_focal: bool = False,
    fixed_cameras: bool = False,
    iterations: int = 30,
    scale: float = 1.0,
    focal_prior: float | None = None,
    tolerance: float = 1e-5,
    silhouettes: Sequence[Silhouettes] = (),
) -> Solution:
    """Levenberg-Marquardt with Cauchy weights; observations of unregistered views drop.

    scale: residual in pixels from which the cost grows only with the logarithm, so that what moves
    by itself has little say. focal_prior: a usual focal length, a weak pull that only matters for
    degenerate motion, and before a plain backdrop. tolerance: relative gain of the cost below which
    it stops. silhouettes: of each moment that these cameras see before a plain backdrop.
    """
    rotation, translation = start.rotation.copy(), start.translation.copy()
    focal, registered = start.focal, start.registered
    keep = registered[obs.view] & registered[obs.anchor[obs.track]]
    keep &= np.isfinite(start.inverse_depth)[obs.track]
    used = np.flatnonzero(keep)
    used = used[np.argsort(obs.track[used], kind="stable")]
    active = obs.select(used)
    rho = np.nan_to_num(start.inverse_depth, nan=1.0)
    views, n, count = len(rotation), len(rho), len(used)
    size = 6 * views + 1
    movable = registered & (np.arange(views) != central) & (not fixed_cameras)
    free = np.append(np.repeat(movable, 6), not fixed_focal)
    first = np.searchsorted(active.track, np.arange(n + 1))
    seen = first, active.anchor, active.anchor_uv, active.view, active.uv
    links = first, active.anchor, active.view
    error = np.empty((count, 2))
    pull = _ALONE_PULL * count * scale**2 if silhouettes else _FOCAL_PULL
    outlines = silhouettes if registered.all() and not fixed_cameras else ()
    outline_px = max(OUTLINE_PX, 2 * scale)

    def cost_of(rotation, translation, focal, rho) -> float:
        reprojection(*seen, rotation, translation, focal, centre, rho, error)
        total = robust_cost(error, scale)
        if focal_prior is not None:
            total += 0.5 * pull * np.log(focal / focal_prior) ** 2
        for moment in outlines:
            total += moment.cost(rotation, translation, focal, centre, outline_px)
        return total

    h, g = np.empty((size, size)), np.empty(size)
    h_rho, g_rho, d_rho = np.empty(n), np.empty(n), np.empty(n)
    coupling = np.empty((count, 6)), np.empty((n, 6)), np.empty(n)
    damping = 1e-3
    cost = cost_of(rotation, translation, focal, rho)
    for _ in range(iterations):
        linearise(
            *seen, rotation, translation, focal, centre, rho, scale, h, g, h_rho, g_rho, *coupling
        )
        if focal_prior is not None:
            h[-1, -1] += pull
            g[-1] += pull * np.log(focal / focal_prior)
        for moment in outlines:
            moment.cost(rotation, translation, focal, centre, outline_px, (h, g))
        improved = False
        for _attempt in range(6):
            damped = h_rho * (1.0 + damping) + 1e-9
            schur, reduced = h.copy(), g.copy()
            schur[np.diag_indices(size)] += damping * np.diag(h) + 1e-9
            eliminate(*links, damped, g_rho, *coupling, schur, reduced)
            step = np.zeros(size)
            if free.any():
                step[free] = -np.linalg.solve(schur[np.ix_(free, free)], reduced[free])
            substitute(*links, damped, g_rho, *coupling, step, d_rho)
            new_rotation, new_translation = _stepped(rotation, translation, step, movable)
            new_focal = focal * float(np.exp(np.clip(step[-1], -0.3, 0.3)))
            new_rho = rho + d_rho
            new_cost = cost_of(new_rotation, new_translation, new_focal, new_rho)
            if new_cost < cost:
                improved = True
                break
            damping = min(damping * 6.0, 1e6)
        if not improved:
            break
        gain = (cost - new_cost) / max(cost, 1e-12)
        rotation, translation = new_rotation, new_translation
        focal, rho, cost = new_focal, new_rho, new_cost
        damping = max(damping * 0.3, 1e-7)
        if gain < tolerance:
            break
    cost_of(rotation, translation, focal, rho)
    rho = np.where(np.isfinite(start.inverse_depth), rho, np.nan)
    residual = np.full(len(obs.track), np.nan)
    residual[used] = np.linalg.norm(error, axis=1)
    return Solution(rotation, translation, focal, rho, residual, cost / max(1, count), registered)


def _stepped(
    rotation: np.ndarray, translation: np.ndarray, step: np.ndarray, movable: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Poses [V, 3, 3] and [V, 3] of which the movable ones [V] go on by step [6 V + 1]: a rotation
    vector and a shift each."""
    rotation, translation = rotation.copy(), translation.copy()
    for v in np.flatnonzero(movable):
        turn, shift = cv2.Rodrigues(step[6 * v : 6 * v + 3])[0], step[6 * v + 3 : 6 * v + 6]
        rotation[v], translation[v] = turn @ rotation[v], turn @ translation[v] + shift
    return rotation, translation


def normalise(solution: Solution, obs: Observations, central: int) -> Solution:
    """Scale the scene so that the central view's median track depth is 1."""
    z = track_depth_in(solution, obs, central)
    scale = float(np.nanmedian(np.where(z > 0, z, np.nan))) if np.isfinite(z).any() else 1.0
    if not np.isfinite(scale) or scale <= 0:
        return solution
    solution.translation = solution.translation / scale
    solution.inverse_depth = solution.inverse_depth * scale
    return solution


def track_depth_in(solution: Solution, obs: Observations, view: int) -> np.ndarray:
    """Depth in `view` of the tracks anchored or observed there, float64 [N] (NaN elsewhere)."""
    z = np.full(len(obs.anchor), np.nan)
    positive = solution.inverse_depth > 1e-6
    own = (obs.anchor == view) & positive
    z[own] = 1.0 / solution.inverse_depth[own]
    return z
