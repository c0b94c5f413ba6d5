"""Canonical Gaussians from the keyframes of the freeze-time column (paper supplement 3).

Legend: V views, N Gaussians, H x W pixels. The central view comes first; a later keyframe adds
only the pixels that the points so far do not cover, so surfaces hidden in the central view are
filled. Every Gaussian is as wide as its pixel (sigma 0.7 z / f).
"""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fourreal.cameras import Camera, invert, pixel_grid, pixel_index, project, transform, unproject
from fourreal.colour import difference
from fourreal.console import warn
from fourreal.errors import UserError
from recon.canonical.keyframes import keyframe_order
from recon.config import CanonicalConfig
from recon.gaussians import Gaussians
from recon.raster.rasterize import RasterOutput, rasterize
from recon.scene import Scene4D, empty_motion

FloatArray = NDArray[np.floating]
_SIDES = (2, 4)  # of blocks that may become one point
_BENT = 0.01
_COARSER = (0.03, 0.06, 0.12, 0.24)  # differences that are joined while there are too many points


class Column(Protocol):
    """What is needed of ``tracking.column.ColumnTracks``: dense depth and cameras of the column."""

    depth: NDArray[np.float32]  # [V, H, W], z in each view's own camera
    K: NDArray[np.float64]  # [V, 3, 3]
    w2c: NDArray[np.float64]  # [V, 4, 4]
    central: int
    dropped: list[int]  # views whose camera is a guess: nothing is taken from them


def build_canonical(
    frames_VHW3: NDArray[np.float32],
    column: Column,
    config: CanonicalConfig,
    times: NDArray[np.float32],
    left_out: NDArray[np.bool_] | None = None,
) -> Scene4D:
    """Aggregate the freeze-time frames [V, H, W, 3] into a static scene in the canonical frame.

    Pixels ``left_out`` [V, H, W] become no points.

    Raises:
        UserError: the depth of the column is unusable (no finite positive value).
    """
    V, H, W, _ = frames_VHW3.shape
    depth = np.asarray(column.depth, np.float32)
    if depth.shape != (V, H, W):
        raise ValueError(f"build_canonical: depth must be {(V, H, W)}, got {depth.shape}")
    usable = np.isfinite(depth) & (depth > 0)
    if not usable.any():
        raise UserError("the freeze-time clip has no usable depth; give one with camera motion")
    # what no point covers is least wrong in the colour that the frames are most like
    own = np.delete(frames_VHW3, column.dropped, axis=0)
    colour = np.median(own.reshape(-1, 3), axis=0).astype(np.float32)
    plain = np.zeros((V, H, W), bool)
    if config.plain_background:
        found = plain_background(frames_VHW3)
        if found is not None:
            colour, plain = found
    plain[column.dropped] = False  # silhouettes seen from a guessed camera carve wrongly
    wanted = usable & ~plain
    if left_out is not None:
        wanted &= ~left_out

    filled = np.where(usable, depth, np.median(depth[usable]))
    order = keyframe_order(filled, column.K, column.w2c, column.central, column.dropped)
    order = order[: config.keyframes or V]
    for flat in (config.flat, *(flat for flat in _COARSER if flat > config.flat)):
        means, sigmas, colors = _points(frames_VHW3, column, depth, wanted, order, flat, config)
        if len(means) <= config.max_points:
            break
    else:
        warn(f"more than {config.max_points} points: what the last views would add is left out")
    if plain.any():
        inside = _in_silhouettes(means, plain, column)
        means, sigmas, colors = means[inside], sigmas[inside], colors[inside]
    if len(means) == 0:
        raise UserError("nothing but plain background in the freeze-time clip; nothing to build")
    means, sigmas, colors = (a[: config.max_points] for a in (means, sigmas, colors))
    n = len(means)
    logit = float(np.log(config.opacity / (1 - config.opacity)))
    return Scene4D(
        means=torch.from_numpy(means),
        log_scales=torch.from_numpy(np.log(sigmas)),
        opacity_logits=torch.full((n,), logit),
        colors=torch.from_numpy(colors),
        times=torch.as_tensor(times, dtype=torch.float32),
        **empty_motion(n, len(times)),
        view_offsets=torch.zeros(V, n, 3),
        K=torch.as_tensor(column.K, dtype=torch.float32),
        w2c=torch.as_tensor(column.w2c, dtype=torch.float32),
        size=(H, W),
        canonical_view=int(column.central),
        background=torch.from_numpy(colour),
    )


def _points(
    frames_VHW3: NDArray[np.float32],
    column: Column,
    depth_VHW: NDArray[np.float32],
    wanted_VHW: NDArray[np.bool_],
    order: list[int],
    flat: float,
    config: CanonicalConfig,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Places [N, 3], sigmas [N] and colours [N, 3] of what views see, each adding in turn what is
    wanted and not covered, until there are more than allowed."""
    means = np.zeros((0, 3), np.float32)
    sigmas, colors = np.zeros(0, np.float32), np.zeros((0, 3), np.float32)
    for v in order:
        new = wanted_VHW[v]
        if len(means):
            new = new & _uncovered(means, sigmas, depth_VHW[v], column, v, config)
        uv, z, rgb, side = lifted(new, frames_VHW3[v], depth_VHW[v], flat)
        world = transform(invert(column.w2c[v]), unproject(uv, z, column.K[v]))
        focal = 0.5 * (column.K[v, 0, 0] + column.K[v, 1, 1])
        means = np.concatenate([means, world.astype(np.float32)])
        sigmas = np.concatenate([sigmas, (config.sigma * side * z / focal).astype(np.float32)])
        colors = np.concatenate([colors, rgb.astype(np.float32)])
        if len(means) > config.max_points:
            break
    return means, sigmas, colors


def lifted(
    new: NDArray[np.bool_],
    image_HW3: NDArray[np.float32],
    depth_HW: NDArray[np.floating],
    flat: float,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Pixels ``new`` [H, W] to make points of: centres [n, 2], depth [n], RGB [n, 3], side [n].

    A block of 2 x 2 new pixels is one pixel of side 2 where the picture, reduced to such blocks
    and enlarged again, differs from itself by less than ``flat`` in every channel, and so does
    inverse depth (linear on planes) by ``_BENT`` of itself. Four such blocks are one of side 4 by
    the same rule.
    """
    depth = depth_HW.astype(np.float64)
    near = 1 / np.where(np.isfinite(depth) & (depth > 0), depth, np.inf)
    levels: list[tuple[int, NDArray[np.bool_], NDArray[Any], NDArray[Any]]] = [
        (1, new.copy(), image_HW3, near)
    ]
    for side in _SIDES if flat else ():
        if min(new.shape) < 2 * side:
            break
        before = levels[-1][1]
        colour, lost = _reduced(image_HW3, side)
        close, bent = _reduced(near, side)
        joined = _blocks(before, 2).all((1, 3)) & (lost < flat) & (bent < _BENT * close)
        # what is joined is taken from the finer level
        levels[-1][1][: 2 * joined.shape[0], : 2 * joined.shape[1]] &= ~joined.repeat(2, 0).repeat(
            2, 1
        )
        levels.append((side, joined, colour, close))
    return (
        np.concatenate([side * pixel_grid(*mask.shape)[mask] for side, mask, _, _ in levels]),
        np.concatenate([1 / close[mask].astype(np.float64) for _, mask, _, close in levels]),
        np.concatenate([colour[mask] for _, mask, colour, _ in levels]),
        np.concatenate([np.full(mask.sum(), float(side)) for side, mask, _, _ in levels]),
    )


def _blocks(values: NDArray[Any], side: int) -> NDArray[Any]:
    """Values [H, W] by blocks of pixels: [H // side, side, W // side, side]."""
    h, w = values.shape[0] // side, values.shape[1] // side
    return values[: h * side, : w * side].reshape(h, side, w, side)


def _reduced(values: NDArray[Any], side: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Means of blocks of pixels, and how far values enlarged from them are off at most [h, w]."""
    h, w = values.shape[0] // side, values.shape[1] // side
    cut = np.ascontiguousarray(values[: h * side, : w * side])
    small = cv2.resize(cut, (w, h), interpolation=cv2.INTER_AREA)
    off = np.abs(cv2.resize(small, (w * side, h * side), interpolation=cv2.INTER_LINEAR) - cut)
    return small, _blocks(off.max(-1) if off.ndim == 3 else off, side).max((1, 3))


@torch.no_grad()
def draw_points(
    means_N3: FloatArray, sigmas_N: FloatArray, camera: Camera, device: torch.device | str = "cpu"
) -> RasterOutput:
    """What bare points, nearly opaque, cover and how far away: their colour does not count."""
    means, sigmas = (torch.from_numpy(x).to(device) for x in (means_N3, sigmas_N))
    opacities = torch.full_like(sigmas, 0.9)
    return rasterize(Gaussians(means, sigmas, opacities, torch.zeros_like(means)), camera)


def _uncovered(
    means: NDArray[np.float32],
    sigmas: NDArray[np.float32],
    depth_HW: NDArray[np.float32],
    column: Column,
    v: int,
    config: CanonicalConfig,
) -> NDArray[np.bool_]:
    """Pixels [H, W] of view v that the points so far leave empty, or where they lie behind."""
    H, W = depth_HW.shape
    out = draw_points(means, sigmas, Camera(column.w2c[v], column.K[v], (H, W)))
    alpha, drawn = out.alpha.numpy(), out.depth.numpy()
    behind = drawn > depth_HW * (1 + config.cover_depth)
    return (alpha < config.cover_alpha) | behind


def plain_background(
    frames_VHW3: NDArray[np.float32], tolerance: float = 6 / 255, share: float = 0.9
) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
    """A background of one colour: (RGB [3], mask [V, H, W]), or None.

    There is one when ``share`` of all border pixels are within ``tolerance`` of their median.
    The mask holds the pixels of that colour that are connected to the border.
    """
    ring = np.concatenate(
        [
            frames_VHW3[:, [0, 1, -2, -1]].reshape(-1, 3),
            frames_VHW3[:, :, [0, 1, -2, -1]].reshape(-1, 3),
        ]
    )
    colour = np.median(ring, axis=0).astype(np.float32)
    if (difference(ring, colour) < tolerance).mean() < share:
        return None
    alike = difference(frames_VHW3, colour) < tolerance
    mask = np.zeros_like(alike)
    for v, image in enumerate(alike):
        framed = np.pad(image.astype(np.uint8), 1, constant_values=1)
        labels = cv2.connectedComponents(framed, connectivity=4)[1]
        mask[v] = labels[1:-1, 1:-1] == labels[0, 0]
    return colour, mask & alike


def _in_silhouettes(
    means: NDArray[np.float32], plain_VHW: NDArray[np.bool_], column: Column, margin: int = 2
) -> NDArray[np.bool_]:
    """Points [N] that no view shows to lie in front of its plain background."""
    keep = np.ones(len(means), bool)
    V, H, W = plain_VHW.shape
    kernel = np.ones((2 * margin + 1,) * 2, np.uint8)
    for v in range(V):
        empty = cv2.erode(plain_VHW[v].astype(np.uint8), kernel).astype(bool)
        uv, z = project(transform(column.w2c[v], means), column.K[v])
        pixel, inside = pixel_index(uv, z, (H, W))
        keep &= ~(inside & empty.reshape(-1)[pixel])
    return keep
