"""Which camera each view of a rig has, among those that lie in its folder or were named."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from gen.footage.calibration import Calibration, Camera, match, some_of
from gen.footage.camera_files import (
    find_cameras,
    named_cameras,
    not_read,
    read_cameras,
    refuse_fisheye,
)

# What counts first where several lie in a folder.
FIRST = ("poses_bounds.npy", "cameras.json", "poses_bounds_multipleview.npy")


@dataclass
class RigCameras:
    """Per view its camera, or None where it has none and is left out; '' as label: no cameras."""

    label: str = ""
    cameras: list[Camera | None] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def rig_cameras(folder: Path, names: Sequence[str], cameras: str = "") -> RigCameras:
    """The cameras of the views ``names`` of a rig.

    Args:
        folder: of the rig. cameras: what holds the cameras; '' to look in the folder.

    Raises:
        ValueError: cameras that are damaged, or (named, or of a fixed order) not of these views.
        UserError: nothing at ``cameras``.
    """
    if cameras:
        return _of_views(read_cameras(named_cameras(cameras)), names)
    refuse_fisheye(folder)
    found = find_cameras(folder)
    if not found and folder.absolute().name.lower() == "images":  # the rig is one above
        folder = folder.absolute().parent
        found = find_cameras(folder)
    listed = [folder / n for n in FIRST if folder / n in found]
    listed += [at for at in found if at not in listed]
    notes: list[str] = []
    for at in listed:
        if at.name in FIRST:
            out = _of_views(read_cameras(at, folder), names)
        else:
            try:
                out = _of_views(read_cameras(at, folder), names)
            except ValueError as error:
                label = at.relative_to(folder).as_posix()
                notes.append(f"the cameras of {label} are not used: {error}")
                continue
        out.notes += notes
        return out
    return RigCameras(notes=notes + not_read(folder))


def _of_views(calibration: Calibration, names: Sequence[str]) -> RigCameras:
    label, listed = calibration.label, calibration.cameras
    if calibration.lexical:
        rows, notes = _rows(calibration, names)
        return RigCameras(label, [listed[k] for k in rows], notes)
    which = match(names, calibration)
    cameras = [listed[k] if k >= 0 else None for k in which]
    if all(c is None for c in cameras):
        cameras = [_of_folder(calibration, name) for name in names]
    lost = [n for n, c in zip(names, cameras, strict=True) if c is None]
    if label == "cameras.json" and lost:
        raise ValueError(f"{label} has no camera '{lost[0]}'")
    if len(names) - len(lost) < 2:
        raise ValueError(
            f"it names {some_of([c.name for c in listed])}, not the views {some_of(names)}"
        )
    notes = [f"without a camera in {label}, left out: {some_of(lost)}"] if lost else []
    return RigCameras(label, cameras, [*calibration.notes, *notes])


def _of_folder(calibration: Calibration, name: str) -> Camera | None:
    """The camera of the images in a view's folder (`cam00/…`, `cam00/images/…`); None for none.

    Raises:
        ValueError: it moves.
    """
    own = [c for c in calibration.cameras if name in PurePosixPath(c.name.replace("\\", "/")).parts]
    for camera in own[1:]:
        scale = 1 + np.abs(own[0].w2c).max()
        if np.abs(camera.w2c - own[0].w2c).max() > 1e-3 * scale:
            raise ValueError(f"the camera of view {name} moves; a row needs a still camera")
    return own[0] if own else None


def _rows(calibration: Calibration, names: Sequence[str]) -> tuple[list[int], list[str]]:
    """The row of each view in a file whose rows go by order, also where views were deleted.

    Raises:
        ValueError: it cannot be told.
    """
    count = len(calibration.cameras)
    if count > len(names):
        found = [re.findall(r"[0-9]+", n) for n in names]
        numbers = [int(f[-1][:18]) if f else -1 for f in found]
        if len(set(numbers)) == len(numbers) and min(numbers) == 0 and max(numbers) < count:
            gone = sorted(set(range(count)) - set(numbers))
            return numbers, [
                f"{calibration.label} has {count} cameras for {len(names)} views: by their "
                f"numbers, number {some_of([str(k) for k in gone])} is not there"
            ]
    try:
        return match(names, calibration), []
    except ValueError:
        raise ValueError(
            f"{calibration.label} has {count} cameras for {len(names)} views; move away what is "
            "not calibrated, or the file"
        ) from None
