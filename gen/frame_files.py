"""Frames of a grid that stay in their files and are read as they are asked for.

Whole clips do not fit in memory as float32. What was read is kept as 8 bit up to a bound, so that
a fit that visits cells at random seldom reads one twice. Legend: V views, T times.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fourreal.video_io import image_size, read_image, to_float, to_uint8

Image = NDArray[np.float32]
_KEPT = 1 << 28  # bytes as 8 bit
_MUCH = 1 << 28  # bytes as float32


class FrameFiles:
    """Stands where an array float32 [V, T, H, W, 3] stands; indexing it gives such arrays.

    Args:
        shape: (V, T, H, W, 3).
        read: the image float32 [H, W, 3] of a view and a time.
    """

    ndim = 5
    dtype = np.dtype(np.float32)

    def __init__(
        self, shape: tuple[int, int, int, int, int], read: Callable[[int, int], Image]
    ) -> None:
        self.shape, self._read = shape, read
        self._kept: OrderedDict[tuple[int, int], NDArray[Any]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return self.shape[0]

    def image(self, v: int, t: int) -> Image:
        """The image of one cell [H, W, 3]; not to be written to."""
        kept = self._kept.get((v, t))
        if kept is None:
            image = self._read(v, t)
            kept = to_uint8(image)
            if not np.array_equal(to_float(kept), image):  # of more than 8 bit
                kept = image
            self._kept[v, t] = kept
            self._bytes += kept.nbytes
            while self._bytes > _KEPT and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        else:
            self._kept.move_to_end((v, t))
        return to_float(kept)

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        """As an array; the first two indices choose what is read."""
        key = key if isinstance(key, tuple) else (key,)
        V, T = self.shape[:2]
        cells = np.arange(V * T).reshape(V, T)[key[:2]]
        if cells.ndim == 0:
            out = self.image(*divmod(int(cells), T))
        else:
            out = np.empty((cells.size, *self.shape[2:]), np.float32)
            for row, cell in enumerate(cells.ravel().tolist()):
                out[row] = self.image(*divmod(cell, T))
            out = out.reshape(*cells.shape, *self.shape[2:])
        return out[(slice(None),) * cells.ndim + key[2:]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def pick(self, views: Any, times: Any) -> FrameFiles:
        """Those of slices or indices of views and times, still unread."""
        rows = np.arange(self.shape[0])[views].tolist()
        columns = np.arange(self.shape[1])[times].tolist()
        _, _, H, W, _ = self.shape
        shape = (len(rows), len(columns), H, W, 3)
        return FrameFiles(shape, lambda v, t: self._read(rows[v], columns[t]))

    def changed(
        self, change: Callable[[int, int, Image], Image], size: tuple[int, int] | None = None
    ) -> FrameFiles:
        """Every image as ``change(v, t, image)`` makes it when it is read; ``size``: (H, W),
        where that changes."""
        V, T, *old, _ = self.shape
        H, W = size or old
        shape = (V, T, H, W, 3)
        return FrameFiles(shape, lambda v, t: change(v, t, self._read(v, t)))


def picked(frames: NDArray[np.float32], views: Any, times: Any) -> NDArray[np.float32]:
    """Those of slices or indices of views and times; what is not read stays so."""
    if isinstance(frames, FrameFiles):
        return cast(NDArray[np.float32], frames.pick(views, times))
    return frames[views][:, times]


def as_floats(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """8-bit frames [V, T, H, W, 3] in 0..1; many of them are turned as they are asked for."""
    if frames.size * 4 <= _MUCH:
        return to_float(frames)
    V, T, H, W, C = frames.shape
    return cast(
        NDArray[np.float32], FrameFiles((V, T, H, W, C), lambda v, t: to_float(frames[v, t]))
    )


def frame_files(views: list[Path], known: NDArray[np.bool_]) -> FrameFiles | None:
    """The images of a folder as they lie there; None where all of them as float32
    are no burden.

    Args:
        views: folders of ``t000.png`` and so on. known: bool [V, T], which images are there.

    Raises:
        ValueError: sizes differ. UserError: an image cannot be read.
    """
    cells = [(int(v), int(t)) for v, t in np.argwhere(known)]
    paths = {(v, t): views[v] / f"t{t:03d}.png" for v, t in cells}
    if not cells:
        return None
    H, W = size = image_size(paths[cells[0]])
    if known.size * H * W * 12 <= _MUCH:
        return None
    for path in paths.values():
        if image_size(path) != size:
            raise ValueError(f"{path.parent.name}/{path.name} differs in size from the first image")

    def read(v: int, t: int) -> NDArray[np.float32]:
        path = paths.get((v, t))
        return np.zeros((H, W, 3), np.float32) if path is None else read_image(path)

    return FrameFiles((*known.shape, H, W, 3), read)
