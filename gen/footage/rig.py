"""One video or image folder per camera; cameras beside them, if any (``rig_cameras``).

`cam*.mp4` with `poses_bounds.npy` is how Neural 3D Video ships.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourreal.video_facts import VIDEO_SUFFIXES, probe
from gen.footage.calibration import some_of, takes_stored_pixels
from gen.footage.footage import Footage
from gen.footage.not_views import Chosen, choose, copies_among, is_picture_folder, without_masks
from gen.footage.rig_cameras import rig_cameras
from gen.footage.rig_times import timed_views
from gen.footage.same_times import same_times
from gen.footage.views import (
    SEQUENCE_FPS,
    ImagesView,
    VideoView,
    View,
    choose_images,
    images_in,
    is_video,
)

A_TIME = re.compile(r"(frame|colmap|time|timestep)[_-]?[0-9]+", re.I)


def rig_videos(folder: Path) -> Chosen:
    """The videos of a rig in name order: those called cam*, else all; else those in `videos/`, or
    one in each sub-folder."""
    found = choose([f for f in folder.iterdir() if is_video(f)], VIDEO_SUFFIXES)
    called = [f for f in found.taken if f.name.lower().startswith("cam")]
    if called:
        others = [f.name for f in found.taken if f not in called]
        passed = {**found.passed, **({"not called cam*": others} if others else {})}
        return Chosen(called, passed)
    if found.taken:
        return found
    if (folder / "videos").is_dir():
        return choose([f for f in (folder / "videos").iterdir() if is_video(f)], VIDEO_SUFFIXES)
    below = choose([d for d in folder.iterdir() if d.is_dir()])
    each = [choose([f for f in d.iterdir() if is_video(f)], VIDEO_SUFFIXES) for d in below.taken]
    if each and all(len(one.taken) == 1 for one in each):
        return Chosen([one.taken[0] for one in each], below.passed)
    return Chosen([], {})


def videos_in(folder: Path) -> list[Path]:
    """The files of ``rig_videos``."""
    return rig_videos(folder).taken


def rig_folders(folder: Path) -> Chosen:
    """Sub-folders that hold a camera's images (or have them in their own `images/`), in name order;
    those below `images/` where there is one."""
    top = folder / "images" if (folder / "images").is_dir() else folder
    holding = {d: at for d in top.iterdir() if d.is_dir() and (at := _image_folder(d))}
    first = {d: images_in(at)[0] for d, at in holding.items()}
    return without_masks(choose(holding), first)


def image_folders_in(folder: Path) -> list[Path]:
    """The folders of ``rig_folders``."""
    return rig_folders(folder).taken


def _image_folder(folder: Path) -> Path | None:
    """Where the images of a camera's folder lie: in it, or in the one folder of images below it."""
    if images_in(folder):
        return folder
    named = [d for d in folder.iterdir() if d.is_dir() and is_picture_folder(d.name)]
    below = choose([d for d in named if images_in(d)]).taken
    return below[0] if len(below) == 1 else None


def read_videos(folder: Path, cameras: str = "") -> Footage:
    """One video per camera; ``cameras``: what holds their cameras, '' to look in the folder.

    Raises:
        ValueError: unreadable, or cameras of another number.
    """
    found = rig_videos(folder)
    own_folders = len({f.parent for f in found.taken}) > 1
    copies = copies_among(found.taken)
    videos = []
    for file in (f for f in found.taken if f not in copies):
        try:
            videos.append(VideoView(probe(file), file.parent.name if own_folders else ""))
        except ValueError as error:
            raise ValueError(f"{file.name}: {error}") from error
    views, known, seconds, notes = timed_views(videos)
    notes = [*sorted({n for v in videos for n in v.notes}), *found.notes, *notes]
    if copies:
        notes.append(f"copies of another camera, left out: {some_of([f.name for f in copies])}")
    return _with_cameras("one video per camera", folder, views, known, seconds, notes, cameras)


def read_image_folders(folder: Path, cameras: str = "") -> Footage:
    """One folder of images per camera; images of one name, or number, are of one time.

    Folders that are called as times are (`frame000001/cam00.png`, `colmap_0/images/cam00.png`) hold
    an image per camera: there, images of one name are of one camera.

    ``cameras``: what holds their cameras, '' to look in the folder.

    Raises:
        ValueError: no images of a time, or cameras of another number.
    """
    found = rig_folders(folder)
    places = [_image_folder(d) or d for d in found.taken]
    rows, notes = same_times([images_in(at) for at in places])
    kind, names = "one image folder per camera", [d.name for d in found.taken]
    first = folder
    if all(A_TIME.fullmatch(name) for name in names):
        kind, first = "one image folder per time", found.taken[0]
        rows = list(zip(*rows, strict=True))
        names = [next(f.stem for f in row if f is not None) for row in rows]
    views = [ImagesView(name, row) for name, row in zip(names, rows, strict=True)]
    known = np.array([[f is not None for f in row] for row in rows])
    within = {line: None for at in places for line in choose_images(at).notes}
    seconds = np.arange(known.shape[1]) / SEQUENCE_FPS
    return _with_cameras(
        kind, folder, views, known, seconds, [*found.notes, *list(within)[:3], *notes], cameras,
        first,
    )  # fmt: skip


def _with_cameras(
    kind: str,
    folder: Path,
    views: Sequence[View],
    known: NDArray[np.bool_],
    seconds: NDArray[np.float64],
    notes: list[str],
    cameras: str = "",
    also: Path | None = None,
) -> Footage:
    """Footage of a rig with the cameras that are named, or that lie in its folder, or ``also``."""
    found = rig_cameras(folder, [v.name for v in views], cameras)
    if found.label == "" and also not in (None, folder):
        within = rig_cameras(also, [v.name for v in views])
        found = within if within.label else found
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
