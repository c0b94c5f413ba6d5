"""Where the cameras of photos or of a rig lie, and their readers.

Read are COLMAP models, transforms.json, poses_bounds.npy, and ours: cameras.json with `width`,
`height` of the calibration and either a list `cameras` of `name` (and `file`), `K`, `w2c`, or `K`
(one or V) and `w2c` (V) of the frames in order. Conventions as in ``fourreal.cameras``. The
cameras.json that 3D Gaussian Splatting writes beside its results (a list of `img_name`, `width`,
`height`, `fx`, `fy`, `position` and `rotation` of the camera in the world) is read as well.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from fourreal.cameras import w2c_from_c2w
from fourreal.errors import UserError
from fourreal.read_text import read_json_list
from gen.footage.calibration import Calibration, Camera, sized
from gen.footage.colmap import is_model, read_model
from gen.footage.fields import array, intrinsics, need, number, pose, read_object
from gen.footage.llff import NAMES as LLFF_NAMES
from gen.footage.llff import read_poses_bounds
from gen.footage.transforms import read_transforms_cameras

# Folders of COLMAP models; those that go with undistorted photos before those of the originals.
MODELS = ("sparse/0", "sparse", "colmap/sparse/0", "colmap/sparse", "colmap", "colmap/0",
          "distorted/sparse/0", "distorted/sparse")  # fmt: skip
FILES = ("transforms.json", "transforms_train.json", *LLFF_NAMES, "cameras.json")
# Cameras of other programs, which are not read: pattern, program, what to do.
OTHERS = (
    ("*.sfm", "Meshroom", "export the cameras as a COLMAP model"),
    ("reconstruction.json", "OpenSfM", "opensfm export_colmap makes a COLMAP model of it"),
    ("*.nvm", "VisualSFM", "colmap model_converter reads it"),
    ("bundle*.out", "Bundler", "colmap model_converter reads it"),
    ("cameras_sphere.npz", "IDR and NeuS", "write them as cameras.json (docs/FORMATS.md)"),
    ("*.xml", "Metashape or another program", "export the cameras as a COLMAP model"),
    ("*alib*.toml", "Pose2Sim or Anipose", "write them as cameras.json (docs/FORMATS.md)"),
    ("calibration*.json", "another program", "write them as cameras.json (docs/FORMATS.md)"),
    ("annots.npy", "ZJU-MoCap", "EasyMocap writes them as intri.yml and extri.yml"),
    ("cameras/*.json", "Polycam", "ns-process-data polycam makes a transforms.json of them"),
    (
        "metadata.json",
        "Record3D",
        "ns-process-data record3d makes a transforms.json of them",
    ),
    ("models.json", "Google's immersive video", "write them as cameras.json (docs/FORMATS.md)"),
    ("calibration.csv", "ActorsHQ", "write them as cameras.json (docs/FORMATS.md)"),
    ("cameras_parameters.txt", "Technicolor", "write them as cameras.json (docs/FORMATS.md)"),
    ("database.db", "COLMAP before its mapper ran", "run the mapper; it makes sparse/0"),
)


def find_cameras(folder: Path) -> list[Path]:
    """What holds cameras in a folder: models first, in the order in which they are preferred."""
    found = [folder / name for name in MODELS if is_model(folder / name)]
    for parent in ("sparse", "colmap/sparse", "distorted/sparse"):
        if (folder / parent).is_dir():
            found += [d for d in sorted((folder / parent).iterdir()) if is_model(d)]
    if is_model(folder):
        found.append(folder)
    found += [folder / name for name in FILES if (folder / name).is_file()]
    return list(dict.fromkeys(found))


def not_read(folder: Path) -> list[str]:
    """Lines about cameras of other programs in a folder."""
    out = []
    for pattern, program, what in OTHERS:
        found = next((f for f in sorted(folder.glob(pattern)) if _may_hold_cameras(f)), None)
        if found is not None:
            name = found.relative_to(folder).as_posix()
            out.append(f"{name} holds cameras of {program}, which are not read: {what}")
    return out


def _may_hold_cameras(file: Path) -> bool:
    """Whether a file is more than called like one of cameras, where its name says little."""
    if file.name != "metadata.json":
        return True
    return '"poses"' in file.read_text(encoding="utf-8", errors="replace")[:1_000_000]


def refuse_fisheye(folder: Path) -> None:
    """Raises ValueError where the models.json of Google's immersive video (DeepView) says that the
    lenses of a folder's videos are fisheye ones, whose pictures no pin-hole camera takes."""
    try:
        text = (folder / "models.json").read_text(encoding="utf-8", errors="replace")[:100_000]
    except OSError:
        return
    if re.search(r'"projection_type"\s*:\s*"fisheye"', text):
        raise ValueError(
            "models.json says that the lenses are fisheye ones: undistort the videos to a pin-hole "
            "first"
        )


def read_cameras(path: Path, below: Path | None = None) -> Calibration:
    """The cameras that a path holds: a model's folder or one of its files, or a file of cameras.

    ``below``: the folder that the label is relative to.

    Raises:
        ValueError: of no form that is known, or damaged.
    """
    label = path.name
    if below is not None and path != below and path.is_relative_to(below):
        label = path.relative_to(below).as_posix()
    try:
        if path.is_dir():
            return read_model(path, label)
        if path.suffix == ".npy":
            return read_poses_bounds(path)
        if path.suffix in (".bin", ".txt") and is_model(path.parent):
            return read_model(path.parent, path.parent.name)
        if path.suffix == ".json":
            if _begins_with_list(path):
                return _splatting(path)
            data = read_object(path)
            return read_transforms_cameras(path) if "frames" in data else _ours(data, path.name)
    except OSError as error:
        raise ValueError(f"{label} cannot be read ({error.strerror or error})") from error
    raise ValueError(
        f"{path.name} holds no cameras; give a COLMAP model (sparse/0), transforms.json, "
        "poses_bounds.npy or cameras.json"
    )


def named_cameras(path: str) -> Path:
    """What ``--cameras PATH`` means: the file or model, or what a folder holds of them.

    Raises:
        UserError: nothing there.
    """
    given = Path(path)
    if not given.exists():
        raise UserError(f"--cameras {path}: no such file or folder")
    if given.is_dir() and not is_model(given):
        found = find_cameras(given)
        if not found:
            raise UserError(
                f"--cameras {path}: it holds no COLMAP model (sparse/0), {', '.join(FILES)}"
            )
        return found[0]
    return given


def _begins_with_list(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


def _splatting(file: Path) -> Calibration:
    """cameras.json of 3D Gaussian Splatting: camera-to-world, principal point in the middle."""
    name = file.name
    try:
        listed = read_json_list(file)
    except ValueError as error:
        raise ValueError(f"{name} is {error}") from error
    cameras = []
    for k, entry in enumerate(listed):
        where = f"camera {k} of {name}"
        if not isinstance(entry, dict) or not isinstance(entry.get("img_name"), str):
            raise ValueError(f"{where} has no 'img_name'")
        side = {n: number(entry.get(n), f"'{n}' of {where}") for n in ("height", "width")}
        focal = [number(entry.get(n), f"'{n}' of {where}") for n in ("fx", "fy")]
        if not all(1 <= s < 1e6 for s in side.values()) or not all(f > 0 for f in focal):
            raise ValueError(f"{where}: height, width and focal length must be above 0")
        size = int(side["height"]), int(side["width"])
        K = np.array([[focal[0], 0, size[1] / 2], [0, focal[1], size[0] / 2], [0, 0, 1]])
        c2w = np.eye(4)
        c2w[:3, :3] = array(entry.get("rotation"), (3, 3), f"'rotation' of {where}")
        c2w[:3, 3] = array(entry.get("position"), (3,), f"'position' of {where}")
        cameras.append(Camera(entry["img_name"], w2c_from_c2w(c2w), sized(K, size, name), (), size))
    if not cameras:
        raise ValueError(f"{name} lists no cameras")
    return Calibration(name, cameras)


def _ours(data: dict[str, Any], name: str) -> Calibration:
    size = tuple(number(data.get(n), f"'{n}' in {name}") for n in ("height", "width"))
    if not all(1 <= side < 1e6 for side in size):
        raise ValueError(f"'width' and 'height' in {name} must be above 0")
    shown = int(size[0]), int(size[1])

    def camera(called: str, K: Any, w2c: Any, where: str) -> Camera:
        for there, what in ((K, "'K'"), (w2c, "'w2c' (world to camera, OpenCV's axes)")):
            if there is None:
                raise ValueError(f"{where} has no {what}")
        own, placed = intrinsics(K, f"'K' of {where}"), pose(w2c, f"'w2c' of {where}")
        return Camera(called, placed, sized(own, (size[0], size[1]), name), (), shown)

    if "cameras" not in data and "w2c" in data:
        poses = need(data, "w2c", list, name)
        listed = need(data, "K", list, name)
        one = (
            bool(listed)
            and isinstance(listed[0], list)
            and not isinstance((listed[0] or [0])[0], list)
        )
        matrices = [listed] * len(poses) if one else listed
        if len(matrices) != len(poses):
            raise ValueError(f"{name} has {len(matrices)} 'K' for {len(poses)} 'w2c'")
        cameras = [
            camera(f"{k:04d}", K, w2c, f"camera {k} of {name}")
            for k, (K, w2c) in enumerate(zip(matrices, poses, strict=True))
        ]
        return Calibration(name, cameras)
    cameras = []
    for entry in need(data, "cameras", list, name):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise ValueError(f"a camera of {name} has no 'name'")
        where = f"camera {entry['name']} of {name}"
        cameras.append(camera(entry["name"], entry.get("K"), entry.get("w2c"), where))
    return Calibration(name, cameras)
