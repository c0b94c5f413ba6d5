"""Planes of textured surfaces carry on where there is nothing to match: paper, a table, walls.

White paper under a lamp looks alike wherever it is, and its shading, which does not turn with a
turntable, even matches in a wrong place. Where a picture's own depth is doubtful and its
surroundings lie on a plane, that plane is tried: it is taken if the pictures do not object.

Legend: V views, H W image, P planes. rho = 1/z in the view's own camera.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from fourreal.cameras import invert, pixel_grid, relative_pose, transform, unproject
from tracking.depth.consistency import compare_views, reproject
from tracking.depth.fill import diffused
from tracking.flow.optical import inside, sample

TEXTURE = 0.015  # local contrast below which a match is worth little
_SURE = 0.6  # trust of the pixels that planes are found from
_MOST = 4  # planes
_SHARE = 0.08  # of the sure pixels: what a plane must hold
_NEAR = 0.01  # relative depth within which a pixel lies on a plane
_SAMPLES = 5000
_TRIALS = 150
_BESIDE = 0.2  # of the picture: how far apart the three pixels of a trial are
_LONG_SIDE = 100  # of the pictures in which membership spreads
_MEMBER = 0.4  # share of the surroundings that must lie on a plane
_WORSE = 0.02  # mean colour difference by which a plane may explain the neighbours worse ...
_SHADED = 0.06  # ... and where there is nothing but shading, which need not turn with the scene
TRUST = 0.5  # of a pixel that was put on a plane


def texture(image: np.ndarray) -> np.ndarray:
    """Standard deviation [H, W] of the grey values around each pixel of image [H, W, 3]."""
    gray = image.mean(-1)
    side = max(5, round(max(gray.shape) / 50) | 1)
    mean = cv2.blur(gray, (side, side))
    return np.sqrt(np.maximum(cv2.blur(gray * gray, (side, side)) - mean * mean, 0.0))


def find_planes(
    rho: np.ndarray, sure: np.ndarray, K: np.ndarray, w2c: np.ndarray
) -> list[np.ndarray]:
    """Planes (n, d) [4] of the world, n x = d, that hold many sure pixels.

    rho, sure (bool) [V, H, W].
    """
    views, h, w = rho.shape
    rng = np.random.default_rng(0)
    points, depth, pixel = [], [], []
    for v in range(views):
        y, x = np.nonzero(sure[v])
        if not len(y):
            continue
        some = rng.permutation(len(y))[: _SAMPLES // views]
        uv = np.stack([x[some], y[some]], 1) + 0.5
        z = 1.0 / rho[v][y[some], x[some]].astype(np.float64)
        world = invert(w2c[v].astype(np.float64))
        points.append(transform(world, unproject(uv, z, K[v])))
        depth.append(z)
        pixel.append(np.concatenate([uv, np.full((len(uv), 1), 1e6 * v)], 1))
    if not points:
        return []
    x, z, at = (np.concatenate(a) for a in (points, depth, pixel))
    least = max(50, round(_SHARE * len(x)))
    left = np.ones(len(x), bool)
    planes: list[np.ndarray] = []
    while len(planes) < _MOST and left.sum() >= least:
        best, members = 0, left
        for _ in range(_TRIALS):
            first = rng.choice(np.flatnonzero(left))
            beside = np.flatnonzero(left & (np.abs(at - at[first]).max(1) < _BESIDE * max(h, w)))
            if len(beside) < 3:
                continue
            on = _on_plane(_through(x[[first, *rng.choice(beside, 2)]]), x, z) & left
            if on.sum() > best:
                best, members = int(on.sum()), on
        if best < least:
            break
        for _ in range(3):
            plane = _through(x[members])
            members = _on_plane(plane, x, z) & left
            if members.sum() < least:
                break
        if members.sum() < least:
            break
        planes.append(plane)
        left &= ~members
    return planes


def _through(points: np.ndarray) -> np.ndarray:
    """The plane (n, d) nearest to points [M, 3]."""
    middle = points.mean(0)
    normal = np.linalg.svd(points - middle, full_matrices=False)[2][-1]
    return np.append(normal, normal @ middle)


def _on_plane(plane: np.ndarray, points: np.ndarray, depth: np.ndarray) -> np.ndarray:
    return np.abs(points @ plane[:3] - plane[3]) < _NEAR * depth


def inverse_depth_of(
    plane: np.ndarray, K: np.ndarray, w2c: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """1/z [H, W] of a plane of the world seen by a camera; 0 where it is behind."""
    h, w = size
    normal = w2c[:3, :3] @ plane[:3]
    distance = plane[3] + normal @ w2c[:3, 3]
    rays = unproject(pixel_grid(h, w), np.ones((h, w)), K)
    return np.maximum((rays @ normal) / distance, 0.0).astype(np.float32)


def difference_to(
    images: np.ndarray, view: int, others: Sequence[int], rho: np.ndarray, K: np.ndarray,
    w2c: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Mean colour difference [H, W] around a pixel to the better half of the other views."""
    h, w = rho.shape
    out = []
    for other in others:
        uv, _ = reproject(rho, K[view], K[other], relative_pose(w2c[view], w2c[other]))
        off = cv2.blur(np.abs(sample(images[other], uv) - images[view]).mean(-1), (5, 5))
        out.append(np.where(inside(uv, h, w), off, 1.0))
    kept = np.sort(np.stack(out), 0)[: max(1, len(out) // 2)]
    return kept.mean(0).astype(np.float32)


def put_on_planes(
    rho: np.ndarray,
    trust: np.ndarray,
    images: np.ndarray,
    K: np.ndarray,
    w2c: np.ndarray,
    near: Sequence[Sequence[int]],
    tolerance: float,
    blank: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(rho, trust) [V, H, W] with doubtful pixels among those of a plane put on it.

    images [V, H, W, 3] in alike colours; near: neighbours of every view; tolerance: relative
    difference of 1/z of two views that see one surface; blank [V, H, W]: an empty backdrop.
    """
    views, h, w = rho.shape
    grain = np.stack([texture(image) for image in images])
    sure = (trust > _SURE) & (grain > TEXTURE)
    planes = find_planes(rho, sure, K, w2c)
    if not planes:
        return rho, trust
    out, believed = rho.copy(), trust.copy()
    for v in range(views):
        now = difference_to(images, v, near[v], rho[v], K, w2c)
        doubt = ~sure[v] if blank is None else ~sure[v] & ~blank[v]
        worse = np.where(grain[v] > TEXTURE, np.float32(_WORSE), np.float32(_SHADED))
        best = np.full((h, w), _MEMBER, np.float32)
        for plane in planes:
            there = inverse_depth_of(plane, K[v], w2c[v], (h, w))
            on = np.abs(there / rho[v] - 1) < 1.5 * _NEAR
            member = _membership(on, sure[v], images[v])
            tried = doubt & (member > best) & (there > 0.2 * rho[v].min())
            if not tried.any():
                continue
            safe = np.where(there > 0, there, rho[v])
            _, violate = compare_views(safe, rho, v, near[v], K, w2c, tolerance, trust * sure)
            off = difference_to(images, v, near[v], safe, K, w2c)
            tried &= (violate < 0.5) & (off < now + worse)
            out[v][tried], believed[v][tried] = there[tried], TRUST
            best = np.where(tried, member, best)
    return out, believed


def _membership(on: np.ndarray, sure: np.ndarray, image: np.ndarray) -> np.ndarray:
    """How far the surroundings of a pixel lie on a plane, 0..1 [H, W]: sure pixels spread."""
    h, w = on.shape
    factor = min(1.0, _LONG_SIDE / max(h, w))
    size = (round(w * factor), round(h * factor))
    weight = cv2.resize(sure.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    if not weight.any():
        return np.zeros((h, w), np.float32)
    share = cv2.resize((on & sure).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    spread = diffused(share / np.maximum(weight, 1e-6), weight, small, iterations=60)
    return cv2.resize(spread.astype(np.float32), (w, h))
