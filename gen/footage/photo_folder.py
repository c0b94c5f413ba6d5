"""Which images of a folder are the photos of a still scene, and what is passed over.

Layouts: the images themselves; COLMAP's and nerfstudio's (`images/`, downscaled copies in
`images_2/` …); that of 3D Gaussian Splatting's converter (`input/` are the originals); LLFF's;
what COLMAP's undistorter leaves (`dense/images/`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fourreal.natural_order import natural_key
from fourreal.video_io import IMAGE_KINDS
from gen.footage.calibration import some_of
from gen.footage.camera_files import find_cameras, read_cameras
from gen.footage.not_views import choose
from gen.footage.views import choose_images, images_in, is_video

# In this order; of downscaled copies the largest counts, and none where the originals are.
FOLDERS = ("images", "input", "photos", "rgb", "color", "images_2", "images_4", "images_8")
INNER = ("dense", "dense/0", "undistorted", "colmap", "keyframes")
# Kinds of image that are named to the user instead of being read.
NOT_READ = {
    ".dng": "raw", ".cr2": "raw", ".cr3": "raw", ".nef": "raw", ".arw": "raw", ".raf": "raw",
    ".rw2": "raw", ".orf": "raw", ".pef": "raw", ".srw": "raw", ".gpr": "raw", ".exr": "EXR",
    ".jxl": "JPEG XL", ".jp2": "JPEG 2000", ".tga": "TGA", ".ppm": "PPM", ".psd": "PSD",
}  # fmt: skip


@dataclass(frozen=True)
class Photos:
    """The photos of a folder: the folder that names are relative to, and the files in order."""

    root: Path
    files: Sequence[Path]

    @property
    def names(self) -> list[str]:
        """Names relative to the folder."""
        return [f.relative_to(self.root).as_posix() for f in self.files]


def find_photos(folder: Path) -> Photos | None:
    """The photos in a folder, or in its `images/` (else `input/`, `images_2/`, …); None if none.

    Folders below `images/` are looked into where each has one image, or a model says that its
    images were taken from several places; otherwise they are rows of a rig.
    """
    direct = _in_order(folder)
    within = _below(folder)
    if within is not None and len(within.files) > len(direct):
        return within
    if direct:
        return Photos(folder, direct)
    for name in INNER:
        if (folder / name).is_dir() and (found := _below(folder / name)) is not None:
            return found
    return within


def is_moving_rig(folder: Path) -> bool:
    """Whether a COLMAP model says that the images of one sub-folder were taken from several places:
    the photos of a few moving cameras, not rows of a rig."""
    for at in find_cameras(folder):
        if not at.is_dir():
            continue
        try:
            cameras = read_cameras(at).cameras
        except ValueError:
            continue
        first: dict[str, np.ndarray] = {}
        for camera in cameras:
            pose = first.setdefault(camera.name.rpartition("/")[0], camera.w2c)
            if np.abs(pose - camera.w2c).max() > 1e-3 * (1 + np.abs(pose).max()):
                return "/" in camera.name
    return False


def passed_over(folder: Path, photos: Photos) -> list[str]:
    """Lines about what lies in a folder beside the photos and is not used."""
    lines = choose_images(photos.root).notes
    counts: dict[str, int] = {}
    taken, twins = {f.stem for f in photos.files}, 0
    for file in photos.root.iterdir():
        if (kind := NOT_READ.get(file.suffix.lower())) and not file.name.startswith("."):
            twins += file.stem in taken
            counts[kind] = counts.get(kind, 0) + (file.stem not in taken)
    lines += [f"{n} {kind} image(s) passed over: export them as JPEG"
              for kind, n in counts.items() if n]  # fmt: skip
    if twins:
        lines.append(f"{twins} raw image(s) passed over: the pictures of their names are used")
    if waiting := _in_the_cloud(photos.root):
        lines.append(f"{waiting} photo(s) are still in iCloud: download them")
    if photos.root != folder and (direct := _in_order(folder)):
        lines.append(
            f"passed over, not in {photos.root.name}/: {some_of([f.name for f in direct])}"
        )
    others = [
        f"{d.name}/" for d in _folders(photos.root.parent) if d != photos.root and _in_order(d)
    ]
    if others and photos.root != folder:
        lines.append(f"passed over, folders of other images: {some_of(others)}")
    return lines


def no_images(folder: Path, what: str) -> str:
    """Why a folder is no clip, and what to do."""
    kinds = [NOT_READ[f.suffix.lower()] for f in folder.iterdir() if f.suffix.lower() in NOT_READ]
    for name in FOLDERS:
        if not kinds and (folder / name).is_dir():
            kinds = [NOT_READ[f.suffix.lower()] for f in (folder / name).iterdir()
                     if f.suffix.lower() in NOT_READ]  # fmt: skip
    if kinds:
        kind = max(set(kinds), key=kinds.count)
        return (
            f"the {what} folder {folder} holds {kinds.count(kind)} {kind} images, which are not "
            "read: export them as JPEG or PNG"
        )
    if waiting := _in_the_cloud(folder):
        return (
            f"the {waiting} photos of the {what} folder {folder} are still in iCloud: download "
            "them first (in the Finder: Download Now)"
        )
    rows = [d for place in (folder, folder / "images") for d in _folders(place) if _in_order(d)]
    if len(rows) > 1:
        return (
            f"the {what} folder {folder} holds folders of images ({some_of([d.name for d in rows])}"
            f"): name the one that is the clip, or use `grid {folder}` where each is a camera"
        )
    videos = [f.name for f in sorted(folder.iterdir(), key=_by_name) if is_video(f)]
    if videos:
        return f"the {what} folder {folder} holds videos ({some_of(videos)}): name the one it is"
    deeper = deeper_images(folder)
    if deeper is not None:
        return f"the images of the {what} folder {folder} lie deeper: name {deeper}"
    return f"the {what} folder {folder} holds no images ({IMAGE_KINDS})"


def _in_the_cloud(folder: Path) -> int:
    """How many photos a folder only has placeholders of (`.IMG_0012.HEIC.icloud`)."""
    return sum(f.name.startswith(".") and f.suffix == ".icloud" for f in folder.iterdir())


def deeper_images(folder: Path) -> Path | None:
    """The one folder up to three levels below that holds images, as cameras' cards have them
    (`DCIM/100APPLE`), or the one whose folders do (`4x/rgbs`); None if there are none or several.
    """
    level, found = [folder], []
    for _ in range(3):
        inner = [d for at in level for d in choose(_folders(at)).taken][:64]
        found += [d for d in inner if _in_order(d)]
        level = inner
    parents = {d.parent for d in found}
    if len(found) > 1 and len(parents) == 1 and folder not in parents:
        return parents.pop()
    return found[0] if len(found) == 1 else None


def two_numbers(names: Sequence[str]) -> tuple[int, int] | None:
    """How many first and second numbers names have that hold every pair of them once, as images
    of several cameras and times in one folder do (`00002_03.png`); None of other names."""
    pairs = set()
    for name in names:
        numbers = re.findall(r"[0-9]+", Path(name).stem)
        if len(numbers) < 2:
            return None
        pairs.add((int(numbers[-2][:18]), int(numbers[-1][:18])))
    first, second = ({pair[k] for pair in pairs} for k in range(2))
    whole = len(pairs) == len(names) == len(first) * len(second)
    return (len(first), len(second)) if whole and min(len(first), len(second)) > 1 else None


def _below(folder: Path) -> Photos | None:
    """The photos of the folders that go by a usual name."""
    named = {d.name.lower(): d for d in reversed(_folders(folder))}
    for name in FOLDERS:
        if name not in named:
            continue
        if files := _in_order(named[name]):
            return Photos(named[name], files)
        rows = [row for d in _folders(named[name]) if (row := _in_order(d))]
        if rows and (all(len(row) == 1 for row in rows) or is_moving_rig(folder)):
            return Photos(named[name], [f for row in rows for f in row])
    return None


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((d for d in folder.iterdir() if d.is_dir()), key=_by_name)


def _in_order(folder: Path) -> list[Path]:
    return sorted(images_in(folder), key=_by_name)


def _by_name(path: Path) -> tuple:
    return natural_key(path.name)
