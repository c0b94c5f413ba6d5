"""One video or image folder per camera; cameras in `poses_bounds.npy` or `cameras.json`, if any.

`cam*.mp4` with `poses_bounds.npy` is how Neural 3D Video ships: row k of the file (17 numbers, as
LLFF writes them) is the k-th video in name order: camera-to-world 3x4 with axes (down, right,
backward), its rows followed by height, width and focal length, then near and far. `cameras.json`
is ours: `width`, `height` and per camera `name`, `K`, `w2c` (OpenCV).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourreal.cameras import scale_intrinsics, w2c_from_c2w
from fourreal.npz_file import read_npy
from fourreal.video_facts import VIDEO_SUFFIXES, probe
from gen.footage.fields import MAX_TEXT, array, intrinsics, need, number, read_object
from gen.footage.footage import Footage
from gen.footage.views import SEQUENCE_FPS, ImagesView, VideoView, View, images_in

Cameras = tuple[NDArray[np.float64], NDArray[np.float64]]


def videos_in(folder: Path) -> list[Path]:
    """The videos of a rig in name order: those called cam*, else all."""
    found = sorted(f for f in folder.iterdir() if f.suffix.lower() in VIDEO_SUFFIXES)
    return [f for f in found if f.name.lower().startswith("cam")] or found


def image_folders_in(folder: Path) -> list[Path]:
    """Sub-folders that hold images, in name order (below `images/` where there is one)."""
    top = folder / "images" if (folder / "images").is_dir() else folder
    return sorted(d for d in top.iterdir() if d.is_dir() and images_in(d))


def read_videos(folder: Path) -> Footage:
    """One video per camera.

    Raises:
        ValueError: unreadable, of different frame rates, or cameras of another number.
    """
    facts = []
    for file in videos_in(folder):
        try:
            facts.append(probe(file))
        except ValueError as error:
            raise ValueError(f"{file.name}: {error}") from error
    rates = [f.fps for f in facts]
    if max(rates) > 1.01 * min(rates):
        slow, fast = facts[int(np.argmin(rates))], facts[int(np.argmax(rates))]
        raise ValueError(
            f"{slow.path.name} has {slow.fps:g} frames per second, {fast.path.name} {fast.fps:g}: "
            "make them equal"
        )
    count = min(f.count for f in facts)
    notes = sorted({n for f in facts for n in f.notes})
    if any(f.count != count for f in facts):
        notes.append(f"the videos differ in length: the first {count} frames of each are used")
    views = [VideoView(f) for f in facts]
    known = np.ones((len(views), count), bool)
    return _with_cameras("one video per camera", folder, views, known, rates[0], notes)


def read_image_folders(folder: Path) -> Footage:
    """One folder of images per camera; the k-th image in name order is time k.

    Raises:
        ValueError: no images of a time, or cameras of another number.
    """
    folders = image_folders_in(folder)
    lists = [images_in(d) for d in folders]
    count = min(len(x) for x in lists)
    notes = []
    if any(len(x) != count for x in lists):
        notes.append(f"the folders differ in length: the first {count} images of each are used")
    views = [ImagesView(d.name, tuple(x[:count])) for d, x in zip(folders, lists, strict=True)]
    known = np.ones((len(views), count), bool)
    return _with_cameras("one image folder per camera", folder, views, known, SEQUENCE_FPS, notes)


def _with_cameras(
    kind: str,
    folder: Path,
    views: Sequence[View],
    known: NDArray[np.bool_],
    fps: float,
    notes: list[str],
) -> Footage:
    K = w2c = None
    if (folder / "poses_bounds.npy").is_file():
        kind += " + poses_bounds.npy"
        K, w2c = _poses_bounds(folder / "poses_bounds.npy", views)
    elif (folder / "cameras.json").is_file():
        kind += " + cameras.json"
        K, w2c = _cameras_json(folder / "cameras.json", views)
    seconds = np.arange(known.shape[1]) / fps
    return Footage(kind, folder, views, known, seconds, K, w2c, notes=notes)


def _poses_bounds(file: Path, views: Sequence[View]) -> Cameras:
    if file.stat().st_size > MAX_TEXT:
        raise ValueError(f"{file.name} is larger than {MAX_TEXT >> 20} MB")
    try:
        rows = read_npy(file)
    except ValueError as error:
        raise ValueError(f"{file.name} is not a plain array ({error})") from error
    rows = array(rows, (-1, 17), file.name)
    if len(rows) != len(views):
        raise ValueError(
            f"{file.name} has {len(rows)} cameras for {len(views)} views; move away what is not "
            "calibrated, or the file"
        )
    poses = rows[:, :15].reshape(-1, 3, 5)
    K = np.zeros((len(rows), 3, 3))
    for v, (height, width, focal) in enumerate(poses[:, :, 4]):
        if not (height > 0 and width > 0 and focal > 0):
            raise ValueError(f"{file.name}: height, width and focal length must be above 0")
        own = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        K[v] = _for_frames(own, (height, width), views[v], file.name)
    return K, w2c_from_c2w(poses[:, :, :4], "llff")


def _cameras_json(file: Path, views: Sequence[View]) -> Cameras:
    data = read_object(file)
    size = tuple(number(data.get(n), f"'{n}' in {file.name}") for n in ("height", "width"))
    listed: dict[str, dict] = {}
    for entry in need(data, "cameras", list, file.name):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise ValueError(f"a camera of {file.name} has no 'name'")
        listed[entry["name"]] = entry
    K, w2c = [], []
    for view in views:
        if view.name not in listed:
            raise ValueError(f"{file.name} has no camera '{view.name}'")
        entry, where = listed[view.name], f"camera {view.name} of {file.name}"
        own = intrinsics(entry.get("K"), f"'K' of {where}")
        K.append(_for_frames(own, (size[0], size[1]), view, file.name))
        w2c.append(array(entry.get("w2c"), (4, 4), f"'w2c' of {where}"))
    return np.stack(K), np.stack(w2c)


def _for_frames(
    K: NDArray[np.float64], size: tuple[float, float], view: View, where: str
) -> NDArray[np.float64]:
    """K of a calibration at ``size``, for the frames as they are."""
    height, width = view.size
    if not (size[0] > 0 and size[1] > 0 and abs(size[1] * height / (size[0] * width) - 1) < 0.01):
        raise ValueError(
            f"{where} is for {size[0]:g}x{size[1]:g} pixels, {view.name} is {height}x{width}"
        )
    return scale_intrinsics(K, (size[0], size[1]), (height, width))  # type: ignore[arg-type]
