"""Numba kernels of the CPU rasterizer, part 2: blend the pixels of a tile, and back.

A `Vec` (recon.raster.kernels.simd) is a patch of 2 x 8 pixels. A tile keeps one plane per
quantity, with a patch of slack to the right and below, because a Vec may start at any pixel.

For a pair of Gaussian and pixel, with rows as `recon.raster.cpu.project` prepares them,
    alpha = min(0.999, 2^t),  t = log2 opacity - dx (ca/2 dx + cb dy) - cc/2 dy^2,
dropped below 1/255, and blended unless the transmittance would fall to 1e-4.
"""

from __future__ import annotations

import numpy as np

from fourreal.kernel_threads import take
from fourreal.kernels import njit
from recon.raster.cpu.formation import ALPHA_MAX, T_MIN, TILE_H, TILE_W
from recon.raster.kernels.simd import (
    absolute,
    any_lane,
    column,
    exp2,
    lane_sum,
    load,
    minimum,
    prefetch,
    row,
    select,
    splat,
    store,
)

PATCH_W, PATCH_H = 8, 2  # pixels of a Vec
STRIDE = TILE_W + PATCH_W
PLANE = (TILE_H + PATCH_H) * STRIDE
AHEAD = 8  # Gaussians between asking for a row and using it
CHECK_EVERY = 64  # Gaussians between looking whether a tile is finished
LOG2_ALPHA_MIN = np.float32(-7.994353436858858)  # log2(1 / 255)
EMPTY = np.float32(1e-10)


@njit(nogil=True, forceinline=True)
def tile_finished(transmittance):
    """Whether no pixel of the tile takes more."""
    for y in range(0, TILE_H, PATCH_H):
        for x in range(0, TILE_W, PATCH_W):
            if any_lane(load(transmittance, y * STRIDE + x, STRIDE) > np.float32(0)):
                return False
    return True


@njit(nogil=True, forceinline=True)
def open_pixels(transmittance, columns, lines):
    """T = 1 inside the image; -1, which reads as finished, outside and in the slack."""
    transmittance[:] = np.float32(-1)
    for y in range(lines):
        transmittance[y * STRIDE : y * STRIDE + columns] = np.float32(1)


@njit(nogil=True, forceinline=True)
def patch_alphas(mx, my, ha, cb, hc, log_op, x0, x1, y0, y1, alphas):
    """Alpha of every pixel of a box, patch after patch, into `alphas`; 0 where dropped.

    Apart from the blending on purpose: two short loop bodies keep more patches in flight than a
    long one, and the processor waits for results less.
    """
    q = 0
    for y in range(y0, y1, PATCH_H):
        dy = splat(np.float32(y) - my) + row()
        top, slope = log_op - hc * (dy * dy), cb * dy
        for x in range(x0, x1, PATCH_W):
            dx = splat(np.float32(x) - mx) + column()
            t = top - dx * (ha * dx + slope)
            a = select(t >= LOG2_ALPHA_MIN, minimum(exp2(t), ALPHA_MAX), np.float32(0))
            store(alphas, q, PATCH_W, a)
            q += PATCH_W * PATCH_H


@njit(nogil=True, cache=True, error_model="numpy")
def forward(counter, rows, bits, tile_starts, pair_gaussian, background, rgb, alpha, depth):
    """Blend front to back: `rgb` [H,W,3], `alpha` [H,W], expected `depth` [H,W].

    `bits` is the int32 view of `rows` [N,16]; the pairs of tile k are
    `pair_gaussian`[tile_starts[k] : tile_starts[k + 1]], nearest first.
    """
    height, width = alpha.shape
    tiles_x = (width + TILE_W - 1) // TILE_W
    half, one, zero = np.float32(0.5), np.float32(1), np.float32(0)
    # T < 0 marks a finished pixel, |T| is its transmittance
    p_t = np.empty(PLANE, np.float32)
    p_r, p_g = np.empty(PLANE, np.float32), np.empty(PLANE, np.float32)
    p_b, p_z = np.empty(PLANE, np.float32), np.empty(PLANE, np.float32)
    alphas = np.empty(PLANE, np.float32)
    while True:
        tile = take(counter)
        if tile >= tile_starts.shape[0] - 1:
            break
        tx0, ty0 = (tile % tiles_x) * TILE_W, (tile // tiles_x) * TILE_H
        columns, lines = min(TILE_W, width - tx0), min(TILE_H, height - ty0)
        open_pixels(p_t, columns, lines)
        p_r[:], p_g[:], p_b[:], p_z[:] = zero, zero, zero, zero
        first, last = tile_starts[tile], tile_starts[tile + 1]
        for k in range(first, last):
            if (k - first) % CHECK_EVERY == CHECK_EVERY - 1 and tile_finished(p_t):
                break
            prefetch(rows, pair_gaussian[min(k + AHEAD, last - 1)])
            i = pair_gaussian[k]
            mx, my = rows[i, 0] - np.float32(tx0) - half, rows[i, 1] - np.float32(ty0) - half
            ha, cb, hc, log_op = rows[i, 2], rows[i, 3], rows[i, 4], rows[i, 5]
            r, g, b, z = rows[i, 6], rows[i, 7], rows[i, 8], rows[i, 9]
            x0, x1 = max(bits[i, 10] - tx0, 0), min(bits[i, 11] - tx0, columns)
            y0, y1 = max(bits[i, 12] - ty0, 0), min(bits[i, 13] - ty0, lines)
            patch_alphas(mx, my, ha, cb, hc, log_op, x0, x1, y0, y1, alphas)
            q = 0
            for y in range(y0, y1, PATCH_H):
                for x in range(x0, x1, PATCH_W):
                    j = y * STRIDE + x
                    before = load(p_t, j, STRIDE)
                    a = load(alphas, q, PATCH_W)
                    q += PATCH_W * PATCH_H
                    if not any_lane(minimum(before, a) > zero):
                        continue
                    w = before * a
                    after = before - w
                    open_ = after > T_MIN  # false once finished, as `after` is negative then
                    w = select(open_, w, zero)
                    store(p_t, j, STRIDE, select(open_, after, -absolute(before)))
                    store(p_r, j, STRIDE, load(p_r, j, STRIDE) + w * r)
                    store(p_g, j, STRIDE, load(p_g, j, STRIDE) + w * g)
                    store(p_b, j, STRIDE, load(p_b, j, STRIDE) + w * b)
                    store(p_z, j, STRIDE, load(p_z, j, STRIDE) + w * z)
        for y in range(lines):
            j = y * STRIDE
            seen = alpha[ty0 + y, tx0 : tx0 + columns]
            seen[:] = one - np.abs(p_t[j : j + columns])
            depth[ty0 + y, tx0 : tx0 + columns] = p_z[j : j + columns] / np.maximum(seen, EMPTY)
            pixels = rgb[ty0 + y, tx0 : tx0 + columns]
            for x in range(columns):
                left = one - seen[x]
                pixels[x, 0] = p_r[j + x] + left * background[0]
                pixels[x, 1] = p_g[j + x] + left * background[1]
                pixels[x, 2] = p_b[j + x] + left * background[2]


@njit(nogil=True, cache=True, error_model="numpy")
def backward(
    counter,
    rows,
    bits,
    tile_starts,
    pair_gaussian,
    pair_slot,
    rgb,
    alpha,
    depth,
    v_rgb,
    v_alpha,
    v_depth,
    sums,
):
    """Per (Gaussian, tile) `sums` [I,16] that `recon.raster.cpu.project.gather` finishes.

    Walks front to back again, so nothing per pair was stored: with q = c . v_rgb + z v_D, the
    loss gradient still to come behind a pixel is R = sum of w q, known in full from the
    output (the image with its background, less what v_alpha says of the light that is left), and
        g = alpha dL/dalpha = w q - R alpha / (1 - alpha)   (R after subtracting w q),
    0 where alpha is clamped.
    Columns: 0 g, 1 g dx, 2 g dy, 3 g dx^2, 4 g dx dy, 5 g dy^2, 6-8 w v_rgb, 9 w v_D.
    """
    height, width = alpha.shape
    tiles_x = (width + TILE_W - 1) // TILE_W
    half, one, zero = np.float32(0.5), np.float32(1), np.float32(0)
    p_t, p_rest = np.empty(PLANE, np.float32), np.zeros(PLANE, np.float32)
    p_r, p_g = np.zeros(PLANE, np.float32), np.zeros(PLANE, np.float32)
    p_b, p_z = np.zeros(PLANE, np.float32), np.zeros(PLANE, np.float32)
    alphas = np.empty(PLANE, np.float32)
    while True:
        tile = take(counter)
        if tile >= tile_starts.shape[0] - 1:
            break
        tx0, ty0 = (tile % tiles_x) * TILE_W, (tile // tiles_x) * TILE_H
        columns, lines = min(TILE_W, width - tx0), min(TILE_H, height - ty0)
        first, last = tile_starts[tile], tile_starts[tile + 1]
        if first == last:
            continue
        open_pixels(p_t, columns, lines)
        for y in range(lines):
            for x in range(columns):
                j, at_y, at_x = y * STRIDE + x, ty0 + y, tx0 + x
                vr, vg, vb = v_rgb[at_y, at_x, 0], v_rgb[at_y, at_x, 1], v_rgb[at_y, at_x, 2]
                a, d, vd = alpha[at_y, at_x], depth[at_y, at_x], v_depth[at_y, at_x]
                v_z = vd / max(a, EMPTY)
                v_a = v_alpha[at_y, at_x] - v_z * d
                rest = vr * rgb[at_y, at_x, 0] + vg * rgb[at_y, at_x, 1] + vb * rgb[at_y, at_x, 2]
                p_rest[j] = rest + vd * d - (one - a) * v_a
                p_r[j], p_g[j], p_b[j], p_z[j] = vr, vg, vb, v_z
        finished = False
        for k in range(first, last):
            slot = pair_slot[k]
            if (k - first) % CHECK_EVERY == CHECK_EVERY - 1 and not finished:
                finished = tile_finished(p_t)
            if finished:
                sums[slot, :10] = zero
                continue
            prefetch(rows, pair_gaussian[min(k + AHEAD, last - 1)])
            i = pair_gaussian[k]
            mx, my = rows[i, 0] - np.float32(tx0) - half, rows[i, 1] - np.float32(ty0) - half
            ha, cb, hc, log_op = rows[i, 2], rows[i, 3], rows[i, 4], rows[i, 5]
            r, g, b, z = rows[i, 6], rows[i, 7], rows[i, 8], rows[i, 9]
            x0, x1 = max(bits[i, 10] - tx0, 0), min(bits[i, 11] - tx0, columns)
            y0, y1 = max(bits[i, 12] - ty0, 0), min(bits[i, 13] - ty0, lines)
            s_1, s_x, s_y = splat(zero), splat(zero), splat(zero)
            s_xx, s_xy, s_yy = splat(zero), splat(zero), splat(zero)
            s_r, s_g, s_b, s_z = splat(zero), splat(zero), splat(zero), splat(zero)
            patch_alphas(mx, my, ha, cb, hc, log_op, x0, x1, y0, y1, alphas)
            q = 0
            for y in range(y0, y1, PATCH_H):
                dy = splat(np.float32(y) - my) + row()
                row_1, row_x = splat(zero), splat(zero)
                for x in range(x0, x1, PATCH_W):
                    j = y * STRIDE + x
                    before = load(p_t, j, STRIDE)
                    a = load(alphas, q, PATCH_W)
                    q += PATCH_W * PATCH_H
                    if not any_lane(minimum(before, a) > zero):
                        continue
                    moves = ALPHA_MAX > a  # the clamp holds alpha still
                    after = before - before * a
                    open_ = after > T_MIN
                    a = select(open_, a, zero)
                    w = before * a
                    store(p_t, j, STRIDE, select(open_, after, -absolute(before)))
                    vr, vg = load(p_r, j, STRIDE), load(p_g, j, STRIDE)
                    vb, vz = load(p_b, j, STRIDE), load(p_z, j, STRIDE)
                    wq = w * (r * vr + g * vg + b * vb + z * vz)
                    rest = load(p_rest, j, STRIDE) - wq
                    store(p_rest, j, STRIDE, rest)
                    s_r += w * vr
                    s_g += w * vg
                    s_b += w * vb
                    s_z += w * vz
                    grad = select(moves, wq - rest * (a / (one - a)), zero)  # 0 where a = 0
                    dx = splat(np.float32(x) - mx) + column()
                    grad_x = grad * dx
                    row_1 += grad
                    row_x += grad_x
                    s_xx += grad_x * dx
                s_1 += row_1
                s_x += row_x
                s_y += row_1 * dy
                s_xy += row_x * dy
                s_yy += row_1 * (dy * dy)
            sums[slot, 0], sums[slot, 1] = lane_sum(s_1), lane_sum(s_x)
            sums[slot, 2], sums[slot, 3] = lane_sum(s_y), lane_sum(s_xx)
            sums[slot, 4], sums[slot, 5] = lane_sum(s_xy), lane_sum(s_yy)
            sums[slot, 6], sums[slot, 7] = lane_sum(s_r), lane_sum(s_g)
            sums[slot, 8], sums[slot, 9] = lane_sum(s_b), lane_sum(s_z)
