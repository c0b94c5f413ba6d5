"""Planes of a scene: found from the depth that views are sure of, and seen by a camera.

Legend: V views, H W image. rho = 1/z in the view's own camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from fourreal.cameras import invert, pixel_grid, transform, unproject

TEXTURE = 0.015  # local contrast below which a match is worth little
_SURE = 0.6  # trust of the pixels that planes are found from
_MOST = 4  # planes
_SHARE = 0.08  # of the sure pixels: what a plane must hold ...
_LEAST = 0.01  # ... and of all pixels
NEAR = 0.01  # relative depth within which a pixel lies on a plane
UNDER = 0.02  # relative difference of 1/z by which one lies behind a plane
_SAMPLES = 5000
_TRIALS = 150
_BESIDE = 0.2  # of the picture: how far apart the three pixels of a trial are


@dataclass
class Planes:
    """Planes of a scene as its views see them.

    there_PVHW: 1/z of each in each view, 0 where it is behind; sure [V, H, W]: the pixels that they
    were found from; grain [V, H, W]: local contrast of the pictures.
    """

    there_PVHW: np.ndarray
    sure: np.ndarray
    grain: np.ndarray


def planes_of(
    rho: np.ndarray, trust: np.ndarray, images: np.ndarray, K: np.ndarray, w2c: np.ndarray
) -> Planes:
    """The planes that hold much of the trusted texture: rho, trust [V, H, W], images
    [V, H, W, 3]."""
    grain = np.stack([texture(image) for image in images])
    sure = (trust > _SURE) & (grain > TEXTURE)
    found = find_planes(rho, sure, K, w2c)
    there = [
        [inverse_depth_of(p, *of, rho.shape[1:]) for of in zip(K, w2c, strict=True)] for p in found
    ]
    return Planes(np.array(there, np.float32).reshape(-1, *rho.shape), sure, grain)


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
    # few sure pixels make planes of anything
    least = max(50, round(max(_SHARE, _LEAST / max(float(sure.mean()), 1e-6)) * len(x)))
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
    return np.abs(points @ plane[:3] - plane[3]) < NEAR * depth


def inverse_depth_of(
    plane: np.ndarray, K: np.ndarray, w2c: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """1/z [H, W] of a plane of the world seen by a camera; 0 where it is behind."""
    h, w = size
    normal = w2c[:3, :3] @ plane[:3]
    distance = plane[3] + normal @ w2c[:3, 3]
    rays = unproject(pixel_grid(h, w), np.ones((h, w)), K)
    return np.maximum((rays @ normal) / distance, 0.0).astype(np.float32)
