"""VideoGrid: the V x T grid of frames that the generator makes and everything else starts from.

Row v is the fixed-view video of viewpoint v (time runs along it); column t is the freeze-time
video of time t (the viewpoint runs along it), as in Sec. 3 of the paper. Views are in the order of
the camera's path. At least one row and one column are complete; the cell where they cross is the
shared one: (0, 0) in grids that are generated, any other in clips that meet elsewhere. Conventions
of cameras are those of ``fourreal.cameras``. On disk: docs/FORMATS.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fourreal import video_io
from fourreal.atomic import atomic_file, atomic_folder
from fourreal.cameras import scale_intrinsics
from fourreal.errors import UserError
from fourreal.health import NotFinite
from gen.frame_files import FrameFiles, picked
from gen.grid_file import FINE, MARKER, VERSION, read_grid_fields, tile_layout

FEW = 24  # times; of clips of more, motion has fewer knots than times (`recon.config`)
Picked = slice | NDArray[np.integer]


@dataclass
class VideoGrid:
    """A V x T grid of frames, some of them possibly missing.

    Attributes:
        frames: float32 [V, T, H, W, 3], RGB in 0..1; cells that are not known are zero. What
            stands in for the frames of large grids reads them as they are asked for
            (``gen.frame_files``).
        known: bool [V, T]; the row and the column of the shared cell must be complete.
        shared: (view, time) of that cell; its column is the canonical freeze-time video.
        times: float32 [T], increasing, normalised to 0..1, not necessarily even.
        K: float64 [V, 3, 3] intrinsics in pixels, or None when unknown.
        w2c: float64 [V, 4, 4] world-to-camera (OpenCV), or None when unknown.
        fps: frames per second along time.
        prompt: the text the grid was made from, or "".
        fine: uint8 [V, h, w, 3], the frames of the shared column as they were taken, for features
            that lie finer than ``frames``; None where these are not coarser.

    Raises:
        ValueError: shapes, ranges or the completeness of the shared row and column do not hold.
    """

    frames: NDArray[np.float32]
    known: NDArray[np.bool_] | None = None
    times: NDArray[np.float32] | None = None
    K: NDArray[np.float64] | None = None
    w2c: NDArray[np.float64] | None = None
    fps: float = 8.0
    prompt: str = ""
    shared: tuple[int, int] = (0, 0)
    fine: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.frames, FrameFiles):
            self.frames = _checked(np.asarray(self.frames))
        V, T = self.frames.shape[:2]
        known = np.ones((V, T), bool) if self.known is None else np.asarray(self.known, bool)
        if known.shape != (V, T):
            raise ValueError(f"VideoGrid: known must be [{V}, {T}], got {list(known.shape)}")
        view, time = self.shared
        if not (0 <= view < V and 0 <= time < T):
            raise ValueError(f"VideoGrid: shared must lie within {V} x {T}, got {self.shared}")
        if not (known[view].all() and known[:, time].all()):
            raise ValueError(f"VideoGrid: row {view} and column {time} must be complete")
        self.known = known
        if self.times is None:
            self.times = np.linspace(0, 1, T, dtype=np.float32) if T > 1 else np.zeros(1, "f4")
        self.times = np.asarray(self.times, np.float32)
        if self.times.shape != (T,) or not np.isfinite(self.times).all():
            raise ValueError(f"VideoGrid: times must be {T} finite numbers")
        if (np.diff(self.times) <= 0).any() or self.times[0] < 0 or self.times[-1] > 1:
            raise ValueError("VideoGrid: times must increase within 0..1")
        for name, value, shape in (("K", self.K, (V, 3, 3)), ("w2c", self.w2c, (V, 4, 4))):
            if value is not None:
                array = np.asarray(value, np.float64)
                if array.shape != shape or not np.isfinite(array).all():
                    raise ValueError(f"VideoGrid: {name} must be finite and {list(shape)}")
                setattr(self, name, array)
        if self.fine is not None and (
            self.fine.ndim != 4 or self.fine.dtype != np.uint8 or len(self.fine) != V
        ):
            raise ValueError(f"VideoGrid: fine must be uint8 [{V}, h, w, 3]")
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"VideoGrid: fps must be positive, got {self.fps}")

    @property
    def V(self) -> int:
        """Number of viewpoints (rows)."""
        return self.frames.shape[0]

    @property
    def T(self) -> int:
        """Number of times (columns)."""
        return self.frames.shape[1]

    @property
    def height(self) -> int:
        return self.frames.shape[2]

    @property
    def width(self) -> int:
        return self.frames.shape[3]

    @property
    def complete(self) -> bool:
        """Whether every cell is known."""
        return bool(np.asarray(self.known).all())

    @property
    def at_once(self) -> bool:
        """Whether several views are known over time: those of one time were taken together."""
        return int((np.sum(np.asarray(self.known), axis=1) > 1).sum()) > 1

    def row(self, v: int) -> NDArray[np.float32]:
        """The fixed-view video of viewpoint ``v``: [T, H, W, 3]."""
        return self.frames[v]

    def column(self, t: int) -> NDArray[np.float32]:
        """The freeze-time video of time ``t``: [V, H, W, 3]."""
        return self.frames[:, t]

    @property
    def fixed_view(self) -> NDArray[np.float32]:
        """The complete row: [T, H, W, 3]."""
        return self.row(self.shared[0])

    @property
    def freeze_time(self) -> NDArray[np.float32]:
        """The complete column, the canonical one: [V, H, W, 3]."""
        return self.column(self.shared[1])

    def other_moments(self, most: int = 7) -> list[Callable[[], NDArray[np.float32]]]:
        """What reads the complete columns besides the canonical one, [V, H, W, 3] each: at most so
        many, spread over time."""
        complete = np.flatnonzero(np.asarray(self.known).all(0))
        others = complete[complete != self.shared[1]]
        places = np.linspace(0, len(others) - 1, min(most, len(others))).round().astype(int)
        return [partial(self.column, int(t)) for t in others[places]]

    def quadrants(self) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """(views, times) of up to four parts that start at the shared cell and lead away from it.

        Together they are the whole grid; in each, its own row 0 and column 0 are complete.
        """
        view, time = self.shared
        rows = [np.arange(view, self.V), np.arange(view, -1, -1)]
        columns = [np.arange(time, self.T), np.arange(time, -1, -1)]
        return [(r, c) for r in rows for c in columns if len(r) > 1 and len(c) > 1]

    def pick(self, views: Picked, times: Picked) -> VideoGrid:
        """The sub-grid of slices or increasing indices; its times are normalised anew to 0..1.

        Raises:
            UserError: nothing is picked, or no complete row and column are left.
        """
        assert self.known is not None and self.times is not None
        frames = picked(self.frames, views, times)
        if frames.shape[0] == 0 or frames.shape[1] == 0:
            raise UserError(
                f"the picked views or times are empty: the grid has {self.V} views and {self.T} "
                "times; choose A:B within them"
            )
        known = self.known[views][:, times]
        rows = np.arange(self.V)[views].tolist()
        columns = np.arange(self.T)[times].tolist()
        kept = self.shared[0] in rows and self.shared[1] in columns
        at = (rows.index(self.shared[0]), columns.index(self.shared[1])) if kept else (0, 0)
        shared = shared_cell(known, at)
        if shared is None:
            raise UserError(
                "no view of what is picked is known at every time, or no time in every view; "
                f"keep view {self.shared[0]} and time {self.shared[1]}"
            )
        same_time = columns[shared[1]] == self.shared[1]
        stamps = self.times[times]
        span = stamps[-1] - stamps[0]
        stamps = (stamps - stamps[0]) / span if span > 0 else np.zeros_like(stamps)
        return replace(
            self,
            frames=frames,
            known=known,
            shared=shared,
            times=stamps,
            K=None if self.K is None else self.K[views],
            w2c=None if self.w2c is None else self.w2c[views],
            fine=self.fine[views] if self.fine is not None and same_time else None,
        )

    def centred(self) -> VideoGrid:
        """The same grid about its ``canonical_cell``; one whose column is there in a finer size
        stays as it is."""
        assert self.known is not None
        shared = canonical_cell(self.known, self.shared)
        if shared is None or shared == self.shared or self.fine is not None:
            return self
        return replace(self, shared=shared)

    def resize(self, height: int, width: int) -> VideoGrid:
        """The same grid at another size: area filtering down, cubic up; intrinsics go along."""
        if (height, width) == (self.height, self.width):
            return self
        old = (self.height, self.width)
        K = None if self.K is None else scale_intrinsics(self.K, old, (height, width))
        frames = self.frames
        if isinstance(frames, FrameFiles):
            frames = frames.changed(
                lambda v, t, image: video_io.resize_frames(image, height, width), (height, width)
            )
            return replace(self, frames=cast(NDArray[np.float32], frames), K=K)
        return replace(self, frames=video_io.resize_frames(frames, height, width), K=K)

    def save(self, folder: str | Path) -> None:
        """Write the grid as a folder ``v00/t000.png … grid.json`` (8 bit), atomically."""
        assert self.known is not None and self.times is not None
        with atomic_folder(folder) as out:
            for v in range(self.V):
                view = out / f"v{v:02d}"
                view.mkdir()
                for t in range(self.T):
                    if self.known[v, t]:
                        video_io.write_image(view / f"t{t:03d}.png", self.frames[v, t])
            if self.fine is not None:
                (out / FINE).mkdir()
                for v, image in enumerate(self.fine):
                    video_io.write_image(out / FINE / f"v{v:02d}.jpg", image)
            (out / MARKER).write_text(json.dumps(self._metadata(), indent=1), "utf-8")

    def save_npz(self, path: str | Path) -> None:
        """Write the grid as one compressed ``.npz`` (8 bit), atomically."""
        meta = {k: v for k, v in self._metadata().items() if v is not None and k != "format"}
        with atomic_file(path) as temporary:
            with temporary.open("wb") as handle:
                np.savez_compressed(handle, rgb=video_io.to_uint8(self.frames), **meta)

    def save_mp4(self, path: str | Path) -> None:
        """Write one tiled mp4: every frame shows all views at one time, row by row (lossy)."""
        rows, columns = tile_layout(self.V)
        H, W = self.height, self.width
        canvas = np.zeros((self.T, rows * H, columns * W, 3), np.uint8)
        for v in range(self.V):
            r, c = divmod(v, columns)
            tile = video_io.to_uint8(self.frames[v])
            canvas[:, r * H : (r + 1) * H, c * W : (c + 1) * W] = tile
        layout = {"fourreal_tiles": [rows, columns], "views": self.V, "height": H, "width": W}
        video_io.write_video(path, canvas, self.fps, comment=json.dumps(layout))

    def _metadata(self) -> dict[str, Any]:
        assert self.known is not None and self.times is not None
        return {
            "format": "fourreal-grid",
            "version": VERSION,
            "height": self.height,
            "width": self.width,
            "times": [float(t) for t in self.times],
            "known": self.known.astype(int).tolist(),
            "fps": float(self.fps),
            "prompt": self.prompt,
            "shared": list(self.shared),
            "camera_convention": "OpenCV (x right, y down, z forward), world to camera, px",
            "K": None if self.K is None else self.K.tolist(),
            "w2c": None if self.w2c is None else self.w2c.tolist(),
        }

    @classmethod
    def load(cls, path: str | Path, tiles: tuple[int, int] | None = None) -> VideoGrid:
        """Read a grid folder, an ``.npz`` or a tiled ``.mp4``.

        Args:
            path: what ``save``, ``save_npz`` or ``save_mp4`` wrote; also a folder of
                ``v00/t000.png`` images without ``grid.json``, and any npz with ``rgb`` or
                ``frames`` as [V, T, H, W, 3].
            tiles: (rows, columns) of a tiled mp4 that does not say so itself.

        Raises:
            UserError: nothing there, or not a readable grid.
        """
        try:
            return cls(**read_grid_fields(path, tiles))
        # Fields of a wrong type fail where they are converted.
        except (ValueError, TypeError, OverflowError) as error:
            raise UserError(f"{path} is not a usable grid: {error}") from error


def _checked(f: NDArray[Any]) -> NDArray[np.float32]:
    """Frames as float32. Raises ValueError."""
    if f.ndim != 5 or f.shape[-1] != 3 or min(f.shape) < 1:
        raise ValueError(f"VideoGrid: frames must be [V, T, H, W, 3], got {list(f.shape)}")
    f = video_io.to_float(f)
    if not all(np.isfinite(row).all() for row in f):
        raise NotFinite("VideoGrid: frames contain NaN or Inf")
    return f


def shared_cell(
    known: NDArray[np.bool_], prefer: tuple[int, int] = (0, 0)
) -> tuple[int, int] | None:
    """A cell of known [V, T] whose row and column are complete: ``prefer``, else the first."""
    rows, columns = np.asarray(known.all(1)), np.asarray(known.all(0))
    if not (rows.any() and columns.any()):
        return None
    view, time = prefer
    return (
        view if rows[view] else int(np.argmax(rows)),
        time if columns[time] else int(np.argmax(columns)),
    )


def canonical_cell(
    known: NDArray[np.bool_], prefer: tuple[int, int] = (0, 0)
) -> tuple[int, int] | None:
    """The ``shared_cell`` of known [V, T] to build a scene from; None: there is none.

    Of long clips the complete column that is nearest to the middle, whatever is preferred: what
    moves then strays half as far from it.
    """
    cell = shared_cell(known, prefer)
    if cell is None or known.shape[1] <= FEW:
        return cell
    columns = np.flatnonzero(known.all(0))
    return cell[0], int(columns[np.abs(columns - known.shape[1] // 2).argmin()])
