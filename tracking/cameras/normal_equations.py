"""Normal equations of the anchored bundle adjustment, as numba kernels.

Legend: V views, N tracks, O observations (sorted by track; those of track n are first[n] ..
first[n + 1]), S = 6 V + 1 unknowns of the cameras: a turn and a shift per view (applied from the
left to world-to-camera) and the log of the focal length. Everything is float64.
"""

from __future__ import annotations

import math

import numpy as np

from fourreal.kernels import njit


@njit(fastmath=True, nogil=True, forceinline=True)
def transfer(rotation, translation, anchor, view, ray, rho, relative, offset, point):
    """Relative pose anchor -> view, and the track's point (times rho) in the view's camera."""
    for i in range(3):
        for j in range(3):
            total = 0.0
            for k in range(3):
                total += rotation[view, i, k] * rotation[anchor, j, k]
            relative[i, j] = total
    for i in range(3):
        total, turned = translation[view, i], 0.0
        for k in range(3):
            total -= relative[i, k] * translation[anchor, k]
            turned += relative[i, k] * ray[k]
        offset[i] = total
        point[i] = turned + rho * total


@njit(fastmath=True, nogil=True, forceinline=True)
def pixel_slopes(right, down, focal, point, ray, rho, relative, offset, row):
    """How a track's pixel moves in the direction (right, down): by its inverse depth (returned),
    and in row [13] by turn and shift of the view, of the anchor, and by the log of the focal."""
    z = max(point[2], 1e-3)
    # p: derivative of the pixel by the point; t: by the anchor's ray
    p0, p1 = right * focal / z, down * focal / z
    p2 = -focal * (right * point[0] + down * point[1]) / (z * z)
    t0 = p0 * relative[0, 0] + p1 * relative[1, 0] + p2 * relative[2, 0]
    t1 = p0 * relative[0, 1] + p1 * relative[1, 1] + p2 * relative[2, 1]
    t2 = p0 * relative[0, 2] + p1 * relative[1, 2] + p2 * relative[2, 2]
    row[0] = p2 * point[1] - p1 * point[2]
    row[1] = p0 * point[2] - p2 * point[0]
    row[2] = p1 * point[0] - p0 * point[1]
    row[3], row[4], row[5] = p0 * rho, p1 * rho, p2 * rho
    row[6] = t1 * ray[2] - t2 * ray[1]
    row[7] = t2 * ray[0] - t0 * ray[2]
    row[8] = t0 * ray[1] - t1 * ray[0]
    row[9], row[10], row[11] = -t0 * rho, -t1 * rho, -t2 * rho
    row[12] = focal * (right * point[0] + down * point[1]) / z - t0 * ray[0] - t1 * ray[1]
    return p0 * offset[0] + p1 * offset[1] + p2 * offset[2]


@njit(cache=True, fastmath=True, nogil=True)
def reprojection(
    first, anchor, anchor_uv, view, uv, rotation, translation, focal, centre, rho, error
):  # fmt: skip
    """error [O, 2] in pixels: where the track is expected minus where it is seen."""
    relative, offset, point, ray = np.empty((3, 3)), np.empty(3), np.empty(3), np.ones(3)
    for n in range(len(anchor)):
        for k in range(2):
            ray[k] = (anchor_uv[n, k] - centre[k]) / focal
        for o in range(first[n], first[n + 1]):
            transfer(
                rotation, translation, anchor[n], view[o], ray, rho[n], relative, offset, point
            )
            z = max(point[2], 1e-3)
            for k in range(2):
                error[o, k] = focal * point[k] / z + centre[k] - uv[o, k]


@njit(cache=True, fastmath=True, nogil=True)
def robust_cost(error, scale):
    """Sum of Cauchy costs of error [O, 2], which grow with the log of what exceeds `scale`."""
    total = 0.0
    for o in range(len(error)):
        square = error[o, 0] ** 2 + error[o, 1] ** 2
        total += 0.5 * scale * scale * math.log(1.0 + square / (scale * scale))
    return total


@njit(cache=True, fastmath=True, nogil=True)
def linearise(
    first, anchor, anchor_uv, view, uv, rotation, translation, focal, centre, rho, scale,
    h, g, h_rho, g_rho, w_view, w_anchor, w_focal,
):  # fmt: skip
    """Cauchy-weighted normal equations, all outputs overwritten.

    h [S, S], g [S]: cameras; h_rho, g_rho [N]: inverse depths; w_view [O, 6], w_anchor [N, 6],
    w_focal [N]: what couples a track with the cameras that see it, its anchor and the focal.
    """
    h[:], g[:], h_rho[:], g_rho[:] = 0.0, 0.0, 0.0, 0.0
    w_view[:], w_anchor[:], w_focal[:] = 0.0, 0.0, 0.0
    last = len(g) - 1
    relative, offset, point, ray = np.empty((3, 3)), np.empty(3), np.empty(3), np.ones(3)
    j, j_rho, error = np.empty((2, 13)), np.empty(2), np.empty(2)
    where = np.empty(13, np.int64)
    where[12] = last
    for n in range(len(anchor)):
        for k in range(2):
            ray[k] = (anchor_uv[n, k] - centre[k]) / focal
        for c in range(6):
            where[6 + c] = 6 * anchor[n] + c
        for o in range(first[n], first[n + 1]):
            transfer(
                rotation, translation, anchor[n], view[o], ray, rho[n], relative, offset, point
            )
            z = max(point[2], 1e-3)
            for c in range(6):
                where[c] = 6 * view[o] + c
            for k in range(2):
                error[k] = focal * point[k] / z + centre[k] - uv[o, k]
            weight = 1.0 / (1.0 + (error[0] ** 2 + error[1] ** 2) / (scale * scale))
            for k in range(2):
                j_rho[k] = pixel_slopes(
                    1.0 - k, float(k), focal, point, ray, rho[n], relative, offset, j[k]
                )
            h_rho[n] += weight * (j_rho[0] ** 2 + j_rho[1] ** 2)
            g_rho[n] += weight * (j_rho[0] * error[0] + j_rho[1] * error[1])
            for c in range(13):
                a0, a1 = weight * j[0, c], weight * j[1, c]
                g[where[c]] += a0 * error[0] + a1 * error[1]
                row = h[where[c]]
                for d in range(c, 13):
                    row[where[d]] += a0 * j[0, d] + a1 * j[1, d]
                both = a0 * j_rho[0] + a1 * j_rho[1]
                if c < 6:
                    w_view[o, c] = both
                elif c < 12:
                    w_anchor[n, c - 6] += both
                else:
                    w_focal[n] += both
    _mirror(h)


@njit(nogil=True, forceinline=True)
def _mirror(h):
    """Make h [S, S] symmetric, each pair of entries having been added to one of the two places."""
    for r in range(len(h)):
        for c in range(r):
            h[r, c] += h[c, r]
            h[c, r] = h[r, c]


@njit(cache=True, fastmath=True, nogil=True)
def eliminate(first, anchor, view, h_rho, g_rho, w_view, w_anchor, w_focal, h, g):
    """Schur complement in place: take the inverse depths (damped h_rho) out of h [S, S], g [S]."""
    last = len(g) - 1
    most = 0
    for n in range(len(anchor)):
        most = max(most, first[n + 1] - first[n])
    where = np.empty(6 * most + 7, np.int64)
    w = np.empty(6 * most + 7)
    taken = np.zeros_like(h)
    for n in range(len(anchor)):
        if first[n + 1] == first[n]:
            continue
        count = 0
        for o in range(first[n], first[n + 1]):
            for c in range(6):
                where[count], w[count] = 6 * view[o] + c, w_view[o, c]
                count += 1
        for c in range(6):
            where[count], w[count] = 6 * anchor[n] + c, w_anchor[n, c]
            count += 1
        where[count], w[count] = last, w_focal[n]
        count += 1
        for c in range(count):
            share = w[c] / h_rho[n]
            g[where[c]] -= share * g_rho[n]
            row = taken[where[c]]
            for d in range(c, count):
                row[where[d]] += share * w[d]
    _mirror(taken)
    h -= taken


@njit(cache=True, fastmath=True, nogil=True)
def substitute(first, anchor, view, h_rho, g_rho, w_view, w_anchor, w_focal, step, d_rho):
    """Change of the inverse depths d_rho [N] that goes with `step` [S] of the cameras."""
    for n in range(len(anchor)):
        total = g_rho[n] + w_focal[n] * step[-1]
        for c in range(6):
            total += w_anchor[n, c] * step[6 * anchor[n] + c]
        for o in range(first[n], first[n + 1]):
            for c in range(6):
                total += w_view[o, c] * step[6 * view[o] + c]
        d_rho[n] = -total / h_rho[n]
