"""Gaps that open beside the given views are closed: what no photo shows, as what is around it.

From a little above all cameras one looks into a pot past what any of them saw: its bottom has no
points, and through it shows whatever lies behind, the far wall from its back or the table. A ray
that comes to where every view has something before it, and ends on nothing that a view sees, has
met the border of what is known. No surface that is seen can be nearer. What is farther away around
the gap goes on behind it: a sheet that carries that on, in its colours and those of what is there
half, hides what cannot be seen. No given view sees it. Where hardly anything around a gap is known,
the scene ends, and the gap stays.
Points that hardly show in any view go first: no picture told their colours, and dark ones line the
gaps.

Legend: V views, H x W the picture of a viewpoint beside them, P points.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from fourreal.cameras import (
    Camera,
    invert,
    look_at,
    pixel_grid,
    scale_intrinsics,
    transform,
    unproject,
)
from fourreal.mask_parts import bordering_on
from recon.canonical.local_planes import local_planes, with_one
from recon.canonical.unseen import unseen_from
from recon.place import Moment, Sight, place
from recon.raster.rasterize import rasterize
from recon.render import render_canonical, render_scene
from recon.scene import Scene4D

FloatArray = NDArray[np.floating]
Mask = NDArray[np.bool_]

_BESIDE = 12, 22  # degrees to all four sides: the farther ones look past the sheets of the nearer
_SIDES = (0, 1), (0, -1), (1, 0), (-1, 0)
_FROM = 3  # of the views are left by so much
_FINE = 2  # pixels of a view to one of a picture from beside
_SOLID = 0.5  # opacity of what ends a ray
_HIDES = 0.9  # ... of what hides from a view what is behind it ...
_FAINT = 0.05  # ... and of what has hardly a colour
_FRINGE = 0.9  # of the depth of a sheet: what is nearer is before it
_EDGES = 5, 1  # pixels of a view, across: near an outline, where points are wide, last
_SEEN = 0.1  # pixels of a view in which a point must show: what no picture tells is anything
_CHANGED = 0.06  # difference of colour by which a view may not change
_ROUNDS = 3  # behind what changes a view, the next may
_PART = 12  # pixels of a gap
_CRACKS = 9  # ... and across, around it and others, in which thin parts count
_RIM = np.ones((7, 7), np.uint8)  # what of its surroundings is its rim ...
_CLOSED = 0.7  # ... and share of that which must be known
_AROUND = 96  # pixels around a gap that one of it carries on ...
_SLOPE, _FLAT = 10.0, 0.1  # ... over so many pixels, and how little they slope without need
_FITS, _BENT = 3, 0.03  # rounds of that, and relative difference of 1/z that is another surface


@torch.no_grad()
def close_gaps(scene: Scene4D, views: Sequence[int]) -> Scene4D:
    """The still scene with points added where gaps would show from beside its ``views``, without
    those that no view shows."""
    scene = scene.keep(torch.stack([_shown(scene, v) for v in views]).amax(0) > _SEEN)
    known = [_depth(scene, v) for v in views]
    seen = np.concatenate([d[np.isfinite(d)] for d in known])
    if not len(seen):
        return scene
    near, far = 0.9 * np.percentile(seen, 0.5), np.percentile(seen, 99)
    for edge in _EDGES:
        deepest = [cv2.dilate(depth, np.ones((edge, edge), np.uint8)) for depth in known]
        scene = _with_sheets(scene, views, deepest, near, far)
    return scene


def _depth(scene: Scene4D, v: int) -> NDArray[np.float32]:
    """Depth [H, W] of what hides from a view what is behind it, inf where nothing does."""
    out = render_canonical(scene, v)
    return np.where(out.alpha.cpu() > _HIDES, out.depth.cpu(), np.inf).astype(np.float32)


def _with_sheets(
    scene: Scene4D, views: Sequence[int], deepest: list[NDArray[Any]], near: float, far: float
) -> Scene4D:
    """The scene with a sheet in every gap, less what of it a view sees."""
    count = len(scene)
    K, w2c = scene.cameras()
    for camera in viewpoints_beside(scene, views):
        out = render_scene(
            scene, float(scene.times[scene.canonical_time]), camera.w2c, camera.K, camera.size, 0.0
        )
        depth, alpha = out.depth.cpu().numpy(), out.alpha.cpu().numpy()
        end = np.where(alpha > _SOLID, depth, far)
        unknown = unseen_from(camera, end, near, deepest, K[views], w2c[views], alpha > _SOLID)
        made = _added(scene, count, camera)
        unknown[made] = 0  # it lies farther away than it had to
        gap, sheet = without_crumbs(unknown, end, made)
        gap &= ~made
        known = (alpha > _SOLID) & (unknown == 0) & ~made
        gap = bordered(gap, known | made)
        if not gap.any():
            continue
        # the colour of what is there, not of the backdrop that shines through it
        own = out.rgb - (1 - out.alpha[..., None]) * scene.background
        shown = (own / out.alpha[..., None].clamp_min(_FAINT)).clamp(0, 1).cpu().numpy()
        between = sheet, np.maximum(sheet, end)
        around, places = _carried_on(gap, shown, depth, known, between, camera.K)
        own_share = share_told(alpha[gap], depth[gap], places[:, 2])[:, None]
        colors = around + own_share * (shown[gap] - around)
        world = transform(invert(camera.w2c), places)
        scene = scene.with_points(world, colors, 0.7 * places[:, 2] / camera.K[0, 0])
    return _unnoticed(scene, count, views)


def _added(scene: Scene4D, count: int, camera: Camera) -> Mask:
    """Where [H, W] a camera sees the points after the first ``count``."""
    gaussians = place(scene.canonical(), Moment(), Sight())
    after = torch.arange(len(scene), device=scene.means.device) >= count
    colors = after.to(scene.colors)[:, None].expand(-1, 3).contiguous()
    seen = rasterize(replace(gaussians, colors=colors), camera).rgb[..., 0]
    return (seen > _SOLID).cpu().numpy()


def _unnoticed(scene: Scene4D, count: int, views: Sequence[int]) -> Scene4D:
    """The scene without those of the points after the first ``count`` that change a view."""
    first = torch.arange(len(scene), device=scene.means.device) < count
    before = {v: render_canonical(scene.keep(first), v).rgb for v in views}
    for _ in range(_ROUNDS):
        gone = torch.zeros(len(scene), dtype=torch.bool, device=scene.means.device)
        for v, image in before.items():
            changed = (render_canonical(scene, v).rgb - image).abs().amax(-1) > _CHANGED
            if changed.any():
                gone |= _shown(scene, v, changed) > _SEEN
        gone[:count] = False
        if not gone.any():
            break
        scene = scene.keep(~gone)
    return scene


def _shown(scene: Scene4D, v: int, counts_HW: Tensor | None = None) -> Tensor:
    """In how many pixels [N] of a view, of those that count, each point is seen: pictures are
    linear in colours."""
    gaussians = place(scene.canonical(), Moment(), Sight(offset=scene.view_offsets[v]))
    with torch.enable_grad():
        colors = torch.full_like(scene.colors, 0.5, requires_grad=True)
        image = rasterize(replace(gaussians, colors=colors), scene.camera(v)).rgb[..., 0]
        (image if counts_HW is None else image[counts_HW]).sum().backward()
    assert colors.grad is not None
    return colors.grad[:, 0]


def viewpoints_beside(scene: Scene4D, views: Sequence[int]) -> Iterator[Camera]:
    """Viewpoints around the middle of the scene, above, below and beside some of its views."""
    K, w2c = scene.cameras()
    size = scene.size[0] // _FINE, scene.size[1] // _FINE
    for i in np.unique(np.linspace(0, len(views) - 1, _FROM).round().astype(int)):
        v = views[i]
        to_world = invert(w2c[v])
        means = scene.means.double().cpu().numpy()
        depth = (means @ w2c[v, 2, :3]) + w2c[v, 2, 3]
        reach = float(np.median(depth[depth > 0])) if (depth > 0).any() else 1.0
        lens = scale_intrinsics(K[v], scene.size, size)
        for right, up in np.radians([(a * x, a * y) for a in _BESIDE for x, y in _SIDES]):
            away = np.array([np.sin(right) * np.cos(up), -np.sin(up), -np.cos(right) * np.cos(up)])
            middle = np.array([0.0, 0.0, reach])
            eye, target = transform(to_world, np.stack([middle + reach * away, middle]))
            yield Camera(look_at(eye, target, up=-to_world[:3, 1]), lens, size)


def without_crumbs(sheet_HW: FloatArray, end_HW: FloatArray, made: Mask) -> tuple[Mask, FloatArray]:
    """Where a sheet is, without its thin and small parts and its holes, and its depth there.

    Thin parts count beside what was ``made`` before [H, W]: what is left between it and the rest.
    It goes on by a pixel before what is behind it: near an outline too little counts as hidden.
    """
    there = (sheet_HW > 0).astype(np.uint8)
    grain = np.ones((3, 3), np.uint8)
    closed = cv2.morphologyEx(there, cv2.MORPH_CLOSE, grain)
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, grain)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=8)
    large = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] >= _PART)
    out = np.isin(labels, large[large > 0])
    count = cv2.blur(there.astype(np.float64), (3, 3))
    mean = cv2.blur(sheet_HW, (3, 3)) / np.maximum(count, 1e-9)
    depth = np.where(there > 0, sheet_HW, mean)
    cracks = cv2.dilate((out | made).astype(np.uint8), np.ones((_CRACKS, _CRACKS), np.uint8)) > 0
    out |= cracks & (there > 0)
    out |= (cv2.dilate(out.astype(np.uint8), grain) > 0) & (end_HW > depth)
    return out & (count > 0), depth


def share_told(alpha_P: FloatArray, depth_P: FloatArray, sheet_P: FloatArray) -> FloatArray:
    """How far [P] what is there half tells the colours of a sheet at depth ``sheet_P``: by its
    opacity, unless it is the fringe of what is before the sheet."""
    return np.where(depth_P > _FRINGE * sheet_P, alpha_P, 0.0)


def bordered(gap_HW: Mask, known_HW: Mask) -> Mask:
    """The parts of a gap that lie between what is known: of one that is open to the nothing beside
    the scene, what is around it tells little."""
    return bordering_on(gap_HW, known_HW, _CLOSED, _RIM, connectivity=8)


def _carried_on(
    gap: Mask,
    image_HW3: FloatArray,
    depth_HW: FloatArray,
    solid: Mask,
    between: tuple[FloatArray, FloatArray],
    K: Any,
) -> tuple[FloatArray, FloatArray]:
    """Colours [P, 3] of the pixels of gaps and places [P, 3] in the camera that are theirs.

    Both are those of what is around them, above all of what is far away: 1/z is linear, as on
    planes, ``between`` two depths [H, W]; colours are a mean of what is nearest in space.
    """
    ring = cv2.dilate(gap.astype(np.uint8), _RIM) > 0
    beside = cv2.dilate(gap.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    known = ring & solid & ~beside
    if not known.any():
        known = solid & ~gap if (solid & ~gap).any() else ~gap
    at = np.stack(np.nonzero(known), 1)
    query = np.stack(np.nonzero(gap), 1)
    apart, which = cKDTree(at).query(query, k=min(_AROUND, len(at)))
    apart, which = apart.reshape(len(query), -1), which.reshape(len(query), -1)
    depth = depth_HW[known][which]
    # a few pixels may look through what is left of a gap
    low, high = np.percentile(depth, (10, 85), axis=1, keepdims=True)
    far = (depth >= 0.5 * (low + high)) & (depth <= 1.05 * high)
    off, near = (at[which] - query[:, None]) / _SLOPE, 1 / np.maximum(depth, 1e-9)
    carried, fits = going_on(off, near, (far + 1e-3) / (1 + apart))
    z = np.clip(1 / carried, between[0][gap], between[1][gap])
    uv = pixel_grid(*gap.shape)
    places, theirs = (unproject(uv[m], d, K) for m, d in ((gap, z), (known, depth_HW[known])))
    apart = np.linalg.norm(theirs[which] - places[:, None], axis=-1) / (z / K[0, 0])[:, None]
    weight = (far * fits + 2e-3) / (1 + apart**2)
    total = (weight[..., None] * image_HW3[known][which]).sum(1)
    return total / weight.sum(1, keepdims=True), places


def going_on(
    off_Pk2: FloatArray, values_Pk: FloatArray, weight_Pk: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """What most of k weighted values are where they are 0 ``off`` [P], if they change evenly.

    They change little where too little tells how, and not by half. Also how well each fits that
    [P, k], 0..1.
    """
    terms, fits = with_one(off_Pk2), np.ones_like(weight_Pk)
    for _ in range(_FITS):
        weight = weight_Pk * fits
        whole = weight.sum(1)
        found = local_planes(off_Pk2, values_Pk, weight, _FLAT * whole)
        off = (terms * found[:, None]).sum(-1) / values_Pk - 1
        fits = 1 / (1 + (off / _BENT) ** 2)
    mean = (weight * values_Pk).sum(1) / whole
    return np.clip(found[:, 0], 0.5 * mean, 1.5 * mean), fits
