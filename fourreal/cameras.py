"""Camera conventions, stated once: OpenCV axes, world-to-camera matrices, pixel centres at +0.5.

x points right, y down, z forward. ``w2c`` is a 4x4 rigid matrix; ``K`` a 3x3 pin-hole matrix in
pixels, so that the centre of the top-left pixel is at (0.5, 0.5). Depth means z in the camera's
own frame. The functions are NumPy; leading axes broadcast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

Array = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Camera:
    """A pin-hole camera: who looks, and at how many pixels.

    w2c [4, 4] world to camera; K [3, 3] in pixels; size (height, width). The matrices are arrays
    or torch tensors, as who draws with them needs.
    """

    w2c: Any
    K: Any
    size: tuple[int, int]


def transform(w2c: ArrayLike, xyz: ArrayLike) -> Array:
    """Apply rigid matrices ``w2c`` [..., 4, 4] to points ``xyz`` [..., N, 3] -> [..., N, 3]."""
    m, p = np.asarray(w2c), np.asarray(xyz)
    return p @ np.swapaxes(m[..., :3, :3], -1, -2) + m[..., None, :3, 3]


def project(xyz_cam: ArrayLike, K: ArrayLike) -> tuple[Array, Array]:
    """Project camera-frame points [..., N, 3] with K [..., 3, 3] -> uv [..., N, 2], z [..., N]."""
    p, k = np.asarray(xyz_cam), np.asarray(K)
    z = p[..., 2]
    q = p @ np.swapaxes(k, -1, -2)
    with np.errstate(divide="ignore", invalid="ignore"):
        uv = q[..., :2] / q[..., 2:3]
    return uv, z


def pixel_index(
    uv: ArrayLike, z: ArrayLike, size: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The pixels that points project to (``project``): index row * W + column [..., N] (0 outside)
    and which points are in the picture and before the camera [..., N].

    uv [..., N, 2], z [..., N], not finite where nothing projects; size (height, width).
    """
    at, (height, width) = np.asarray(uv), size
    u, v = at[..., 0], at[..., 1]  # numpy is slow along an axis of two
    inside = (np.asarray(z) > 0) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    column, row = (np.where(inside, x, 0).astype(np.int64) for x in (u, v))
    return row * width + column, inside


def unproject(uv: ArrayLike, z: ArrayLike, K: ArrayLike) -> Array:
    """Lift pixels uv [..., N, 2] at depth z [..., N] to camera-frame points: K^-1 [u, v, 1] z."""
    uv_a, z_a = np.asarray(uv), np.asarray(z)
    homogeneous = np.concatenate([uv_a, np.ones_like(uv_a[..., :1])], axis=-1)
    rays = homogeneous @ np.swapaxes(np.linalg.inv(np.asarray(K)), -1, -2)
    return rays * z_a[..., None]


def invert(w2c: ArrayLike) -> Array:
    """Invert rigid 4x4 matrices [..., 4, 4] (world-to-camera <-> camera-to-world)."""
    m = np.asarray(w2c)
    out = np.zeros_like(m)
    rt = np.swapaxes(m[..., :3, :3], -1, -2)
    out[..., :3, :3] = rt
    out[..., :3, 3] = -(rt @ m[..., :3, 3:4])[..., 0]
    out[..., 3, 3] = 1.0
    return out


def camera_centres(w2c: ArrayLike) -> Array:
    """Camera centres in world coordinates, [..., 3], of world-to-camera matrices [..., 4, 4]."""
    return invert(w2c)[..., :3, 3]


def relative_pose(w2c_from: ArrayLike, w2c_to: ArrayLike) -> Array:
    """Matrices [..., 4, 4] that take points of the camera ``w2c_from`` into ``w2c_to``'s."""
    return np.asarray(w2c_to) @ np.linalg.inv(np.asarray(w2c_from))


def look_at(eye: ArrayLike, target: ArrayLike, up: ArrayLike = (0.0, -1.0, 0.0)) -> Array:
    """World-to-camera [4, 4] at ``eye`` [3] looking at ``target`` [3].

    ``up`` is the world direction that appears upwards in the image (image y points down).
    """
    e, t, u = (np.asarray(a, dtype=np.float64) for a in (eye, target, up))
    z = t - e
    z = z / np.linalg.norm(z)
    x = np.cross(z, u)
    if np.linalg.norm(x) < 1e-9:
        raise ValueError("look_at: the viewing direction is parallel to up")
    x = x / np.linalg.norm(x)
    y = np.cross(z, x)
    out = np.eye(4)
    out[:3, :3] = np.stack([x, y, z])
    out[:3, 3] = -out[:3, :3] @ e
    return out


def pixel_grid(height: int, width: int, dtype: DTypeLike = np.float64) -> Array:
    """Pixel centres [H, W, 2] as (u, v): the top-left one is (0.5, 0.5)."""
    u, v = np.meshgrid(np.arange(width, dtype=dtype) + 0.5, np.arange(height, dtype=dtype) + 0.5)
    return np.stack([u, v], axis=-1)


def intrinsics_from_fov(fov_x_deg: float, height: int, width: int) -> Array:
    """K [3, 3]: square pixels, centred principal point, the given horizontal field of view."""
    f = 0.5 * width / np.tan(np.radians(fov_x_deg) / 2)
    return np.array([[f, 0, width / 2], [0, f, height / 2], [0, 0, 1.0]])


def scale_intrinsics(
    K: ArrayLike, from_hw: tuple[int, int], to_hw: tuple[int, int]
) -> NDArray[np.float64]:
    """Rescale K [..., 3, 3] from images of ``from_hw`` (height, width) to ``to_hw``."""
    out = np.array(K, dtype=np.float64, copy=True)
    out[..., 0, :] *= to_hw[1] / from_hw[1]
    out[..., 1, :] *= to_hw[0] / from_hw[0]
    return out


# Other people's conventions. Rotations are proper in all of them: `camera_to_world_axes` turns the
# columns of a camera-to-world matrix, and its inverse is the same call with the other's axes.
AXES = {
    "opencv": np.eye(3),  # right, down, forward: ours, COLMAP's, EasyVolcap's
    "opengl": np.diag([1.0, -1.0, -1.0]),  # right, up, backward: nerfstudio, Blender, D-NeRF
    "llff": np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]]),  # down, right, backward
}


def w2c_from_c2w(c2w: ArrayLike, axes: str = "opencv") -> NDArray[np.float64]:
    """Camera-to-world [..., 3 or 4, 4] whose camera axes are named in ``AXES`` -> w2c [..., 4, 4].

    Column k of ``AXES[axes]`` is their k-th camera axis in OpenCV's camera frame.
    """
    given = np.asarray(c2w, np.float64)
    out = np.zeros((*given.shape[:-2], 4, 4))
    out[..., :3, :] = given[..., :3, :]
    out[..., 3, 3] = 1.0
    out[..., :3, :3] = out[..., :3, :3] @ AXES[axes].T
    return np.asarray(invert(out), np.float64)


def c2w_from_w2c(w2c: ArrayLike, axes: str = "opencv") -> Array:
    """The inverse of ``w2c_from_c2w``: [..., 4, 4] -> camera-to-world [..., 4, 4]."""
    out = invert(w2c)
    out[..., :3, :3] = out[..., :3, :3] @ AXES[axes]
    return out


def check_rigid(w2c: ArrayLike, tolerance: float = 1e-2) -> NDArray[np.float64]:
    """Matrices [..., 4, 4] with their rotations made exactly orthonormal.

    Raises:
        ValueError: not finite, mirrored, or farther from a rotation than ``tolerance``.
    """
    out = np.array(w2c, np.float64)
    if out.shape[-2:] != (4, 4) or not np.isfinite(out).all():
        raise ValueError("camera matrices must be finite and 4x4")
    u, _, vt = np.linalg.svd(out[..., :3, :3])
    nearest = u @ vt
    if (np.linalg.det(nearest) < 0).any():
        raise ValueError("a camera matrix mirrors the world; it is no rotation")
    if np.abs(nearest - out[..., :3, :3]).max() > tolerance:
        raise ValueError("a camera matrix is no rotation (is it scaled, or transposed?)")
    out[..., :3, :3] = nearest
    out[..., 3, :] = [0, 0, 0, 1]
    return out


def path_order(w2c_V44: ArrayLike) -> NDArray[np.intp]:
    """An order [V] of cameras in which neighbours are near: they stay as they are if that is so.

    Distance counts the centre (in units of the rig's spread) and the viewing direction. Starts at
    up to 32 cameras, always goes on to the nearest one left, and keeps the shortest path.
    """
    w2c = np.asarray(w2c_V44, np.float64)
    count = len(w2c)
    centres = camera_centres(w2c)
    spread = float(np.linalg.norm(centres - centres.mean(0), axis=1).max())
    place = np.concatenate([centres / max(spread, 1e-12), w2c[:, 2, :3]], 1)
    distance = np.linalg.norm(place[:, None] - place[None], axis=-1)

    def length(order: list[int]) -> float:
        return float(distance[order[:-1], order[1:]].sum())

    given = list(range(count))
    best = given
    for start in sorted({round(k) for k in np.linspace(0, count - 1, min(count, 32))}):
        order, near = [start], distance.copy()
        while len(order) < count:
            near[:, order[-1]] = np.inf
            order.append(int(np.argmin(near[order[-1]])))
        if length(order) < length(best):
            best = order
    # a little shorter is no reason to give up the order that the maker chose
    chosen = best if length(best) < 0.8 * length(given) else given
    return np.array(chosen if chosen[0] <= chosen[-1] else chosen[::-1], np.intp)
