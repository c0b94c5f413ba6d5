"""Views that show the same surface in different colours: a gain and an offset per view and channel.

Cameras of a rig differ in exposure, white balance and haze. Where the depth of two views agrees
they show the same point, so the maps of all views are solved together, one view kept as it is.

Legend: V views, H W image, 3 channels; a map is (gain, offset): even = gain * colour + offset.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from fourreal.cameras import relative_pose
from tracking.depth.consistency import nearest, reproject
from tracking.flow.optical import inside

UNLIKE = 3.0 / 255.0  # mean change of a view's colours below which the views count as alike
_SAMPLES = 4000  # a pair of views
_AGREE = 0.03  # relative difference of 1/z
_NOISE = 0.03  # of colours, for the robust weights
_PRIOR = 0.02  # share of the samples' weight that pulls gains to 1 and offsets to 0
_LEAST = 200  # samples that a map needs


def view_colours(
    frames: np.ndarray,
    rho: np.ndarray,
    trust: np.ndarray,
    K: np.ndarray,
    w2c: np.ndarray,
    reference: int,
    neighbours: Sequence[Sequence[int]],
    one_camera: bool = False,
) -> np.ndarray | None:
    """Maps [V, 3, 2] that make the views alike, `reference` unchanged; None: they are alike.

    frames [V, H, W, 3] in 0..1; rho [V, H, W] 1/z of each view, believed where trust > 0.3;
    K [V, 3, 3]; w2c [V, 4, 4]; neighbours: views to compare each with; one_camera: it took all
    views, so that they differ in exposure, not in how they see contrast.
    """
    views, height, width = frames.shape[:3]
    smooth = [cv2.GaussianBlur(f, (0, 0), 1.5) for f in frames]
    samples: list[tuple[int, int, np.ndarray, np.ndarray]] = []
    for a in range(views):
        for b in neighbours[a]:
            uv, there = reproject(rho[a], K[a], K[b], relative_pose(w2c[a], w2c[b]))
            seen = nearest(rho[b], uv)
            good = inside(uv, height, width) & (np.abs(seen - there) < _AGREE * there)
            good &= (trust[a] > 0.3) & (nearest(trust[b], uv) > 0.3)
            index = np.flatnonzero(good)
            index = index[:: max(1, len(index) // _SAMPLES)]
            if len(index) >= _LEAST:
                other = cv2.remap(
                    smooth[b], uv[..., 0] - 0.5, uv[..., 1] - 0.5, cv2.INTER_LINEAR,
                    borderMode=cv2.BORDER_REPLICATE,
                )  # fmt: skip
                own = smooth[a].reshape(-1, 3)[index]
                samples.append((a, b, own, other.reshape(-1, 3)[index]))
    if not samples:
        return None
    maps = np.tile(np.array([1.0, 0.0]), (views, 3, 1))
    for channel in range(3):
        solve = _exposures if one_camera else _solve
        maps[:, channel] = solve(samples, views, channel, reference)
    change = np.abs(evened(frames, maps) - frames).mean((1, 2, 3))
    return maps if change.max() > UNLIKE else None


def _solve(
    samples: list[tuple[int, int, np.ndarray, np.ndarray]], views: int, channel: int, reference: int
) -> np.ndarray:
    """Gains and offsets [V, 2] of one channel by re-weighted least squares."""
    x = np.tile(np.array([1.0, 0.0]), views)
    free = np.ones(2 * views, bool)
    free[2 * reference : 2 * reference + 2] = False
    total = sum(len(own) for _, _, own, _ in samples)
    for _ in range(12):
        h, g = np.zeros((2 * views, 2 * views)), np.zeros(2 * views)
        for a, b, own, other in samples:
            p, q = own[:, channel].astype(np.float64), other[:, channel].astype(np.float64)
            j = np.stack([p, np.ones_like(p), -q, -np.ones_like(q)], 1)
            where = [2 * a, 2 * a + 1, 2 * b, 2 * b + 1]
            error = j @ x[where]
            weight = 1.0 / (1.0 + (error / _NOISE) ** 2)
            h[np.ix_(where, where)] += (j * weight[:, None]).T @ j
            g[where] += (j * weight[:, None]).T @ error
        prior = _PRIOR * total / views
        h += prior * np.eye(2 * views)
        g += prior * (x - np.tile([1.0, 0.0], views))
        step = np.zeros(2 * views)
        step[free] = np.linalg.solve(h[np.ix_(free, free)], -g[free])
        x = x + step
    out = x.reshape(views, 2)
    out[:, 0] = np.clip(out[:, 0], 0.2, 5.0)
    return out


def _exposures(
    samples: list[tuple[int, int, np.ndarray, np.ndarray]], views: int, channel: int, reference: int
) -> np.ndarray:
    """Gains and offsets [V, 2] of one channel that agree best with what pairs of views say.

    Least squares on both at once takes contrast away, since that is cheaper than noise: of an
    exposure that drifts by a third it leaves a tenth.
    """
    said = []
    for a, b, own, other in samples:
        p, q = own[:, channel].astype(np.float64), other[:, channel].astype(np.float64)
        said.append((a, b, *_between(p, q)))

    def solved(apart: list[float]) -> np.ndarray:
        """Values [V], 0 of the reference, that differ by so much between the views of pairs."""
        total = sum(weight for *_, weight in said)
        h, g = _PRIOR * total / views * np.eye(views) + 1e-9 * np.eye(views), np.zeros(views)
        for (a, b, *_, weight), difference in zip(said, apart, strict=True):
            h[[a, b], [a, b]] += weight
            h[[a, b], [b, a]] -= weight
            g[a] += weight * difference
            g[b] -= weight * difference
        out = np.zeros(views)
        free = np.arange(views) != reference
        out[free] = np.linalg.solve(h[np.ix_(free, free)], g[free])
        return out

    gains = np.exp(solved([np.log(gain) for _, _, gain, *_ in said]))
    offsets = solved([gains[b] * q - gains[a] * p for a, b, _, p, q, _ in said])
    return np.stack([np.clip(gains, 0.2, 5.0), offsets], 1)


def _between(p: np.ndarray, q: np.ndarray) -> tuple[float, float, float, float]:
    """How colours p, q [N] of one surface in two views compare: the gain from p to q, the means of
    both, and what that is worth. Of noise in both, the ratio of their spreads knows nothing."""
    near = np.abs(q - p - np.median(q - p)) < 4 * _NOISE + 0.3 * np.abs(p - np.median(p))
    gain, p_mean, q_mean = 1.0, float(p.mean()), float(q.mean())
    for _ in range(5):
        if near.sum() < _LEAST:
            return 1.0, p_mean, q_mean, 0.0
        p_mean, q_mean = float(p[near].mean()), float(q[near].mean())
        spread = float(p[near].std()), float(q[near].std())
        if min(spread) < _NOISE:  # plain: its brightness says something, its contrast does not
            gain = q_mean / max(p_mean, 1e-3)
        else:
            gain = spread[1] / spread[0]
        gain = float(np.clip(gain, 0.3, 3.0))
        off = np.abs(q - q_mean - gain * (p - p_mean))
        near = off < max(2.5 * float(np.median(off)), _NOISE)
    return gain, p_mean, q_mean, float(near.sum())


def evened(frames: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """frames [V, ..., 3] with the map [V, 3, 2] of each view applied; may leave 0..1."""
    shape = (len(maps), *(1,) * (frames.ndim - 2), 3)
    gain, offset = maps[..., 0].reshape(shape), maps[..., 1].reshape(shape)
    return (frames * gain + offset).astype(np.float32)


def as_seen(image: np.ndarray, colour_map: np.ndarray) -> np.ndarray:
    """An image [..., 3] in common colours as a view with `colour_map` [3, 2] would show it."""
    return ((image - colour_map[:, 1]) / colour_map[:, 0]).astype(np.float32)
