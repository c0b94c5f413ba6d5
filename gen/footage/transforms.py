"""transforms.json of nerfstudio (also instant-ngp's) and of D-NeRF: cameras in OpenGL axes.

Per frame or for all: `fl_x fl_y cx cy w h` or `camera_angle_x`, `k1 k2 p1 p2 k3`; per frame
`file_path`, `transform_matrix` (camera-to-world), `time`, and `camera_id` where it is given.
Without `camera_id`, frames with one pose are one view. Principal points count pixel centres at
+0.5. Of D-NeRF's splits only the one that is named is read.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourreal.cameras import intrinsics_from_fov, w2c_from_c2w
from fourreal.video_io import IMAGE_SUFFIXES, image_size
from gen.footage.fields import array, inside, need, number, read_object
from gen.footage.footage import Cell, Footage, footage_of_cells
from gen.footage.lens import lens_or_none
from gen.footage.views import SEQUENCE_FPS

PINHOLES = ("", "OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")
COEFFICIENTS = ("k1", "k2", "p1", "p2", "k3", "k4")  # OpenCV's order


def read_transforms(file: Path, kind: str) -> Footage:
    """The footage of a transforms.json.

    Raises:
        ValueError: not of this form, distorted beyond what can be undone, or a camera that moves.
    """
    data = read_object(file)
    model = str(data.get("camera_model", "")).upper()
    if model not in PINHOLES:
        raise ValueError(f"camera model {model[:40]}: undistort the images to a pin-hole first")
    shared = {k: v for k, v in data.items() if k != "frames"}
    cells: list[Cell] = []
    sizes: dict[Any, tuple[int, int]] = {}
    for count, frame in enumerate(need(data, "frames", list, file.name)):
        if not isinstance(frame, dict):
            raise ValueError(f"frame {count} of {file.name} is no object")
        cells.append(_cell(file.parent, shared | frame, f"frame {count} of {file.name}", sizes))
    if not cells:
        raise ValueError(f"{file.name} lists no frames")
    poses = list(dict.fromkeys(c.view for c in cells))
    if all("camera_id" not in f and "cam_id" not in f for f in data["frames"]):
        cells = [replace(c, view=f"view{poses.index(c.view):03d}") for c in cells]
    times = len({c.time for c in cells})
    return footage_of_cells(kind, file, cells, max(times - 1, 1) / SEQUENCE_FPS)


def _cell(folder: Path, frame: dict[str, Any], where: str, sizes: dict[Any, Any]) -> Cell:
    path = inside(folder, frame.get("file_path"), f"'file_path' in {where}")
    if path.suffix.lower() not in IMAGE_SUFFIXES:  # D-NeRF leaves the suffix away
        path = path.with_name(path.name + ".png")
    if not path.is_file():
        raise ValueError(f"the image {path.name} of {where} is missing")
    shown = frame.get("w"), frame.get("h")
    if shown not in sizes:
        sizes[shown] = image_size(path)
    height, width = sizes[shown]
    matrix = array(frame.get("transform_matrix"), (-1, 4), f"'transform_matrix' in {where}")
    if len(matrix) not in (3, 4):
        raise ValueError(f"'transform_matrix' in {where} must be 3x4 or 4x4")
    K = _intrinsics(frame, height, width, where)
    coefficients = [number(frame.get(k, 0), f"'{k}' in {where}") for k in COEFFICIENTS]
    w2c = w2c_from_c2w(matrix, "opengl")
    named = frame.get("camera_id", frame.get("cam_id"))
    view = _pose_name(w2c) if named is None else _padded(named)
    time = number(frame.get("time", 0.0), f"'time' in {where}")
    return Cell(view, time, path, K, w2c, lens_or_none(K, coefficients, (height, width)))


def _intrinsics(frame: dict[str, Any], height: int, width: int, where: str) -> NDArray[np.float64]:
    """K [3, 3] for an image of the size that it really has."""
    w = number(frame.get("w", width), f"'w' in {where}")
    h = number(frame.get("h", height), f"'h' in {where}")
    if not (w > 0 and h > 0 and abs(w * height / (h * width) - 1) < 0.01):
        raise ValueError(f"{where} says {h:g}x{w:g} pixels, its image is {height}x{width}")
    if "fl_x" in frame:
        fx = number(frame["fl_x"], f"'fl_x' in {where}")
        fy = number(frame.get("fl_y", fx), f"'fl_y' in {where}")
        cx = number(frame.get("cx", w / 2), f"'cx' in {where}")
        cy = number(frame.get("cy", h / 2), f"'cy' in {where}")
        K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
    elif "camera_angle_x" in frame:
        angle = number(frame["camera_angle_x"], f"'camera_angle_x' in {where}")
        if not 0.01 < angle < 3.1:
            raise ValueError(f"'camera_angle_x' in {where} is {angle:g} rad")
        K = intrinsics_from_fov(math.degrees(angle), int(h), int(w))
    else:
        raise ValueError(f"{where} has neither 'fl_x' nor 'camera_angle_x'")
    if not (K[0, 0] > 0 and K[1, 1] > 0):
        raise ValueError(f"the focal length of {where} is not above 0")
    K[:2] *= np.array([[width / w], [height / h]])
    return K


def _pose_name(w2c: NDArray) -> str:
    """One name for all frames of one pose."""
    return " ".join(f"{x:.4f}" for x in np.round(w2c[:3], 4).ravel() + 0.0)


def _padded(name: Any) -> str:
    """Numbers sort as numbers."""
    return f"{name:04d}" if isinstance(name, int) else str(name)[:80]
