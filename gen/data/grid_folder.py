"""Folders of rendered multi-view grids as training data (paper 3.3, (2): animated assets).

DIR holds one folder a grid, of either kind:
    NAME/grid_144x256.npz, ...   `rgb` uint8 [V, T, H, W, 3]; `cameras.json` may say which views
                                 and times are the regular ones (`input_views`, `input_times`)
    NAME/grid.json, v00/...      a grid folder of ours (or one below NAME/grid)
The text is `prompt` or `caption` of NAME/meta.json, or the grid's own prompt, else nothing.
A grid needs at least 8 views and 8 times, all of them known.
"""

from __future__ import annotations

import json
import zipfile
from collections import Counter, OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from fourreal.errors import UserError
from fourreal.video_io import to_uint8
from gen.data.batches import randint, seeded
from gen.data.grid_batches import Grid
from gen.data.video_folder import crop_window, resize_uint8
from gen.dist import warn
from gen.flow.windows import WINDOW
from gen.grid import VideoGrid
from gen.grid_file import MARKER
from gen.network.text import split_words

CACHE_BYTES = 2**30


@dataclass(frozen=True)
class GridEntry:
    """One grid: the npz file or grid folder to read, its text, the places of its regular cells."""

    path: Path
    text: str
    views: tuple[int, ...]
    times: tuple[int, ...]


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object, {} when there is no such file; ValueError when it is something else."""
    if not path.is_file():
        return {}
    value = json.loads(path.read_text())
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} is not an object")
    return value


def _npz_shape(path: Path) -> tuple[int, ...]:
    """Shape of `rgb` without reading it; ValueError or KeyError when there is none."""
    with zipfile.ZipFile(path) as archive, archive.open("rgb.npy") as f:
        np.lib.format.read_magic(f)
        shape, _, dtype = np.lib.format.read_array_header_1_0(f)
    if len(shape) != 5 or shape[-1] != 3 or dtype != np.uint8:
        raise ValueError("rgb is not uint8 [V, T, H, W, 3]")
    return shape


def _entry(folder: Path, height: int) -> GridEntry:
    """What a folder holds; ValueError when it is no grid or too small a one.

    Of several npz files the smallest that is at least `height` pixels high is used.
    """
    text = str(next((v for k, v in _read_json(folder / "meta.json").items()
                     if k in ("prompt", "caption")), ""))  # fmt: skip
    files = sorted(folder.glob("grid_*.npz"))
    if files:
        shapes = {f: _npz_shape(f) for f in files}
        by_height = sorted(files, key=lambda f: shapes[f][2])
        path = next((f for f in by_height if shapes[f][2] >= height), by_height[-1])
        v, t = shapes[path][:2]
        cameras = _read_json(folder / "cameras.json")
        views = tuple(int(i) for i in cameras.get("input_views", range(v)) if i < v)
        times = tuple(int(i) for i in cameras.get("input_times", range(t)) if i < t)
    else:
        path = folder if (folder / MARKER).is_file() else folder / "grid"
        meta = _read_json(path / MARKER)
        if not meta:
            raise ValueError(f"neither grid_*.npz nor {MARKER}")
        known = np.asarray(meta["known"], bool)
        if known.ndim != 2 or not known.all():
            raise ValueError("some cells are missing")
        views, times = tuple(range(known.shape[0])), tuple(range(known.shape[1]))
        text = text or str(meta.get("prompt") or "")
    if len(views) < WINDOW or len(times) < WINDOW:
        raise ValueError(f"{len(views)} views x {len(times)} times, {WINDOW} x {WINDOW} are needed")
    return GridEntry(path, text, views, times)


def _some(places: tuple[int, ...], g: Generator) -> NDArray[np.intp]:
    """8 evenly spaced ones of the places, at a random start and spacing."""
    stride = 1 + randint((len(places) - 1) // (WINDOW - 1), g)
    start = randint(len(places) - (WINDOW - 1) * stride, g)
    return np.asarray(places)[start : start + (WINDOW - 1) * stride + 1 : stride]


class GridFolder:
    """8 x 8 grids cut at random from a folder of grids: views and times at a random start and
    spacing, views in either order, the same random crop for all cells.

    Raises UserError when the folder holds no usable grid.
    """

    def __init__(self, folder: Path, height: int, width: int, seed: int):
        if not folder.is_dir():
            raise UserError(f"no such folder of grids: {folder}")
        self.folder, self.size, self.seed = folder, (height, width), seed
        self.entries: list[GridEntry] = []
        problems = []
        for child in sorted(p for p in folder.iterdir() if p.is_dir()):
            try:
                self.entries.append(_entry(child, height))
            except (ValueError, KeyError, TypeError, OSError, zipfile.BadZipFile) as error:
                problems.append(f"{child.name} ({error})")
        if problems:
            shown = ", ".join(problems[:20]) + (", ..." if len(problems) > 20 else "")
            warn(f"{folder}: {len(problems)} folders are skipped: {shown}")
        if not self.entries:
            raise UserError(
                f"{folder} holds no grid of at least {WINDOW} views x {WINDOW} times; see the "
                "layouts in docs/TRAINING.md"
            )
        self._cache: OrderedDict[Path, NDArray[np.uint8]] = OrderedDict()
        self._lock = Lock()

    def word_counts(self) -> Counter[str]:
        """How often each word occurs in the captions."""
        return Counter(word for entry in self.entries for word in split_words(entry.text))

    def prepare(self, step: int) -> None:
        """Nothing to do: grids are read when asked for."""

    def _frames(self, path: Path) -> NDArray[np.uint8]:
        """The whole grid, from memory if it was read lately."""
        with self._lock:
            if path in self._cache:
                self._cache.move_to_end(path)
                return self._cache[path]
        if path.is_dir():
            frames = to_uint8(VideoGrid.load(path).frames)
        else:
            try:
                with np.load(path, allow_pickle=False) as data:
                    frames = data["rgb"]
            except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
                raise UserError(f"cannot read {path}: {error}; remove it") from error
        with self._lock:
            self._cache[path] = frames
            while (
                sum(f.nbytes for f in self._cache.values()) > CACHE_BYTES and len(self._cache) > 1
            ):
                self._cache.popitem(last=False)
        return frames

    def item(self, step: int, number: int) -> Grid:
        g = seeded(self.seed, step, number, 23)
        entry = self.entries[randint(len(self.entries), g)]
        frames = self._frames(entry.path)
        views, times = _some(entry.views, g), _some(entry.times, g)
        if randint(2, g):
            views = views[::-1]
        h, w = frames.shape[2:4]
        window = crop_window(h, w, *self.size, g)
        cells = [[resize_uint8(frames[v, t][window], *self.size) for t in times] for v in views]
        return Grid(torch.from_numpy(np.stack([np.stack(row) for row in cells])), entry.text)
