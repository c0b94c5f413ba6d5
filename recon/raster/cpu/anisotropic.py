"""Numba kernels of the CPU rasterizer for anisotropic Gaussians: project, and project back.

`recon.raster.covariance` is the same in torch, and says what is computed. With J the 2x3 Jacobian
of the projection, W the rotation into the camera, R that of a Gaussian and D its radii on a
diagonal, M = J W R D [2,3] and the 2-D covariance is M M^T plus the blur. Names: N Gaussians.
"""

from __future__ import annotations

import math

import numpy as np

from fourreal.kernel_threads import take
from fourreal.kernels import njit
from recon.raster.cpu.formation import BLUR, FINITE_MAX
from recon.raster.kernels.geometry import add_ray_slopes, ray_limits, row_times, to_camera

CHUNK = 4096  # Gaussians taken at once


@njit(nogil=True, forceinline=True)
def _unit(quaternion):
    """A quaternion (w, x, y, z) at length 1, and what its length has to be multiplied with."""
    w, x, y, z = quaternion
    length = max(math.sqrt(w * w + x * x + y * y + z * z), np.float32(1e-12))
    inverse = np.float32(1) / length
    return w * inverse, x * inverse, y * inverse, z * inverse, inverse


@njit(nogil=True, forceinline=True)
def _matrix(w, x, y, z):
    """Rows of the rotation of a unit quaternion."""
    one, two = np.float32(1), np.float32(2)
    return (
        (one - two * (y * y + z * z), two * (x * y - w * z), two * (x * z + w * y)),
        (two * (x * y + w * z), one - two * (x * x + z * z), two * (y * z - w * x)),
        (two * (x * z - w * y), two * (y * z + w * x), one - two * (x * x + y * y)),
    )


@njit(nogil=True, forceinline=True)
def scaled(scale, x, y, z):
    """A triple times a number."""
    return scale * x, scale * y, scale * z


@njit(nogil=True, forceinline=True)
def _turned_axes(w2c, R):
    """Rows of the product of the rotation of `w2c` and R."""
    return (
        row_times(w2c[0, 0], w2c[0, 1], w2c[0, 2], R),
        row_times(w2c[1, 0], w2c[1, 1], w2c[1, 2], R),
        row_times(w2c[2, 0], w2c[2, 1], w2c[2, 2], R),
    )


@njit(nogil=True, forceinline=True)
def long_splat(camera, w2c, x, y, z, radii, quaternion):
    """Pixel mx, my and 2-D covariance xx, xy, yy (blur included, px^2) of a Gaussian of three
    radii along its own axes, at x, y, z in the camera's."""
    fx, fy, cx, cy, _, _ = camera
    ray_x_lo, ray_x_hi, ray_y_lo, ray_y_hi = ray_limits(camera)
    iz = np.float32(1) / z
    rx = min(max(x * iz, ray_x_lo), ray_x_hi)
    ry = min(max(y * iz, ray_y_lo), ray_y_hi)
    gx, gy = fx * iz, fy * iz
    qw, qx, qy, qz, _ = _unit(quaternion)
    A0, A1, A2 = _turned_axes(w2c, _matrix(qw, qx, qy, qz))
    xx, xy, yy = np.float32(0), np.float32(0), np.float32(0)
    for k in range(3):
        m0 = gx * radii[k] * (A0[k] - rx * A2[k])
        m1 = gy * radii[k] * (A1[k] - ry * A2[k])
        xx += m0 * m0
        xy += m0 * m1
        yy += m1 * m1
    return gx * x + cx, gy * y + cy, xx + BLUR, xy, yy + BLUR


@njit(nogil=True, cache=True, error_model="numpy")
def project_anisotropic(
    counter, camera, w2c, means, scales, stretch, rotations, splats, not_finite
):
    """Fill `splats` [N,6]: mx, my, xx, xy, yy (2-D covariance with its blur, px^2), z.

    `camera` float32 [6]: fx, fy, cx, cy, width, height; `w2c` [4,4]; `means` [N,3] world, `scales`
    [N], `stretch` [N,3], `rotations` [N,4]. `not_finite` [4]: the first is set to 1 if means hold
    NaN or infinity, the second if scales do.
    """
    n = means.shape[0]
    while True:
        start = take(counter) * CHUNK
        if start >= n:
            break
        for i in range(start, min(start + CHUNK, n)):
            x, y, z = to_camera(w2c, means[i, 0], means[i, 1], means[i, 2])
            if not abs(x) + abs(y) + abs(z) <= FINITE_MAX:
                not_finite[0] = 1
            if not abs(scales[i]) <= FINITE_MAX:
                not_finite[1] = 1
            radii = scaled(scales[i], stretch[i, 0], stretch[i, 1], stretch[i, 2])
            q = rotations[i, 0], rotations[i, 1], rotations[i, 2], rotations[i, 3]
            mx, my, xx, xy, yy = long_splat(camera, w2c, x, y, z, radii, q)
            splats[i, 0], splats[i, 1] = mx, my
            splats[i, 2], splats[i, 3], splats[i, 4] = xx, xy, yy
            splats[i, 5] = z


@njit(nogil=True, forceinline=True)
def _slope_of_turn(w, x, y, z, V):
    """Slope of a unit quaternion from that of its matrix V (rows), across its own direction."""
    two = np.float32(2)
    v_w = x * (V[2][1] - V[1][2]) + y * (V[0][2] - V[2][0]) + z * (V[1][0] - V[0][1])
    v_x = y * (V[0][1] + V[1][0]) + z * (V[0][2] + V[2][0]) + w * (V[2][1] - V[1][2])
    v_x -= two * x * (V[1][1] + V[2][2])
    v_y = x * (V[0][1] + V[1][0]) + z * (V[1][2] + V[2][1]) + w * (V[0][2] - V[2][0])
    v_y -= two * y * (V[0][0] + V[2][2])
    v_z = x * (V[0][2] + V[2][0]) + y * (V[1][2] + V[2][1]) + w * (V[1][0] - V[0][1])
    v_z -= two * z * (V[0][0] + V[1][1])
    along = w * v_w + x * v_x + y * v_y + z * v_z
    return (
        two * (v_w - w * along),
        two * (v_x - x * along),
        two * (v_y - y * along),
        (two * (v_z - z * along)),
    )


@njit(nogil=True, forceinline=True)
def _sum3(a, b, c):
    return a[0] * b[0] * c[0] + a[1] * b[1] * c[1] + a[2] * b[2] * c[2]


@njit(nogil=True, forceinline=True)
def long_slopes(camera, w2c, x, y, z, s, stretch, quaternion, slopes):
    """What the slopes of mx, my, xx, xy, yy and z of `long_splat` are for its inputs.

    Radii are s times `stretch`. Returns the slopes of x, y, z; of the radii; of the quaternion;
    those of the rows of W R in the camera's axes and R, for `add_pose`.
    """
    one, two = np.float32(1), np.float32(2)
    fx, fy, _, _, _, _ = camera
    ray_x_lo, ray_x_hi, ray_y_lo, ray_y_hi = ray_limits(camera)
    v_mx, v_my, v_xx, v_xy, v_yy, v_depth = slopes
    iz = one / z
    rx = min(max(x * iz, ray_x_lo), ray_x_hi)
    ry = min(max(y * iz, ray_y_lo), ray_y_hi)
    gx, gy = fx * iz, fy * iz
    qw, qx, qy, qz, inverse = _unit(quaternion)
    R = _matrix(qw, qx, qy, qz)
    A0, A1, A2 = _turned_axes(w2c, R)
    radius = scaled(s, stretch[0], stretch[1], stretch[2])
    # rows of M, their slopes, and those of the rows of W R D (u0, u1, u2)
    m0 = (
        gx * radius[0] * (A0[0] - rx * A2[0]),
        gx * radius[1] * (A0[1] - rx * A2[1]),
        gx * radius[2] * (A0[2] - rx * A2[2]),
    )
    m1 = (
        gy * radius[0] * (A1[0] - ry * A2[0]),
        gy * radius[1] * (A1[1] - ry * A2[1]),
        gy * radius[2] * (A1[2] - ry * A2[2]),
    )
    v_m0 = (
        two * v_xx * m0[0] + v_xy * m1[0],
        two * v_xx * m0[1] + v_xy * m1[1],
        two * v_xx * m0[2] + v_xy * m1[2],
    )
    v_m1 = (
        v_xy * m0[0] + two * v_yy * m1[0],
        v_xy * m0[1] + two * v_yy * m1[1],
        v_xy * m0[2] + two * v_yy * m1[2],
    )
    u0 = scaled(gx, v_m0[0], v_m0[1], v_m0[2])
    u1 = scaled(gy, v_m1[0], v_m1[1], v_m1[2])
    u2 = -rx * u0[0] - ry * u1[0], -rx * u0[1] - ry * u1[1], -rx * u0[2] - ry * u1[2]
    v_log_g = v_m0[0] * m0[0] + v_m0[1] * m0[1] + v_m0[2] * m0[2]
    v_log_g += v_m1[0] * m1[0] + v_m1[1] * m1[1] + v_m1[2] * m1[2]
    v_rx, v_ry = -_sum3(u0, radius, A2), -_sum3(u1, radius, A2)
    v_radii = (
        u0[0] * A0[0] + u1[0] * A1[0] + u2[0] * A2[0],
        u0[1] * A0[1] + u1[1] * A1[1] + u2[1] * A2[1],
        u0[2] * A0[2] + u1[2] * A1[2] + u2[2] * A2[2],
    )
    # of the rows of W R, then of R
    u0 = u0[0] * radius[0], u0[1] * radius[1], u0[2] * radius[2]
    u1 = u1[0] * radius[0], u1[1] * radius[1], u1[2] * radius[2]
    u2 = u2[0] * radius[0], u2[1] * radius[1], u2[2] * radius[2]
    U = u0, u1, u2
    V = (
        row_times(w2c[0, 0], w2c[1, 0], w2c[2, 0], U),
        row_times(w2c[0, 1], w2c[1, 1], w2c[2, 1], U),
        row_times(w2c[0, 2], w2c[1, 2], w2c[2, 2], U),
    )
    v_w, v_i, v_j, v_k = _slope_of_turn(qw, qx, qy, qz, V)
    v_x, v_y = v_mx * gx, v_my * gy
    v_z = v_depth - (v_x * x + v_y * y + v_log_g) * iz
    v_at = add_ray_slopes(camera, x, y, iz, v_rx, v_ry, (v_x, v_y, v_z))
    v_q = v_w * inverse, v_i * inverse, v_j * inverse, v_k * inverse
    return v_at, v_radii, v_q, U, R


@njit(nogil=True, forceinline=True)
def add_pose(pose, x, y, z, v_at, U, R):
    """Add to `pose` [3,4] what a Gaussian at x, y, z in the world says of the pose."""
    for j in range(3):
        u = U[j]
        pose[j, 0] += u[0] * R[0][0] + u[1] * R[0][1] + u[2] * R[0][2] + v_at[j] * x
        pose[j, 1] += u[0] * R[1][0] + u[1] * R[1][1] + u[2] * R[1][2] + v_at[j] * y
        pose[j, 2] += u[0] * R[2][0] + u[1] * R[2][1] + u[2] * R[2][2] + v_at[j] * z
        pose[j, 3] += v_at[j]


@njit(nogil=True, cache=True, error_model="numpy")
def project_anisotropic_back(
    counter, camera, w2c, means, scales, stretch, rotations, v_splats, with_pose,
    v_means, v_scales, v_stretch, v_rotations, v_w2c,
):  # fmt: skip
    """Slopes of all inputs of `project_anisotropic` from `v_splats` [N,6].

    v_w2c [chunks,3,4]: what each chunk of Gaussians says of the pose, to be summed; zeros unless
    `with_pose`.
    """
    zero = np.float32(0)
    n = means.shape[0]
    while True:
        chunk = take(counter)
        start = chunk * CHUNK
        if start >= n:
            break
        pose = np.zeros((3, 4), np.float64)
        for i in range(start, min(start + CHUNK, n)):
            v_mx, v_my, v_xx = v_splats[i, 0], v_splats[i, 1], v_splats[i, 2]
            v_xy, v_yy, v_depth = v_splats[i, 3], v_splats[i, 4], v_splats[i, 5]
            if (
                v_mx == zero and v_my == zero and v_xx == zero
                and v_xy == zero and v_yy == zero and v_depth == zero
            ):  # fmt: skip
                v_scales[i] = zero
                for k in range(3):
                    v_means[i, k] = v_stretch[i, k] = v_rotations[i, k] = zero
                v_rotations[i, 3] = zero
                continue
            x, y, z = to_camera(w2c, means[i, 0], means[i, 1], means[i, 2])
            stretched = stretch[i, 0], stretch[i, 1], stretch[i, 2]
            q = rotations[i, 0], rotations[i, 1], rotations[i, 2], rotations[i, 3]
            slopes = v_mx, v_my, v_xx, v_xy, v_yy, v_depth
            v_at, v_r, v_q, U, R = long_slopes(
                camera, w2c, x, y, z, scales[i], stretched, q, slopes
            )
            v_scales[i] = stretched[0] * v_r[0] + stretched[1] * v_r[1] + stretched[2] * v_r[2]
            for k in range(3):
                v_stretch[i, k] = scales[i] * v_r[k]
                v_means[i, k] = w2c[0, k] * v_at[0] + w2c[1, k] * v_at[1] + w2c[2, k] * v_at[2]
            for k in range(4):
                v_rotations[i, k] = v_q[k]
            if with_pose:
                add_pose(pose, means[i, 0], means[i, 1], means[i, 2], v_at, U, R)
        v_w2c[chunk] = pose
