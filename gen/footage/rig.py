"""One video or image folder per camera; cameras beside them, if any (``rig_cameras``).

`cam*.mp4` with `poses_bounds.npy` is how Neural 3D Video ships.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourreal.video_facts import VIDEO_SUFFIXES, probe
from gen.footage.calibration import takes_stored_pixels
from gen.footage.footage import Footage
from gen.footage.rig_cameras import rig_cameras
from gen.footage.same_times import same_times
from gen.footage.views import SEQUENCE_FPS, ImagesView, VideoView, View, images_in


def videos_in(folder: Path) -> list[Path]:
    """The videos of a rig in name order: those called cam*, else all."""
    found = sorted(f for f in folder.iterdir() if f.suffix.lower() in VIDEO_SUFFIXES)
    return [f for f in found if f.name.lower().startswith("cam")] or found


def image_folders_in(folder: Path) -> list[Path]:
    """Sub-folders that hold images, in name order (below `images/` where there is one)."""
    top = folder / "images" if (folder / "images").is_dir() else folder
    return sorted(d for d in top.iterdir() if d.is_dir() and images_in(d))


def read_videos(folder: Path, cameras: str = "") -> Footage:
    """One video per camera; ``cameras``: what holds their cameras, '' to look in the folder.

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
    return _with_cameras("one video per camera", folder, views, known, rates[0], notes, cameras)


def read_image_folders(folder: Path, cameras: str = "") -> Footage:
    """One folder of images per camera; images of one name, or number, are of one time.

    ``cameras``: what holds their cameras, '' to look in the folder.

    Raises:
        ValueError: no images of a time, or cameras of another number.
    """
    folders = image_folders_in(folder)
    rows, notes = same_times([images_in(d) for d in folders])
    views = [ImagesView(d.name, row) for d, row in zip(folders, rows, strict=True)]
    known = np.array([[f is not None for f in row] for row in rows])
    return _with_cameras(
        "one image folder per camera", folder, views, known, SEQUENCE_FPS, notes, cameras
    )


def _with_cameras(
    kind: str,
    folder: Path,
    views: Sequence[View],
    known: NDArray[np.bool_],
    fps: float,
    notes: list[str],
    cameras: str = "",
) -> Footage:
    """Footage of a rig with the cameras that are named, or that lie in its folder."""
    found = rig_cameras(folder, [v.name for v in views], cameras)
    seconds = np.arange(known.shape[1]) / fps
    notes += found.notes
    if found.label == "":
        return Footage(kind, folder, views, known, seconds, notes=notes)
    kept: list[View] = []
    K, w2c, lenses = [], [], []
    for view, camera in zip(views, found.cameras, strict=True):
        if camera is None:
            continue
        if isinstance(view, ImagesView):
            first = next(f for f in view.files if f is not None)
            view = replace(view, stored=takes_stored_pixels(first, camera.size))
        try:
            own, lens = camera.at(view.size)
        except ValueError as error:
            raise ValueError(f"{view.name}: {error}") from error
        kept.append(view)
        K.append(own)
        lenses.append(lens)
        w2c.append(camera.w2c)
    known = known[[c is not None for c in found.cameras]]
    return Footage(
        f"{kind} + {found.label}", folder, kept, known, seconds, np.stack(K), np.stack(w2c), lenses,
        notes,
    )  # fmt: skip
