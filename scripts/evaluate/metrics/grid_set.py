"""Folders of completed grids and of what they were made from, as the evaluation reads them.

    GRIDS/NAME.npz              one method, called as the folder is, or
    GRIDS/METHOD/NAME.npz       several of them
    INPUTS/NAME.npz             what a grid was made from, under the same name

A grid is whatever `VideoGrid.load` reads: an .npz, a tiled .mp4 or a folder. An input whose cells
are all known is a true grid and scores the others too; an .npz may hold `static` [V, H, W], the
background where nothing ever moves, which cannot be told from colours alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourreal.atomic import atomic_file
from fourreal.errors import UserError
from gen.grid import VideoGrid
from gen.grid_file import MARKER
from scripts.evaluate.held_out import TrueGrid
from scripts.evaluate.metrics.interface import InputPair, Sample
from scripts.evaluate.metrics.truth import static_pixels

SUFFIXES = (".npz", ".mp4")


@dataclass(frozen=True)
class GridSet:
    """Grids by method and name, and the inputs by name (empty: row 0 and column 0 of the grids)."""

    methods: dict[str, dict[str, Path]]
    inputs: dict[str, Path]
    prompts: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        """The grids that every method has."""
        return sorted(set.intersection(*(set(grids) for grids in self.methods.values())))

    def only(self, methods: Sequence[str]) -> GridSet:
        """The test set with these methods (none given: all).  UserError for an unknown one."""
        missing = [m for m in methods if m not in self.methods]
        if missing:
            raise UserError(f"no grids of {missing[0]!r}; there are {', '.join(self.methods)}")
        return replace(self, methods={m: self.methods[m] for m in methods or self.methods})

    def samples(self, method: str) -> Iterator[Sample]:
        """The grids of a method, one after another."""
        for name in self.names:
            yield self._sample(name, VideoGrid.load(self.methods[method][name]))

    def has_truth(self) -> bool:
        """Whether all inputs are true grids with every cell known."""
        return all(
            name in self.inputs and VideoGrid.load(self.inputs[name]).complete
            for name in self.names
        )

    def true_samples(self) -> Iterator[Sample]:
        """The true grids as if they were a method's: what metrics reach at best."""
        for name in self.names:
            grid = VideoGrid.load(self.inputs[name])
            prompt = self.prompts.get(name, grid.prompt)
            yield Sample(name, grid.frames, prompt, K=grid.K, w2c=grid.w2c)

    def pairs(self) -> Iterator[tuple[str, InputPair]]:
        """The input videos."""
        first = next(iter(self.methods.values()))
        for name in self.names:
            grid = VideoGrid.load(self.inputs.get(name, first[name]))
            yield name, InputPair(grid.row(0), grid.column(0))

    def _sample(self, name: str, grid: VideoGrid) -> Sample:
        source, truth, static = grid, None, None
        if name in self.inputs:
            path = self.inputs[name]
            whole = VideoGrid.load(path)
            source = whole.resize(grid.height, grid.width)
            if source.frames.shape != grid.frames.shape:
                raise UserError(
                    f"{path} has {source.V} views x {source.T} times, the grid made from it "
                    f"{grid.V} x {grid.T}"
                )
            if source.complete:
                truth = source.frames
                static = _static(path, whole, (grid.height, grid.width))
        prompt = self.prompts.get(name, source.prompt or grid.prompt)
        return Sample(name, grid.frames, prompt, truth, static, source.K, source.w2c)


def _static(path: Path, whole: VideoGrid, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The stored mask of static background at (height, width), else pixels of constant colour."""
    mask = None
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as data:
            mask = data["static"] if "static" in data.files else None
    if mask is None or mask.shape != (whole.V, whole.height, whole.width):
        depth = np.zeros((whole.V, whole.T, whole.height, whole.width), np.float32)
        mask = static_pixels(whole.frames, depth)
    y = ((np.arange(size[0]) + 0.5) * mask.shape[1] / size[0]).astype(int)
    x = ((np.arange(size[1]) + 0.5) * mask.shape[2] / size[1]).astype(int)
    return mask[:, y[:, None], x].astype(bool)


def grids_in(folder: Path) -> dict[str, Path]:
    """The grids of a folder by name (its own methods' folders are none)."""
    found = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix in SUFFIXES}
    for p in sorted(folder.iterdir()):
        if p.is_dir() and ((p / MARKER).is_file() or (p / "v00").is_dir()):
            found[p.name] = p
    return found


def find_test_set(grids: Path, inputs: Path | None = None, prompts: Path | None = None) -> GridSet:
    """What lies in the folders.

    Raises:
        UserError: nothing there, or the methods have no grid in common.
    """
    for folder, flag in ((grids, "--grids"), (inputs, "--inputs")):
        if folder is not None and not folder.is_dir():
            raise UserError(f"no such folder: {folder} ({flag})")
    own = grids_in(grids)
    methods = {grids.resolve().name: own} if own else {
        p.name: found for p in sorted(grids.iterdir()) if p.is_dir() and (found := grids_in(p))
    }  # fmt: skip
    if not methods:
        raise UserError(
            f"no grids in {grids}; expected NAME.npz or METHOD/NAME.npz "
            "(python scripts/evaluate.py pairs writes some)"
        )
    test_set = GridSet(methods, grids_in(inputs) if inputs else {}, read_prompts(prompts))
    if not test_set.names:
        raise UserError(f"the methods in {grids} have no grid of the same name")
    missing = [name for name in test_set.names if name not in test_set.inputs]
    if inputs is not None and missing:
        raise UserError(f"{inputs} has no {missing[0]}, which {grids} has")
    return test_set


def read_prompts(path: Path | None) -> dict[str, str]:
    """Prompts by grid name: a JSON object, or lines of NAME, a tab, the prompt.

    Raises:
        UserError: unreadable or of another form.
    """
    if path is None:
        return {}
    if not path.is_file():
        raise UserError(f"no such file: {path} (--prompts)")
    text = path.read_text()
    try:
        if path.suffix == ".json":
            return {str(k): str(v) for k, v in json.loads(text).items()}
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        return {name.strip(): said.strip() for name, said in (x.split("\t", 1) for x in lines)}
    except (ValueError, AttributeError):
        raise UserError(
            f"{path}: expected a JSON object of NAME: prompt, or lines of NAME, tab, prompt"
        ) from None


def save_true_grid(path: Path, truth: TrueGrid) -> None:
    """Write a true grid with its cameras, prompt and static background as one .npz, atomically."""
    with atomic_file(path) as temporary:
        with temporary.open("wb") as handle:
            np.savez_compressed(
                handle, rgb=truth.rgb, static=truth.static, K=truth.K, w2c=truth.w2c,
                prompt=truth.prompt,
            )  # fmt: skip
