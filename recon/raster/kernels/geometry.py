"""Small geometry that numba kernels of several files share; inlined where it is called."""

from __future__ import annotations

import numpy as np

from fourreal.kernels import njit


@njit(nogil=True, forceinline=True)
def ray_limits(camera):
    """Least and greatest x/z and y/z of the Jacobian: 1.3 times the half field of view."""
    fx, fy, cx, cy, width, height = camera
    margin_x = np.float32(0.15) * width / fx
    margin_y = np.float32(0.15) * height / fy
    ray_x_lo, ray_x_hi = -(cx / fx + margin_x), (width - cx) / fx + margin_x
    ray_y_lo, ray_y_hi = -(cy / fy + margin_y), (height - cy) / fy + margin_y
    return ray_x_lo, ray_x_hi, ray_y_lo, ray_y_hi


@njit(nogil=True, forceinline=True)
def add_ray_slopes(camera, x, y, iz, v_rx, v_ry, v_at):
    """Slopes `v_at` of x, y, z, and what those of the ray x / z, y / z add; a clamped ray does not
    move. `iz`: 1 / z."""
    ray_x_lo, ray_x_hi, ray_y_lo, ray_y_hi = ray_limits(camera)
    v_x, v_y, v_z = v_at
    if ray_x_lo < x * iz < ray_x_hi:
        v_x += v_rx * iz
        v_z -= v_rx * x * iz * iz
    if ray_y_lo < y * iz < ray_y_hi:
        v_y += v_ry * iz
        v_z -= v_ry * y * iz * iz
    return v_x, v_y, v_z


@njit(nogil=True, forceinline=True)
def to_camera(w2c, x, y, z):
    """World to camera coordinates."""
    return (
        w2c[0, 0] * x + w2c[0, 1] * y + w2c[0, 2] * z + w2c[0, 3],
        w2c[1, 0] * x + w2c[1, 1] * y + w2c[1, 2] * z + w2c[1, 3],
        w2c[2, 0] * x + w2c[2, 1] * y + w2c[2, 2] * z + w2c[2, 3],
    )


@njit(nogil=True, forceinline=True)
def row_times(a, b, c, M):
    """The row (a, b, c) times the matrix of three columns with rows M."""
    return (
        a * M[0][0] + b * M[1][0] + c * M[2][0],
        a * M[0][1] + b * M[1][1] + c * M[2][1],
        a * M[0][2] + b * M[1][2] + c * M[2][2],
    )
