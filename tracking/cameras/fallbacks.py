"""What can be wrong with a freeze-time clip, how it is noticed, and what is done instead.

Every fallback says so in one line through the caller's `notes`; nothing is silent. Thresholds are
in working pixels (see tracking.flow.optical) unless they say degrees or shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tracking.cameras.bundle import Observations, Solution
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
    redrawn_off: float = 0.12  # share of what neighbours draw that a view does not show there
    allow_stand_in: bool = False  # a smooth depth where cameras cannot be found, instead of an end
    wide: bool = True  # wide-baseline features where flow cannot link the views
    lost_share: float = 0.25  # of the views: more than this left out by flow, and these are asked
    wide_placed: float = 0.6  # share of the views that these must place
    wide_explained: float = 0.25  # share of the features' matches that these must explain
    wide_agreed: float = 0.1  # share of the central picture whose depth must be sure ...
    far_agreed: float = 0.2  # ... far from all others: grain agrees on a twelfth by chance
    least_left: float = 0.05  # share of the pictures that must be of the scene


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


def left_out_lines(dropped: Sequence[int], views: int, foreign: Sequence[int] = ()) -> list[str]:
    """One line for every run of views that have no place, of which ``foreign`` ones show something
    else; ``views`` there are in all."""
    lines: list[str] = []
    runs: list[list[int]] = []
    for v in dropped:
        if runs and v == runs[-1][-1] + 1 and (v in foreign) == (v - 1 in foreign):
            runs[-1].append(v)
        else:
            runs.append([v])
    for run in runs:
        a, b = run[0], run[-1]
        one, ends, other = a == b, a == 0 or b == views - 1, a in foreign
        which = f"view {a}" if one else f"views {a} to {b}"
        why = "could not be placed" if not other else f"show{'s' if one else ''} something else"
        left = "it is left out, its camera is" if one else "they are left out, their cameras are"
        from_ = f"interpolated from {'its' if one else 'their'} neighbours"
        lines.append(f"{which} {why}: {left} {'that of the nearest view' if ends else from_}")
    return lines
