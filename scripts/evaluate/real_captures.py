"""Real captures with calibrated cameras to score reconstructions on, and what is held out of them.

Legend: V views, T times, H W frame.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourreal.cameras import scale_intrinsics
from fourreal.errors import UserError
from fourreal.video_io import read_clip, resize_frames, to_uint8
from gen.footage.detect import read_source
from gen.footage.footage import Footage
from gen.footage.pair import PairRequest, load_pair
from gen.footage.selection import default_size, fine_size
from gen.footage.views import open_clip
from gen.grid import VideoGrid

FloatArray = NDArray[np.floating]


@dataclass
class HeldView:
    """A camera kept from the method: frames [T, H, W, 3], K [3, 3], w2c [4, 4]."""

    frames: FloatArray
    K: FloatArray
    w2c: FloatArray


@dataclass
class Capture:
    """What the method is shown and what it is asked for.

    frames [V, T, H, W, 3], K [V, 3, 3] and w2c [V, 4, 4] of the input views, None where nobody
    knows them; cells [V, T]: those held out of the fit; held: views held out of everything;
    own_cameras: the capture comes with its cameras, so the default command has them; fine
    [V, h, w, 3]: column 0 as it was taken.
    """

    name: str
    frames: FloatArray
    K: FloatArray | None
    w2c: FloatArray | None
    held: list[HeldView]
    cells: NDArray[np.bool_]
    times: FloatArray
    own_cameras: bool = False
    fine: NDArray[np.uint8] | None = None
    note: str = ""
    labels: list[str] = field(default_factory=list)

    def grid(self, cameras: bool, cells: bool = True) -> VideoGrid:
        """The input grid; with `cells` all of it, else without the held-out cells."""
        known = np.ones(self.cells.shape, bool) if cells else ~self.cells
        frames = self.frames * known[:, :, None, None, None]
        K, w2c = (self.K, self.w2c) if cameras else (None, None)
        return VideoGrid(frames.astype(np.float32), known=known, times=self.times, K=K, w2c=w2c)


def every(count: int, k: int) -> list[int]:
    """Every k-th of `count` views, neither the first nor the last of them (k 0: none)."""
    return [v for v in range(k - 1, count - 1, k)] if k else []


def of_a_column(
    name: str, frames: FloatArray, K: FloatArray, w2c: FloatArray, held: list[int], note: str = ""
) -> Capture:
    """A capture of one time: frames [V, H, W, 3], of which `held` are kept from the method."""
    shown = [v for v in range(len(frames)) if v not in held]
    away = [HeldView(frames[v][None], K[v], w2c[v]) for v in held]
    return Capture(
        name, frames[shown][:, None], K[shown], w2c[shown], away,
        np.zeros((len(shown), 1), bool), np.zeros(1, np.float32), note=note,
    )  # fmt: skip


def photos(folder: Path, size: int, step: int, k: int) -> Capture:
    """A folder with rig/ (cameras, one picture each), every `step`-th one used."""
    grid = _footage(folder / "rig", size, 1)
    pick = slice(None, None, step)
    assert grid.K is not None and grid.w2c is not None
    frames = grid.frames[pick, 0]
    name = folder.name if step == 1 else f"{folder.name}/{step}"
    return of_a_column(name, frames, grid.K[pick], grid.w2c[pick], every(len(frames), k))


def clip(video: Path, cameras: Path, size: int, step: int, k: int) -> Capture:
    """A freeze-time clip NAME.mp4 with NAME_cameras.json (K [3, 3], w2c [V, 4, 4])."""
    stored = json.loads(cameras.read_text())
    raw = np.asarray(read_clip(video)[0], np.float32)
    frames = resize_frames(raw, *default_size(*raw.shape[1:3], short_side=size))
    K = scale_intrinsics(stored["K"], (stored["height"], stored["width"]), frames.shape[1:3])
    w2c = np.array(stored["w2c"], np.float64)[::step]
    frames = frames[::step]
    name = video.stem if step == 1 else f"{video.stem}/{step}"
    held = every(len(frames), k)
    capture = of_a_column(name, frames, np.tile(K, (len(w2c), 1, 1)), w2c, held)
    finer = fine_size(raw.shape[1:3], frames.shape[1:3])
    if finer is not None:
        larger = np.delete(raw[::step], held, axis=0)
        capture.fine = to_uint8(resize_frames(larger, *finer))
    return capture


def rig(
    folder: Path, size: int, most_times: int, extra: Path | None = None, name: str = ""
) -> Capture:
    """A calibrated rig over time: every other time of the last of more than two views is held out.

    `extra`: a larger rig in which the cameras that `folder` lacks are held-out views.
    """
    grid = _footage(folder, size, most_times)
    assert grid.K is not None and grid.w2c is not None and grid.times is not None
    V, T = grid.V, grid.T
    cells = np.zeros((V, T), bool)
    if V > 2:  # two views are what a depth needs
        cells[-1, 1::2] = True
    held = []
    if extra is not None:
        all_of_it = _footage(extra, size, most_times)
        assert all_of_it.K is not None and all_of_it.w2c is not None
        for v in range(all_of_it.V):
            if np.abs(grid.w2c - all_of_it.w2c[v]).max((1, 2)).min() > 1e-6:
                held.append(HeldView(all_of_it.frames[v], all_of_it.K[v], all_of_it.w2c[v]))
    return Capture(
        name or folder.parent.name, grid.frames, grid.K, grid.w2c, held, cells, grid.times, True
    )


def of_one_camera(fixed: Path, freeze: Path | None, size: int) -> Capture:
    """A clip of a still camera as the freeze-time clip it is not, or beside one of another scene.

    Raises:
        UserError: what the command says of it when it reads the clips.
    """
    shown = default_size(*open_clip(str(freeze or fixed), "clip")[0].size, short_side=size)
    if freeze is None:
        grid = load_pair(PairRequest(str(fixed), size=shown))
    else:
        grid = load_pair(PairRequest(str(freeze), str(fixed), size=shown))
    assert grid.times is not None
    cells = np.zeros((grid.V, grid.T), bool)
    return Capture(fixed.stem, grid.frames, None, None, [], cells, grid.times, fine=grid.fine)


def _footage(folder: Path, size: int, most_times: int) -> VideoGrid:
    source = read_source(str(folder), None)
    if not isinstance(source, Footage):
        raise UserError(f"{folder}: expected one video or image folder per camera")
    views, times = source.usable()
    if len(times) > most_times:
        times = times[np.round(np.linspace(0, len(times) - 1, most_times)).astype(int)]
    return source.grid(views, times, *default_size(*source.size, short_side=size))


def captures(
    data: Path, size: int, most_times: int, names: list[str]
) -> list[tuple[str, Callable[[], Capture]]]:
    """Name and loader of every capture in `data` that is asked for (all without `names`)."""
    found: list[tuple[str, Callable[[], Capture]]] = []
    for path in sorted(data.glob("*/photos")):
        folder = path.parent
        found.append((folder.name, lambda f=folder: photos(f, size, 1, 3)))  # type: ignore[misc]
        found.append((f"{folder.name}/2", lambda f=folder: photos(f, size, 2, 3)))  # type: ignore[misc]
    for path in sorted(data.glob("*_cameras.json")):
        video = path.with_name(path.name.replace("_cameras.json", ".mp4"))
        for step in (1, 2, 3):
            name = video.stem if step == 1 else f"{video.stem}/{step}"
            found.append(
                (name, lambda v=video, c=path, s=step: clip(v, c, size, s, 4))  # type: ignore[misc]
            )
    for path in sorted(data.glob("*_fixed.mp4")):
        for freeze in (None, *sorted(data.glob("*_freeze.mp4"))):
            name = path.stem if freeze is None else f"{path.stem}+{freeze.stem}"
            found.append((name, lambda p=path, f=freeze: of_one_camera(p, f, size)))  # type: ignore[misc]
    for path in sorted(data.glob("*/cameras.json")) + sorted(data.glob("*/*/cameras.json")):
        folder = path.parent
        if (folder.parent / "photos").is_dir() or (folder / "photos").is_dir():
            continue
        extra = folder.parent / "rig"
        if folder.name == "rig" and (folder.parent / "near").is_dir():
            continue
        bigger = extra if folder.name != "rig" and extra.is_dir() else None
        name = folder.name if folder.parent == data else folder.parent.name
        found.append(
            (name, lambda f=folder, e=bigger, n=name: rig(f, size, most_times, e, n))  # type: ignore[misc]
        )
    found = [(n, load) for n, load in found if not names or n in names]
    if not found:
        raise UserError(
            f"no captures with cameras in {data}" + (f" called {names}" if names else "")
        )
    return found
