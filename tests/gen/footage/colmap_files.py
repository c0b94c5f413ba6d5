"""COLMAP's models and layouts, written as COLMAP writes them, and photos with other cameras."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from fourreal.cameras import c2w_from_w2c
from fourreal.video_io import write_image
from gen.footage.colmap import MODELS
from gen.grid import VideoGrid


def params_of(model: str, K: np.ndarray, distortion: tuple[float, ...] = ()) -> list[float]:
    """The parameters of a model for K, and its first coefficients; the others are 0."""
    focal = [K[0, 0]] if model in ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL") else None
    head = (focal or [K[0, 0], K[1, 1]]) + [K[0, 2], K[1, 2]]
    rest = [0.0] * (MODELS[model] - len(head))
    rest[: len(distortion)] = distortion
    return [float(x) for x in head + rest][: MODELS[model]]


def quaternion(w2c: np.ndarray) -> list[float]:
    """(w, x, y, z)."""
    x, y, z, w = Rotation.from_matrix(w2c[:3, :3]).as_quat()
    return [w, x, y, z]


def model(
    grid: VideoGrid,
    folder: Path,
    names: list[str],
    kind: str = "PINHOLE",
    binary: bool = True,
    distortion: tuple[float, ...] = (),
    scale: float = 1.0,
    points: int = 2,
) -> Path:
    """A model of the views of ``grid``, one lens each; ``scale``: of its pixels to the grid's."""
    folder.mkdir(parents=True, exist_ok=True)
    size = round(grid.width * scale), round(grid.height * scale)
    lenses = []
    for K in grid.K:
        own = K.copy()
        own[:2] *= scale
        lenses.append(params_of(kind, own, distortion))
    if binary:
        number = list(MODELS).index(kind)
        data = struct.pack("<Q", len(lenses))
        for k, params in enumerate(lenses):
            data += struct.pack("<IiQQ", k + 1, number, *size) + struct.pack(
                f"<{len(params)}d", *params
            )
        (folder / "cameras.bin").write_bytes(data)
        data = struct.pack("<Q", len(names))
        for k, name in enumerate(names):
            pose = [*quaternion(grid.w2c[k]), *grid.w2c[k, :3, 3]]
            data += struct.pack("<I7dI", k + 1, *pose, k + 1) + name.encode() + b"\0"
            data += struct.pack("<Q", points) + struct.pack("<ddq", 1.5, 2.5, -1) * points
        (folder / "images.bin").write_bytes(data)
        return folder
    lines = ["# Camera list", "#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"]
    for k, params in enumerate(lenses):
        lines.append(f"{k + 1} {kind} {size[0]} {size[1]} {' '.join(map(repr, params))}")
    (folder / "cameras.txt").write_text("\n".join(lines) + "\n")
    lines = ["# Image list with two lines of data per image:"]
    for k, name in enumerate(names):
        pose = [*quaternion(grid.w2c[k]), *grid.w2c[k, :3, 3]]
        lines.append(f"{k + 1} {' '.join(repr(float(x)) for x in pose)} {k + 1} {name}")
        lines.append(" ".join(["1.5 2.5 -1"] * points))
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    return folder


def photos(grid: VideoGrid, folder: Path, names: list[str], shrink: int = 1) -> Path:
    """The column of time 0 as photos."""
    column = grid.resize(grid.height // shrink, grid.width // shrink) if shrink > 1 else grid
    for k, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(folder / name, column.frames[k, 0])
    return folder


def poses_bounds(grid: VideoGrid, file: Path) -> Path:
    """LLFF's rows for the views of a grid."""
    rows = []
    for K, w2c in zip(grid.K, grid.w2c, strict=True):
        c2w = c2w_from_w2c(w2c, "llff")[:3]
        hwf = np.array([[grid.height], [grid.width], [K[0, 0]]])
        rows.append([*np.concatenate([c2w, hwf], 1).ravel(), 0.5, 20.0])
    np.save(file, np.array(rows))
    return file


def transforms(grid: VideoGrid, file: Path, names: list[str], **top: object) -> Path:
    """transforms.json of still photos, as ns-process-data writes it."""
    K = grid.K[0]
    frames = [
        {"file_path": n, "transform_matrix": c2w_from_w2c(w2c, "opengl").tolist()}
        for n, w2c in zip(names, grid.w2c, strict=True)
    ]
    data = {
        "w": grid.width, "h": grid.height, "fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2],
        "cy": K[1, 2], "camera_model": "OPENCV",
    }  # fmt: skip
    file.write_text(json.dumps(data | top | {"frames": frames}))
    return file


def ours(grid: VideoGrid, file: Path, names: list[str]) -> Path:
    """cameras.json."""
    cameras = [
        {"name": n, "K": K.tolist(), "w2c": w2c.tolist()}
        for n, K, w2c in zip(names, grid.K, grid.w2c, strict=True)
    ]
    data = {"width": grid.width, "height": grid.height, "cameras": cameras}
    file.write_text(json.dumps(data))
    return file


def splatting(grid: VideoGrid, file: Path, names: list[str]) -> Path:
    """cameras.json as 3D Gaussian Splatting writes it beside its results."""
    cameras = []
    for k, (name, K, w2c) in enumerate(zip(names, grid.K, grid.w2c, strict=True)):
        c2w = np.linalg.inv(w2c)
        cameras.append(
            {"id": k, "img_name": name, "width": grid.width, "height": grid.height,
             "position": c2w[:3, 3].tolist(), "rotation": c2w[:3, :3].tolist(),
             "fx": K[0, 0], "fy": K[1, 1]}
        )  # fmt: skip
    file.write_text(json.dumps(cameras))
    return file
