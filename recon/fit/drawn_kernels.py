"""Numba kernels of `recon.fit.drawn`: the Gaussians of a fit to splats, and slopes back to them.

One pass each way over the Gaussians does what `recon.place` and `recon.raster.cpu` say one after
the other. N Gaussians, M nodes, C channels of a node: 0 (nothing moves), 3 (offsets) or 6 (and
turns). What a fit does not have comes as an array of no rows.
"""

from __future__ import annotations

import numpy as np

from fourreal.kernel_threads import take
from fourreal.kernels import njit
from recon.motion.turning import turn_back, turn_forth
from recon.raster.cpu.anisotropic import add_pose, long_slopes, long_splat, scaled
from recon.raster.cpu.formation import ALPHA_MIN
from recon.raster.cpu.project import (
    CHUNK,
    CULLED,
    FAR,
    NEAR,
    note_not_finite,
    place,
    round_slopes,
    round_splat,
    splat_slopes,
)
from recon.raster.kernels.geometry import to_camera

BLOCK = 8  # pixels of a side
PLACED = 7  # floats kept of a placed Gaussian: mean, turn, opacity


@njit(nogil=True, cache=True, error_model="numpy")
def place_gaussians(
    counter, camera, w2c, means, scales, opacities, colors, stretch, rotations,
    start, node, weight, values, shade, visibility, placed,
    rows, bits, keys, rects, not_finite,
):  # fmt: skip
    """Fill `placed` [N,PLACED] and what `recon.raster.cpu.project.prepare` fills.

    `stretch` [N,3] and `rotations` [N,4], or none: round ones. Gaussian i follows the nodes
    `node[k]` by `weight[k]` for k in `start[i]` .. `start[i + 1]`; `values` [M,C]. `shade` [N] is
    what is added to a brightness of 1, `visibility` [N] a factor on opacities.
    """
    zero, one = np.float32(0), np.float32(1)
    width, height = camera[4], camera[5]
    n, channels = means.shape[0], values.shape[1]
    round_, shaded, hidden = len(stretch) == 0, len(shade) > 0, len(visibility) > 0
    while True:
        begin = take(counter) * CHUNK
        if begin >= n:
            break
        for i in range(begin, min(begin + CHUNK, n)):
            px, py, pz = means[i, 0], means[i, 1], means[i, 2]
            ga, gb, gc = zero, zero, zero
            if channels > 0:
                for k in range(start[i], start[i + 1]):
                    w, m = weight[k], node[k]
                    px += w * values[m, 0]
                    py += w * values[m, 1]
                    pz += w * values[m, 2]
                    if channels > 3:
                        ga += w * values[m, 3]
                        gb += w * values[m, 4]
                        gc += w * values[m, 5]
            op = opacities[i]
            if hidden:
                op *= visibility[i]
            gain = one + shade[i] if shaded else one
            r, g, b = scaled(gain, colors[i, 0], colors[i, 1], colors[i, 2])
            placed[i, 0], placed[i, 1], placed[i, 2] = px, py, pz
            placed[i, 3], placed[i, 4], placed[i, 5], placed[i, 6] = ga, gb, gc, op
            x, y, z = to_camera(w2c, px, py, pz)
            far, paint = abs(x) + abs(y) + abs(z), abs(r) + abs(g) + abs(b)
            note_not_finite(not_finite, far, abs(scales[i]), abs(op), paint)
            keys[i] = CULLED
            if not (z >= NEAR and z <= FAR and op >= ALPHA_MIN):
                continue
            if round_:
                mx, my, xx, xy, yy = round_splat(camera, x, y, z, scales[i])
            else:
                radii = scaled(scales[i], stretch[i, 0], stretch[i, 1], stretch[i, 2])
                q = rotations[i, 0], rotations[i, 1], rotations[i, 2], rotations[i, 3]
                q = turn_forth(q, (ga, gb, gc))
                mx, my, xx, xy, yy = long_splat(camera, w2c, x, y, z, radii, q)
            place(i, mx, my, xx, xy, yy, z, op, r, g, b, width, height, rows, bits, keys, rects)


@njit(nogil=True, cache=True, error_model="numpy")
def slopes_of_gaussians(
    counter, camera, w2c, means, scales, opacities, colors, stretch, rotations,
    channels, shade, visibility, placed, rows, keys, slots, sums, with_pose,
    v_means, v_scales, v_opacities, v_colors, v_stretch, v_rotations, v_moved, v_shade, v_pose,
):  # fmt: skip
    """What `sums` (`recon.raster.cpu.blend.backward`) are for the inputs of `place_gaussians`.

    Scales, opacities and stretch are slopes of the logarithm, the logit and the logarithm.
    `v_moved` [N,C] are those of what nodes hand on; `v_pose` [chunks,3,4] what each chunk of
    Gaussians says of the pose, to be summed; zeros unless `with_pose`.
    """
    zero, one = np.float32(0), np.float32(1)
    n = means.shape[0]
    round_, shaded, hidden = len(stretch) == 0, len(shade) > 0, len(visibility) > 0
    while True:
        chunk = take(counter)
        begin = chunk * CHUNK
        if begin >= n:
            break
        pose = np.zeros((3, 4), np.float64)
        for i in range(begin, min(begin + CHUNK, n)):
            if keys[i] == CULLED:
                v_scales[i] = v_opacities[i] = zero
                for k in range(3):
                    v_means[i, k] = v_colors[i, k] = zero
                for k in range(channels):
                    v_moved[i, k] = zero
                if shaded:
                    v_shade[i] = zero
                if not round_:
                    for k in range(3):
                        v_stretch[i, k] = zero
                    for k in range(4):
                        v_rotations[i, k] = zero
                continue
            slopes = splat_slopes(i, placed[i, 6], rows, slots, sums, v_opacities, v_colors)
            if shaded:
                gain = one + shade[i]
                v_shade[i] = zero
                for k in range(3):
                    v_shade[i] += v_colors[i, k] * colors[i, k]
                    v_colors[i, k] *= gain
            op = opacities[i]
            if hidden:
                v_opacities[i] *= visibility[i]
            v_opacities[i] *= op * (one - op)
            px, py, pz = placed[i, 0], placed[i, 1], placed[i, 2]
            x, y, z = to_camera(w2c, px, py, pz)
            if round_:
                v_x, v_y, v_z, v_s = round_slopes(camera, x, y, z, scales[i], slopes)
                v_at = v_x, v_y, v_z
                v_scales[i] = v_s * scales[i]
                for k in range(3, channels):
                    v_moved[i, k] = zero
                if with_pose:  # a round one looks the same from wherever it is turned to
                    for j in range(3):
                        pose[j, 0] += v_at[j] * px
                        pose[j, 1] += v_at[j] * py
                        pose[j, 2] += v_at[j] * pz
                        pose[j, 3] += v_at[j]
            else:
                stretched = stretch[i, 0], stretch[i, 1], stretch[i, 2]
                q = rotations[i, 0], rotations[i, 1], rotations[i, 2], rotations[i, 3]
                turn = placed[i, 3], placed[i, 4], placed[i, 5]
                now = turn_forth(q, turn)
                v_at, v_r, v_now, U, R = long_slopes(
                    camera, w2c, x, y, z, scales[i], stretched, now, slopes
                )
                v_scales[i] = zero
                for k in range(3):
                    v_stretch[i, k] = scales[i] * stretched[k] * v_r[k]
                    v_scales[i] += v_stretch[i, k]
                v_q, v_turn = turn_back(q, turn, v_now)
                for k in range(4):
                    v_rotations[i, k] = v_q[k]
                if channels > 3:
                    for k in range(3):
                        v_moved[i, 3 + k] = v_turn[k]
                if with_pose:
                    add_pose(pose, px, py, pz, v_at, U, R)
            for k in range(3):
                v_means[i, k] = w2c[0, k] * v_at[0] + w2c[1, k] * v_at[1] + w2c[2, k] * v_at[2]
            if channels > 0:
                for k in range(3):
                    v_moved[i, k] = v_means[i, k]
        v_pose[chunk] = pose


@njit(nogil=True, cache=True)
def drawn_box(keys, bits):
    """First and last + 1 column and row of the pixels that Gaussians may reach; zeros: none."""
    x0, x1, y0, y1 = 1 << 30, 0, 1 << 30, 0
    for i in range(len(keys)):
        if keys[i] != CULLED:
            x0, x1 = min(x0, bits[i, 10]), max(x1, bits[i, 11])
            y0, y1 = min(y0, bits[i, 12]), max(y1, bits[i, 13])
    if x1 == 0:
        return 0, 0, 0, 0
    return x0, x1, y0, y1


@njit(nogil=True, cache=True)
def cull_away_from(keys, bits, only, margin, width, height):
    """Leave out Gaussians that reach no block of pixels within ``margin`` of those ``only`` [N].

    Returns first and last + 1 column and row of these blocks.
    """
    near = np.zeros((height // BLOCK + 1, width // BLOCK + 1), np.bool_)
    x0, x1, y0, y1 = width, 0, height, 0
    for i in range(len(keys)):
        if keys[i] != CULLED and only[i]:
            left, right = max(bits[i, 10] - margin, 0), min(bits[i, 11] + margin, width)
            top, bottom = max(bits[i, 12] - margin, 0), min(bits[i, 13] + margin, height)
            x0, x1, y0, y1 = min(x0, left), max(x1, right), min(y0, top), max(y1, bottom)
            for y in range(top // BLOCK, (bottom - 1) // BLOCK + 1):
                for x in range(left // BLOCK, (right - 1) // BLOCK + 1):
                    near[y, x] = True
    for i in range(len(keys)):
        if keys[i] != CULLED and not only[i]:
            seen = False
            for y in range(bits[i, 12] // BLOCK, (bits[i, 13] - 1) // BLOCK + 1):
                for x in range(bits[i, 10] // BLOCK, (bits[i, 11] - 1) // BLOCK + 1):
                    seen |= near[y, x]
            if not seen:
                keys[i] = CULLED
    if x1 == 0:
        return 0, 0, 0, 0
    return x0, x1, y0, y1
