"""Cameras as files of others give them, before it is known which images they belong to.

Every reader of camera files makes a ``Calibration``; ``match`` says which camera is that of which
image, and ``Camera.at`` what it is for an image of a given size.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from fourreal.cameras import scale_intrinsics
from fourreal.natural_order import natural_key
from fourreal.video_io import image_size
from gen.footage.lens import Lens, lens_or_none
from gen.footage.views import SAME_SHAPE

Size = tuple[int, int]
Intrinsics = Callable[[Size], NDArray[np.float64]]

NAMED = 4  # so many names are listed in a line


@dataclass(frozen=True, eq=False)
class Camera:
    """One camera of a calibration.

    Attributes:
        name: the image or view it is of, as the file writes it; '' where only the order counts.
        w2c: [4, 4] world-to-camera (OpenCV).
        intrinsics: (height, width) of an image -> K [3, 3] for it, pixel centres at +0.5; raises
            ValueError for an image of another shape.
        coefficients: distortion, see ``gen.footage.lens``.
        size: (height, width) in pixels that the calibration is for, None if it does not say.
    """

    name: str
    w2c: NDArray[np.float64]
    intrinsics: Intrinsics
    coefficients: tuple[float, ...] = ()
    size: Size | None = None

    def at(self, size: Size) -> tuple[NDArray[np.float64], Lens | None]:
        """K [3, 3] for an image of a size, and what undistorts it. Raises ValueError."""
        K = self.intrinsics(size)
        return K, lens_or_none(K, self.coefficients, size)


@dataclass(frozen=True)
class Calibration:
    """The cameras of one file or model.

    Attributes:
        label: how it is named to the user.
        cameras: in the order of the file (LLFF: that of the images' names, character by character).
        lexical: whether the k-th camera is that of the k-th image in that order of names.
        notes: what was passed over, one line each.
    """

    label: str
    cameras: Sequence[Camera]
    lexical: bool = False
    notes: list[str] = field(default_factory=list)


def sized(K: NDArray[np.float64], size: tuple[float, float], where: str) -> Intrinsics:
    """Intrinsics of a calibration for images of ``size`` (height, width), at any other size."""

    def at(wanted: Size) -> NDArray[np.float64]:
        height, width = wanted
        fits = size[0] > 0 and size[1] > 0
        if not fits or abs(size[1] * height / (size[0] * width) - 1) >= SAME_SHAPE:
            raise ValueError(
                f"{where} is for {size[0]:g}x{size[1]:g} pixels, the image is {height}x{width}"
            )
        return scale_intrinsics(K, (size[0], size[1]), wanted)  # type: ignore[arg-type]

    return at


def match(names: Sequence[str], calibration: Calibration, by_order: bool = False) -> list[int]:
    """The camera of each image: indices into ``calibration.cameras``, -1 for none.

    Names are compared as they are, then without regard to case, then without suffix, then without
    folders, then by their last number where both sides have the same numbers, then the name of the
    camera with the folder of the only image in it. ``by_order`` lets the k-th image have the k-th
    camera where no name fits and there are as many of both.

    Raises:
        ValueError: cameras that go by order, of another number.
    """
    cameras = calibration.cameras
    if calibration.lexical:
        if len(cameras) != len(names):
            raise ValueError(
                f"{calibration.label} has {len(cameras)} cameras for {len(names)} images"
            )
        out = [0] * len(names)
        for k, at in enumerate(sorted(range(len(names)), key=lambda i: names[i])):
            out[at] = k
        return out
    listed = [c.name for c in cameras]
    for simplify in _SIMPLER:
        table = _unique([simplify(n) for n in listed])
        wanted = _unique([simplify(n) for n in names])
        found = {at: table[key] for key, at in wanted.items() if key in table}
        if simplify is _last_number and set(wanted) != set(table):
            found = {}
        if found:
            return [found.get(k, -1) for k in range(len(names))]
    table = _unique([_without_folders(n) for n in listed])
    folders = _unique([_without_suffix(PurePosixPath(_as_it_is(n)).parent.name) for n in names])
    if found := {at: table[key] for key, at in folders.items() if key in table}:
        return [found.get(k, -1) for k in range(len(names))]
    if by_order and len(cameras) == len(names):
        order = sorted(range(len(listed)), key=lambda k: (natural_key(listed[k]), k))
        out = [0] * len(names)
        for k, at in enumerate(sorted(range(len(names)), key=lambda i: natural_key(names[i]))):
            out[at] = order[k]
        return out
    return [-1] * len(names)


def takes_stored_pixels(file: object, size: Size | None) -> bool:
    """Whether a calibration for images of ``size`` is of the pixels of a file as they are stored.

    COLMAP and its kin ignore the orientation tag of a photo; those that obey it give a size that
    only the turned photo has.
    """
    stored = image_size(file, upright=False)  # type: ignore[arg-type]
    if size is None:
        return True
    return _alike(size, stored) or not _alike(size, image_size(file))  # type: ignore[arg-type]


def some_of(names: Sequence[str]) -> str:
    """The first few of a list of names."""
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _alike(a: Size, b: Size) -> bool:
    return abs(a[1] * b[0] / (a[0] * b[1]) - 1) < SAME_SHAPE


def _unique(keys: Sequence[str]) -> dict[str, int]:
    """Those that occur once -> their index; '' never."""
    first: dict[str, int] = {}
    again: set[str] = set()
    for k, key in enumerate(keys):
        if key in first:
            again.add(key)
        first[key] = k
    return {key: k for key, k in first.items() if key and key not in again}


def _as_it_is(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")


def _lower(name: str) -> str:
    return _as_it_is(name).casefold()


def _without_suffix(name: str) -> str:
    path = PurePosixPath(_lower(name))
    return path.with_suffix("").as_posix() if path.name else ""


def _without_folders(name: str) -> str:
    return PurePosixPath(_without_suffix(name)).name


def _last_number(name: str) -> str:
    numbers = re.findall(r"\d+", _without_folders(name))
    return str(int(numbers[-1][:18])) if numbers else ""


_SIMPLER = (_as_it_is, _lower, _without_suffix, _without_folders, _last_number)
