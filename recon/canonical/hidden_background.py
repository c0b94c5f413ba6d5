"""Background that a moving thing covers at the canonical time, from the times when it is gone.

Legend: V views, T times, P added points. The camera of a row stands still, so a pixel whose colour
is the same at several times shows something that stands still: its plate. Where the canonical
scene shows a moving surface, the plate belongs to what is behind it, at a depth continued from the
still surfaces around (a plane is linear in inverse depth).
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fourreal.cameras import invert, pixel_index, project, transform, unproject
from fourreal.colour import difference
from gen.grid import VideoGrid
from recon.canonical.build import draw_points, lifted
from recon.canonical.local_planes import local_planes
from recon.render import render_canonical
from recon.scene import Scene4D

FloatArray = NDArray[np.floating]
Mask = NDArray[np.bool_]


def plate(frames_THW3: FloatArray, tolerance: float = 0.06) -> tuple[FloatArray, Mask, Mask]:
    """What stands still in a fixed-view video.

    Returns:
        The colour most times agree on [H, W, 3]; where at least three times and a third of them
        do [H, W]; where anything changes nearby (9 x 9) [H, W].
    """
    T = len(frames_THW3)
    # numpy is slow along an axis of three
    planes = [cv2.split(cv2.blur(f, (3, 3))) for f in frames_THW3]
    votes = np.ones((T, *frames_THW3.shape[1:3]), np.int16)  # every time agrees with itself
    for a in range(T):
        for b in range(a):
            off = [cv2.absdiff(x, y) for x, y in zip(planes[a], planes[b], strict=True)]
            agree = cv2.max(cv2.max(off[0], off[1]), off[2]) < tolerance
            votes[a] += agree
            votes[b] += agree
    best = votes.argmax(0)
    colour = np.take_along_axis(frames_THW3, best[None, ..., None], 0)[0]
    count = votes.max(0)
    spans = [np.ptp(np.stack(channel), axis=0) for channel in zip(*planes, strict=True)]
    span = np.max(spans, axis=0)
    changes = cv2.dilate((span > 0.1).astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    return colour, count >= max(3, T / 3), changes


def add_hidden_background(
    scene: Scene4D,
    grid: VideoGrid,
    still_N: Mask,
    sigma: float = 0.7,
    flat: float = 0.0,
    margin: float = 0.05,
) -> tuple[Scene4D, Mask]:
    """The scene with still points added behind its moving surfaces, and the new still mask.

    Args:
        scene: static scene at the canonical time. still_N: which of its points stand still.
        sigma, flat: width of a point in pixels, and which blocks of pixels are one
            (``recon.config.CanonicalConfig``).
        margin: how much farther than the moving surface the background must lie (fraction).
    """
    assert grid.known is not None
    if not still_N.any():
        return scene, still_N
    K, w2c = scene.cameras()
    quiet = scene.keep(torch.from_numpy(still_N).to(scene.means.device))
    plates, drawn = {}, {}
    for v in range(grid.V):
        times = np.flatnonzero(grid.known[v])
        if len(times) >= 3:
            plates[v], drawn[v] = plate(grid.frames[v, times]), _draw(quiet, v)
    means, colors = np.zeros((2, 0, 3), np.float32)
    sigmas = np.zeros(0, np.float32)
    for v, (colour, agreed, changes) in plates.items():
        front = _draw(scene, v)[0]
        depth, alpha = drawn[v]
        first = grid.frames[v, scene.canonical_time]
        differs = difference(colour, first) > 0.1  # else it may be the moving thing itself
        wanted = agreed & changes & differs & (front > 0)
        if len(means):
            sofar = draw_points(means, sigmas, scene.camera(v), scene.means.device)
            wanted &= sofar.alpha.cpu().numpy() < 0.5
        wanted &= (alpha < 0.5) | (depth > front * (1 + margin))
        trusted = (alpha > 0.9) & (np.abs(depth - front) < 0.02 * front)
        if not wanted.any() or trusted.sum() < 100:
            continue
        behind = _continue_depth(depth, trusted, wanted)
        place = wanted & (behind > front * (1 + margin))
        if not place.any():
            continue
        uv, z, rgb, side = lifted(place, colour, behind, flat)
        world = transform(invert(w2c[v]), unproject(uv, z, K[v])).astype(np.float32)
        others = {u: (*p[:2], *drawn[u]) for u, p in plates.items() if u != v}
        agree = seen_by_others(world, rgb, others, K, w2c)
        wide = (sigma * side * z / K[v, 0, 0]).astype(np.float32)
        means, sigmas = np.concatenate([means, world[agree]]), np.concatenate([sigmas, wide[agree]])
        colors = np.concatenate([colors, rgb.astype(np.float32)[agree]])
    if not len(means):
        return scene, still_N
    out = scene.with_points(means, colors, sigmas)
    return out, np.concatenate([still_N, np.ones(len(means), bool)])


def seen_by_others(
    points_P3: FloatArray,
    colors_P3: FloatArray,
    plates: dict[int, tuple[FloatArray, Mask, FloatArray, FloatArray]],
    K: FloatArray,
    w2c: FloatArray,
    tolerance: float = 0.12,
    margin: float = 0.03,
) -> Mask:
    """Points [P] whose colour the plates of other views confirm and none denies.

    The plain inside of a moving thing is a plate too, but other views see past it.

    Args:
        plates: colour, where times agree on it, depth and alpha of what stands still before it;
            a view that has something before a point says nothing of it.
    """
    if not plates:
        return np.ones(len(points_P3), bool)
    confirmed, denied = np.zeros((2, len(points_P3)))
    for v, (colour, agreed, depth, alpha) in plates.items():
        uv, z = project(transform(w2c[v], points_P3), K[v])
        pixel, inside = pixel_index(uv, z, agreed.shape)
        free = (alpha.reshape(-1)[pixel] < 0.5) | (z < depth.reshape(-1)[pixel] * (1 + margin))
        tells = inside & agreed.reshape(-1)[pixel] & free
        same = difference(colour.reshape(-1, 3)[pixel], colors_P3) < tolerance
        confirmed += tells & same
        denied += tells & ~same
    return (confirmed > 0) & (denied == 0)


def _draw(scene: Scene4D, v: int) -> tuple[FloatArray, FloatArray]:
    """Depth and alpha [H, W] of the canonical scene in view v."""
    out = render_canonical(scene, v)
    return out.depth.cpu().numpy(), out.alpha.cpu().numpy()


def _continue_depth(depth_HW: FloatArray, trusted: Mask, wanted: Mask) -> FloatArray:
    """Depth [H, W] at ``wanted`` pixels from planes through the nearest ``trusted`` ones.

    Of the trusted pixels around, the farther half counts, since what is hidden is behind.
    """
    y, x = np.nonzero(trusted)
    pick = slice(None, None, max(1, len(x) // 8000))
    known = np.stack([x, y], 1)[pick].astype(np.float64)
    rho = 1.0 / depth_HW[trusted][pick].astype(np.float64)
    query = np.stack(np.nonzero(wanted)[::-1], 1).astype(np.float64)
    near = cKDTree(known).query(query, k=min(64, len(known)))[1]
    around = rho[near]
    weight = (around <= np.median(around, axis=1, keepdims=True)) + 0.05
    offset = known[near] - query[:, None]
    spread = (weight[..., None] * offset**2).sum(1).mean(-1)
    value = local_planes(offset, around, weight, 0.1 * spread + 1e-6)[:, 0]
    value = np.clip(value, 0.7 * around.min(1), around.max(1))
    out = np.zeros(depth_HW.shape)
    out[wanted] = 1.0 / value
    return out
