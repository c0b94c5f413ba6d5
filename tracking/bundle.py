"""Anchored bundle adjustment: cameras, focal length and one inverse depth per track, in numpy.

A track is a fixed ray in its anchor frame plus one unknown, its inverse depth there, so the Schur
complement of the points is diagonal and the reduced system has 6 unknowns per view plus the focal.

Legend: V views, N tracks, O observations. Pixels have centres at +0.5; poses are world-to-camera,
OpenCV axes; the canonical view is the identity and its median depth is 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass
class Observations:
    """Matches of N anchored tracks: track `track[o]` is seen in view `view[o]` at `uv[o]`."""

    anchor: np.ndarray  # int [N]
    anchor_uv: np.ndarray  # float64 [N, 2]
    track: np.ndarray  # int [O], sorted
    view: np.ndarray  # int [O]
    uv: np.ndarray  # float64 [O, 2]

    def select(self, keep: np.ndarray) -> Observations:
        """Only the observations where `keep` [O] holds; tracks stay numbered as they are."""
        return Observations(
            self.anchor, self.anchor_uv, self.track[keep], self.view[keep], self.uv[keep]
        )


@dataclass
class Solution:
    """Cameras and inverse depths; `residual` [O] in pixels, `cost` the mean Huber cost."""

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


def skew(a: np.ndarray) -> np.ndarray:
    """[..., 3] -> cross-product matrices [..., 3, 3]."""
    zero = np.zeros_like(a[..., 0])
    x, y, z = a[..., 0], a[..., 1], a[..., 2]
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*a.shape[:-1], 3, 3)


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


def _residuals(obs, rotation, translation, focal, centre, rho):
    anchor = obs.anchor[obs.track]
    relative = rotation[obs.view] @ rotation[anchor].transpose(0, 2, 1)
    offset = translation[obs.view] - np.einsum("oij,oj->oi", relative, translation[anchor])
    ray = rays(obs.anchor_uv, focal, centre)[obs.track]
    far = np.einsum("oij,oj->oi", relative, ray)
    point = far + rho[obs.track][:, None] * offset
    z = np.maximum(point[:, 2:], 1e-3)
    error = focal * point[:, :2] / z + centre - obs.uv
    return error, relative, offset, ray, point, z


def _expm(w: np.ndarray) -> np.ndarray:
    return cv2.Rodrigues(w)[0]


def refine(
    obs: Observations,
    start: Solution,
    centre: np.ndarray,
    canonical: int,
    *,
    fixed_focal: bool = False,
    fixed_cameras: bool = False,
    iterations: int = 30,
    huber: float = 1.0,
    focal_prior: tuple[float, float] | None = None,
) -> Solution:
    """Levenberg-Marquardt with Huber weights from `start`; observations of unregistered views drop.

    focal_prior: (focal, sigma of log focal), a weak pull that only matters for degenerate motion.
    """
    rotation, translation = start.rotation.copy(), start.translation.copy()
    focal, registered = start.focal, start.registered
    keep = registered[obs.view] & registered[obs.anchor[obs.track]]
    keep &= np.isfinite(start.inverse_depth)[obs.track]
    active = obs.select(keep)
    rho = np.nan_to_num(start.inverse_depth, nan=1.0).copy()
    views, n = len(rotation), len(rho)
    size = 6 * views + 1
    free = np.ones(size, bool)
    free[6 * canonical : 6 * canonical + 6] = False
    free[:-1] &= np.repeat(registered, 6) & (not fixed_cameras)
    free[-1] = not fixed_focal
    pair_id = active.view * views + active.anchor[active.track]
    order = np.argsort(pair_id, kind="stable")
    bounds = np.flatnonzero(np.diff(pair_id[order])) + 1
    groups = np.split(order, bounds) if len(order) else []

    def cost_of(rotation, translation, focal, rho):
        error = _residuals(active, rotation, translation, focal, centre, rho)[0]
        r = np.linalg.norm(error, axis=1)
        total = np.where(r <= huber, 0.5 * r * r, huber * (r - 0.5 * huber)).sum()
        if focal_prior is not None:
            total += 0.5 * (np.log(focal / focal_prior[0]) / focal_prior[1]) ** 2
        return total

    damping = 1e-3
    cost = cost_of(rotation, translation, focal, rho)
    for _ in range(iterations):
        error, relative, offset, ray, point, z = _residuals(
            active, rotation, translation, focal, centre, rho
        )
        r = np.linalg.norm(error, axis=1)
        weight = np.minimum(1.0, huber / np.maximum(r, 1e-9))
        projection = np.zeros((len(r), 2, 3))
        projection[:, 0, 0] = projection[:, 1, 1] = focal / z[:, 0]
        projection[:, :, 2] = -focal * point[:, :2] / z**2
        rho_o = rho[active.track][:, None, None]
        jacobian = np.empty((len(r), 2, 13))
        jacobian[:, :, 0:3] = projection @ -skew(point)
        jacobian[:, :, 3:6] = projection * rho_o
        turned = projection @ relative
        jacobian[:, :, 6:9] = turned @ skew(ray)
        jacobian[:, :, 9:12] = -turned * rho_o
        bent = ray.copy()
        bent[:, 2] = 0.0
        jacobian[:, :, 12] = focal * point[:, :2] / z - np.einsum("oij,oj->oi", turned, bent)
        j_rho = np.einsum("oij,oj->oi", projection, offset)

        h_rho = np.bincount(active.track, weight * (j_rho**2).sum(1), n)
        g_rho = np.bincount(active.track, weight * (j_rho * error).sum(1), n)
        h = np.zeros((size, size))
        g = np.zeros(size)
        coupling = np.zeros((n, size))
        for group in groups:
            view = active.view[group[0]]
            anchor = active.anchor[active.track[group[0]]]
            columns = np.r_[6 * view : 6 * view + 6, 6 * anchor : 6 * anchor + 6, size - 1 : size]
            j = jacobian[group]
            weighted = j * weight[group, None, None]
            h[np.ix_(columns, columns)] += np.tensordot(weighted, j, ((0, 1), (0, 1)))
            g[columns] += np.tensordot(weighted, error[group], ((0, 1), (0, 1)))
            block = np.einsum("oij,oi->oj", weighted, j_rho[group])
            coupling[np.ix_(active.track[group], columns)] += block
        if focal_prior is not None:
            h[-1, -1] += 1.0 / focal_prior[1] ** 2
            g[-1] += np.log(focal / focal_prior[0]) / focal_prior[1] ** 2
        improved = False
        for _attempt in range(6):
            h_rho_damped = h_rho * (1.0 + damping) + 1e-9
            half = coupling / h_rho_damped[:, None]
            schur = h - coupling.T @ half
            schur[np.diag_indices(size)] += damping * np.diag(h) + 1e-9
            step = np.zeros(size)
            if free.any():
                reduced = g - half.T @ g_rho
                step[free] = -np.linalg.solve(schur[np.ix_(free, free)], reduced[free])
            d_rho = -(g_rho + coupling @ step) / h_rho_damped
            new_rotation, new_translation = rotation.copy(), translation.copy()
            for v in range(views):
                if v != canonical and registered[v] and not fixed_cameras:
                    turn = _expm(step[6 * v : 6 * v + 3])
                    new_rotation[v] = turn @ rotation[v]
                    new_translation[v] = turn @ translation[v] + step[6 * v + 3 : 6 * v + 6]
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
        if gain < 1e-5:
            break
    rho = np.where(np.isfinite(start.inverse_depth), rho, np.nan)
    residual = np.full(len(obs.track), np.nan)
    error = _residuals(active, rotation, translation, focal, centre, rho)[0]
    residual[keep] = np.linalg.norm(error, axis=1)
    return Solution(
        rotation, translation, focal, rho, residual, cost / max(1, keep.sum()), registered
    )


def normalise(solution: Solution, obs: Observations, canonical: int) -> Solution:
    """Scale the scene so that the canonical view's median track depth is 1."""
    z = track_depth_in(solution, obs, canonical)
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
