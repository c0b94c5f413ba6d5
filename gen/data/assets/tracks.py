"""Exact 3-D tracks of points on the surface of a baked asset.

A point keeps its triangle and its barycentric weights, so it follows the skinned vertices. Legend:
V views, T times, N points, F faces; world and cameras as in `gen.data.assets.bake`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourreal.cameras import pixel_index, project, transform
from gen.data.assets.bake import BakedAsset

CANDIDATES = 4  # sampled per wanted point: those that some cell sees are preferred
TOLERANCE = 0.01  # depth (asset radius 1) by which a surface must be nearer to hide a point
SAME_PLANE = 0.001


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


def visible_from(
    points: SurfacePoints, t: int, depth: NDArray[np.float32], w2c: NDArray, K: NDArray
) -> NDArray[np.bool_]:
    """Whether each point [N] is inside the frame at time `t`, with nothing in front.

    `depth` [H, W] (inf: background) and K belong to one frame size, which should be finer than the
    pictures'. The map holds the surfaces at pixel centres: a point is seen when the surface there
    is not nearer than the point, or is the point's own plane, followed to the pixel's centre. Of
    surfaces that face away (single sheets from behind) only the second counts: the first would show
    the far side of closed shapes at their outlines.
    """
    H, W = depth.shape
    camera = transform(w2c, points.xyz[t].astype(np.float64))
    normal = points.normals[t].astype(np.float64) @ w2c[:3, :3].T
    pixel, z = project(camera, K)
    cell, inside = pixel_index(pixel, z, (H, W))
    centre = np.stack([cell % W + 0.5, cell // W + 0.5, np.ones(len(cell))], -1)
    slope = (centre @ np.linalg.inv(K).T * normal).sum(-1)
    height = (camera * normal).sum(-1)  # negative where the surface faces the camera
    with np.errstate(divide="ignore", invalid="ignore"):
        plane = height / slope
        surface = depth.reshape(-1)[cell]
        own = np.abs(surface - plane) < SAME_PLANE
    return inside & (own | ((height < 0) & (surface >= z - TOLERANCE)))


def follow(
    points: SurfacePoints,
    visible: NDArray[np.bool_],
    w2c: NDArray[np.float64],
    K: NDArray[np.float64],
    count: int,
) -> dict[str, NDArray]:
    """Tracks of `count` of the points, preferring those that at least one cell sees.

    Args:
        visible: [V, T, N], from `visible_from`.
        K: [3, 3] for the pictures' size.

    Returns:
        xyz [T, N, 3], uv [V, T, N, 2] pixels, z [V, T, N] depth, visible bool [V, T, N].
    """
    seen = visible.any((0, 1))
    order = np.concatenate([np.flatnonzero(seen), np.flatnonzero(~seen)])[:count]
    xyz = points.xyz[:, order]
    camera = transform(w2c[:, None], xyz[None].astype(np.float64))  # [V, T, N, 3]
    uv, z = project(camera, K)
    return {
        "xyz": xyz,
        "uv": uv.astype(np.float32),
        "z": z.astype(np.float32),
        "visible": visible[:, :, order],
    }
