"""A lens that bends straight lines, found in the frames when nobody gave its calibration.

Matches of two frames of a still scene obey one fundamental matrix only when the lens is straight.
One number is searched for with which most of them do: r_straight = r / (1 + bend r^2), the division
model (Fitzgibbon 2001, Simultaneous linear estimation of multiple view geometry and lens
distortion), radii in halves of the picture's diagonal. Below 0: a barrel, as wide lenses have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fourreal.epipolar import sampson
from gen.footage.lens import Lens

FloatArray = NDArray[np.floating]
_Features = tuple[FloatArray, Any]  # places [N, 2], and what is there (None: nothing was found)
_LONG_SIDE = 640  # px that frames are compared at
_FEATURES = 1500
_RATIO = 0.8
_PAIRS = 8
_APART = 2  # frames of the thinned clip
_TRIED = np.arange(-0.5, 0.3001, 0.05)
_FINE = 0.01
_NOISE_PX = 0.5
_FAR = 36.0  # squares of the noise from which a match is wrong, no matter how far it is off
_NEAR_PX = 1.5  # what a match may be off its line
_FEW = 40  # matches of a pair
_STILL = 0.01  # halves of the diagonal
_MATCHES, _LEAST_PAIRS = 300, 3
_LEAST = 0.03  # a bend below this hides in the noise
_GAIN = 0.2  # share of the cost of straight lines that it must save
_ALIKE = 0.35  # by how much the bends of two halves of the pairs may differ


def bend_of(frames: Sequence[NDArray[np.uint8]]) -> float | None:
    """The bend of the lens of frames uint8 [H, W, 3] of a moving camera; None: straight, or no one
    can tell."""
    height, width = frames[0].shape[:2]
    factor = min(1.0, _LONG_SIDE / max(height, width))
    size = round(width * factor), round(height * factor)
    centre = np.array(size) / 2
    unit = float(np.hypot(*centre))
    sift = cv2.SIFT.create(_FEATURES, contrastThreshold=0.02)
    found = []
    for frame in frames:
        gray = cv2.cvtColor(
            cv2.resize(frame, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY
        )
        points, descriptors = sift.detectAndCompute(gray, None)
        places = np.array([p.pt for p in points], np.float64).reshape(-1, 2) + 0.5
        found.append(((places - centre) / unit, descriptors))
    apart = min(_APART, len(frames) - 1)
    starts = np.arange(len(frames) - apart)
    starts = starts[np.unique(np.linspace(0, len(starts) - 1, _PAIRS).round().astype(int))]
    pairs = [_matches(found[a], found[a + apart]) for a in starts]
    pairs = [(x, y) for x, y in pairs if len(x) >= _FEW and _moved(x, y) > _STILL]
    pairs = [_of_the_scene(x, y, 1 / unit) for x, y in pairs]
    pairs = [(x, y) for x, y in pairs if len(x) >= _FEW]
    if len(pairs) < _LEAST_PAIRS or sum(len(x) for x, _ in pairs) < _MATCHES:
        return None
    costs = np.array([_costs(*p, _TRIED, unit) for p in pairs])
    best = float(_TRIED[costs.sum(0).argmin()])
    if best in (_TRIED[0], _TRIED[-1]):  # no lens fits best: it is something else
        return None
    tried = np.arange(best - 0.05, best + 0.0501, _FINE)
    fine = np.array([_costs(*p, tried, unit) for p in pairs])
    straight = costs[:, np.abs(_TRIED).argmin()]
    bend = _lowest(tried, fine.sum(0))
    if abs(bend) < _LEAST or fine.sum(0).min() > (1 - _GAIN) * straight.sum():
        return None
    halves = [_TRIED[costs[k::2].sum(0).argmin()] for k in range(2)]
    if max(abs(half - bend) for half in halves) > max(_ALIKE * abs(bend), 0.05):
        return None
    return bend


def lens_of(bend: float, size: tuple[int, int]) -> Lens:
    """The lens of frames (height, width) with this bend."""
    height, width = size
    unit = float(np.hypot(height, width)) / 2
    K = np.array([[unit, 0, width / 2], [0, unit, height / 2], [0, 0, 1.0]])
    # r = straight * (1 + k1 straight^2 + k2 .. + k3 ..), up to the corners
    r = np.linspace(0.02, 1.02, 60)
    straight = r / (1 + bend * r * r)
    powers = np.stack([straight**2, straight**4, straight**6], 1)
    k1, k2, k3 = np.linalg.lstsq(powers, r / straight - 1, rcond=None)[0]
    return Lens(K, (float(k1), float(k2), 0.0, 0.0, float(k3)), size)


def _moved(x: FloatArray, y: FloatArray) -> float:
    """How far most matches move: those of a camera that stands still fit any lens."""
    return float(np.median(np.linalg.norm(y - x, axis=1)))


def _of_the_scene(x: FloatArray, y: FloatArray, pixel: float) -> tuple[FloatArray, FloatArray]:
    """The matches of a moving camera that move: what does not is burnt in, or says nothing."""
    moves = np.linalg.norm(y - x, axis=1) > pixel
    return x[moves], y[moves]


def _matches(a: _Features, b: _Features) -> tuple[FloatArray, FloatArray]:
    """Places [N, 2] in two frames of features that are each other's best match."""
    if a[1] is None or b[1] is None or min(len(a[0]), len(b[0])) < _FEW:
        return np.zeros((0, 2)), np.zeros((0, 2))
    matcher = cv2.BFMatcher(cv2.NORM_L2)
    there = matcher.knnMatch(a[1], b[1], 2)
    back = {m.queryIdx: m.trainIdx for m in matcher.match(b[1], a[1])}
    good = [
        m for m, n in there if m.distance < _RATIO * n.distance and back[m.trainIdx] == m.queryIdx
    ]
    return a[0][[m.queryIdx for m in good]], b[0][[m.trainIdx for m in good]]


def _costs(x: FloatArray, y: FloatArray, bends: FloatArray, unit: float) -> FloatArray:
    """Mean robust distances [B] of matches [N, 2] from their epipolar lines, were these the bends
    [B]."""
    (p, p_scale), (q, q_scale) = _straight(x, bends), _straight(y, bends)
    F, none = np.zeros((len(bends), 3, 3)), np.zeros(len(bends), bool)
    scale = np.diag([unit, unit, 1.0])
    for k in range(len(bends)):
        cv2.setRNGSeed(0)
        found = None
        with suppress(cv2.error):  # OpenCV gives up where the camera does not move
            found, _ = cv2.findFundamentalMat(
                (unit * p[k]).astype(np.float32), (unit * q[k]).astype(np.float32),
                cv2.USAC_MAGSAC, _NEAR_PX, 0.999, 2000,
            )  # fmt: skip
        none[k] = found is None or found.shape != (3, 3)
        if not none[k]:
            F[k] = scale @ np.asarray(found, np.float64) @ scale
    for _ in range(4):
        off = sampson(F, p, q, p_scale, q_scale) * unit / _NOISE_PX
        enough = (np.abs(off) < 6).sum(1) > 16
        F = np.where(enough[:, None, None], _eight_points(p, q, 1 / (1 + off**2)), F)
    off = sampson(F, p, q, p_scale, q_scale) * unit / _NOISE_PX
    return np.where(none, np.log1p(_FAR), np.log1p(np.minimum(off**2, _FAR)).mean(1))


def _straight(x: FloatArray, bends: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Places [N, 2] without each of the bends [B, N, 2], and how much larger things are there
    [B, N]: an error is one of the bent picture, whatever the bend."""
    bent = bends[:, None] * (x**2).sum(1)
    by = 1 / (1 + bent)
    return x * by[..., None], np.sqrt(np.abs(by * by * (1 - bent) * by))


def _eight_points(p: FloatArray, q: FloatArray, weight: FloatArray) -> FloatArray:
    """Fundamental matrices [B, 3, 3] of matches [B, N, 2] weighted [B, N]: q^T F p = 0, of rank
    two."""
    a, b = (np.concatenate([z, np.ones((*z.shape[:2], 1))], 2) for z in (p, q))
    rows = (b[..., None] * a[..., None, :]).reshape(*weight.shape, 9) * np.sqrt(weight)[..., None]
    F = np.linalg.eigh(np.swapaxes(rows, 1, 2) @ rows)[1][..., 0].reshape(-1, 3, 3)
    u, s, vt = np.linalg.svd(F)
    return (u * (s * (1, 1, 0))[:, None]) @ vt


def _lowest(at: FloatArray, cost: FloatArray) -> float:
    """Where a curve through the costs is lowest."""
    k = int(np.clip(cost.argmin(), 1, len(at) - 2))
    a, b, c = cost[k - 1 : k + 2]
    bow = a - 2 * b + c
    return float(at[k] + (0.5 * (a - c) / bow if bow > 1e-12 else 0.0) * (at[1] - at[0]))
