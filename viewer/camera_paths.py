"""Camera paths through a reconstructed scene, for videos and pictures of new viewpoints.

OpenCV cameras, world-to-camera matrices [F, 4, 4]. Every path stays where the input cameras saw
something: between them, or a little around them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation, Slerp

from fourreal.cameras import camera_centres, invert, look_at, transform

Matrices = NDArray[np.float64]
PATHS = ("orbit", "spiral", "input")
_LEAST_SWING = 0.06  # share of the distance to the scene, when the input cameras stand together


def camera_path(name: str, w2c: ArrayLike, points: ArrayLike, frames: int) -> Matrices:
    """World-to-camera matrices [frames, 4, 4] of the path ``name``, closed except ``input``.

    Args:
        name: "orbit" (an ellipse as wide as the input cameras' arc, looking at the scene's
            centre), "spiral" (a narrow spiral towards the scene and back), or "input" (through
            the input cameras in order).
        w2c: [V, 4, 4] input cameras. points: [N, 3] world positions of the scene.
        frames: number of cameras, at least 1.
    """
    cameras = np.asarray(w2c, np.float64)
    if frames < 1:
        raise ValueError(f"frames must be at least 1, got {frames}")
    if name == "input":
        return along_cameras(cameras, np.linspace(0, len(cameras) - 1, frames))
    if name not in PATHS:
        raise ValueError(f"no camera path '{name}'; choose from {', '.join(PATHS)}")
    middle = cameras[len(cameras) // 2]
    focus = scene_centre(middle, points)
    phase = 2 * np.pi * np.arange(frames) / frames
    out = []
    for angle in phase:
        if name == "orbit":
            s = (len(cameras) - 1) * (0.5 + 0.42 * np.sin(angle))
            base = along_cameras(cameras, np.array([s]))[0]
            sideways = _LEAST_SWING * np.sin(angle) if len(cameras) == 1 else 0.0
            step = np.array([sideways, -0.5 * _LEAST_SWING * np.cos(angle), 0.0])
        else:
            base, reach = middle, _LEAST_SWING
            depth = 0.5 * (1 - np.cos(angle))
            turns = 2 * angle
            step = np.array([reach * np.sin(turns), 0.6 * reach * np.cos(turns), depth * 0.25])
        out.append(_displaced(base, step, focus))
    return np.stack(out)


def along_cameras(w2c: ArrayLike, where: ArrayLike) -> Matrices:
    """Cameras [F, 4, 4] at the fractional indices ``where`` [F] of the sequence w2c [V, 4, 4].

    Centres are interpolated linearly, orientations along the shortest arc.
    """
    cameras, s = np.asarray(w2c, np.float64), np.asarray(where, np.float64)
    if len(cameras) == 1:
        return np.repeat(cameras, len(s), axis=0)
    s = np.clip(s, 0, len(cameras) - 1)
    index = np.arange(len(cameras))
    centres = camera_centres(cameras)
    out = np.tile(np.eye(4), (len(s), 1, 1))
    out[:, :3, :3] = Slerp(index, Rotation.from_matrix(cameras[:, :3, :3]))(s).as_matrix()
    centre = np.stack([np.interp(s, index, centres[:, i]) for i in range(3)], -1)
    out[:, :3, 3] = -(out[:, :3, :3] @ centre[..., None])[..., 0]
    return out


def scene_centre(w2c: ArrayLike, points: ArrayLike) -> NDArray[np.float64]:
    """The point [3] on the camera's axis at the median depth of what is near that axis."""
    camera = np.asarray(w2c, np.float64)
    local = transform(camera, np.asarray(points, np.float64))
    z = local[:, 2]
    near = (z > 0) & (np.linalg.norm(local[:, :2], axis=1) < 0.2 * z)
    depth = float(np.median(z[near])) if near.any() else 1.0
    return transform(invert(camera), np.array([[0.0, 0.0, depth]]))[0]


def _displaced(w2c: Matrices, step: NDArray[np.float64], focus: NDArray[np.float64]) -> Matrices:
    """The camera moved by ``step`` (camera axes, shares of the distance to ``focus``), re-aimed."""
    to_world = invert(w2c)
    distance = float(np.linalg.norm(focus - to_world[:3, 3]))
    eye = to_world[:3, 3] + to_world[:3, :3] @ (step * distance)
    # What was in the middle stays there, so that the aim does not jump away from the base camera.
    aim = to_world[:3, 3] + to_world[:3, 2] * distance
    return np.asarray(look_at(eye, aim, up=-to_world[:3, 1]), np.float64)
