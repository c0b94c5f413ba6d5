"""Exact 3-D tracks of points on the surface of a baked asset.

A point keeps its triangle and its barycentric weights, so it follows the skinned vertices. Legend:
V views, T times, N points, F faces; world and cameras as in `gen.data.asset_bake`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gen.cameras import project, transform
from gen.data.asset_bake import BakedAsset

CANDIDATES = 4  # sampled per wanted point: those that some cell sees are preferred
TOLERANCE = 0.01  # depth (asset radius 1) within which a surface is the point's own


@dataclass(frozen=True)
class SurfacePoints:
    """Points fixed to a moving surface: xyz [T, N, 3] and the unit normals there [T, N, 3]."""

    xyz: NDArray[np.float32]
    normals: NDArray[np.float32]


def sample_surface(baked: BakedAsset, count: int, rng: np.random.Generator) -> SurfacePoints:
    """`count` points spread evenly over the area (its mean over the times) of all surfaces."""
    areas = np.concatenate([_areas(p.positions, p.triangles) for p in baked.parts])
    total = np.cumsum(areas.astype(np.float64))
    if total[-1] <= 0:
        total = np.arange(1.0, len(total) + 1)  # only degenerate triangles: any will do
    picked = np.searchsorted(total, rng.random(count) * total[-1], side="right")
    picked = np.minimum(picked, len(areas) - 1)
    root, share = np.sqrt(rng.random(count)), rng.random(count)
    weights = np.stack([1 - root, root * (1 - share), root * share], -1).astype(np.float32)
    T = len(baked.seconds)
    xyz = np.empty((T, count, 3), np.float32)
    normals = np.empty((T, count, 3), np.float32)
    first = 0
    for part in baked.parts:
        mine = np.flatnonzero((picked >= first) & (picked < first + len(part.triangles)))
        corners = part.positions[:, part.triangles[picked[mine] - first]]  # [T, n, 3, 3]
        xyz[:, mine] = np.einsum("tnkc,nk->tnc", corners, weights[mine])
        across = np.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
        length = np.linalg.norm(across, axis=-1, keepdims=True)
        normals[:, mine] = across / np.where(length > 0, length, 1)
        first += len(part.triangles)
    return SurfacePoints(xyz, normals)


def _areas(positions: NDArray[np.float32], triangles: NDArray[np.int32]) -> NDArray[np.float64]:
    out = np.zeros(len(triangles))
    for frame in positions:
        a, b, c = (frame[triangles[:, k]] for k in range(3))
        out += np.linalg.norm(np.cross(b - a, c - a), axis=-1)
    return out / len(positions)


def follow(
    points: SurfacePoints,
    depth: NDArray[np.float32],
    w2c: NDArray[np.float64],
    K: NDArray[np.float64],
    count: int,
) -> dict[str, NDArray]:
    """Tracks of `count` of the points, preferring those that at least one cell sees.

    Args:
        depth: [V, T, H, W], inf for background.
        K: [3, 3] for that frame size.

    Returns:
        xyz [T, N, 3], uv [V, T, N, 2] pixels, z [V, T, N] depth, visible bool [V, T, N] (inside
        the frame and nothing in front).
    """
    V, T = depth.shape[:2]
    N = points.xyz.shape[1]
    uv, z = np.empty((V, T, N, 2), np.float32), np.empty((V, T, N), np.float32)
    visible = np.zeros((V, T, N), bool)
    for v in range(V):
        for t in range(T):
            camera = transform(w2c[v], points.xyz[t].astype(np.float64))
            pixel, z[v, t] = project(camera, K)
            uv[v, t] = pixel
            turned = points.normals[t].astype(np.float64) @ w2c[v, :3, :3].T
            visible[v, t] = _seen(camera, turned, pixel, depth[v, t], K)
    seen = visible.any((0, 1))
    order = np.concatenate([np.flatnonzero(seen), np.flatnonzero(~seen)])[:count]
    return {
        "xyz": points.xyz[:, order],
        "uv": uv[:, :, order],
        "z": z[:, :, order],
        "visible": visible[:, :, order],
    }


def _seen(
    camera: NDArray, normal: NDArray, pixel: NDArray, depth: NDArray, K: NDArray
) -> NDArray[np.bool_]:
    """Whether nothing lies in front of camera-frame points [N, 3] that project to pixel [N, 2].

    The depth map holds the surface at pixel centres, so the point's own plane is followed to the
    centre of its pixel first, by no more than the surface could slope across a pixel.
    """
    H, W = depth.shape
    inside = (camera[:, 2] > 0) & (pixel >= 0).all(-1) & (pixel < (W, H)).all(-1)
    cell = np.where(inside[:, None], np.floor(np.where(inside[:, None], pixel, 0)), 0).astype(int)
    centre = np.concatenate([cell + 0.5, np.ones((len(cell), 1))], -1)
    ray = centre @ np.linalg.inv(K).T
    slope = (ray * normal).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        plane = (camera * normal).sum(-1) / slope
    z = camera[:, 2]
    reach = 10 * z / K[0, 0]  # ten pixels' width: planes seen edge-on go no further
    plane = np.where(np.isfinite(plane), np.clip(plane, z - reach, z + reach), z)
    in_front = depth[cell[:, 1], cell[:, 0]]
    return inside & (in_front >= np.minimum(plane, z) - TOLERANCE)
