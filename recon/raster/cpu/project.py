"""Numba kernels of the CPU rasterizer, part 1: project, sort into tiles, and project back.

Kernels release the GIL; `prepare` and `gather` share their Gaussians among threads. Names:
N Gaussians, I (Gaussian, tile) pairs, tiles of 64 x 16 pixels in row-major order.

A prepared Gaussian is one 64-byte row of float32, integers stored as bits:
    0 mx  1 my  2 ca/2  3 cb  4 cc/2  5 log2 opacity  6 r  7 g  8 b  9 z
    10, 11 first and last + 1 pixel column  12, 13 first and last + 1 pixel row
with (ca, cb, cc) the inverse 2-D covariance times log2 e, so that `recon.raster.cpu.blend` only
needs powers of two.
"""

from __future__ import annotations

import math

import numpy as np

from fourreal.kernel_threads import take
from fourreal.kernels import njit
from recon.raster.cpu.formation import ALPHA_MIN, BLUR, FINITE_MAX, TILE_H, TILE_W
from recon.raster.kernels.geometry import add_ray_slopes, ray_limits, to_camera

ROW = 16  # floats in a prepared row, and in a gradient slot
CHUNK = 4096  # Gaussians taken at once by prepare and gather
NEAR = np.float32(0.01)
FAR = np.float32(1e10)
LOG2_E = np.float32(1.4426950408889634)
LOG2_255 = np.float32(7.994353436858858)
TWO_LN_2 = np.float32(1.3862943611198906)
CULLED = np.uint32(0xFFFFFFFF)


@njit(nogil=True, forceinline=True)
def place(i, mx, my, xx, xy, yy, z, op, r, g, b, width, height, rows, bits, keys, rects):
    """Fill row, key and tile rectangle of a projected Gaussian, unless no pixel can see it."""
    half = np.float32(0.5)
    det = xx * yy - xy * xy
    if not (det > np.float32(0) and det <= FINITE_MAX):
        return
    # where alpha falls to 1/255, in standard deviations; a little wide, never narrow
    log_op = math.log2(op)
    extent2 = max(log_op + LOG2_255, np.float32(0)) * TWO_LN_2
    ex = math.sqrt(extent2 * xx) + np.float32(0.01)
    ey = math.sqrt(extent2 * yy) + np.float32(0.01)
    if mx + ex < half or mx - ex > width - half:
        return
    if my + ey < half or my - ey > height - half:
        return
    x0 = max(np.int32(math.ceil(max(mx - ex - half, -half))), np.int32(0))
    y0 = max(np.int32(math.ceil(max(my - ey - half, -half))), np.int32(0))
    x1 = np.int32(math.floor(min(mx + ex - half, width - np.float32(1)))) + np.int32(1)
    y1 = np.int32(math.floor(min(my + ey - half, height - np.float32(1)))) + np.int32(1)
    if x0 >= x1 or y0 >= y1:
        return
    scale = LOG2_E / det
    rows[i, 0], rows[i, 1] = mx, my
    rows[i, 2], rows[i, 3], rows[i, 4] = half * yy * scale, -xy * scale, half * xx * scale
    rows[i, 5] = log_op
    rows[i, 6], rows[i, 7], rows[i, 8], rows[i, 9] = r, g, b, z
    bits[i, 10], bits[i, 11], bits[i, 12], bits[i, 13] = x0, x1, y0, y1
    keys[i] = np.float32(z).view(np.uint32)
    rects[i] = (
        np.uint32(x0 // TILE_W)
        | np.uint32(y0 // TILE_H) << np.uint32(8)
        | np.uint32((x1 - 1) // TILE_W) << np.uint32(16)
        | np.uint32((y1 - 1) // TILE_H) << np.uint32(24)
    )


@njit(nogil=True, forceinline=True)
def note_not_finite(not_finite, at, size, opacity, color):
    """Set `not_finite` [4] where the magnitude of a mean, scale, opacity or colour is no number."""
    if not at <= FINITE_MAX:
        not_finite[0] = 1
    if not size <= FINITE_MAX:
        not_finite[1] = 1
    if not opacity <= FINITE_MAX:
        not_finite[2] = 1
    if not color <= FINITE_MAX:
        not_finite[3] = 1


@njit(nogil=True, forceinline=True)
def round_splat(camera, x, y, z, s):
    """Pixel mx, my and 2-D covariance xx, xy, yy (blur included, px^2) of a Gaussian of one
    radius s at x, y, z in the camera's axes."""
    fx, fy, cx, cy, _, _ = camera
    ray_x_lo, ray_x_hi, ray_y_lo, ray_y_hi = ray_limits(camera)
    iz = np.float32(1) / z
    rx = min(max(x * iz, ray_x_lo), ray_x_hi)
    ry = min(max(y * iz, ray_y_lo), ray_y_hi)
    gx, gy = s * fx * iz, s * fy * iz
    return (
        fx * x * iz + cx,
        fy * y * iz + cy,
        gx * gx * (np.float32(1) + rx * rx) + BLUR,
        gx * gy * rx * ry,
        gy * gy * (np.float32(1) + ry * ry) + BLUR,
    )


@njit(nogil=True, forceinline=True)
def round_slopes(camera, x, y, z, s, slopes):
    """Slopes of x, y, z and s of `round_splat` from those of mx, my, xx, xy, yy and of z."""
    one, two = np.float32(1), np.float32(2)
    fx, fy, _, _, _, _ = camera
    ray_x_lo, ray_x_hi, ray_y_lo, ray_y_hi = ray_limits(camera)
    v_mx, v_my, v_xx, v_xy, v_yy, s_z = slopes
    iz = one / z
    rx, ry = min(max(x * iz, ray_x_lo), ray_x_hi), min(max(y * iz, ray_y_lo), ray_y_hi)
    gx, gy = fx * iz, fy * iz
    # cov = s^2 M(rx, ry, 1/z) + blur
    m_xx = gx * gx * (one + rx * rx)
    m_xy = gx * gy * rx * ry
    m_yy = gy * gy * (one + ry * ry)
    along = v_xx * m_xx + v_xy * m_xy + v_yy * m_yy
    v_z = -two * s * s * iz * along + s_z
    v_rx = s * s * (v_xx * gx * gx * two * rx + v_xy * gx * gy * ry)
    v_ry = s * s * (v_yy * gy * gy * two * ry + v_xy * gx * gy * rx)
    v_x, v_y = v_mx * gx, v_my * gy
    v_z -= (v_mx * gx * x + v_my * gy * y) * iz
    v_x, v_y, v_z = add_ray_slopes(camera, x, y, iz, v_rx, v_ry, (v_x, v_y, v_z))
    return v_x, v_y, v_z, two * s * along


@njit(nogil=True, cache=True, error_model="numpy")
def prepare(
    counter, camera, w2c, means, scales, opacities, colors, rows, bits, keys, rects, not_finite
):
    """Project and cull: fill `rows` [N,16] (`bits` is its int32 view), `keys` and `rects` [N].

    `means` [N,3] world; `camera` float32 [6]: fx, fy, cx, cy, width, height; `w2c` float32
    [4,4]. `keys`: bits of z, all ones when
    culled. `rects`: tile rectangle packed as bytes x0, y0, x1 - 1, y1 - 1. `not_finite` [4]: set to
    1 for means, scales, opacities, colors if they hold NaN or infinity.
    """
    width, height = camera[4], camera[5]
    n = means.shape[0]
    while True:
        start = take(counter) * CHUNK
        if start >= n:
            break
        for i in range(start, min(start + CHUNK, n)):
            x, y, z = to_camera(w2c, means[i, 0], means[i, 1], means[i, 2])
            s, op = scales[i], opacities[i]
            r, g, b = colors[i, 0], colors[i, 1], colors[i, 2]
            far, paint = abs(x) + abs(y) + abs(z), abs(r) + abs(g) + abs(b)
            note_not_finite(not_finite, far, abs(s), abs(op), paint)
            keys[i] = CULLED
            if not (z >= NEAR and z <= FAR and op >= ALPHA_MIN):
                continue
            mx, my, xx, xy, yy = round_splat(camera, x, y, z, s)
            place(i, mx, my, xx, xy, yy, z, op, r, g, b, width, height, rows, bits, keys, rects)


@njit(nogil=True, cache=True, error_model="numpy")
def prepare_splats(counter, camera, splats, opacities, colors, rows, bits, keys, rects, not_finite):
    """As `prepare`, of Gaussians projected elsewhere: `splats` [N,6] mx, my, xx, xy, yy (2-D
    covariance with its blur, px^2), z."""
    width, height = camera[4], camera[5]
    n = splats.shape[0]
    while True:
        start = take(counter) * CHUNK
        if start >= n:
            break
        for i in range(start, min(start + CHUNK, n)):
            mx, my, xx = splats[i, 0], splats[i, 1], splats[i, 2]
            xy, yy, z = splats[i, 3], splats[i, 4], splats[i, 5]
            op = opacities[i]
            r, g, b = colors[i, 0], colors[i, 1], colors[i, 2]
            zero = np.float32(0)  # means and scales were looked at when they were projected
            note_not_finite(not_finite, zero, zero, abs(op), abs(r) + abs(g) + abs(b))
            keys[i] = CULLED
            if z >= NEAR and z <= FAR and op >= ALPHA_MIN:
                place(i, mx, my, xx, xy, yy, z, op, r, g, b, width, height, rows, bits, keys, rects)


@njit(nogil=True, cache=True)
def count_pairs(keys, rects, tiles_x, slots, tile_starts):
    """Count (Gaussian, tile) pairs: `slots` [N+1] and `tile_starts` [tiles+1] become offsets.

    Gaussian i owns the gradient slots slots[i] .. slots[i+1] - 1, one for every tile it
    touches, in row-major order. Returns how many Gaussians are not culled, and the pairs.
    """
    tile_starts[:] = 0
    total = 0
    visible = 0
    for i in range(keys.shape[0]):
        slots[i] = total
        if keys[i] == CULLED:
            continue
        visible += 1
        rect = rects[i]
        x0, y0 = np.int64(rect & 255), np.int64((rect >> 8) & 255)
        x1, y1 = np.int64((rect >> 16) & 255), np.int64(rect >> 24)
        for ty in range(y0, y1 + 1):
            for tx in range(x0, x1 + 1):
                tile_starts[ty * tiles_x + tx + 1] += 1
        total += (x1 - x0 + 1) * (y1 - y0 + 1)
    slots[keys.shape[0]] = total
    for t in range(tile_starts.shape[0] - 1):
        tile_starts[t + 1] += tile_starts[t]
    return visible, total


@njit(nogil=True, cache=True)
def bin_pairs(keys, rects, visible, tiles_x, slots, tile_starts, pair_gaussian, pair_slot):
    """List each tile's Gaussians front to back: `pair_gaussian` and `pair_slot` [I].

    Stable radix sort of the bits of z (positive floats order like integers), 3 x 11 bits,
    then a counting scatter in that order; equal depths keep the input order.
    """
    histogram = np.zeros((3, 2048), np.int32)
    # key and index travel together: looking keys up by index would jump about in memory
    order, other = np.empty(visible, np.uint64), np.empty(visible, np.uint64)
    m = 0
    for i in range(keys.shape[0]):
        key = keys[i]
        if key != CULLED:
            order[m] = np.uint64(key) << np.uint64(32) | np.uint64(i)
            m += 1
            histogram[0, key & 2047] += 1
            histogram[1, (key >> 11) & 2047] += 1
            histogram[2, key >> 22] += 1
    for p in range(3):
        total = 0
        for d in range(2048):
            count = histogram[p, d]
            histogram[p, d] = total
            total += count
        shift = np.uint64(32 + 11 * p)
        for j in range(visible):
            item = order[j]
            digit = (item >> shift) & np.uint64(2047)
            other[histogram[p, digit]] = item
            histogram[p, digit] += 1
        order, other = other, order
    cursor = tile_starts.copy()
    for j in range(visible):
        i = np.int64(order[j] & np.uint64(0xFFFFFFFF))
        rect = rects[i]
        slot = slots[i]
        x0, y0 = np.int64(rect & 255), np.int64((rect >> 8) & 255)
        x1, y1 = np.int64((rect >> 16) & 255), np.int64(rect >> 24)
        for ty in range(y0, y1 + 1):
            for tx in range(x0, x1 + 1):
                k = cursor[ty * tiles_x + tx]
                cursor[ty * tiles_x + tx] = k + 1
                pair_gaussian[k] = i
                pair_slot[k] = slot
                slot += 1


@njit(nogil=True, forceinline=True)
def splat_slopes(i, opacity, rows, slots, slots_in, v_opacities, v_colors):
    """Sum the slots of a Gaussian: sets its slopes of opacity and colour, returns those of
    mx, my, xx, xy, yy, z."""
    half, two = np.float32(0.5), np.float32(2)
    s_1 = s_x = s_y = s_xx = s_xy = s_yy = s_r = s_g = s_b = s_z = np.float32(0)
    for j in range(slots[i], slots[i + 1]):
        s_1 += slots_in[j, 0]
        s_x += slots_in[j, 1]
        s_y += slots_in[j, 2]
        s_xx += slots_in[j, 3]
        s_xy += slots_in[j, 4]
        s_yy += slots_in[j, 5]
        s_r += slots_in[j, 6]
        s_g += slots_in[j, 7]
        s_b += slots_in[j, 8]
        s_z += slots_in[j, 9]
    v_colors[i, 0], v_colors[i, 1], v_colors[i, 2] = s_r, s_g, s_b
    v_opacities[i] = s_1 / opacity
    # the stored conic carries log2 e; these are the plain inverse covariance
    ca = two * rows[i, 2] / LOG2_E
    cb = rows[i, 3] / LOG2_E
    cc = two * rows[i, 4] / LOG2_E
    # alpha = op exp(-(ca dx^2 + cc dy^2) / 2 - cb dx dy) with dx = pixel - mx
    v_ca, v_cb, v_cc = -half * s_xx, -s_xy, -half * s_yy
    # conic = cov^-1: V_cov = -conic V_conic conic, off-diagonals counted once
    h = half * v_cb
    p00, p01 = ca * v_ca + cb * h, ca * h + cb * v_cc
    p10, p11 = cb * v_ca + cc * h, cb * h + cc * v_cc
    return (
        ca * s_x + cb * s_y,
        cb * s_x + cc * s_y,
        -(p00 * ca + p01 * cb),
        -(p00 * cb + p01 * cc + p10 * ca + p11 * cb),
        -(p10 * cb + p11 * cc),
        s_z,
    )


@njit(nogil=True, cache=True, error_model="numpy")
def gather(
    counter,
    camera,
    w2c,
    means,
    scales,
    opacities,
    rows,
    keys,
    slots,
    slots_in,
    v_means,
    v_scales,
    v_opacities,
    v_colors,
):
    """Sum the slots of every Gaussian and go back through conic, covariance and projection."""
    n = means.shape[0]
    while True:
        start = take(counter) * CHUNK
        if start >= n:
            break
        for i in range(start, min(start + CHUNK, n)):
            if keys[i] == CULLED:
                v_means[i, 0] = v_means[i, 1] = v_means[i, 2] = np.float32(0)
                v_colors[i, 0] = v_colors[i, 1] = v_colors[i, 2] = np.float32(0)
                v_scales[i] = v_opacities[i] = np.float32(0)
                continue
            slopes = splat_slopes(i, opacities[i], rows, slots, slots_in, v_opacities, v_colors)
            x, y, z = to_camera(w2c, means[i, 0], means[i, 1], means[i, 2])
            v_x, v_y, v_z, v_s = round_slopes(camera, x, y, z, scales[i], slopes)
            v_scales[i] = v_s
            for a in range(3):
                v_means[i, a] = w2c[0, a] * v_x + w2c[1, a] * v_y + w2c[2, a] * v_z


@njit(nogil=True, cache=True, error_model="numpy")
def gather_splats(counter, opacities, rows, keys, slots, slots_in, v_splats, v_opacities, v_colors):
    """As `gather`, for `prepare_splats`: slopes of the `splats` [N,6] themselves."""
    n = opacities.shape[0]
    while True:
        start = take(counter) * CHUNK
        if start >= n:
            break
        for i in range(start, min(start + CHUNK, n)):
            if keys[i] == CULLED:
                v_splats[i, :] = np.float32(0)
                v_colors[i, :] = np.float32(0)
                v_opacities[i] = np.float32(0)
                continue
            slopes = splat_slopes(i, opacities[i], rows, slots, slots_in, v_opacities, v_colors)
            for k in range(6):
                v_splats[i, k] = slopes[k]
