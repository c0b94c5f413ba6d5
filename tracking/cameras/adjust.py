"""Given cameras that are slightly off, as a calibration after a knock is: pulled to the matches.

Every camera may turn, shift and change its focal length a little. What matches between views say
is the distance to their epipolar lines (Sampson's), what the calibration says is a prior. Nothing
is done unless matches that had no say agree too, and no pair of views loses matches that were
sharply on their lines: exact cameras stay as they are. Bricks and planks look alike one after the
other, and such wrong matches, all off alike, would turn them.

Legend: V views; pixels are working pixels (tracking.flow.optical) with centres at +0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from fourreal.cameras import camera_centres, relative_pose
from fourreal.epipolar import cross, fundamental, sampson, sampson_slopes
from tracking.cameras.bundle import Observations
from tracking.cameras.follow import matches
from tracking.cameras.known import (
    epipolar_pairs,
    matches_on_lines,
    points_of_pair,
)
from tracking.flow.optical import PairFlows
from tracking.flow.sparse import features

Features = tuple[np.ndarray, np.ndarray | None]


@dataclass(frozen=True)
class AdjustConfig:
    """Pixels are those of a picture of 512."""

    turn_deg: float = 0.3  # of a camera: the prior's standard deviation ...
    shift_deg: float = 0.3  # ... of a shift, as the scene sees it ...
    focal: float = 0.005  # ... and of the log of a focal length
    most_deg: float = 1.5  # a camera that is off by more is none of these pictures
    line_px: tuple[float, ...] = (8.0, 3.0)  # how far a match may lie from its line, by round
    ratio: float = 0.8
    features: int = 3000
    all_pairs_up_to: int = 6  # views; more are matched with their four neighbours
    least: int = 40  # matches of a pair
    enough: int = 200  # followed points of a pair that need no features beside them
    fine_px: float = 0.4  # off their lines: what matches of exact cameras are
    sharp_px: float = 0.25  # off their lines: what only right matches of right cameras are
    noise_px: float = 0.5  # from which a match has less say
    worth: float = 300.0  # independent matches that a pair counts as, at most
    better: float = 0.75  # share of the distance to the lines that must remain at most ...
    better_px: float = 0.1  # ... and what it must fall by
    iterations: int = 8


@dataclass
class Adjusted:
    """Cameras K [V, 3, 3], w2c [V, 4, 4]; median pixels that the matches of the worst view
    are off their lines, before and after; the largest turn in degrees."""

    K: np.ndarray
    w2c: np.ndarray
    before: float
    after: float
    turned_deg: float


@dataclass
class _Pair:
    a: int
    b: int
    x: np.ndarray  # [N, 2] in a
    y: np.ndarray  # [N, 2] in b

    def half(self, odd: int) -> _Pair:
        return _Pair(self.a, self.b, self.x[odd::2], self.y[odd::2])


def adjusted_cameras(
    pairs: PairFlows,
    followed: Observations,
    K: np.ndarray,
    w2c: np.ndarray,
    config: AdjustConfig | None = None,
) -> Adjusted | None:
    """The cameras K [V, 3, 3], w2c [V, 4, 4] as the pictures want them; None: as they are given.

    K in working pixels; followed: points that flow follows (``tracking.cameras.follow``).
    """
    config = config or AdjustConfig()
    pixel = max(pairs.size) / 512.0

    @cache
    def found(v: int) -> Features:
        return features(pairs.gray_Vhw[v], config.features)

    new_K, new_w2c, kept = K, w2c, []
    for line in config.line_px:
        kept = _near_lines(followed, found, new_K, new_w2c, line * pixel, config)
        if not kept:
            return None
        before = _worst_off(kept, K, w2c) / pixel
        if before < config.fine_px and new_K is K:
            return None
        unit = _distance(kept, K, w2c)
        new_K, new_w2c = _solve([p.half(0) for p in kept], K, w2c, unit, pixel, config)
    checks = [p.half(1) for p in kept]
    before, after = (_worst_off(checks, *c) / pixel for c in ((K, w2c), (new_K, new_w2c)))
    if after > config.better * before or before - after < config.better_px:
        return None
    new_K, new_w2c = _solve(kept, K, w2c, unit, pixel, config)
    sharp = config.sharp_px * pixel
    for p in kept:
        had, has = (np.abs(_off(p, *c)) for c in ((K, w2c), (new_K, new_w2c)))
        if _fewer(had, has, sharp):
            return None
    turned = max(
        float(np.degrees(np.linalg.norm(cv2.Rodrigues(n[:3, :3] @ g[:3, :3].T)[0])))
        for n, g in zip(new_w2c, w2c, strict=True)
    )
    if turned > config.most_deg:
        return None
    return Adjusted(new_K, new_w2c, before, after, turned)


def _near_lines(
    followed: Observations,
    found: Callable[[int], Features],
    K: np.ndarray,
    w2c: np.ndarray,
    line: float,
    config: AdjustConfig,
) -> list[_Pair]:
    """Matches of features and of followed points that lie near each other's epipolar lines."""
    out = []
    for a, b, F in epipolar_pairs(K, w2c, config.all_pairs_up_to):
        x, y = matches(followed, a, b)
        near = np.abs(sampson(F, x, y)) < line
        x, y = x[near], y[near]
        if len(x) < config.enough:
            i, j = matches_on_lines(found(a), found(b), F, line, config.ratio)
            x, y = np.concatenate([x, found(a)[0][i]]), np.concatenate([y, found(b)[0][j]])
        if len(x) >= config.least:
            out.append(_Pair(a, b, x, y))
    return out


def _off(pair: _Pair, K: np.ndarray, w2c: np.ndarray) -> np.ndarray:
    a, b = pair.a, pair.b
    return sampson(fundamental(K[a], K[b], relative_pose(w2c[a], w2c[b])), pair.x, pair.y)


def _worst_off(pairs: Sequence[_Pair], K: np.ndarray, w2c: np.ndarray) -> float:
    """Median pixels that the matches of a view are off, of the view with the largest."""
    off = {(p.a, p.b): np.abs(_off(p, K, w2c)) for p in pairs}
    views = {v for pair in off for v in pair}
    return max(
        float(np.median(np.concatenate([o for pair, o in off.items() if v in pair]))) for v in views
    )


def _fewer(before: np.ndarray, after: np.ndarray, sharp: float) -> bool:
    """Whether fewer matches [N] are sharply on their lines than chance explains."""
    had, has = int((before < sharp).sum()), int((after < sharp).sum())
    return has < had - 2.0 * np.sqrt(had)


def _distance(pairs: Sequence[_Pair], K: np.ndarray, w2c: np.ndarray) -> float:
    """How far from the cameras the matches are, in units of the world."""
    far = []
    for p in pairs:
        points = points_of_pair(p.x, p.y, K[p.a], K[p.b], w2c[p.a], w2c[p.b], 0.1)
        far.append(np.linalg.norm(points - camera_centres(w2c[p.a]), axis=1))
    every = np.concatenate(far)
    return float(np.median(every)) if len(every) else 1.0


def _moved(
    K: np.ndarray, w2c: np.ndarray, step: np.ndarray, unit: float
) -> tuple[np.ndarray, np.ndarray]:
    """One camera changed by step [7]: rotation vector, shift / unit, log of the focal length."""
    turn = np.eye(4)
    turn[:3, :3], turn[:3, 3] = cv2.Rodrigues(step[:3])[0], step[3:6] * unit
    lens = K.copy()
    lens[[0, 1], [0, 1]] *= np.exp(step[6])
    return lens, turn @ w2c


def _twists(step: np.ndarray, unit: float) -> np.ndarray:
    """D [6, 4, 4]: a camera moved by step [7] changes with its turn and shift by D @ w2c."""
    turn, by_turn = cv2.Rodrigues(step[:3])
    out = np.zeros((6, 4, 4))
    out[:3, :3, :3] = by_turn.reshape(3, 3, 3) @ turn.T
    out[:3, :3, 3] = -out[:3, :3, :3] @ step[3:6] * unit
    out[[3, 4, 5], [0, 1, 2], 3] = unit
    return out


def _slopes(
    pairs: Sequence[_Pair], K: np.ndarray, w2c: np.ndarray, twists: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """How far the matches of every pair are off [N], and how that changes with the steps of its
    views a and b [N, 14].

    K [V, 3, 3], w2c [V, 4, 4], twists [V, 6, 4, 4] (``_twists``): of the cameras as they are now.
    """
    a, b = np.array([p.a for p in pairs]), np.array([p.b for p in pairs])
    inverse = np.linalg.inv(K)
    to_a, to_b = inverse[a], np.swapaxes(inverse[b], 1, 2)
    move = relative_pose(w2c[a], w2c[b])
    F = fundamental(K[a], K[b], move)
    move = move[:, None]
    by = np.concatenate([-move @ twists[a], twists[b] @ move], 1)
    by = cross(by[..., :3, 3]) @ move[..., :3, :3] + cross(move[..., :3, 3]) @ by[..., :3, :3]
    by = to_b[:, None] @ by @ to_a[:, None]
    lens = K * np.diag([1.0, 1.0, 0.0])
    F_by = np.concatenate(
        [by[:, :6], -(F @ lens[a] @ to_a)[:, None], by[:, 6:], -(to_b @ lens[b] @ F)[:, None]], 1
    ).reshape(-1, 14, 9)
    count = [len(p.x) for p in pairs]
    x, y = np.concatenate([p.x for p in pairs]), np.concatenate([p.y for p in pairs])
    off, by_F = sampson_slopes(np.repeat(F, count, axis=0), x, y)
    offs, by_Fs = (np.split(z, np.cumsum(count)[:-1]) for z in (off, by_F.reshape(-1, 9)))
    return [(o, s @ f.T) for o, s, f in zip(offs, by_Fs, F_by, strict=True)]


def _solve(
    pairs: Sequence[_Pair],
    K: np.ndarray,
    w2c: np.ndarray,
    unit: float,
    pixel: float,
    config: AdjustConfig,
) -> tuple[np.ndarray, np.ndarray]:
    """Re-weighted Gauss-Newton from the given cameras."""
    views = len(w2c)
    sigma = np.repeat(np.radians([config.turn_deg, config.shift_deg]), 3)
    prior = 1.0 / np.append(sigma, config.focal) ** 2
    noise = config.noise_px * pixel
    step = np.zeros((views, 7))
    for _ in range(config.iterations):
        now = [_moved(K[v], w2c[v], step[v], unit) for v in range(views)]
        lenses, poses = np.stack([k for k, _ in now]), np.stack([m for _, m in now])
        twists = np.stack([_twists(s, unit) for s in step])
        h = np.diag(np.tile(prior, views))
        g = (prior * step).ravel()
        for p, (error, slopes) in zip(pairs, _slopes(pairs, lenses, poses, twists), strict=True):
            weight = min(1.0, config.worth / len(error)) / (1.0 + (error / noise) ** 2) / noise**2
            weighted = slopes.T * weight
            where = np.concatenate([7 * v + np.arange(7) for v in (p.a, p.b)])
            h[np.ix_(where, where)] += weighted @ slopes
            g[where] += weighted @ error
        change = -np.linalg.solve(h, g).reshape(views, 7)
        step += change
        if np.abs(change).max() < 1e-7:
            break
    now = [_moved(K[v], w2c[v], step[v], unit) for v in range(views)]
    return np.stack([k for k, _ in now]), np.stack([m for _, m in now])
