"""How well our renders of an asset agree with renders of the same asset made elsewhere.

The reference is a scene folder in the layout of `gen.data.truth_files` whose meta.json names the
asset's file and clip: its cameras, times and placement are taken over, so that silhouettes, depth
and tracks can be compared directly. Legend: V' views, T' times, N points.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourreal.cameras import invert, pixel_grid, scale_intrinsics, transform, unproject
from fourreal.errors import UserError
from gen.data.assets.bake import BakedAsset, Placement, bake
from gen.data.assets.render import AssetRenderer
from gen.data.gltf.asset import load_asset

ABOVE_FLOOR = 0.008  # world units: what lies lower counts as floor, on both sides


@dataclass(frozen=True)
class Reference:
    """A scene rendered elsewhere: depth [V', T', H, W] (inf: nothing), cameras, tracks."""

    asset: str
    clip: str
    seconds: NDArray[np.float64]
    placement: Placement | None
    depth: NDArray[np.float32]
    K: NDArray[np.float64]
    w2c: NDArray[np.float64]
    tracks: NDArray[np.float32]

    @classmethod
    def load(cls, folder: Path) -> Reference:
        """Read a scene folder: the finest of its grids.

        Raises:
            UserError: files are missing or not what they should be.
        """
        try:
            meta = json.loads((folder / "meta.json").read_text())
            cameras = json.loads((folder / "cameras.json").read_text())
            grids = sorted(folder.glob("grid_*x*.npz"), key=lambda p: int(p.stem.split("x")[-1]))
            with np.load(grids[-1], allow_pickle=False) as data:
                raw = data["depth_u16"]
            with np.load(folder / "tracks.npz", allow_pickle=False) as data:
                tracks = data["xyz"]
            placed = cameras.get("normalisation")
            return cls(
                asset=meta["asset"],
                clip=meta["clip"],
                seconds=np.array(cameras["frame_times"], np.float64),
                placement=placed and Placement(tuple(placed["centre"]), placed["radius"]),
                depth=np.where(raw == 65535, np.inf, raw / np.float32(4000)).astype(np.float32),
                K=_depth_intrinsics(cameras, raw.shape[2:]),
                w2c=np.array(cameras["w2c"], np.float64),
                tracks=tracks,
            )
        except (OSError, LookupError, ValueError, TypeError) as error:
            raise UserError(f"{folder} is no rendered asset ({error})") from error

    def bake(self, assets: Path) -> tuple[BakedAsset, dict[int, NDArray[np.uint8]]]:
        """The asset of this scene, looked for by name in a folder, at this scene's times."""
        found = sorted(p for p in assets.glob("*.gl*") if p.name.endswith(self.asset))
        if not found:
            raise UserError(f"no {self.asset} in {assets}")
        asset = load_asset(found[0])
        clip = next((c for c in asset.clips if c.name == self.clip), None)
        if clip is None:
            raise UserError(f"{found[0].name} has no clip {self.clip!r}")
        return bake(asset, clip, self.seconds, placement=self.placement), asset.images


def _depth_intrinsics(cameras: dict[str, Any], size: tuple[int, int]) -> NDArray[np.float64]:
    """K whose pixel centres are where the depth of a grid of this (height, width) was sampled.

    A grid smaller than its cameras say holds every n-th depth of the fine render, n // 2 pixels
    from the corner: for n = 2 that point lies at 0.75 of the pixel, not in its middle.
    """
    n = cameras["height"] // size[0]
    K = scale_intrinsics(cameras["K"], (cameras["height"], cameras["width"]), size)
    K[:2, 2] -= (n // 2 + 0.5) / n - 0.5
    return K


def compare(
    context: Any,
    reference: Reference,
    assets: Path,
    views: list[int] | None = None,
    times: list[int] | None = None,
    tracks: int = 1024,
    cull: bool = False,
) -> dict[str, float]:
    """Agreement over the given cells (default: all) and the first so many tracks.

    Returns:
        iou_mean, iou_min: of the silhouettes of single cells; where the reference shows a room,
            the silhouette is what stands above its floor inside the unit sphere.
        depth_median, depth_p95: |difference| in asset radii where both see the asset.
        track_median, track_p99: distance, in asset radii, of every reference track from the point
            of our surface that it starts on.
        cells, pixels: how much was compared.
    """
    baked, images = reference.bake(assets)
    height, width = reference.depth.shape[2:]
    renderer = AssetRenderer(context, baked, images, (height, width), samples=1, cull=cull)
    ious, differences, pixels = [], [], 0
    floor = _floor(reference)
    try:
        for t in range(len(reference.seconds)) if times is None else times:
            renderer.set_time(t)
            for v in range(len(reference.w2c)) if views is None else views:
                ours = renderer.depth(reference.w2c[v], reference.K)
                theirs = reference.depth[v, t]
                mine = _silhouette(ours, reference.K, reference.w2c[v], floor)
                other = _silhouette(theirs, reference.K, reference.w2c[v], floor)
                ious.append((mine & other).sum() / max((mine | other).sum(), 1))
                both = mine & other
                differences.append(np.abs(ours[both] - theirs[both]))
                pixels += int(other.sum())
    finally:
        renderer.release()
    difference = np.concatenate(differences)
    apart = track_distance(baked, reference.tracks[:, :tracks])
    return {
        "iou_mean": float(np.mean(ious)),
        "iou_min": float(np.min(ious)),
        "depth_median": float(np.median(difference)),
        "depth_p95": float(np.quantile(difference, 0.95)),
        "track_median": float(np.median(apart)),
        "track_p99": float(np.quantile(apart, 0.99)),
        "cells": len(ious),
        "pixels": pixels,
    }


def _floor(reference: Reference) -> float | None:
    """The height of the floor in the first view, None when there is background without depth."""
    if np.isinf(reference.depth).any():
        return None
    z = _world(reference.depth[0, 0], reference.K, reference.w2c[0])[..., 2]
    return float(np.quantile(z, 0.02))  # the floor fills far more than this of the picture


def _world(depth: NDArray, K: NDArray, w2c: NDArray) -> NDArray:
    """World points [H, W, 3] of a depth map; background is put at depth 1e3."""
    uv = pixel_grid(*depth.shape).reshape(-1, 2)
    z = np.where(np.isfinite(depth), depth, 1e3).reshape(-1)
    return transform(invert(w2c), unproject(uv, z, K)).reshape(*depth.shape, 3)


def _silhouette(depth: NDArray, K: NDArray, w2c: NDArray, floor: float | None) -> NDArray:
    """Pixels [H, W] that show the asset."""
    if floor is None:
        return np.isfinite(depth)
    world = _world(depth, K, w2c)
    return (world[..., 2] > floor + ABOVE_FLOOR) & (np.linalg.norm(world, axis=-1) < 1.0)


def track_distance(baked: BakedAsset, tracks: NDArray[np.float32]) -> NDArray[np.float64]:
    """Distance [T, N] of tracks [T, N, 3] from the surface points that they belong to.

    A track belongs to the triangle and barycentric point that stays closest to it over three
    times: first, middle and last.
    """
    corners = np.concatenate([p.positions[:, p.triangles] for p in baked.parts], axis=1)
    corners = corners.astype(np.float64)  # [T, F, 3, 3]
    a, b, c = (corners[0, :, k] for k in range(3))
    e1, e2 = b - a, c - a
    d11, d12, d22 = (e1 * e1).sum(-1), (e1 * e2).sum(-1), (e2 * e2).sum(-1)
    area = np.maximum(d11 * d22 - d12 * d12, 1e-18)
    probes = (0, len(corners) // 2, len(corners) - 1)
    out = np.empty(tracks.shape[:2])
    for start in range(0, tracks.shape[1], 128):
        x = tracks[:, start : start + 128].astype(np.float64)
        offset = x[0][:, None] - a
        p1, p2 = (offset * e1).sum(-1), (offset * e2).sum(-1)
        w1 = np.clip((d22 * p1 - d12 * p2) / area, 0, 1)
        w2 = np.clip((d11 * p2 - d12 * p1) / area, 0, 1 - w1)
        weights = np.stack([1 - w1 - w2, w1, w2], -1)  # [n, F, 3]
        apart = sum(
            np.linalg.norm(np.einsum("nfk,fkc->nfc", weights, corners[t]) - x[t][:, None], axis=-1)
            for t in probes
        )
        face = np.argmin(apart, axis=1)
        chosen = weights[np.arange(len(face)), face]
        ours = np.einsum("tnkc,nk->tnc", corners[:, face], chosen)
        out[:, start : start + 128] = np.linalg.norm(ours - x, axis=-1)
    return out
