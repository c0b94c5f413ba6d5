"""The freeze-time clip: a video or photos, and its cameras when they are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourreal.cameras import check_rigid, scale_intrinsics
from fourreal.errors import UserError
from fourreal.natural_order import natural_key
from gen.footage.camera_files import named_cameras, read_cameras
from gen.footage.footage import Footage
from gen.footage.lens import Lens
from gen.footage.photo_folder import find_photos
from gen.footage.photos import camera_source, read_photos
from gen.footage.selection import default_size
from gen.footage.views import SAME_SHAPE, VideoView, open_clip

Size = tuple[int, int]


@dataclass(frozen=True)
class Column:
    """The frames of a freeze-time clip; frame k is viewpoint k. N frames.

    Attributes:
        path: how it is named to the user. size: (height, width) of its frames.
        count, fps: number of frames; frames per second. lines: what was understood.
        K: [N, 3, 3] in pixels of ``size``, or None; w2c: [N, 4, 4] (OpenCV), or None.
        lenses: per frame what undistorts it, or None.
    """

    path: str
    size: Size
    count: int
    fps: float
    lines: list[str]
    source: VideoView | Footage
    K: NDArray[np.float64] | None = None
    w2c: NDArray[np.float64] | None = None
    lenses: Sequence[Lens | None] = ()

    def read(self, index: NDArray[np.intp], size: Size) -> NDArray[np.uint8]:
        """Frames [n, height, width, 3] at a size, undistorted. Raises UserError."""
        try:
            if isinstance(self.source, VideoView):
                lens = self.lenses[0] if self.lenses else None
                return self.source.read(index.tolist(), *size, lens)
            views, lenses = self.source.views, self.source.lenses
            return np.concatenate([views[k].read([0], *size, lenses[k]) for k in index.tolist()])
        except ValueError as error:
            raise UserError(f"cannot read {self.path}: {error}") from error

    def small(self, index: NDArray[np.intp], short_side: int) -> NDArray[np.uint8]:
        """Frames of at most a short side, to be compared. Raises UserError."""
        return self.read(index, default_size(*self.size, short_side=short_side))

    def cameras(
        self, index: NDArray[np.intp], size: Size
    ) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
        """K [n, 3, 3] and w2c [n, 4, 4] of frames at a size; None when they are not given."""
        if self.K is None or self.w2c is None:
            return None, None
        return scale_intrinsics(self.K[index], self.size, size), self.w2c[index]

    def of(self, source: VideoView) -> Column:
        """The same clip, of which another part is seen."""
        return replace(self, source=source, size=source.size)

    @property
    def one_size(self) -> bool:
        """Whether all frames are of ``size`` as they lie on disk, as those of a lens must be."""
        photos = self.source.views if isinstance(self.source, Footage) else []
        return all(view.size == self.size for view in photos)

    def through(self, lens: Lens) -> Column:
        """The same frames, seen through ``lens`` (for frames of ``size``), which is undone."""
        lenses = [lens] * self.count
        if isinstance(self.source, Footage):
            return replace(self, source=replace(self.source, lenses=lenses), lenses=lenses)
        return replace(self, lenses=lenses)

    def lens_at(self, size: Size) -> Lens | None:
        """The lens that all frames have, for frames of another size but the same shape.

        None where nothing is distorted, the frames have several lenses, or the shape is another.
        """
        first = self.lenses[0] if self.lenses else None
        if first is None or any(not same_lens(first, lens) for lens in self.lenses):
            return None
        (h, w), (height, width) = first.size, size
        if abs(w * height / (h * width) - 1) >= SAME_SHAPE:
            return None
        return replace(first, K=scale_intrinsics(first.K, first.size, size), size=size)


def same_lens(a: Lens | None, b: Lens | None) -> bool:
    """Whether two lenses do the same to images of one size."""
    if a is None or b is None:
        return a is b
    return a.size == b.size and a.coefficients == b.coefficients and bool(np.allclose(a.K, b.K))


def open_column(path: str, cameras: str, what: str) -> Column:
    """A video file, or a folder that holds photos (see ``gen.footage.photos``).

    Args:
        path: the clip. cameras: what holds its cameras, '' to look beside photos for them.
        what: how the clip is called.

    Raises:
        UserError: missing, unreadable, or cameras that are not of this clip.
    """
    at = Path(path)
    if at.is_dir():
        return _photos(at, cameras, what)
    view, count, fps = open_clip(path, what)
    assert isinstance(view, VideoView)
    lines = list(view.notes)
    if not cameras:
        return Column(f"the {what} {path}", view.size, count, fps, lines, view)
    K, w2c, lens, label = _of_video(view, count, cameras)
    return Column(
        f"the {what} {path}", view.size, count, fps, [*lines, f"cameras of {label}"], view, K, w2c,
        [] if lens is None else [lens] * count,
    )  # fmt: skip


def key_paths(path: Path, cameras: str = "") -> list[Path]:
    """The folder or file that a freeze-time clip is read from, then what holds its cameras.

    Raises:
        UserError: nothing there, or nothing that can be a clip.
    """
    if not path.is_dir():
        return [path, *([named_cameras(cameras)] if cameras else [])]
    source = camera_source(path, cameras, "freeze-time clip")
    photos = find_photos(path)
    assert photos is not None
    return [photos.root, *([] if source is None else [source[0]])]


def _photos(folder: Path, cameras: str, what: str) -> Column:
    path = f"the {what} {folder}"
    footage = read_photos(folder, cameras, what)
    try:
        lines = footage.describe()
        size = footage.size
        K = footage.intrinsics(np.arange(len(footage.views)), *size)
    except ValueError as error:
        raise UserError(f"{folder} cannot be used: {error}") from error
    return Column(
        path, size, len(footage.views), footage.fps, lines, footage, K, footage.w2c, footage.lenses
    )


def _of_video(
    view: VideoView, count: int, cameras: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], Lens | None, str]:
    """K, w2c, lens and label of the frames of a video: the k-th camera is that of frame k.

    Raises:
        UserError: cameras of another number, or of several lenses.
    """
    try:
        calibration = read_cameras(named_cameras(cameras))
        listed = calibration.cameras
        if len(listed) != count:
            raise ValueError(
                f"it has {len(listed)} cameras for {count} frames of {view.facts.path.name}; give "
                "the folder of the photos that they are of"
            )
        if not calibration.lexical:
            listed = sorted(listed, key=lambda camera: natural_key(camera.name))
        own = [camera.at(view.size) for camera in listed]
        K = np.stack([K for K, _ in own])
        lenses = [lens for _, lens in own]
        if any(not same_lens(lenses[0], lens) for lens in lenses):
            raise ValueError("its frames have several lenses; give a folder of undistorted photos")
        if lenses[0] is not None:
            K = np.stack([lenses[0].pinhole] * count)
        return (
            K,
            check_rigid(np.stack([camera.w2c for camera in listed])),
            lenses[0],
            calibration.label,
        )
    except ValueError as error:
        raise UserError(f"--cameras {cameras} cannot be used: {error}") from error
