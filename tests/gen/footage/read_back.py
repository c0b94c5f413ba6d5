"""What was written as footage is read back as the scene it was made from, with its cameras."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gen.footage.detect import read_source
from gen.footage.footage import Footage
from gen.footage.pair import PairRequest, load_pair
from gen.grid import VideoGrid


def whole(path: Path, scene: VideoGrid, unknown: int = 0) -> str:
    """The path is read as all of the scene; so many cells are unknown. What is said of it."""
    source = read_source(path)
    assert isinstance(source, Footage)
    size = scene.height, scene.width
    grid = source.grid(np.arange(len(source.views)), np.arange(scene.T), *size)
    assert grid.w2c is not None, "the given cameras are not used"
    assert np.allclose(grid.w2c, scene.w2c, atol=1e-4)
    assert np.allclose(grid.K, scene.K, rtol=1e-4)
    assert int((~grid.known).sum()) == unknown
    for v, t in np.argwhere(grid.known):
        assert np.abs(grid.frames[v, t] - scene.frames[v, t]).mean() < 0.03, (v, t)
    return "\n".join(source.describe())


def first_column(grid: VideoGrid, scene: VideoGrid, tolerance: float = 0.02) -> None:
    """Frames and cameras are those of the scene's first column."""
    assert grid.w2c is not None, "the given cameras are not used"
    assert np.allclose(grid.w2c, scene.w2c, atol=1e-5)
    assert np.allclose(grid.K, scene.K, rtol=1e-4, atol=1e-3)
    assert np.abs(grid.frames[:, 0] - scene.frames[:, 0]).mean() < tolerance


def both_ways(folder: Path, scene: VideoGrid, tolerance: float = 0.02) -> Footage:
    """`grid FOLDER` and `videos --freeze-time FOLDER` give the scene's first column."""
    source = read_source(folder)
    assert isinstance(source, Footage)
    size = scene.height, scene.width
    grid = source.grid(np.arange(len(source.views)), np.zeros(1, int), *size)
    first_column(grid, scene, tolerance)
    first_column(load_pair(PairRequest(str(folder), size=size)), scene, tolerance)
    return source


def renamed(folder: Path, change: Callable[[str], str]) -> Path:
    """transforms.json with other names of files."""
    file = next(f for f in folder.iterdir() if f.name.startswith("transforms"))
    data = json.loads(file.read_text())
    for frame in data["frames"]:
        frame["file_path"] = change(frame["file_path"])
    file.write_text(json.dumps(data))
    return folder
