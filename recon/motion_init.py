"""Where the control nodes go over time, from the tracks of the fixed-view rows, before rendering.

Legend: M nodes, T times, V views, E edges of the node graph. A still camera gives no parallax over
time, so a row knows 2-D motion only. Several rows see the same node: their rays are intersected
(Gauss-Newton on reprojection errors, robust), and what one row or no row sees follows its
neighbours (L1 smoothness, which keeps an object's border sharp against the still background).
With one row only (cross fit) the motion stays at the depth that smoothness gives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from gen.cameras import project, transform

FloatArray = NDArray[np.floating]
SWEEPS = 40


class RowTracksLike(Protocol):
    """What is needed of ``tracking.row.RowTracks``: one track per pixel of its first frame."""

    uv: FloatArray  # [T, H*W, 2] pixels, row-major query pixels
    confidence: FloatArray  # [T, H*W] in 0..1


@dataclass
class NodeObservations:
    """2-D motion of nodes in one view: uv_TM2 pixels and weight_TM (0 where unobserved)."""

    uv_TM2: FloatArray
    weight_TM: FloatArray
    K: FloatArray
    w2c: FloatArray


@dataclass
class Sighting:
    """Where one view sees the nodes at one time: uv_M2 pixels and weight_M (0: not seen)."""

    uv_M2: FloatArray
    weight_M: FloatArray
    K: FloatArray
    w2c: FloatArray


def observe(
    nodes_M3: FloatArray,
    depth_HW: FloatArray,
    tracks: RowTracksLike,
    K: FloatArray,
    w2c: FloatArray,
    tolerance: float = 0.04,
) -> NodeObservations:
    """Read the row's tracks at the nodes that the view sees at the canonical time.

    A node is seen where its depth agrees with the view's within ``tolerance``. The track of the
    pixel under the node is used: interpolating would mix the motions on both sides of an edge.
    """
    H, W = depth_HW.shape
    T = len(tracks.uv)
    uv, pixel, seen = _seen_pixels(nodes_M3, depth_HW, K, w2c, tolerance)
    grid = np.stack([pixel % W, pixel // W], -1) + 0.5
    motion = np.asarray(tracks.uv, np.float64).reshape(T, H * W, 2)[:, pixel] - grid
    weight = np.asarray(tracks.confidence, np.float64).reshape(T, H * W)[:, pixel] * seen
    weight = np.where(np.isfinite(motion).all(-1), weight, 0.0)
    return NodeObservations(uv + np.nan_to_num(motion), weight, np.asarray(K), np.asarray(w2c))


def motion_strength(observations: Sequence[NodeObservations]) -> FloatArray:
    """How far each point moves in the images, in pixels [M]: the largest mean over its views."""
    total, weight = 0.0, 0.0
    for seen in observations:
        step = np.linalg.norm(seen.uv_TM2 - seen.uv_TM2[:1], axis=-1)
        total = total + seen.weight_TM * step
        weight = weight + seen.weight_TM
    return (total / np.maximum(weight, 1e-6)).max(0)


def stillness(
    points_N3: FloatArray,
    frames_VTHW3: FloatArray,
    known_VT: NDArray[np.bool_],
    depth_VHW: FloatArray,
    K: FloatArray,
    w2c: FloatArray,
    canonical: int = 0,
    tolerance: float = 0.04,
) -> NDArray[np.bool_]:
    """Points [N] that stand still: some still camera sees their surroundings never change.

    One view is enough, because a thing that passes in front changes the others; surroundings of
    7 x 7 pixels, because the inside of a plain moving thing need not change.
    """
    V, _, H, W, _ = frames_VTHW3.shape
    still = np.zeros(len(points_N3), bool)
    for v in range(V):
        times = [t for t in np.flatnonzero(known_VT[v]) if t != canonical]
        if not times or not known_VT[v, canonical]:
            continue
        first = cv2.GaussianBlur(frames_VTHW3[v, canonical], (0, 0), 0.8)
        change = np.zeros((H, W), np.float32)
        for t in times:
            blurred = cv2.GaussianBlur(frames_VTHW3[v, t], (0, 0), 0.8)
            change = np.maximum(change, np.abs(blurred - first).max(-1))
        limit = 0.03 + 2 * float(np.percentile(change, 20))  # flicker of the clip itself
        calm = cv2.dilate(change, np.ones((7, 7), np.uint8)) < min(limit, 0.1)
        pixel, seen = _seen_pixels(points_N3, depth_VHW[v], K[v], w2c[v], tolerance)[1:]
        still |= seen & calm.reshape(-1)[pixel]
    return still


def grow_still(
    still_N: NDArray[np.bool_],
    points_N3: FloatArray,
    frames_VTHW3: FloatArray,
    known_VT: NDArray[np.bool_],
    depth_VHW: FloatArray,
    K: FloatArray,
    w2c: FloatArray,
    canonical: int = 0,
    tolerance: float = 0.04,
    rounds: int = 60,
) -> NDArray[np.bool_]:
    """``still_N`` grown along surfaces, through points that nothing shows to move.

    A point may be still when the pixel it is seen at keeps its colour, up to brightness (shadows
    pass), in at least a third of the views at every time (the others may be covered). The inside
    of a plain moving thing may be still in this sense too, but no still surface touches it.
    """
    V, T, H, W, _ = frames_VTHW3.shape
    n = len(points_N3)
    doubt = np.zeros(n)
    smooth = {
        (v, t): cv2.GaussianBlur(frames_VTHW3[v, t], (0, 0), 0.8).reshape(-1, 3) + 0.02
        for v in range(V)
        for t in range(T)
        if known_VT[v, t]
    }
    sight = [_seen_pixels(points_N3, depth_VHW[v], K[v], w2c[v], tolerance)[1:] for v in range(V)]
    for t in range(T):
        if t == canonical:
            continue
        change = np.full((V, n), np.nan)
        for v in range(V):
            if (v, t) in smooth:
                pixel, seen = sight[v]
                before, after = smooth[v, canonical][pixel], smooth[v, t][pixel]
                gain = after.sum(-1) / before.sum(-1)
                shaded = before * np.clip(gain, 0.4, 1.8)[:, None]
                change[v] = np.where(seen, np.abs(after - shaded).max(-1), np.nan)
        doubt = np.maximum(doubt, np.nan_to_num(_lower_third(change)))
    possible = doubt < 0.05
    centre = transform(w2c[len(w2c) // 2], points_N3)[:, 2]
    spacing = np.abs(centre) / K[0, 0, 0]
    distance, near = cKDTree(points_N3).query(points_N3, k=min(9, n), workers=1)
    linked = distance < 3.0 * spacing[:, None]
    out = still_N.copy()
    for _ in range(rounds):
        votes = (out[near] & linked)[:, 1:].sum(1)
        fresh = ~out & possible & (votes >= 3)
        if not fresh.any():
            break
        out |= fresh
    return out


def _lower_third(values_VN: FloatArray) -> FloatArray:
    """The value at a third of the sorted finite ones of every column; NaN where there is none."""
    ordered = np.sort(values_VN, axis=0)  # NaN last
    count = np.isfinite(values_VN).sum(0)
    place = np.maximum((count - 1) // 3, 0)
    return np.take_along_axis(ordered, place[None], 0)[0]


def _seen_pixels(
    points_N3: FloatArray, depth_HW: FloatArray, K: FloatArray, w2c: FloatArray, tolerance: float
) -> tuple[FloatArray, NDArray[np.int64], NDArray[np.bool_]]:
    """Projection [N, 2], pixel index (0 outside) and whether the view's surface is the point's."""
    H, W = depth_HW.shape
    uv, z = project(transform(w2c, points_N3), K)
    x, y = np.floor(np.nan_to_num(uv, nan=-1.0)).astype(np.int64).T
    inside = (z > 0) & (x >= 0) & (x < W) & (y >= 0) & (y < H)
    pixel = np.where(inside, y * W + x, 0)
    surface = depth_HW.reshape(-1)[pixel]
    with np.errstate(invalid="ignore"):
        seen = inside & (np.abs(z - surface) < tolerance * surface)
    return uv, pixel, seen


def solve_motion(
    nodes_M3: FloatArray,
    edges_E2: NDArray[np.int64],
    observations: Sequence[NodeObservations],
    canonical: int = 0,
    smoothness: float = 0.3,
) -> NDArray[np.float32]:
    """Node offsets [T, M, 3] that agree with the 2-D motion of all rows; 0 at ``canonical``."""
    T, M = observations[0].weight_TM.shape
    out = np.zeros((T, M, 3))
    for t in sorted(range(T), key=lambda t: abs(t - canonical)):
        if t != canonical:
            seen = [Sighting(o.uv_TM2[t], o.weight_TM[t], o.K, o.w2c) for o in observations]
            start = out[t - 1 if t > canonical else t + 1]
            out[t] = solve_step(nodes_M3, edges_E2, seen, smoothness, start=start)
    return out.astype(np.float32)


def solve_step(
    nodes_M3: FloatArray,
    edges_E2: NDArray[np.int64],
    sightings: Sequence[Sighting],
    smoothness: float = 0.3,
    rounds: int = 5,
    start: FloatArray | None = None,
    free: NDArray[np.bool_] | None = None,
) -> FloatArray:
    """Offsets [M, 3] that carry the nodes to where they are sighted.

    Args:
        smoothness: weight of an edge's L1 difference, in pixels per pixel (offsets are measured
            in pixels of the observing cameras, so the scale of the scene does not matter).
        rounds: iteratively reweighted Gauss-Newton rounds.
        start: where to begin, [M, 3]; zero by default.
        free: bool [M], the nodes that may move; the others keep ``start``.
    """
    u = np.zeros(np.shape(nodes_M3)) if start is None else np.array(start, np.float64)
    pixel = _pixel_size(nodes_M3, sightings)
    free = np.ones(len(u), bool) if free is None else free
    edges_E2 = edges_E2[free[edges_E2].any(1)]
    for k in range(rounds):
        u = _gauss_newton(nodes_M3, u, edges_E2, sightings, pixel, smoothness, k, free)
    return u


def _pixel_size(nodes_M3: FloatArray, observations: Sequence[Sighting]) -> float:
    """World length of one pixel at the median node."""
    sizes = []
    for seen in observations:
        z = transform(seen.w2c, nodes_M3)[:, 2]
        sizes.append(np.median(np.abs(z)) / seen.K[0, 0])
    return float(np.median(sizes))


def _gauss_newton(
    x_M3: FloatArray,
    u_M3: FloatArray,
    edges: NDArray[np.int64],
    observations: Sequence[Sighting],
    pixel: float,
    smoothness: float,
    round_index: int,
    free: NDArray[np.bool_],
) -> FloatArray:
    """One reweighted step; unknowns are offsets in pixel sizes."""
    M = len(x_M3)
    blocks, rhs = np.zeros((M, 3, 3)), np.zeros((M, 3))
    scale = 4.0 if round_index < 2 else 1.5  # Geman-McClure width, pixels
    for seen in observations:
        weight = seen.weight_M
        p = transform(seen.w2c, x_M3 + u_M3)
        uv, z = project(p, seen.K)
        z = np.maximum(z, 1e-9)
        residual = seen.uv_M2 - uv
        jac_cam = np.zeros((M, 2, 3))
        jac_cam[:, 0, 0], jac_cam[:, 1, 1] = seen.K[0, 0] / z, seen.K[1, 1] / z
        jac_cam[:, 0, 2] = -seen.K[0, 0] * p[:, 0] / z**2
        jac_cam[:, 1, 2] = -seen.K[1, 1] * p[:, 1] / z**2
        jac = jac_cam @ seen.w2c[:3, :3] * pixel
        if round_index > 0:
            square = (residual**2).sum(-1)
            weight = weight * (scale**2 / (scale**2 + square)) ** 2
        weight = np.where(z > 1e-8, weight, 0.0)
        target = residual + (jac @ (u_M3 / pixel)[..., None])[..., 0]
        blocks += np.einsum("m,mki,mkj->mij", weight, jac, jac)
        rhs += np.einsum("m,mki,mk->mi", weight, jac, target)
    difference = np.linalg.norm((u_M3[edges[:, 0]] - u_M3[edges[:, 1]]) / pixel, axis=-1)
    link = smoothness / np.maximum(difference, 0.3 if round_index else 1.0)
    blocks += 1e-4 * np.eye(3)  # unseen and unlinked nodes stay
    first, neighbour, strength = _adjacency(edges, link, M)
    out = np.ascontiguousarray(u_M3 / pixel)
    _relax(blocks, rhs, first, neighbour, strength, np.flatnonzero(free), out, SWEEPS)
    return out * pixel


def _adjacency(
    edges: NDArray[np.int64], link: FloatArray, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """Neighbour lists of an undirected graph: row starts [M+1], neighbours and weights [2E]."""
    i, j = edges.T
    both = sparse.coo_matrix((np.r_[link, link], (np.r_[i, j], np.r_[j, i])), shape=(count, count))
    csr = both.tocsr()
    return csr.indptr.astype(np.int64), csr.indices.astype(np.int64), csr.data


@njit(cache=True)
def _relax(blocks, rhs, first, neighbour, strength, free, x, sweeps):
    """Over-relaxed block Gauss-Seidel on (blocks + graph Laplacian) x = rhs, free rows only."""
    for sweep in range(sweeps):
        for k in range(len(free)):
            m = free[k] if sweep % 2 == 0 else free[len(free) - 1 - k]
            a = blocks[m].copy()
            b0, b1, b2 = rhs[m, 0], rhs[m, 1], rhs[m, 2]
            for e in range(first[m], first[m + 1]):
                w, n = strength[e], neighbour[e]
                a[0, 0] += w
                a[1, 1] += w
                a[2, 2] += w
                b0 += w * x[n, 0]
                b1 += w * x[n, 1]
                b2 += w * x[n, 2]
            c00 = a[1, 1] * a[2, 2] - a[1, 2] * a[2, 1]
            c01 = a[0, 2] * a[2, 1] - a[0, 1] * a[2, 2]
            c02 = a[0, 1] * a[1, 2] - a[0, 2] * a[1, 1]
            c11 = a[0, 0] * a[2, 2] - a[0, 2] * a[2, 0]
            c12 = a[0, 2] * a[1, 0] - a[0, 0] * a[1, 2]
            c22 = a[0, 0] * a[1, 1] - a[0, 1] * a[1, 0]
            det = a[0, 0] * c00 + a[1, 0] * c01 + a[2, 0] * c02
            x[m, 0] += 1.6 * ((c00 * b0 + c01 * b1 + c02 * b2) / det - x[m, 0])
            x[m, 1] += 1.6 * ((c01 * b0 + c11 * b1 + c12 * b2) / det - x[m, 1])
            x[m, 2] += 1.6 * ((c02 * b0 + c12 * b1 + c22 * b2) / det - x[m, 2])
