"""A tiny analytic world for tracking tests: textured rectangles, ray cast in NumPy.

A back wall, a floor and a box front; band-limited random texture so that every place can be matched
and enlarged. Exact depth and cameras come with every picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from fourreal.cameras import intrinsics_from_fov, look_at, pixel_grid
from tracking.config import TrackConfig
from tracking.depth.dense import DepthConfig

ROUGH_DEPTH = TrackConfig(
    depth=DepthConfig(planes=32, coarse_long_side=48, long_side=48, iterations=1)
)
"""For tests of cameras and of what is said: depth is found, quickly."""
QUICK_DEPTH = DepthConfig(planes=64, iterations=1)
"""At full size, for tests that look at it."""


@dataclass
class Room:
    """frames float32 [V, H, W, 3]; depth [V, H, W]; K [3, 3]; w2c [V, 4, 4]."""

    frames: np.ndarray
    depth: np.ndarray
    K: np.ndarray
    w2c: np.ndarray


@cache
def texture(seed: int, size: int = 256) -> np.ndarray:
    """Colour noise over several octaves, periodic, float32 [size, size, 3] in 0..1, read only."""
    rng = np.random.default_rng(seed)
    out = np.zeros((size, size, 3), np.float32)
    for cells in (8, 20, 48):
        noise = rng.random((cells, cells, 3)).astype(np.float32)
        out += cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    out = (out - out.mean()) / (4.0 * out.std()) + 0.5
    out = np.clip(out, 0, 1)
    out.flags.writeable = False
    return out


# corner, edge a, edge b, texture repeats along both
SURFACES = (
    ((-4.0, -3.0, 2.5), (8.0, 0, 0), (0, 5.0, 0), (3.0, 2.0)),  # wall, z = 2.5
    ((-4.0, 1.0, -2.0), (8.0, 0, 0), (0, 0, 4.6), (3.0, 2.0)),  # floor, y = 1
    ((-0.7, -0.5, 0.3), (1.3, 0, 0.35), (0, 1.5, 0), (0.7, 0.8)),  # box front
)


def render_view(
    K: np.ndarray, w2c: np.ndarray, size: tuple[int, int], shift: float = 0.0, plain: bool = False,
    colours: bool = True,
):  # fmt: skip
    """(rgb [H, W, 3], z [H, W]) of the room; `shift` moves the box along x; `plain`: wall and floor
    have one colour each, with nothing to match; without `colours` all of it is grey."""
    c2w = np.linalg.inv(w2c)
    uv = np.concatenate([pixel_grid(*size), np.ones((*size, 1))], -1)
    ray = uv @ np.linalg.inv(K).T @ c2w[:3, :3].T
    origin = c2w[:3, 3]
    z = np.full(size, np.inf)
    rgb = np.full((*size, 3), 0.5, np.float32)
    for number, (corner, a, b, repeat) in enumerate(SURFACES):
        corner, a, b = np.array(corner), np.array(a), np.array(b)
        if number == 2:
            corner = corner + np.array([shift, 0, 0])
        normal = np.cross(a, b)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = ((corner - origin) @ normal) / (ray @ normal)
        local = origin + t[..., None] * ray - corner
        p, q = local @ a / (a @ a), local @ b / (b @ b)
        hit = (t > 0) & (t < z) & (p >= 0) & (p <= 1) & (q >= 0) & (q <= 1)
        z[hit] = t[hit]
        if not colours:
            continue
        image = texture(number)
        if plain and number < 2:
            image = np.full_like(image, (0.35, 0.65)[number])
        n = len(image)
        x = np.nan_to_num(p * repeat[0] * n) % n
        y = np.nan_to_num(q * repeat[1] * n) % n
        colour = cv2.remap(
            image, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP,
        )  # fmt: skip
        rgb[hit] = colour[hit]
    return rgb, z


def render_path(
    w2c: np.ndarray, size: tuple[int, int] = (72, 96), shifts=None, plain: bool = False
) -> Room:
    """The room from cameras w2c [V, 4, 4], twice oversampled; shifts [V] move the box."""
    K = intrinsics_from_fov(55.0, *size)
    fine = intrinsics_from_fov(55.0, 2 * size[0], 2 * size[1])
    shifts = np.zeros(len(w2c)) if shifts is None else shifts
    frames, depth = [], []
    for m, shift in zip(w2c, shifts, strict=True):
        rgb, _ = render_view(fine, m, (2 * size[0], 2 * size[1]), float(shift), plain)
        frames.append(cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_AREA))
        depth.append(render_view(K, m, size, float(shift), colours=False)[1])
    return Room(np.stack(frames).astype(np.float32), np.stack(depth), K, np.asarray(w2c))


def arc(views: int = 6, degrees: float = 30.0, radius: float = 3.0) -> np.ndarray:
    """Cameras [V, 4, 4] on an arc around the box, looking at it."""
    return at_angles(np.linspace(-degrees / 2, degrees / 2, views), radius)


def at_angles(degrees: np.ndarray, radius: float = 3.0) -> np.ndarray:
    """Cameras [V, 4, 4] at these angles around the box, looking at it."""
    angles = np.radians(degrees)
    eyes = np.stack([radius * np.sin(angles), -0.4 + 0 * angles, -radius * np.cos(angles)], 1)
    return np.stack([look_at(eye, (0.0, 0.1, 0.6)) for eye in eyes])


def turning(views: int = 5, degrees: float = 16.0) -> np.ndarray:
    """Cameras [V, 4, 4] at one place, turning about the vertical."""
    out = []
    for angle in np.radians(np.linspace(-degrees / 2, degrees / 2, views)):
        eye = np.array([0.0, -0.3, -2.6])
        out.append(look_at(eye, eye + np.array([np.sin(angle), 0.1, np.cos(angle)])))
    return np.stack(out)
