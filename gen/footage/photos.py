"""Photos of a still scene: a folder of images, with the cameras found in or beside it if any.

Layouts: the images themselves, COLMAP's (`images/` and `sparse/0`), that of 3D Gaussian
Splatting's converter (`input/` and `distorted/sparse/0` beside them), LLFF's (`images/` or
`images_4/` and `poses_bounds.npy`), nerfstudio's. Downscaled copies are one choice among
`images`, `images_2`, …, never more views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fourreal.console import warn
from fourreal.errors import UserError
from fourreal.natural_order import natural_key
from fourreal.video_io import IMAGE_SUFFIXES, image_size
from gen.footage.calibration import Calibration, match, some_of, takes_stored_pixels
from gen.footage.camera_files import find_cameras, named_cameras, not_read, read_cameras
from gen.footage.footage import Footage
from gen.footage.views import ImagesView, images_in

KIND = "photos of a still scene"
FOLDERS = ("images", "input", "photos", "rgb", "color", "images_2", "images_4", "images_8")
# Kinds of image that are named to the user instead of being read.
NOT_READ = {
    ".heic": "HEIC", ".heif": "HEIC", ".avif": "AVIF", ".tif": "TIFF", ".tiff": "TIFF",
    ".dng": "raw", ".cr2": "raw", ".cr3": "raw", ".nef": "raw", ".arw": "raw", ".exr": "EXR",
    ".jxl": "JPEG XL", ".jp2": "JPEG 2000", ".tga": "TGA", ".ppm": "PPM",
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

    Folders below `images/` are looked into as well: COLMAP keeps the photos of several cameras so.
    """
    if files := _in_order(folder):
        return Photos(folder, files)
    named = {d.name.lower(): d for d in sorted(folder.iterdir()) if d.is_dir()}
    for name in FOLDERS:
        if name not in named:
            continue
        if files := _in_order(named[name]):
            return Photos(named[name], files)
        below = sorted((d for d in named[name].iterdir() if d.is_dir()), key=_by_name)
        if files := [f for d in below for f in _in_order(d)]:
            return Photos(named[name], files)
    return None


def camera_source(
    folder: Path, cameras: str = "", what: str = "photos"
) -> tuple[Path, Calibration] | None:
    """The cameras that go with the photos of a folder and what holds them; None if none do.

    ``cameras``: what the user named, ``what``: how the folder is called.

    Raises:
        UserError: no photos, or cameras (``--cameras``, or within the folder) that cannot be used.
    """
    photos = find_photos(folder)
    if photos is None:
        raise UserError(no_images(folder, what))
    try:
        if cameras:
            at = named_cameras(cameras)
            return at, _named(at, photos)
        return _found(folder, photos)
    except ValueError as error:
        raise UserError(f"{folder} cannot be used: {error}") from error


def read_photos(folder: Path, cameras: str = "", what: str = "photos") -> Footage:
    """Photos of a still scene: V views x 1 time, in the order of their cameras' path or of names.

    Args:
        folder: photos, or a layout that holds them (see above).
        cameras: what holds the cameras; '' to look in the folder and beside it.
        what: how the folder is called.

    Raises:
        UserError: no photos, or cameras that cannot be used.
    """
    source = camera_source(folder, cameras, what)
    photos = find_photos(folder)
    assert photos is not None
    try:
        footage = _plain(folder, photos) if source is None else _calibrated(folder, photos, *source)
    except ValueError as error:
        raise UserError(f"{folder} cannot be used: {error}") from error
    if photos.root != folder:
        footage.notes.insert(0, f"{len(photos.files)} photos of {photos.root.name}/")
    footage.notes += passed_over(photos.root)
    if source is None:
        for at in dict.fromkeys((folder, photos.root, photos.root.parent)):
            footage.notes += not_read(at)
    return footage


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


def passed_over(folder: Path) -> list[str]:
    """Lines about images in a folder that are of kinds that are not read."""
    counts: dict[str, int] = {}
    for file in folder.iterdir():
        if (kind := NOT_READ.get(file.suffix.lower())) and not file.name.startswith("."):
            counts[kind] = counts.get(kind, 0) + 1
    return [f"{n} {kind} image(s) passed over: export them as JPEG" for kind, n in counts.items()]


def no_images(folder: Path, what: str) -> str:
    """Why a folder is no clip, and what to do."""
    kinds = [NOT_READ[f.suffix.lower()] for f in folder.iterdir() if f.suffix.lower() in NOT_READ]
    if kinds:
        kind = max(set(kinds), key=kinds.count)
        return (
            f"the {what} folder {folder} holds {kinds.count(kind)} {kind} images, which are not "
            "read: export them as JPEG (iPhone: Settings, Camera, Formats, Most Compatible)"
            if kind == "HEIC"
            else f"the {what} folder {folder} holds {kinds.count(kind)} {kind} images, which are "
            "not read: export them as JPEG or PNG"
        )
    return f"the {what} folder {folder} holds no {', '.join(IMAGE_SUFFIXES)} images"


def _plain(folder: Path, photos: Photos) -> Footage:
    for file in photos.files:
        if image_size(file) != image_size(photos.files[0]):
            raise UserError(
                f"{file} differs in size from {photos.files[0].name}; make all images equal"
            )
    views = [ImagesView(n, (f,)) for n, f in zip(_stems(photos), photos.files, strict=True)]
    return Footage(KIND, folder, views, np.ones((len(views), 1), bool), np.zeros(1))


def _calibrated(folder: Path, photos: Photos, at: Path, calibration: Calibration) -> Footage:
    which = match(photos.names, calibration)
    notes = list(calibration.notes)
    if max(which) < 0:
        which = match(photos.names, calibration, by_order=True)
        notes.append(f"no name of {calibration.label} is a photo's: paired in the order of names")
    views, K, w2c, lenses = [], [], [], []
    for name, file, k in zip(_stems(photos), photos.files, which, strict=True):
        if k < 0:
            continue
        camera = calibration.cameras[k]
        view = ImagesView(name, (file,), takes_stored_pixels(file, camera.size))
        own, lens = camera.at(view.size)
        views.append(view)
        K.append(own)
        lenses.append(lens)
        w2c.append(camera.w2c)
    if without := [n for n, k in zip(photos.names, which, strict=True) if k < 0]:
        notes.append(f"without a camera, left out: {len(without)} photos ({some_of(without)})")
    unused = sorted(set(range(len(calibration.cameras))) - set(which))
    if names := [calibration.cameras[k].name for k in unused]:
        notes.append(f"cameras of photos that are not there: {len(names)} ({some_of(names)})")
    return Footage(
        f"{KIND} + {calibration.label}", folder, views, np.ones((len(views), 1), bool),
        np.zeros(1), np.stack(K), np.stack(w2c), lenses, notes,
    )  # fmt: skip


def _found(folder: Path, photos: Photos) -> tuple[Path, Calibration] | None:
    """Cameras in the folder, in the one that holds the photos, or beside that one."""
    inner = [at for place in dict.fromkeys((folder, photos.root)) for at in _sources(place, photos)]
    best: tuple[Path, Calibration] | None = None
    most, failed = 1, ""
    for at in inner:
        # of several models of COLMAP the one with most photos counts, else the first that fits
        if best is not None and not (at.is_dir() and at.parent == best[0].parent):
            continue
        try:
            calibration = read_cameras(at, folder)
            fitting = _fit(calibration, photos)
        except ValueError as error:
            failed = failed or f"{at.relative_to(folder).as_posix()}: {error}"
            continue
        if fitting > most:
            best, most = (at, calibration), fitting
        elif not failed and best is None:
            failed = (
                f"{calibration.label} has no cameras of these photos: it names "
                f"{some_of([c.name for c in calibration.cameras])}, not {some_of(photos.names)}"
            )
    if best is not None:
        if failed:
            best[1].notes.append(f"not used: {failed}")
        return best
    if failed:
        raise ValueError(f"{failed}; move it away, or name the right one with --cameras")
    return _beside(folder, photos) if photos.root == folder else None


def _beside(folder: Path, photos: Photos) -> tuple[Path, Calibration] | None:
    """Cameras in the folder above, which need not be about these photos."""
    for at in _sources(folder.absolute().parent, photos):
        try:
            calibration = read_cameras(at, folder.absolute().parent)
            if 2 * _fit(calibration, photos) >= max(len(photos.files), 4):
                return at, calibration
        except ValueError as error:
            warn(f"{at.name} beside {folder.name}/ is not used: {error}")
    return None


def _sources(place: Path, photos: Photos) -> list[Path]:
    """What may hold cameras of the photos; `distorted/` is of `input/`, the rest of `images/`."""
    found = find_cameras(place)
    of_input = [at for at in found if "distorted" in at.relative_to(place).parts]
    if photos.root.name.lower() == "input" and of_input:
        return of_input
    undistorted = (photos.root.parent / "input").is_dir()
    return [at for at in found if at not in of_input] if undistorted else found


def _named(at: Path, photos: Photos) -> Calibration:
    """The cameras that the user named, which must fit. Raises ValueError."""
    calibration = read_cameras(at)
    if _fit(calibration, photos, True) < 2:
        raise ValueError(
            f"{calibration.label} has {len(calibration.cameras)} cameras and names none of the "
            f"{len(photos.files)} photos ({some_of([c.name for c in calibration.cameras])} / "
            f"{some_of(photos.names)})"
        )
    return calibration


def _fit(calibration: Calibration, photos: Photos, by_order: bool = False) -> int:
    """How many of the photos have a camera."""
    return sum(k >= 0 for k in match(photos.names, calibration, by_order))


def _stems(photos: Photos) -> list[str]:
    return [Path(n).with_suffix("").as_posix() for n in photos.names]


def _in_order(folder: Path) -> list[Path]:
    return sorted(images_in(folder), key=_by_name)


def _by_name(path: Path) -> tuple:
    return natural_key(path.name)
