"""transforms.json of nerfstudio (also instant-ngp's) and of D-NeRF: cameras in OpenGL axes.

Per frame or for all: `fl_x fl_y cx cy w h` or `camera_angle_x` (`camera_angle_y`), `k1 k2 p1 p2
k3`; per frame `file_path`, `transform_matrix` (camera-to-world), `time`, and `camera_id` where it
is given. Without `camera_id`, frames with one pose are one view. Principal points count pixel
centres at +0.5. Of D-NeRF's splits only the one that is named is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourreal.cameras import intrinsics_from_fov, w2c_from_c2w
from fourreal.video_io import image_size
from gen.footage.calibration import (
    Calibration,
    Camera,
    Intrinsics,
    Size,
    some_of,
    takes_stored_pixels,
)
from gen.footage.fields import array, need, number, read_object
from gen.footage.footage import Cell, Footage, footage_of_cells
from gen.footage.named_files import NamedFiles
from gen.footage.views import SAME_SHAPE, SEQUENCE_FPS

PINHOLES = ("", "OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")
COEFFICIENTS = ("k1", "k2", "p1", "p2", "k3", "k4")  # OpenCV's order
FOCAL = ("fl_x", "camera_angle_x")
# What instant-ngp writes instead of a camera model.
OTHER_LENSES = {"is_fisheye": "fisheye", "ftheta_p0": "F-theta", "latlong": "latitude-longitude"}


@dataclass(frozen=True)
class Frame:
    """One frame of a transforms.json: its camera, named by ``file_path``, and its place.

    ``implied``: (height, width) that a principal point in the middle would have, None without one.
    """

    camera: Camera
    path: Any
    where: str
    view: str
    time: float
    named: bool
    implied: Size | None


def read_transforms(file: Path, kind: str) -> Footage:
    """The footage of a transforms.json.

    Raises:
        ValueError: not of this form, distorted beyond what can be undone, or a camera that moves.
    """
    cells: list[Cell] = []
    missing: list[tuple[str, str]] = []
    images = NamedFiles(file.parent)
    frames = list(_frames(file))
    for frame in _viewpoints(frames):
        path = images.find(frame.path, f"'file_path' in {frame.where}")
        if path is None:
            missing.append((str(frame.path), frame.where))
            continue
        stored = takes_stored_pixels(path, frame.camera.size or frame.implied)
        K, lens = frame.camera.at(image_size(path, not stored))
        cells.append(Cell(frame.view, frame.time, path, K, frame.camera.w2c, lens, stored))
    if not cells:
        named, where = missing[0]
        raise ValueError(f"the image {named[:80]} of {where} is missing{images.why_missing(named)}")
    times = len({f.time for f in frames})
    footage = footage_of_cells(kind, file, cells, max(times - 1, 1) / SEQUENCE_FPS)
    footage.notes += images.notes
    footage.miss([p for p, _ in missing])
    if others := images.not_named():
        footage.notes.append(
            f"{len(others)} images that {file.name} does not name are passed over: "
            f"{some_of(others)}"
        )
    return footage


def read_transforms_cameras(file: Path) -> Calibration:
    """The cameras of a transforms.json whose images lie elsewhere, or are wanted at another size.

    Raises:
        ValueError: not of this form, or of more than one time.
    """
    frames = list(_frames(file))
    if len({f.time for f in frames}) > 1:
        raise ValueError(f"{file.name} has several times: it is read by `grid {file.parent}`")
    return Calibration(file.name, [f.camera for f in frames])


def _frames(file: Path) -> Iterator[Frame]:
    data = read_object(file)
    shared = {k: v for k, v in data.items() if k != "frames"}
    listed = need(data, "frames", list, file.name)
    if not listed:
        raise ValueError(f"{file.name} lists no frames")
    for count, own in enumerate(listed):
        where = f"frame {count} of {file.name}"
        if not isinstance(own, dict):
            raise ValueError(f"{where} is no object")
        if any(k in own for k in FOCAL):  # a frame's own focal length counts, however it is given
            top = {k: v for k, v in shared.items() if k not in FOCAL and k != "camera_angle_y"}
        else:
            top = shared
        yield _frame(top | own, where)


def _frame(frame: dict[str, Any], where: str) -> Frame:
    _check_model(frame)
    matrix = array(frame.get("transform_matrix"), (-1, 4), f"'transform_matrix' in {where}")
    if len(matrix) not in (3, 4):
        raise ValueError(f"'transform_matrix' in {where} must be 3x4 or 4x4")
    w2c = w2c_from_c2w(matrix, "opengl")
    coefficients = tuple(number(frame.get(k, 0), f"'{k}' in {where}") for k in COEFFICIENTS)
    size = implied = None
    if "w" in frame and "h" in frame:
        size = _side(frame, "h", where), _side(frame, "w", where)
    elif "cx" in frame and "cy" in frame:
        middle = [number(frame[k], f"'{k}' in {where}") for k in ("cy", "cx")]
        if all(1 <= m < 1e6 for m in middle):
            implied = round(2 * middle[0]), round(2 * middle[1])
    path = frame.get("file_path")
    named = frame.get("camera_id", frame.get("cam_id"))
    return Frame(
        Camera(str(path), w2c, _intrinsics(frame, where), coefficients, size),
        path,
        where,
        _pose_name(w2c) if named is None else _padded(named),
        number(frame.get("time", 0.0), f"'time' in {where}"),
        named is not None,
        implied,
    )


def _check_model(frame: dict[str, Any]) -> None:
    model = str(frame.get("camera_model", "")).upper()
    if model not in PINHOLES:
        raise ValueError(f"camera model {model[:40]}: undistort the images to a pin-hole first")
    for flag, lens in OTHER_LENSES.items():
        if frame.get(flag) not in (None, False, 0):
            raise ValueError(
                f"'{flag}' says that the camera is {lens}: undistort the images to a pin-hole first"
            )


def _side(frame: dict[str, Any], name: str, where: str) -> int:
    value = number(frame[name], f"'{name}' in {where}")
    if not 1 <= value < 1e6:
        raise ValueError(f"'{name}' in {where} is {value:g} pixels")
    return int(value)


def _viewpoints(frames: list[Frame]) -> list[Frame]:
    """The frames with names of views.

    Where all are of one time, a ``camera_id`` that several poses share is that of a lens (COLMAP's
    cameras), not of a viewpoint.
    """
    still = len({f.time for f in frames}) == 1
    poses = {(f.view, _pose_name(f.camera.w2c)) for f in frames}
    lenses = still and len({v for v, _ in poses}) < len(poses)
    if any(f.named for f in frames) and not lenses:
        return frames
    keys = [_pose_name(f.camera.w2c) for f in frames]
    numbers = {key: k for k, key in enumerate(dict.fromkeys(keys))}
    return [replace(f, view=f"view{numbers[k]:03d}") for f, k in zip(frames, keys, strict=True)]


def _intrinsics(frame: dict[str, Any], where: str) -> Intrinsics:
    """K [3, 3] for an image of the size that it really has."""

    def at(size: Size) -> NDArray[np.float64]:
        height, width = size
        w = number(frame.get("w", width), f"'w' in {where}")
        h = number(frame.get("h", height), f"'h' in {where}")
        if not (w > 0 and h > 0 and abs(w * height / (h * width) - 1) < SAME_SHAPE):
            raise ValueError(f"{where} says {h:g}x{w:g} pixels, its image is {height}x{width}")
        cx = number(frame.get("cx", w / 2), f"'cx' in {where}")
        cy = number(frame.get("cy", h / 2), f"'cy' in {where}")
        if not (0 <= cx <= w and 0 <= cy <= h) and "w" not in frame:
            raise ValueError(
                f"the principal point of {where} ({cx:g}, {cy:g}) lies outside of its image "
                f"({height}x{width}): the calibration is of other pixels; write 'w' and 'h' of them"
            )
        if "fl_x" in frame:
            fx = number(frame["fl_x"], f"'fl_x' in {where}")
            fy = number(frame.get("fl_y", fx), f"'fl_y' in {where}")
        elif "camera_angle_x" in frame:
            fx = _focal(frame, "camera_angle_x", w, where)
            fy = _focal(frame, "camera_angle_y", h, where) if "camera_angle_y" in frame else fx
        else:
            raise ValueError(f"{where} has neither 'fl_x' nor 'camera_angle_x'")
        if not (fx > 0 and fy > 0):
            raise ValueError(f"the focal length of {where} is not above 0")
        K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
        K[:2] *= np.array([[width / w], [height / h]])
        return K

    return at


def _focal(frame: dict[str, Any], name: str, pixels: float, where: str) -> float:
    angle = number(frame[name], f"'{name}' in {where}")
    if not 0.01 < angle < 3.1:
        raise ValueError(f"'{name}' in {where} is {angle:g} rad")
    return float(intrinsics_from_fov(math.degrees(angle), 1, int(pixels))[0, 0])


def _pose_name(w2c: NDArray) -> str:
    """One name for all frames of one pose."""
    return " ".join(f"{x:.4f}" for x in np.round(w2c[:3], 4).ravel() + 0.0)


def _padded(name: Any) -> str:
    """Numbers sort as numbers."""
    return f"{name:04d}" if isinstance(name, int) else str(name)[:80]
