"""Photos of a still scene and the cameras that go with them, if any: footage of V views x 1 time.

Cameras are looked for in the folder, in the one that holds the photos, and beside it. Those within
have to fit; those beside need not be about these photos.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fourreal.console import warn
from fourreal.errors import UserError
from fourreal.video_io import image_size
from gen.footage.calibration import Calibration, match, some_of, takes_stored_pixels
from gen.footage.camera_files import find_cameras, named_cameras, not_read, read_cameras
from gen.footage.cut_view import are_turned
from gen.footage.footage import Footage
from gen.footage.not_views import copies_among
from gen.footage.photo_folder import (
    FOLDERS,
    Photos,
    find_photos,
    no_images,
    passed_over,
    two_numbers,
)
from gen.footage.views import SAME_SHAPE, ImagesView

KIND = "photos of a still scene"
FEW = 0.25  # of the photos may be of another shape
Source = tuple[Path, Calibration]


def camera_source(folder: Path, cameras: str = "", what: str = "photos") -> Source | None:
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
        return _found(folder, photos) or _beside(photos)
    except ValueError as error:
        raise UserError(f"{folder} cannot be used: {error}") from error


def read_photos(folder: Path, cameras: str = "", what: str = "photos") -> Footage:
    """Photos of a still scene: V views x 1 time, in the order of their cameras' path or of names.

    Args:
        folder: photos, or a layout that holds them (``gen.footage.photo_folder``).
        cameras: what holds the cameras; '' to look in the folder and beside it.
        what: how the folder is called.

    Raises:
        UserError: no photos, or cameras that cannot be used.
    """
    source = camera_source(folder, cameras, what)
    photos = find_photos(folder)
    assert photos is not None
    try:
        footage = _plain(photos) if source is None else _calibrated(photos, *source)
    except ValueError as error:
        raise UserError(f"{folder} cannot be used: {error}") from error
    if photos.root != folder:
        footage.notes.insert(0, f"{len(photos.files)} photos of {photos.root.name}/")
    footage.notes += passed_over(folder, photos)
    if source is None:
        for at in dict.fromkeys((folder, photos.root, photos.root.parent)):
            footage.notes += not_read(at)
    return footage


def _plain(photos: Photos) -> Footage:
    if (numbers := two_numbers(photos.names)) is not None:
        raise ValueError(
            f"the names of its {len(photos.files)} images hold all pairs of {numbers[0]} x "
            f"{numbers[1]} numbers ({some_of(photos.names)}): several cameras at several times; "
            "give each camera's images a folder of their own, and use `grid`"
        )
    photos, copies = _without_copies(photos)
    sizes = {file: image_size(file) for file in photos.files}
    if len(photos.files) == 1:
        raise UserError(
            f"{photos.root} holds one image ({photos.files[0].name}): a still scene needs two or "
            "more, taken from places apart"
        )
    photos, odd = _without_other_shapes(photos, sizes)
    first = sizes[photos.files[0]]
    others = [f.name for f in photos.files
              if sizes[f] != first and not are_turned(first, sizes[f])]  # fmt: skip
    notes = [f"of another size, brought to one: {some_of(others)}"] if others else []
    if odd:
        notes.append(f"of another shape (a screenshot, a panorama?), left out: {some_of(odd)}")
    notes += [f"copies of another photo, left out: {some_of(copies)}"] if copies else []
    views = [ImagesView(n, (f,)) for n, f in zip(_stems(photos), photos.files, strict=True)]
    known = np.ones((len(views), 1), bool)
    return Footage(KIND, photos.root, views, known, np.zeros(1), notes=notes)


def _without_other_shapes(
    photos: Photos, sizes: dict[Path, tuple[int, int]]
) -> tuple[Photos, list[str]]:
    """The photos of the shape that most have, upright or on their side, and the names of the rest.

    Raises:
        UserError: more than a few are of another shape.
    """

    def fits(a: tuple[int, int], b: tuple[int, int]) -> bool:
        return are_turned(a, b) or abs(b[1] * a[0] / (b[0] * a[1]) - 1) < SAME_SHAPE

    usual = max(sizes.values(), key=lambda size: sum(fits(size, s) for s in sizes.values()))
    odd = [f for f in photos.files if not fits(usual, sizes[f])]
    if len(odd) > FEW * len(sizes):
        like = next(f for f in photos.files if f not in odd)
        raise UserError(f"{odd[0]} differs in size from {like.name}; make all images equal")
    return Photos(photos.root, [f for f in photos.files if f not in odd]), [f.name for f in odd]


def _without_copies(photos: Photos) -> tuple[Photos, list[str]]:
    """The photos without those that are another's file again, and their names."""
    copies = copies_among(photos.files)
    left = [f for f in photos.files if f not in copies]
    return Photos(photos.root, left), [f.name for f in copies]


def _calibrated(photos: Photos, at: Path, calibration: Calibration) -> Footage:
    which = match(photos.names, calibration)
    notes = list(calibration.notes)
    if max(which) < 0:
        which = match(photos.names, calibration, by_order=True)
        notes.append(f"no name of {calibration.label} is a photo's: paired in the order of names")
    views: list[ImagesView] = []
    K, w2c, lenses = [], [], []
    for name, file, k in zip(_stems(photos), photos.files, which, strict=True):
        if k < 0:
            continue
        camera = calibration.cameras[k]
        view = ImagesView(name, (file,), takes_stored_pixels(file, camera.size))
        own, lens = camera.at(view.size)
        if not views and camera.size is not None and _nearly(camera.size, view.size):
            notes.append(
                f"{calibration.label} is for {camera.size[0]}x{camera.size[1]} pixels, {file.name} "
                f"has {view.size[0]}x{view.size[1]}: is it of these photos, or of undistorted ones?"
            )
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
        f"{KIND} + {calibration.label}", photos.root, views, np.ones((len(views), 1), bool),
        np.zeros(1), np.stack(K), np.stack(w2c), lenses, notes,
    )  # fmt: skip


def _nearly(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether sizes differ, but by less than any downscaling makes."""
    return a != b and 0.8 < b[1] / a[1] < 1.25


def _found(folder: Path, photos: Photos) -> Source | None:
    """The cameras in the folder, or in the one that holds the photos. Raises ValueError."""
    places = [folder, photos.root.parent, photos.root] if photos.root != folder else [folder]
    inner = [at for place in dict.fromkeys(places) for at in _sources(place, photos)]
    best: Source | None = None
    most, failed, others = 1, "", []
    for at in dict.fromkeys(inner):
        label = at.relative_to(folder).as_posix()
        # of several models of COLMAP the one with most photos counts, else the first that fits
        if best is not None and not (at.is_dir() and at.parent == best[0].parent):
            others.append(label)
            continue
        try:
            calibration = read_cameras(at, folder)
            fitting = _fit(calibration, photos)
        except ValueError as error:
            failed = failed or (f"{error}" if label in str(error) else f"{label}: {error}")
            continue
        if fitting > most:
            if best is not None:
                others.append(best[1].label)
            best, most = (at, calibration), fitting
        elif best is not None:
            others.append(label)
        elif not failed:
            failed = (
                f"{calibration.label} has no cameras of these photos: it names "
                f"{some_of([c.name for c in calibration.cameras])}, not {some_of(photos.names)}"
            )
    if best is not None:
        best[1].notes.extend([f"not used: {failed}"] if failed else [])
        best[1].notes.extend([f"also there, not used: {some_of(others)}"] if others else [])
        return best
    if failed:
        raise ValueError(f"{failed}; move it away, or name the right one with --cameras")
    return None


def _beside(photos: Photos) -> Source | None:
    """Cameras in the folder above that of the photos, which need not be about them."""
    root = photos.root.absolute()
    usual = root.name.lower() in FOLDERS
    for at in _sources(root.parent, photos):
        try:
            calibration = read_cameras(at, root.parent)
            if not usual and (calibration.lexical or not _by_full_name(calibration, photos)):
                continue
            if 2 * _fit(calibration, photos) >= max(len(photos.files), 4):
                _calibrated(photos, at, calibration)
                return at, calibration
        except ValueError as error:
            warn(f"{at.name} beside {root.name}/ is not used: {error}")
    return None


def _by_full_name(calibration: Calibration, photos: Photos) -> bool:
    """Whether cameras name photos with the folder they lie in, or nothing but the photos."""
    root = photos.root.absolute().name
    named = [c.name.replace("\\", "/") for c in calibration.cameras]
    wanted = {n.casefold() for n in photos.names}
    return any(n.split("/")[-2:-1] == [root] for n in named) or wanted >= {
        n.rpartition("/")[2].casefold() for n in named
    }


def _sources(place: Path, photos: Photos) -> list[Path]:
    """What may hold cameras of the photos; `distorted/` is of `input/`, the rest of `images/`."""
    found = find_cameras(place)
    of_input = [at for at in found if "distorted" in at.relative_to(place).parts]
    if photos.root.name.lower() == "input" and of_input:
        return of_input
    undistorted = (photos.root.absolute().parent / "input").is_dir()
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
