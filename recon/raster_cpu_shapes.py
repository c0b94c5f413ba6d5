"""Numba kernels of the CPU rasterizer for Gaussians that are not round: project, and project back.

`recon.raster_shape` is the same in torch, and says what is computed. With J the 2x3 Jacobian of the
projection, W the rotation into the camera, R that of a Gaussian and D its radii on a diagonal,
M = J W R D [2,3] and the 2-D covariance is M M^T plus the blur. Names: N Gaussians.

Numba's on-disk cache knows only this file's time stamp: every constant is a literal here.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from recon.kernel_threads import take

CHUNK = 4096  # Gaussians taken at once
BLUR = np.float32(0.3)


@njit(nogil=True)
def _rotation(q, R):
    """R [3,3] of the quaternion q [4] (w, x, y, z) of any length but 0; returns the length."""
    one, two = np.float32(1), np.float32(2)
    length = math.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3])
    length = max(length, np.float32(1e-12))
    w, x, y, z = q[0] / length, q[1] / length, q[2] / length, q[3] / length
    R[0, 0], R[0, 1], R[0, 2] = (
        one - two * (y * y + z * z),
        two * (x * y - w * z),
        two * (x * z + w * y),
    )
    R[1, 0], R[1, 1], R[1, 2] = (
        two * (x * y + w * z),
        one - two * (x * x + z * z),
        two * (y * z - w * x),
    )
    R[2, 0], R[2, 1], R[2, 2] = (
        two * (x * z - w * y),
        two * (y * z + w * x),
        one - two * (x * x + y * y),
    )
    return length


@njit(nogil=True, cache=True, error_model="numpy")
def project_shapes(counter, camera, w2c, means, scales, stretch, rotations, splats):
    """Fill `splats` [N,6]: mx, my, xx, xy, yy (2-D covariance with its blur, px^2), z.

    `camera` float32 [6]: fx, fy, cx, cy, width, height; `w2c` [4,4]; `means` [N,3] world, `scales`
    [N], `stretch` [N,3], `rotations` [N,4].
    """
    fx, fy, cx, cy, width, height = camera
    margin_x = np.float32(0.15) * width / fx
    margin_y = np.float32(0.15) * height / fy
    ray_x_lo, ray_x_hi = -(cx / fx + margin_x), (width - cx) / fx + margin_x
    ray_y_lo, ray_y_hi = -(cy / fy + margin_y), (height - cy) / fy + margin_y
    n = means.shape[0]
    R = np.empty((3, 3), np.float32)
    while True:
        start = take(counter) * CHUNK
        if start >= n:
            break
        for i in range(start, min(start + CHUNK, n)):
            a, b, c = means[i, 0], means[i, 1], means[i, 2]
            x = w2c[0, 0] * a + w2c[0, 1] * b + w2c[0, 2] * c + w2c[0, 3]
            y = w2c[1, 0] * a + w2c[1, 1] * b + w2c[1, 2] * c + w2c[1, 3]
            z = w2c[2, 0] * a + w2c[2, 1] * b + w2c[2, 2] * c + w2c[2, 3]
            iz = np.float32(1) / z
            rx = min(max(x * iz, ray_x_lo), ray_x_hi)
            ry = min(max(y * iz, ray_y_lo), ray_y_hi)
            gx, gy = fx * iz, fy * iz
            _rotation(rotations[i], R)
            xx, xy, yy = np.float32(0), np.float32(0), np.float32(0)
            for k in range(3):
                radius = scales[i] * stretch[i, k]
                a0 = w2c[0, 0] * R[0, k] + w2c[0, 1] * R[1, k] + w2c[0, 2] * R[2, k]
                a1 = w2c[1, 0] * R[0, k] + w2c[1, 1] * R[1, k] + w2c[1, 2] * R[2, k]
                a2 = w2c[2, 0] * R[0, k] + w2c[2, 1] * R[1, k] + w2c[2, 2] * R[2, k]
                m0, m1 = gx * radius * (a0 - rx * a2), gy * radius * (a1 - ry * a2)
                xx += m0 * m0
                xy += m0 * m1
                yy += m1 * m1
            splats[i, 0], splats[i, 1] = gx * x + cx, gy * y + cy
            splats[i, 2], splats[i, 3], splats[i, 4] = xx + BLUR, xy, yy + BLUR
            splats[i, 5] = z


@njit(nogil=True, cache=True, error_model="numpy")
def project_shapes_back(
    counter, camera, w2c, means, scales, stretch, rotations, v_splats,
    v_means, v_scales, v_stretch, v_rotations, v_w2c,
):  # fmt: skip
    """Slopes of all inputs of `project_shapes` from `v_splats` [N,6]; rows of zeros stay zeros.

    v_w2c [chunks,3,4]: what each chunk of Gaussians says of the pose, to be summed.
    """
    one, two = np.float32(1), np.float32(2)
    fx, fy, cx, cy, width, height = camera
    margin_x = np.float32(0.15) * width / fx
    margin_y = np.float32(0.15) * height / fy
    ray_x_lo, ray_x_hi = -(cx / fx + margin_x), (width - cx) / fx + margin_x
    ray_y_lo, ray_y_hi = -(cy / fy + margin_y), (height - cy) / fy + margin_y
    n = means.shape[0]
    R = np.empty((3, 3), np.float32)
    v_R = np.empty((3, 3), np.float32)
    turn = np.empty((3, 3), np.float32)
    shift = np.empty(3, np.float32)
    while True:
        chunk = take(counter)
        start = chunk * CHUNK
        if start >= n:
            break
        pose = np.zeros((3, 4), np.float64)
        for i in range(start, min(start + CHUNK, n)):
            idle = True
            for k in range(6):
                idle = idle and v_splats[i, k] == np.float32(0)
            if idle:
                v_means[i, :] = np.float32(0)
                v_stretch[i, :] = np.float32(0)
                v_rotations[i, :] = np.float32(0)
                v_scales[i] = np.float32(0)
                continue
            v_mx, v_my, v_xx = v_splats[i, 0], v_splats[i, 1], v_splats[i, 2]
            v_xy, v_yy = v_splats[i, 3], v_splats[i, 4]
            a, b, c = means[i, 0], means[i, 1], means[i, 2]
            x = w2c[0, 0] * a + w2c[0, 1] * b + w2c[0, 2] * c + w2c[0, 3]
            y = w2c[1, 0] * a + w2c[1, 1] * b + w2c[1, 2] * c + w2c[1, 3]
            z = w2c[2, 0] * a + w2c[2, 1] * b + w2c[2, 2] * c + w2c[2, 3]
            iz = one / z
            rx = min(max(x * iz, ray_x_lo), ray_x_hi)
            ry = min(max(y * iz, ray_y_lo), ray_y_hi)
            gx, gy = fx * iz, fy * iz
            length = _rotation(rotations[i], R)
            v_rx, v_ry, v_log_g = np.float32(0), np.float32(0), np.float32(0)
            v_scales[i] = np.float32(0)
            turn[:] = np.float32(0)
            for k in range(3):
                radius = scales[i] * stretch[i, k]
                a0 = w2c[0, 0] * R[0, k] + w2c[0, 1] * R[1, k] + w2c[0, 2] * R[2, k]
                a1 = w2c[1, 0] * R[0, k] + w2c[1, 1] * R[1, k] + w2c[1, 2] * R[2, k]
                a2 = w2c[2, 0] * R[0, k] + w2c[2, 1] * R[1, k] + w2c[2, 2] * R[2, k]
                m0, m1 = gx * radius * (a0 - rx * a2), gy * radius * (a1 - ry * a2)
                v_m0, v_m1 = two * v_xx * m0 + v_xy * m1, v_xy * m0 + two * v_yy * m1
                v_log_g += v_m0 * m0 + v_m1 * m1
                # by the columns of W R D, then of W R and of D
                u0, u1 = gx * v_m0, gy * v_m1
                u2 = -rx * u0 - ry * u1
                v_rx -= u0 * radius * a2
                v_ry -= u1 * radius * a2
                v_radius = u0 * a0 + u1 * a1 + u2 * a2
                v_scales[i] += stretch[i, k] * v_radius
                v_stretch[i, k] = scales[i] * v_radius
                u0, u1, u2 = u0 * radius, u1 * radius, u2 * radius
                for j in range(3):
                    v_R[j, k] = w2c[0, j] * u0 + w2c[1, j] * u1 + w2c[2, j] * u2
                    turn[0, j] += u0 * R[j, k]
                    turn[1, j] += u1 * R[j, k]
                    turn[2, j] += u2 * R[j, k]
            q = rotations[i] / length
            w, qx, qy, qz = q[0], q[1], q[2], q[3]
            v_w = -qz * v_R[0, 1] + qy * v_R[0, 2] + qz * v_R[1, 0]
            v_w += -qx * v_R[1, 2] - qy * v_R[2, 0] + qx * v_R[2, 1]
            v_qx = qy * (v_R[0, 1] + v_R[1, 0]) + qz * (v_R[0, 2] + v_R[2, 0])
            v_qx += -two * qx * (v_R[1, 1] + v_R[2, 2]) + w * (v_R[2, 1] - v_R[1, 2])
            v_qy = qx * (v_R[0, 1] + v_R[1, 0]) + qz * (v_R[1, 2] + v_R[2, 1])
            v_qy += -two * qy * (v_R[0, 0] + v_R[2, 2]) + w * (v_R[0, 2] - v_R[2, 0])
            v_qz = qx * (v_R[0, 2] + v_R[2, 0]) + qy * (v_R[1, 2] + v_R[2, 1])
            v_qz += -two * qz * (v_R[0, 0] + v_R[1, 1]) + w * (v_R[1, 0] - v_R[0, 1])
            along = w * v_w + qx * v_qx + qy * v_qy + qz * v_qz  # the length says nothing
            v_rotations[i, 0] = two * (v_w - w * along) / length
            v_rotations[i, 1] = two * (v_qx - qx * along) / length
            v_rotations[i, 2] = two * (v_qy - qy * along) / length
            v_rotations[i, 3] = two * (v_qz - qz * along) / length
            v_x, v_y = v_mx * gx, v_my * gy
            v_z = v_splats[i, 5] - (v_x * x + v_y * y + v_log_g) * iz
            if ray_x_lo < x * iz < ray_x_hi:  # a clamped ray does not move
                v_x += v_rx * iz
                v_z -= v_rx * x * iz * iz
            if ray_y_lo < y * iz < ray_y_hi:
                v_y += v_ry * iz
                v_z -= v_ry * y * iz * iz
            shift[0], shift[1], shift[2] = v_x, v_y, v_z
            for j in range(3):
                v_means[i, j] = w2c[0, j] * v_x + w2c[1, j] * v_y + w2c[2, j] * v_z
                for k in range(3):
                    pose[j, k] += turn[j, k] + shift[j] * means[i, k]
                pose[j, 3] += shift[j]
        v_w2c[chunk] = pose
