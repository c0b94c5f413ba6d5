"""Slanted-window refinement of inverse depth: PatchMatch with planes that are linear in 1/z.

A plane in space is linear in inverse depth over the picture, so each pixel carries (rho, d rho/dx,
d rho/dy) and its window is compared along that plane in every neighbour: floors seen at a grazing
angle come out flat, not as stairs. Windows are weighted by colour, so that depth edges stay where
colour edges are. Candidates come from checkerboard neighbours and small fixed perturbations.

Legend: H W image, n neighbours, P = 25 window samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from fourreal.kernel_threads import cores, run_threaded, take
from fourreal.kernels import njit
from tracking.depth.sweep import NOISE, likeness, pixel_transfer, soft_minimum


@njit(fastmath=True, forceinline=True)
def _matching_cost(
    x, y, rho, gx, gy, others, a, b, dx, dy, weight, gray, keep, mean, variance, noise, values
):
    """Cost of one slanted window over the best `keep` neighbours (0: over all, softly), 0..1."""
    n, rows, columns = others.shape
    count = 0
    alike = np.float32(0.0)
    # a flat window cannot correlate: it must not look like a mismatch
    texture = np.float32(0.6) * (variance - noise) / (variance + 3 * noise)
    for i in range(n):
        q0 = a[i, 0, 0] * x + a[i, 0, 1] * y + a[i, 0, 2] + rho * b[i, 0]
        q1 = a[i, 1, 0] * x + a[i, 1, 1] * y + a[i, 1, 2] + rho * b[i, 1]
        q2 = a[i, 2, 0] * x + a[i, 2, 1] * y + a[i, 2, 2] + rho * b[i, 2]
        if q2 < np.float32(1e-3):
            continue
        u, v = q0 / q2, q1 / q2
        if not (u >= 0 and v >= 0 and u <= columns - 1 and v <= rows - 1):
            continue
        # along the plane the homogeneous position is linear in the window
        q0_x, q0_y = a[i, 0, 0] + gx * b[i, 0], a[i, 0, 1] + gy * b[i, 0]
        q1_x, q1_y = a[i, 1, 0] + gx * b[i, 1], a[i, 1, 1] + gy * b[i, 1]
        q2_x, q2_y = a[i, 2, 0] + gx * b[i, 2], a[i, 2, 1] + gy * b[i, 2]
        s_w, s_ww, s_gw, s_d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for k in range(len(dx)):
            inverse = np.float32(1.0) / max(q2 + q2_x * dx[k] + q2_y * dy[k], np.float32(1e-3))
            u = (q0 + q0_x * dx[k] + q0_y * dy[k]) * inverse
            v = (q1 + q1_x * dx[k] + q1_y * dy[k]) * inverse
            u = min(max(u, np.float32(0.0)), np.float32(columns - 1.001))
            v = min(max(v, np.float32(0.0)), np.float32(rows - 1.001))
            x0, y0 = int(u), int(v)
            fx, fy = u - x0, v - y0
            top = others[i, y0, x0] * (1 - fx) + others[i, y0, x0 + 1] * fx
            bottom = others[i, y0 + 1, x0] * (1 - fx) + others[i, y0 + 1, x0 + 1] * fx
            value = top * (1 - fy) + bottom * fy
            w = weight[k] * value
            s_w += w
            s_ww += w * value
            s_gw += w * gray[k]
            s_d += weight[k] * abs(value - gray[k])
        spread = max(s_ww - s_w * s_w, np.float32(0.0)) + noise
        zncc = (s_gw - s_w * mean) / np.sqrt(spread * variance)
        shape = min(max(np.float32(1.0) - zncc, np.float32(0.0)), np.float32(1.0))
        cost = texture * shape + np.float32(0.4) * min(s_d * 10, np.float32(1.0))
        if keep == 0:
            alike += likeness(cost)
            continue
        j = count
        while j > 0 and values[j - 1] > cost:
            values[j] = values[j - 1]
            j -= 1
        values[j] = cost
        count += 1
    if keep == 0:
        return soft_minimum(alike, n)
    if count == 0:
        return np.float32(0.6)
    m = min(count, keep)
    total = np.float32(0.0)
    for i in range(m):
        total += values[i]
    return total / m


@njit(fastmath=True, forceinline=True)
def _smooth_cost(x, y, rho, state, image, scale):
    """How far 1/z is from the planes of the four neighbours, less across colour edges, 0..1."""
    _, h, w = state.shape
    total = np.float32(0.0)
    mass = np.float32(1e-6)
    for side in range(4):
        ex = (1, -1, 0, 0)[side]
        ey = (0, 0, 1, -1)[side]
        nx, ny = x + ex, y + ey
        if nx < 0 or nx >= w or ny < 0 or ny >= h:
            continue
        predicted = state[0, ny, nx] - state[1, ny, nx] * ex - state[2, ny, nx] * ey
        step = np.float32(0.0)
        for c in range(3):
            step = max(step, abs(image[y, x, c] - image[ny, nx, c]))
        similar = np.exp(-step * np.float32(16.0)) + np.float32(0.05)
        total += similar * min(abs(rho - predicted) * scale, np.float32(1.0))
        mass += similar
    return total / np.float32(4.0)


@njit(fastmath=True, forceinline=True)
def _noise(x, y, turn):
    """A fixed pseudo-random number in -1..1 per pixel and turn."""
    state = np.uint32(x * 73856093) ^ np.uint32(y * 19349663) ^ np.uint32(turn * 83492791)
    state ^= np.uint32(state << np.uint32(13))
    state ^= np.uint32(state >> np.uint32(17))
    state ^= np.uint32(state << np.uint32(5))
    return np.float32(state & np.uint32(65535)) / np.float32(32767.5) - np.float32(1.0)


@njit(cache=True, fastmath=True, nogil=True)
def _update(
    counter, state, cost, image, gray, others, a, b, dx, dy, keep, parity, turn, jitter, low, high,
    smooth, scale, noise,
):  # fmt: skip
    """One half of a checkerboard pass: every pixel of `parity` tries its candidates."""
    _, h, w = state.shape
    p = len(dx)
    edge = np.float32(dx[p - 1])
    float_x, float_y = dx.astype(np.float32), dy.astype(np.float32)
    same = np.float32(0.01)  # of two pixels in the widest neighbour
    while True:
        y = take(counter)
        if y >= h:
            break
        weight = np.empty(p, np.float32)
        local = np.empty(p, np.float32)
        values = np.empty(len(others), np.float32)
        for x in range((y + parity) % 2, w, 2):
            total = np.float32(0.0)
            for k in range(p):
                px = min(max(x + dx[k], 0), w - 1)
                py = min(max(y + dy[k], 0), h - 1)
                step = np.float32(0.0)
                for c in range(3):
                    step += abs(image[py, px, c] - image[y, x, c])
                weight[k] = np.exp(-step * np.float32(7.0))
                local[k] = gray[py, px]
                total += weight[k]
            mean, square = np.float32(0.0), np.float32(0.0)
            for k in range(p):
                weight[k] /= total
                mean += weight[k] * local[k]
                square += weight[k] * local[k] * local[k]
            variance = max(square - mean * mean, np.float32(0.0)) + noise
            best = np.float32(1e9)
            b_rho, b_gx, b_gy = state[0, y, x], state[1, y, x], state[2, y, x]
            match_of_best = np.float32(1.0)
            for candidate in range(13):
                rho, gx, gy = b_rho, b_gx, b_gy
                if 1 <= candidate <= 8:
                    reach = 1 if candidate <= 4 else 5
                    side = (candidate - 1) % 4
                    ex = (reach, -reach, 0, 0)[side]
                    ey = (0, 0, reach, -reach)[side]
                    nx, ny = x + ex, y + ey
                    if nx < 0 or nx >= w or ny < 0 or ny >= h:
                        continue
                    gx, gy = state[1, ny, nx], state[2, ny, nx]
                    rho = state[0, ny, nx] - gx * ex - gy * ey
                elif candidate == 9:
                    rho = b_rho + jitter * _noise(x, y, 4 * turn)
                elif candidate == 10:
                    rho = b_rho + jitter * np.float32(0.3) * _noise(x, y, 4 * turn + 1)
                elif candidate == 11:
                    gx = b_gx + np.float32(0.25) * jitter * _noise(x, y, 4 * turn + 2)
                    gy = b_gy + np.float32(0.25) * jitter * _noise(x, y, 4 * turn + 3)
                elif candidate == 12:
                    gx, gy = gx * np.float32(0.5), gy * np.float32(0.5)
                if rho < low or rho > high:
                    continue
                if candidate > 0:  # neighbours on one plane agree: nothing new to try
                    bend = (abs(gx - b_gx) + abs(gy - b_gy)) * edge
                    if (abs(rho - b_rho) + bend) * scale < same:
                        continue
                value = smooth * _smooth_cost(x, y, rho, state, image, scale)
                if value >= best:
                    continue
                matched = _matching_cost(
                    np.float32(x), np.float32(y), rho, gx, gy, others, a, b, float_x, float_y,
                    weight, local, keep, mean, variance, noise, values,
                )  # fmt: skip
                value += matched
                if value < best:
                    best, match_of_best = value, matched
                    b_rho, b_gx, b_gy = rho, gx, gy
            state[0, y, x], state[1, y, x], state[2, y, x] = b_rho, b_gx, b_gy
            cost[y, x] = match_of_best


def local_slopes(rho: np.ndarray, limit: float) -> np.ndarray:
    """Slopes (d rho/dx, d rho/dy) [2, H, W] by small medians, zero across jumps above `limit`."""
    out = []
    for kernel in (np.array([[-0.5, 0, 0.5]]), np.array([[-0.5], [0], [0.5]])):
        slope = cv2.filter2D(rho, cv2.CV_32F, kernel, borderType=cv2.BORDER_REPLICATE)
        slope[np.abs(slope) > limit] = 0.0
        out.append(cv2.medianBlur(slope.astype(np.float32), 5))
    return np.stack(out)


def refine_inverse_depth(
    rho: np.ndarray,
    images: np.ndarray,
    view: int,
    neighbours: Sequence[int],
    K: np.ndarray,
    w2c: np.ndarray,
    limits: tuple[float, float],
    *,
    step: float,
    iterations: int = 3,
    stride: int = 1,
    keep: int = 2,
    smooth: float = 0.25,
) -> tuple[np.ndarray, np.ndarray]:
    """Refined 1/z [H, W] of `view` and its matching cost [H, W] in 0..1.

    rho float32 [H, W]: the start; images float32 [V, H, W, 4] (sweep.with_gray); limits (low, high)
    of 1/z; step: change of 1/z that moves a pixel by about one in the widest neighbour; stride:
    spacing of the 5x5 window samples; keep: as of sweep.cost_volume.
    """
    a, b = pixel_transfer(view, neighbours, K, w2c)
    offsets = np.arange(-2, 3) * stride
    dy, dx = (g.ravel().astype(np.int64) for g in np.meshgrid(offsets, offsets, indexing="ij"))
    state = np.concatenate([rho[None], local_slopes(rho, 4 * step)]).astype(np.float32)
    image = np.ascontiguousarray(images[view][..., :3])
    gray = np.ascontiguousarray(images[view][..., 3])
    others = np.ascontiguousarray(images[np.asarray(neighbours)][..., 3])
    cost = np.ones(rho.shape, np.float32)
    jitter = 2.0 * step
    for turn in range(iterations):
        for parity in (0, 1):
            run_threaded(
                cores(),
                _update,
                state, cost, image, gray, others, a, b, dx, dy, keep, parity, turn,
                np.float32(jitter), np.float32(limits[0]), np.float32(limits[1]),
                np.float32(smooth), np.float32(0.5 / step), NOISE,
            )  # fmt: skip
        jitter *= 0.5
    return state[0].copy(), cost
