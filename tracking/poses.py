"""Cameras of a freeze-time clip from gated flow: tracks, a two-view start, PnP, then bundle.

Anchors are taken in every view, not only in the central one, so that the ends of a wide arc, which
share little with the centre, are tied through their neighbours. Several fields of view are tried:
from a bad focal the adjustment stays in a wrong minimum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from tracking.bundle import Observations, Solution, normalise, refine, triangulate
from tracking.flow import PairFlows, pixel_grid


@dataclass(frozen=True)
class PoseConfig:
    """Bundle settings; pixels are working pixels."""

    tracks: int = 4000  # over all anchors
    start_tracks: int = 1200  # of those, used to choose among starts
    fov_starts_deg: tuple[float, ...] = (35.0, 50.0, 70.0)  # of the longer image side
    iterations: int = 40
    start_iterations: int = 12
    huber_px: float = 0.7
    outlier_px: float = 4.0
    min_pnp: int = 24


def collect(pairs: PairFlows, tracks: int, min_views: int = 2) -> Observations:
    """Pick well-textured, evenly spread pixels of every view and read their matches off flow."""
    views, (h, w) = pairs.views, pairs.size
    min_views = min(min_views, views - 1)
    per_view = max(40, tracks // views)
    cell = max(4, int(np.sqrt(h * w / per_view)))
    rows, columns = h // cell, w // cell
    grid = pixel_grid(h, w)
    anchors, anchor_uv, tracks_of, views_of, uv_of = [], [], [], [], []
    count = 0
    for a in range(views):
        targets = [b for b in range(views) if (a, b) in pairs.flow]
        seen = sum(pairs.valid[a, b].astype(np.float32) for b in targets)
        corner = cv2.cornerMinEigenVal(cv2.GaussianBlur(pairs.gray_Vhw[a], (0, 0), 1.0), 5)
        texture = np.sqrt(np.maximum(corner, 0.0))
        floor = 0.002 * max(1e-9, float(texture.max()))
        score = np.where(seen >= min_views, np.minimum(seen, 4) * (texture + floor), 0.0)
        score[texture < 2e-4] = 0.0
        score[:4], score[-4:], score[:, :4], score[:, -4:] = 0.0, 0.0, 0.0, 0.0
        blocks = score[: rows * cell, : columns * cell].reshape(rows, cell, columns, cell)
        blocks = blocks.transpose(0, 2, 1, 3).reshape(rows * columns, -1)
        best = blocks.argmax(1)
        chosen = np.flatnonzero(blocks.max(1) > 0)
        y = (chosen // columns) * cell + best[chosen] // cell
        x = (chosen % columns) * cell + best[chosen] % cell
        index = count + np.arange(len(chosen))
        count += len(chosen)
        anchors.append(np.full(len(chosen), a))
        anchor_uv.append(grid[y, x].astype(np.float64))
        for b in targets:
            ok = pairs.valid[a, b][y, x]
            tracks_of.append(index[ok])
            views_of.append(np.full(int(ok.sum()), b))
            uv_of.append((grid[y, x] + pairs.flow[a, b][y, x])[ok].astype(np.float64))
    return Observations(
        np.concatenate(anchors).astype(np.int64),
        np.concatenate(anchor_uv),
        np.concatenate(tracks_of).astype(np.int64),
        np.concatenate(views_of).astype(np.int64),
        np.concatenate(uv_of),
    )


def every_nth_track(obs: Observations, step: int) -> Observations:
    """Observations of one track in `step`, renumbered."""
    kept = np.arange(len(obs.anchor)) % step == 0
    number = np.cumsum(kept) - 1
    use = kept[obs.track]
    return Observations(
        obs.anchor[kept], obs.anchor_uv[kept], number[obs.track[use]], obs.view[use], obs.uv[use]
    )


def pair_matches(
    pairs: PairFlows, a: int, b: int, stride: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Valid matches a -> b on a coarse grid, each float64 [M, 2]."""
    ok = pairs.valid[a, b][::stride, ::stride]
    grid = pixel_grid(*pairs.size)[::stride, ::stride]
    return (
        grid[ok].astype(np.float64),
        (grid + pairs.flow[a, b][::stride, ::stride])[ok].astype(np.float64),
    )


def _widest_pairs(pairs: PairFlows, canonical: int, count: int = 2) -> list[int]:
    """Partners of the canonical view, by motion left after a homography times matches."""
    scores = []
    for b in range(pairs.views):
        if (canonical, b) not in pairs.flow:
            continue
        x, y = pair_matches(pairs, canonical, b)
        if len(x) < 60:
            continue
        motion = np.median(np.linalg.norm(y - x - np.median(y - x, 0), axis=1))
        scores.append((min(motion, 30.0) * np.sqrt(len(x)), b))
    return [b for _, b in sorted(scores, reverse=True)[:count]]


def start_poses(
    obs: Observations,
    pairs: PairFlows,
    canonical: int,
    partner: int,
    focal: float,
    centre: np.ndarray,
    config: PoseConfig,
) -> Solution | None:
    """Essential matrix (MAGSAC) of (canonical, partner), then PnP of the others outwards."""
    K = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1.0]])
    x, y = pair_matches(pairs, canonical, partner)
    if len(x) < 30:
        return None
    cv2.setRNGSeed(0)
    essential, inliers = cv2.findEssentialMat(x, y, K, cv2.USAC_MAGSAC, 0.999, 1.0)
    if essential is None or essential.shape != (3, 3):
        return None
    _, turn, shift, _ = cv2.recoverPose(essential, x, y, K, mask=inliers.copy())
    views = pairs.views
    rotation = np.tile(np.eye(3), (views, 1, 1))
    translation = np.zeros((views, 3))
    registered = np.zeros(views, bool)
    registered[[canonical, partner]] = True
    rotation[partner], translation[partner] = turn, shift[:, 0]
    order = sorted(range(views), key=lambda v: min(abs(v - canonical), abs(v - partner)))
    anchor = obs.anchor[obs.track]

    def place(view: int) -> bool:
        """Camera of a view by PnP on the tracks that placed views have triangulated."""
        rho = triangulate(obs, rotation, translation, focal, centre, registered)
        use = (obs.view == view) & registered[anchor] & (rho[obs.track] > 1e-3)
        if use.sum() < config.min_pnp:
            return False
        track, source = obs.track[use], anchor[use]
        point = (
            np.concatenate([(obs.anchor_uv[track] - centre) / focal, np.ones((len(track), 1))], 1)
            / rho[track][:, None]
        )
        world = np.einsum("oji,oj->oi", rotation[source], point - translation[source])
        near = min(np.flatnonzero(registered), key=lambda v: abs(v - view))
        guess_r, guess_t = cv2.Rodrigues(rotation[near])[0], translation[near][:, None].copy()
        cv2.setRNGSeed(0)
        ok, r, t, good = cv2.solvePnPRansac(
            world,
            obs.uv[use],
            K,
            None,
            guess_r,
            guess_t,
            True,
            300,
            4.0,
            0.999,
            flags=cv2.SOLVEPNP_ITERATIVE,
        )
        if not ok or good is None or len(good) < config.min_pnp // 2:
            return False
        rotation[view], translation[view] = cv2.Rodrigues(r)[0], t[:, 0]
        registered[view] = True
        return True

    # A view that sees too few points at its turn may see enough when later ones are in place.
    while any([place(view) for view in order if not registered[view]]):
        pass
    rho = triangulate(obs, rotation, translation, focal, centre, registered)
    scale = 1.0 / max(1e-9, np.nanmedian(np.abs(rho[obs.anchor == canonical])))
    rho = np.where(np.isfinite(rho), np.clip(rho * scale, 1e-2, 20.0), np.nan)
    return Solution(rotation, translation / scale, focal, rho, np.empty(0), np.inf, registered)


def focal_of_fov(fov_deg: float, size: tuple[int, int]) -> float:
    """Focal length in pixels for a field of view across the longer side."""
    return 0.5 * max(size) / np.tan(np.radians(fov_deg) / 2)


def working_intrinsics(
    pairs: PairFlows, K: np.ndarray | None, canonical: int
) -> tuple[float, np.ndarray]:
    """(focal, principal point [2]) in working pixels; the centre of the picture without K."""
    if K is None:
        return focal_of_fov(50.0, pairs.size), np.array([pairs.size[1] / 2, pairs.size[0] / 2])
    scale = np.array(pairs.scale)
    return float(K[canonical, 0, 0] * scale[0]), K[canonical, :2, 2] * scale


def solve_poses(
    pairs: PairFlows,
    canonical: int,
    *,
    K: np.ndarray | None = None,
    config: PoseConfig | None = None,
    log: Callable[[str], None] | None = None,
) -> tuple[Solution, Observations]:
    """Cameras, focal (working pixels) and track depths of the clip.

    K [V, 3, 3] at the frames' own size fixes the intrinsics.

    Raises ValueError when no pair of views gives a two-view start.
    """
    config = config or PoseConfig()
    obs = collect(pairs, config.tracks)
    if len(obs.track) < 60:
        raise ValueError("too few matches between the views")
    focal, centre = working_intrinsics(pairs, K, canonical)
    fixed = K is not None
    starts = [focal] if fixed else [focal_of_fov(d, pairs.size) for d in config.fov_starts_deg]
    prior = None if fixed else (focal_of_fov(50.0, pairs.size), 0.5)
    thin = every_nth_track(obs, max(1, len(obs.anchor) // config.start_tracks))
    best: Solution | None = None
    agreeing = 0
    for partner in _widest_pairs(pairs, canonical):
        for f in starts:
            start = start_poses(thin, pairs, canonical, partner, f, centre, config)
            if start is None:
                continue
            rough = refine(
                thin, start, centre, canonical, fixed_focal=True, huber=2.0, iterations=6
            )
            rough = refine(
                thin,
                rough,
                centre,
                canonical,
                fixed_focal=fixed,
                huber=2.0,
                iterations=config.start_iterations,
                focal_prior=prior,
            )
            missing = (~rough.registered).sum()
            if log is not None:
                log(f"start {partner} f {f:.0f} -> {rough.focal:.1f} cost {rough.cost:.3f}")
            if best is not None and abs(rough.cost - best.cost) < 0.02 * best.cost:
                agreeing += abs(np.log(rough.focal / best.focal)) < 0.02
            if best is None or (missing, rough.cost) < ((~best.registered).sum(), best.cost):
                best = rough
            if agreeing and best.registered.all():
                break
        if agreeing and best is not None and best.registered.all():
            break  # two starts met in one minimum: the others would too
    if best is None:
        raise ValueError("no pair of views gives a two-view start")
    best.inverse_depth = triangulate(
        obs, best.rotation, best.translation, best.focal, centre, best.registered
    )
    low = 1e-3 * np.nanmedian(best.inverse_depth)
    best.inverse_depth = np.maximum(best.inverse_depth, low)
    return polish(obs, best, centre, canonical, fixed, prior, config), obs


def polish(obs, start, centre, canonical, fixed, prior, config) -> Solution:
    """Full-length adjustment, then once more without the tracks that do not move rigidly."""
    full = refine(
        obs,
        start,
        centre,
        canonical,
        fixed_focal=fixed,
        huber=config.huber_px,
        iterations=config.iterations,
        focal_prior=prior,
    )
    keep = np.nan_to_num(full.residual, nan=np.inf) < config.outlier_px
    keep &= full.inverse_depth[obs.track] > 1e-3
    inner = obs.select(keep)
    again = refine(
        inner,
        full,
        centre,
        canonical,
        fixed_focal=fixed,
        huber=config.huber_px,
        iterations=config.iterations,
        focal_prior=prior,
    )
    full.rotation, full.translation, full.focal = again.rotation, again.translation, again.focal
    full.inverse_depth, full.cost = again.inverse_depth, again.cost
    full.residual = np.full(len(obs.track), np.nan)
    full.residual[keep] = again.residual
    return normalise(full, obs, canonical)
