"""COLMAP models: `cameras.bin` and `images.bin`, or the same as `.txt`; OpenCV axes, w2c.

Rotations are quaternions (w, x, y, z), pixel centres lie at +0.5, both as in COLMAP's
`scripts/python/read_write_model.py` and its documentation "Output Format". Points are not read.
Headers are checked against the length of the file before anything is reserved.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from gen.footage.calibration import Calibration, Camera, sized

MAX_IMAGES = 100_000
MAX_LINE = 1 << 16
MAX_NAME = 4096
# name -> number of parameters; in the order of COLMAP's numbers of models
MODELS = {
    "SIMPLE_PINHOLE": 3, "PINHOLE": 4, "SIMPLE_RADIAL": 4, "RADIAL": 5, "OPENCV": 8,
    "OPENCV_FISHEYE": 8, "FULL_OPENCV": 12, "FOV": 5, "SIMPLE_RADIAL_FISHEYE": 4,
    "RADIAL_FISHEYE": 5, "THIN_PRISM_FISHEYE": 12, "RAD_TAN_THIN_PRISM_FISHEYE": 16,
    "SIMPLE_DIVISION": 4, "DIVISION": 5, "SIMPLE_FISHEYE": 3, "FISHEYE": 4, "EUCM": 6,
    "EQUIRECTANGULAR": 2,
}  # fmt: skip
ONE_FOCAL = ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
# model -> OpenCV's k1 k2 p1 p2 k3 k4 k5 k6 out of what follows the principal point
COEFFICIENTS: dict[str, Callable[[list[float]], list[float]]] = {
    "SIMPLE_PINHOLE": lambda p: [],
    "PINHOLE": lambda p: [],
    "SIMPLE_RADIAL": lambda p: [p[0], 0, 0, 0],
    "RADIAL": lambda p: [p[0], p[1], 0, 0],
    "OPENCV": lambda p: p,
    "FULL_OPENCV": lambda p: p,
}


def is_model(folder: Path) -> bool:
    """Whether a folder holds a model."""
    return any(
        all((folder / f"{name}.{suffix}").is_file() for name in ("cameras", "images"))
        for suffix in ("bin", "txt")
    )


def read_model(folder: Path, label: str) -> Calibration:
    """The cameras of a model, one per registered image, in the order of the file.

    Raises:
        ValueError: not a whole model, lenses that no pin-hole follows from, or no images.
    """
    binary = all((folder / f"{name}.bin").is_file() for name in ("cameras", "images"))
    kind = "bin" if binary else "txt"
    lenses = _read(folder / f"cameras.{kind}", _cameras_bin if binary else _cameras_txt)
    table = dict(lenses)
    cameras: list[Camera] = []
    used: dict[str, None] = {}
    for name, pose, camera in _read(
        folder / f"images.{kind}", _images_bin if binary else _images_txt
    ):
        if camera not in table:
            raise ValueError(f"images.{kind}: {name} has the camera {camera}, which is not listed")
        model = table[camera][0]
        used[model] = None
        K, coefficients = _lens(table[camera], f"camera {camera} of cameras.{kind}")
        size = (table[camera][2], table[camera][1])
        where = f"camera {camera} of {label}"
        cameras.append(Camera(name, _w2c(pose, name), sized(K, size, where), coefficients, size))
    if not cameras:
        raise ValueError(f"images.{kind} lists no images")
    return Calibration(f"{label} (COLMAP, {', '.join(used)})", cameras)


def _lens(
    listed: tuple[str, int, int, list[float]], where: str
) -> tuple[NDArray[np.float64], tuple[float, ...]]:
    """K [3, 3] and OpenCV's coefficients."""
    model, width, height, params = listed
    if model not in COEFFICIENTS:
        raise ValueError(
            f"camera model {model}: undistort the images to a pin-hole first (colmap "
            "image_undistorter)"
        )
    if not (0 < width < 1e6 and 0 < height < 1e6):
        raise ValueError(f"{where} has {width}x{height} pixels")
    if len(params) != MODELS[model] or not np.isfinite(params).all():
        raise ValueError(f"{where}: {model} needs {MODELS[model]} finite parameters")
    fx, fy = (params[0], params[0]) if model in ONE_FOCAL else (params[0], params[1])
    rest = params[1:] if model in ONE_FOCAL else params[2:]
    if not (fx > 0 and fy > 0):
        raise ValueError(f"the focal length of {where} is not above 0")
    K = np.array([[fx, 0, rest[0]], [0, fy, rest[1]], [0, 0, 1.0]])
    return K, tuple(COEFFICIENTS[model](rest[2:]))


def _w2c(pose: list[float], name: str) -> NDArray[np.float64]:
    """World-to-camera [4, 4] of a quaternion and a translation."""
    numbers = np.asarray(pose, np.float64)
    with np.errstate(over="ignore"):
        length = float(np.linalg.norm(numbers[:4]))
    if not (np.isfinite(numbers).all() and 1e-9 < length < 1e9):
        raise ValueError(f"the pose of {name} is none")
    w, x, y, z = numbers[:4] / length
    out = np.eye(4)
    out[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    out[:3, 3] = numbers[4:]
    return out


def _read(file: Path, parse: Callable[[BinaryIO, Path], Iterator]) -> list:
    try:
        with file.open("rb") as stream:
            return list(parse(stream, file))
    except (struct.error, UnicodeDecodeError, IndexError, OverflowError) as error:
        raise ValueError(f"{file.name} is damaged or cut off") from error


def _count(stream: BinaryIO, file: Path, least: int) -> int:
    """How many entries of at least so many bytes a file says it has."""
    (count,) = struct.unpack("<Q", stream.read(8))
    if count > MAX_IMAGES or count * least > os.fstat(stream.fileno()).st_size:
        raise ValueError(f"{file.name} claims {count} entries and does not hold them")
    return count


def _cameras_bin(stream: BinaryIO, file: Path) -> Iterator:
    names = list(MODELS)
    for _ in range(_count(stream, file, 24)):
        number, model, width, height = struct.unpack("<IiQQ", stream.read(24))
        if not 0 <= model < len(names):
            raise ValueError(
                f"camera model number {model} in {file.name} is not known here: undistort the "
                "images to a pin-hole first (colmap image_undistorter)"
            )
        name = names[model]
        params = struct.unpack(f"<{MODELS[name]}d", stream.read(8 * MODELS[name]))
        yield number, (name, width, height, list(params))


def _images_bin(stream: BinaryIO, file: Path) -> Iterator:
    length = os.fstat(stream.fileno()).st_size
    for _ in range(_count(stream, file, 73)):
        _, *pose, camera = struct.unpack("<I7dI", stream.read(64))
        name = bytearray()
        while (sign := stream.read(1)) not in (b"", b"\0"):
            name += sign
            if len(name) > MAX_NAME:
                raise ValueError(f"{file.name} holds a name of more than {MAX_NAME} bytes")
        (points,) = struct.unpack("<Q", stream.read(8))
        if 24 * points > length - stream.tell():
            raise ValueError(f"{file.name} is damaged or cut off")
        stream.seek(24 * points, os.SEEK_CUR)
        yield name.decode("utf-8"), pose, camera


def _lines(stream: BinaryIO) -> Iterator[str | None]:
    """The lines without comments; None for one that is too long to be read (a list of points)."""
    while line := stream.readline(MAX_LINE):
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            while (rest := stream.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                pass
            yield None
            continue
        text = line.decode("utf-8").strip("\ufeff \t\r\n")
        if not text.startswith("#"):
            yield text


def _cameras_txt(stream: BinaryIO, file: Path) -> Iterator:
    for line in _lines(stream):
        if not line:
            continue
        words = line.split()
        if len(words) < 5 or words[1] not in MODELS:
            raise ValueError(f"{file.name}: '{line[:60]}' is no camera that is known here")
        number, width, height = (_whole(w, file) for w in (words[0], words[2], words[3]))
        yield number, (words[1], width, height, [_real(w, file) for w in words[4:]])


def _images_txt(stream: BinaryIO, file: Path) -> Iterator:
    """Two lines an image; the second, its points, may be empty or left away."""
    pose_was_last = False
    for count, line in enumerate(_lines(stream)):
        if count > 2 * MAX_IMAGES:
            raise ValueError(f"{file.name} has more than {2 * MAX_IMAGES} lines")
        words = [] if line is None else line.split(maxsplit=9)
        if pose_was_last and (line is None or not line or _are_points(line)):
            pose_was_last = False
            continue
        if line == "":
            continue
        if len(words) < 10:
            raise ValueError(f"{file.name}: '{(line or '')[:60]}' is no image")
        pose = [_real(w, file) for w in words[1:8]]
        yield words[9], pose, _whole(words[8], file)
        pose_was_last = True


def _are_points(line: str) -> bool:
    """Whether a line lists points (x, y, number) rather than an image, which ends in a name."""
    words = line.split()
    if len(words) % 3:
        return False
    try:
        float(words[-1]), float(words[0])
    except ValueError:
        return False
    return True


def _real(word: str, file: Path) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"{file.name}: '{word[:40]}' is no number") from None


def _whole(word: str, file: Path) -> int:
    try:
        return int(word[:20])
    except ValueError:
        raise ValueError(f"{file.name}: '{word[:40]}' is no whole number") from None
