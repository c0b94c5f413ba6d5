"""Align small patches between views to a tenth of a pixel, for camera poses.

Dense flow is good to half a pixel and smooths over depth edges; a small patch, aligned with affine
Lucas-Kanade (inverse compositional, brightness and contrast removed), is good to a tenth. The flow
of neighbouring views says where to look; each step is aligned with the patch of the first view, so
nothing drifts along a path.

Legend: V views, h w image, N points, P = (2 RADIUS + 1)^2 samples of a patch. Indices (x, y) have
pixel centres at integers.
"""

from __future__ import annotations

import math

import numpy as np

from fourreal.kernel_threads import take
from fourreal.kernels import njit

RADIUS = 5


@njit(fastmath=True, nogil=True, inline="always")
def _bilinear(image, x, y):
    """image [h, w] at pixel index (x, y), which is inside."""
    x0, y0 = int(x), int(y)
    fx, fy = x - x0, y - y0
    top = image[y0, x0] * (1 - fx) + image[y0, x0 + 1] * fx
    bottom = image[y0 + 1, x0] * (1 - fx) + image[y0 + 1, x0 + 1] * fx
    return top * (1 - fy) + bottom * fy


@njit(fastmath=True, nogil=True, forceinline=True)
def _template(image, x, y, values, jacobian, hessian):
    """Patch around pixel (x, y): values [P] of mean 0, jacobian [6, P], hessian [6, 6] -> std.

    Parameters: four of the affine matrix (per unit of patch radius), then two of the shift.
    """
    count = len(values)
    k = 0
    for i in range(-RADIUS, RADIUS + 1):
        for j in range(-RADIUS, RADIUS + 1):
            row, column = y + i, x + j
            values[k] = image[row, column]
            gx = np.float32(0.5) * (image[row, column + 1] - image[row, column - 1])
            gy = np.float32(0.5) * (image[row + 1, column] - image[row - 1, column])
            px, py = np.float32(j) / RADIUS, np.float32(i) / RADIUS
            jacobian[0, k], jacobian[1, k] = gx * px, gx * py
            jacobian[2, k], jacobian[3, k] = gy * px, gy * py
            jacobian[4, k], jacobian[5, k] = gx, gy
            k += 1
    # brightness is no part of the fit: nor may it be of the derivatives
    for c in range(6):
        mean = np.float32(0.0)
        for k in range(count):
            mean += jacobian[c, k]
        mean /= count
        for k in range(count):
            jacobian[c, k] -= mean
    for c in range(6):
        for d in range(c, 6):
            total = np.float32(0.0)
            for k in range(count):
                total += jacobian[c, k] * jacobian[d, k]
            hessian[c, d] = hessian[d, c] = total
    mean = np.float32(0.0)
    for k in range(count):
        mean += values[k]
    mean /= count
    energy = np.float32(0.0)
    for k in range(count):
        values[k] -= mean
        energy += values[k] * values[k]
    return math.sqrt(energy / count)


@njit(fastmath=True, nogil=True, forceinline=True)
def _align(image, values, deviation, jacobian, inverse, turns, found, state):
    """Align the patch with `image` from state (x, y, a00, a01, a10, a11), in place -> its ZNCC,
    -1 when it left the image or was torn; found [P] is scratch."""
    h, w = image.shape
    count = len(values)
    slope = np.empty(6, np.float32)
    score = np.float32(-1.0)
    for turn in range(turns + 1):
        reach_x = (abs(state[2]) + abs(state[3])) * RADIUS
        reach_y = (abs(state[4]) + abs(state[5])) * RADIUS
        if not (
            state[0] - reach_x >= 0
            and state[1] - reach_y >= 0
            and state[0] + reach_x < w - 1
            and state[1] + reach_y < h - 1
        ):
            return np.float32(-1.0)
        k = 0
        mean = np.float32(0.0)
        for i in range(-RADIUS, RADIUS + 1):
            x = state[0] + state[3] * i - state[2] * RADIUS
            y = state[1] + state[5] * i - state[4] * RADIUS
            for _ in range(2 * RADIUS + 1):
                found[k] = _bilinear(image, x, y)
                mean += found[k]
                x += state[2]
                y += state[4]
                k += 1
        mean /= count
        energy, product = np.float32(1e-6), np.float32(0.0)
        for k in range(count):
            found[k] -= mean
            energy += found[k] * found[k]
            product += found[k] * values[k]
        gain = deviation / math.sqrt(energy / count)
        score = product * gain / (count * deviation * deviation)
        if turn >= turns:
            break
        gain = min(max(gain, np.float32(0.3)), np.float32(3.0))
        for k in range(count):
            found[k] = gain * found[k] - values[k]
        for c in range(6):
            total = np.float32(0.0)
            for k in range(count):
                total += jacobian[c, k] * found[k]
            slope[c] = total
        # compose with the inverse of the small warp (I + B, s): A <- A (I + B)^-1, x <- x - A' s
        s0, s1, s2, s3 = np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
        s4, s5 = np.float32(0.0), np.float32(0.0)
        for d in range(6):
            s0 += inverse[0, d] * slope[d]
            s1 += inverse[1, d] * slope[d]
            s2 += inverse[2, d] * slope[d]
            s3 += inverse[3, d] * slope[d]
            s4 += inverse[4, d] * slope[d]
            s5 += inverse[5, d] * slope[d]
        b00, b01, b10, b11 = 1 + s0 / RADIUS, s1 / RADIUS, s2 / RADIUS, 1 + s3 / RADIUS
        determinant = b00 * b11 - b01 * b10
        if not (determinant > 0.2 and determinant < 5.0):
            return np.float32(-1.0)
        a00, a01, a10, a11 = state[2], state[3], state[4], state[5]
        state[2] = (a00 * b11 - a01 * b10) / determinant
        state[3] = (a01 * b00 - a00 * b01) / determinant
        state[4] = (a10 * b11 - a11 * b10) / determinant
        state[5] = (a11 * b00 - a10 * b01) / determinant
        dx, dy = state[2] * s4 + state[3] * s5, state[4] * s4 + state[5] * s5
        state[0] -= dx
        state[1] -= dy
        if dx * dx + dy * dy < np.float32(4e-4):
            turns = turn + 1
    return score


@njit(cache=True, fastmath=True, nogil=True)
def follow_patches(
    counter, images, forward, backward, forward_ok, backward_ok, start, index, reach, turns, limit,
    least, edge, uv, score,
):  # fmt: skip
    """Follow N patches up and down a sequence of S images, writing uv [N, S, 2], score [N, S].

    images float32 [S, h, w]; forward, backward [S - 1, h, w, 2]: flow i -> i + 1 and back, with
    their gates [S - 1, h, w]; start [N]: image, index [N, 2]: pixel (x, y) that a patch is taken
    at. A path ends where the gate is shut, the patch moves more than `limit` from where flow says
    or its ZNCC falls below `least`; score stays 0 there. Patches whose structure tensor has
    eigenvalues further apart than `edge` (a lone edge) are left out. uv has centres at +0.5.
    """
    length, h, w = images.shape
    side = 2 * RADIUS + 1
    border = RADIUS + 1
    while True:
        n = take(counter)
        if n >= len(start):
            break
        x, y, a = index[n, 0], index[n, 1], start[n]
        if x < border or y < border or x >= w - border or y >= h - border:
            continue
        values = np.empty(side * side, np.float32)
        jacobian = np.empty((6, side * side), np.float32)
        found = np.empty(side * side, np.float32)
        hessian = np.empty((6, 6), np.float32)
        deviation = _template(images[a], x, y, values, jacobian, hessian)
        if deviation < np.float32(0.3):  # grey levels: nothing to see
            continue
        # along a lone edge a patch slides: what it says there would be made up
        half = np.float32(0.5) * (hessian[4, 4] + hessian[5, 5])
        skew = np.float32(0.5) * (hessian[4, 4] - hessian[5, 5])
        root = math.sqrt(skew * skew + hessian[4, 5] * hessian[4, 5])
        if half - root < edge * (half + root):
            continue
        # nor does its shape say much across directions without contrast: there it stays as it was
        trace = np.float32(0.0)
        for c in range(6):
            trace += hessian[c, c]
        for c in range(6):
            hessian[c, c] += (np.float32(0.01) if c < 4 else np.float32(1e-5)) * trace
        inverse = np.linalg.inv(hessian.astype(np.float64)).astype(np.float32)
        state = np.empty(6, np.float32)
        for step in (1, -1):
            state[0], state[1] = x, y
            state[2], state[3], state[4], state[5] = 1, 0, 0, 1
            i = a
            for _ in range(reach):
                j = i + step
                if j < 0 or j >= length:
                    break
                column = min(max(int(state[0] + np.float32(0.5)), 0), w - 1)
                row = min(max(int(state[1] + np.float32(0.5)), 0), h - 1)
                if step > 0:
                    open_, flow = forward_ok[i, row, column], forward[i, row, column]
                else:
                    open_, flow = backward_ok[j, row, column], backward[j, row, column]
                if not open_:
                    break
                guess_x, guess_y = state[0] + flow[0], state[1] + flow[1]
                state[0], state[1] = guess_x, guess_y
                fit = _align(images[j], values, deviation, jacobian, inverse, turns, found, state)
                if fit < least or math.hypot(state[0] - guess_x, state[1] - guess_y) > limit:
                    break
                uv[n, j, 0], uv[n, j, 1] = state[0] + 0.5, state[1] + 0.5
                score[n, j] = fit
                i = j
