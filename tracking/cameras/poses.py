"""Cameras of a freeze-time clip from tracks: a two-view start, PnP, then bundle adjustment.

Several fields of view are tried: from a bad focal the adjustment stays in a wrong minimum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from tracking.cameras.bundle import Observations, Solution, normalise, refine, triangulate
from tracking.cameras.follow import FollowConfig, matches
from tracking.cameras.orbits import orbits
from tracking.cameras.silhouettes import COHERENT_PX, Silhouettes
from tracking.flow.optical import PairFlows

ROUGH_PX = 2.0  # scale of the first adjustments
_THIN_OUTLINES = 2  # one point in so many chooses among starts


@dataclass(frozen=True)
class PoseConfig:
    """Bundle settings; pixels are working pixels."""

    follow: FollowConfig = field(default_factory=FollowConfig)
    start_tracks: int = 75  # a view, used to choose among starts
    fov_starts_deg: tuple[float, ...] = (50.0, 35.0, 70.0)  # of the longer image side
    iterations: int = 40
    start_iterations: int = 12
    scale_px: tuple[float, float] = (0.15, 0.7)  # least and most; in between: the median residual
    outlier_px: float = 2.0
    min_followed: float = 0.15  # share of points; .5-.9 in clips, .05 between unrelated pictures
    min_pnp: int = 24
    max_pnp: int = 200
    start_pairs: tuple[int, int] = (2, 8)  # always tried; at most, while cameras are not sound
    sound: float = 0.75  # share of observations that roughly fit


def every_nth_track(obs: Observations, step: int) -> Observations:
    """Observations of one track in `step`, renumbered."""
    return obs.of_tracks(np.arange(len(obs.anchor)) % step == 0)


def _widest_pairs(obs: Observations, central: int, views: int) -> list[int]:
    """Partners of the central view, by spread of the motion times the root of the matches."""
    scores = []
    for b in range(views):
        x, y = matches(obs, central, b)
        if b == central or len(x) < 30:
            continue
        motion = np.median(np.linalg.norm(y - x - np.median(y - x, 0), axis=1))
        scores.append((min(motion, 30.0) * np.sqrt(len(x)), b))
    return [b for _, b in sorted(scores, reverse=True)]


def start_poses(
    obs: Observations,
    views: int,
    central: int,
    partner: int,
    pair: tuple[np.ndarray, np.ndarray],
    focal: float,
    centre: np.ndarray,
    config: PoseConfig,
) -> Solution | None:
    """Essential matrix (MAGSAC) of (central, partner), then PnP of the others outwards.

    pair: matches [M, 2] of the two.
    """
    K = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1.0]])
    x, y = pair
    cv2.setRNGSeed(0)
    essential, inliers = cv2.findEssentialMat(x, y, K, cv2.USAC_MAGSAC, 0.999, 1.0)
    if essential is None or essential.shape != (3, 3):
        return None
    _, turn, shift, _ = cv2.recoverPose(essential, x, y, K, mask=inliers.copy())
    rotation = np.tile(np.eye(3), (views, 1, 1))
    translation = np.zeros((views, 3))
    registered = np.zeros(views, bool)
    registered[[central, partner]] = True
    rotation[partner], translation[partner] = turn, shift[:, 0]
    order = sorted(range(views), key=lambda v: min(abs(v - central), abs(v - partner)))
    anchor = obs.anchor[obs.track]

    def place(view: int) -> bool:
        """Camera of a view by PnP on the tracks that placed views have triangulated."""
        rho = triangulate(obs, rotation, translation, focal, centre, registered)
        use = (obs.view == view) & registered[anchor] & (rho[obs.track] > 1e-3)
        use = np.flatnonzero(use)
        if len(use) < config.min_pnp:
            return False
        use = use[:: max(1, len(use) // config.max_pnp)]
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
            100,
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
    scale = 1.0 / max(1e-9, np.nanmedian(np.abs(rho[obs.anchor == central])))
    rho = np.where(np.isfinite(rho), np.clip(rho * scale, 1e-2, 20.0), np.nan)
    return Solution(rotation, translation / scale, focal, rho, np.empty(0), np.inf, registered)


def focal_of_fov(fov_deg: float, size: tuple[int, int]) -> float:
    """Focal length in pixels for a field of view across the longer side."""
    return 0.5 * max(size) / np.tan(np.radians(fov_deg) / 2)


def working_intrinsics(
    pairs: PairFlows, K: np.ndarray | None, central: int
) -> tuple[float, np.ndarray]:
    """(focal, principal point [2]) in working pixels; the centre of the picture without K."""
    if K is None:
        return focal_of_fov(50.0, pairs.size), np.array([pairs.size[1] / 2, pairs.size[0] / 2])
    scale = np.array(pairs.scale)
    return float(K[central, 0, 0] * scale[0]), K[central, :2, 2] * scale


def solve_poses(
    pairs: PairFlows,
    obs: Observations,
    central: int,
    *,
    K: np.ndarray | None = None,
    config: PoseConfig | None = None,
    silhouettes: Sequence[Silhouettes] = (),
    log: Callable[[str], None] | None = None,
) -> Solution:
    """Cameras, focal (working pixels) and track depths of the clip from its tracks.

    K [V, 3, 3] at the frames' own size fixes the intrinsics. silhouettes: what the cameras see
    before a plain backdrop, a moment each; where the cameras of points do not fit them, or there
    are none, cameras on arcs around the subject are tried as well.

    Raises ValueError when too few points are found again or no two views give a start.
    """
    config = config or PoseConfig()
    if len(obs.track) < 60:
        raise ValueError("too few matches between the views")
    followed = len(np.unique(obs.track)) / len(obs.anchor)
    if followed < config.min_followed:
        raise ValueError(f"only {100 * followed:.0f} % of points are found again in another view")
    focal, centre = working_intrinsics(pairs, K, central)
    fixed = K is not None
    starts = [focal] if fixed else [focal_of_fov(d, pairs.size) for d in config.fov_starts_deg]
    prior = _prior(pairs, K)
    thin = every_nth_track(
        obs, max(1, round(len(obs.anchor) / (config.start_tracks * pairs.views)))
    )
    thin_shapes = [s.thinned(_THIN_OUTLINES) for s in silhouettes]
    shortest, longest = (focal_of_fov(d, pairs.size) for d in (130.0, 5.0))
    belongs = np.isin(np.arange(pairs.views), pairs.sequence)

    best: Solution | None = None
    best_rank = (0, False, 0.0)

    def sound() -> bool:
        """Whether the best so far places all views, in front of them, and fits the silhouettes."""
        if best is None or best_rank[:2] != (0, False):
            return False
        cameras = best.rotation, best.translation, best.focal
        return all(shape.off_px(*cameras, centre) < COHERENT_PX for shape in thin_shapes)

    def candidates() -> Iterator[Solution]:
        """Starts, from the widest pairs and every focal.

        What the widest pairs share may be what moves on its own: then views find no place, or
        much fits nowhere, and others are tried; then arcs around what has a silhouette.
        """
        always, most = config.start_pairs
        for i, partner in enumerate(_widest_pairs(obs, central, pairs.views)[:most]):
            if i >= always and best is not None and best_rank[0] == 0:
                if np.mean(np.nan_to_num(best.residual, nan=np.inf) < ROUGH_PX) > config.sound:
                    break
            pair = matches(obs, central, partner)
            for f in starts:
                start = start_poses(thin, pairs.views, central, partner, pair, f, centre, config)
                if start is not None:
                    yield start
        if silhouettes and not pairs.foreign and not sound():
            yield from orbits(
                thin, thin_shapes[0], pairs.views, central, tuple(starts), centre, 2 * ROUGH_PX
            )

    for start in candidates():
        rough = refine(
            thin, start, centre, central, fixed_focal=True, scale=ROUGH_PX, iterations=6,
            tolerance=1e-2, silhouettes=thin_shapes,
        )  # fmt: skip
        rough = refine(
            thin, rough, centre, central, fixed_focal=fixed, scale=ROUGH_PX,
            iterations=config.start_iterations, focal_prior=prior, tolerance=1e-3,
            silhouettes=thin_shapes,
        )  # fmt: skip
        if log is not None:
            log(f"start at {start.focal:.0f} -> {rough.focal:.1f} cost {rough.cost:.3f}")
        if not shortest < rough.focal < longest:
            continue
        # repeated patterns fit best with the scene behind the camera: never prefer that
        behind = float((rough.inverse_depth[np.isfinite(rough.inverse_depth)] <= 0).mean()) > 0.3
        rank = (int((belongs & ~rough.registered).sum()), behind, rough.cost)
        met = best is not None and abs(rough.cost - best.cost) < 0.02 * best.cost
        met = met and best is not None and abs(np.log(rough.focal / best.focal)) < 0.02
        if best is None or rank < best_rank:
            best, best_rank = rough, rank
        if met and sound():
            break  # two starts met in one minimum: the others would too
    if best is None:
        raise ValueError("only 0 % of the matches fit one rigid scene")
    return sharpen(pairs, obs, best, central, K=K, config=config, silhouettes=silhouettes)


def sharpen(
    pairs: PairFlows,
    obs: Observations,
    start: Solution,
    central: int,
    *,
    K: np.ndarray | None,
    config: PoseConfig,
    silhouettes: Sequence[Silhouettes] = (),
) -> Solution:
    """The cameras of ``start``, adjusted to tracks of the clip; see ``solve_poses``."""
    centre = working_intrinsics(pairs, K, central)[1]
    depth = triangulate(
        obs, start.rotation, start.translation, start.focal, centre, start.registered
    )
    depth = np.maximum(depth, 1e-3 * np.nanmedian(depth))
    start = replace(start, inverse_depth=depth)
    return polish(obs, start, centre, central, K is not None, _prior(pairs, K), config, silhouettes)


def _prior(pairs: PairFlows, K: np.ndarray | None) -> float | None:
    """The usual focal length in working pixels; None where it is known."""
    return None if K is not None else focal_of_fov(50.0, pairs.size)


def polish(
    obs: Observations,
    start: Solution,
    centre: np.ndarray,
    central: int,
    fixed: bool,
    prior: float | None,
    config: PoseConfig,
    silhouettes: Sequence[Silhouettes],
) -> Solution:
    """Full-length adjustment, then once more, sharper, without what does not move rigidly."""

    def adjust(obs: Observations, start: Solution, scale: float, tolerance: float) -> Solution:
        return refine(
            obs, start, centre, central, fixed_focal=fixed, scale=scale,
            iterations=config.iterations, focal_prior=prior, tolerance=tolerance,
            silhouettes=silhouettes,
        )  # fmt: skip

    least, most = config.scale_px
    full = adjust(obs, start, most, 3e-4)
    keep = np.nan_to_num(full.residual, nan=np.inf) < config.outlier_px
    keep &= full.inverse_depth[obs.track] > 1e-3
    if not keep.any():
        return normalise(full, obs, central)
    sharp = float(np.clip(np.median(full.residual[keep]), least, most))
    again = adjust(obs.select(keep), full, sharp, 1e-5)
    residual = np.full(len(obs.track), np.nan)
    residual[keep] = again.residual
    again.residual = residual
    return normalise(again, obs, central)
