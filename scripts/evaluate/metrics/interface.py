"""What a metric is: what it needs, whether that is there, a record a grid, figures over records.

A metric looks at one grid at a time and leaves a small record (named arrays), so that hundreds of
grids can be measured one after another, stopped and taken up again; the figures of a table, with
their intervals over grids, are made from the records alone.

Networks are read from local files only; nothing is downloaded. The files of all metrics lie in one
folder, whose names `Needs` gives.

Shape legend: V views (rows), T times (columns), F frames of a clip, H W pixels, RGB in 0..1.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from fourreal.errors import UserError
from scripts.evaluate.metrics.bootstrap import Estimate

Record = dict[str, NDArray]
Clip = NDArray[np.float32]  # [F, H, W, 3]


@dataclass(frozen=True)
class Sample:
    """One completed grid [V, T, H, W, 3] and what is known of it.

    truth: the true grid; static [V, H, W]: background where nothing ever moves; K [V, 3, 3],
    w2c [V, 4, 4]: its cameras.
    """

    name: str
    frames: NDArray[np.float32]
    prompt: str = ""
    truth: NDArray[np.float32] | None = None
    static: NDArray[np.bool_] | None = None
    K: NDArray[np.float64] | None = None
    w2c: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.frames.ndim != 5 or min(self.frames.shape[:2]) < 2:
            raise UserError(
                f"grid {self.name}: expected [V, T, H, W, 3] with at least 2 views and 2 times, "
                f"got {list(self.frames.shape)}"
            )

    @property
    def rows(self) -> list[Clip]:
        """The completed fixed-view videos (time axis)."""
        return list(self.frames[1:])

    @property
    def columns(self) -> list[Clip]:
        """The completed freeze-time videos (view axis)."""
        return list(self.frames.swapaxes(0, 1)[1:])


@dataclass(frozen=True)
class InputPair:
    """What a grid was made from: the fixed-view video and the freeze-time video."""

    row: Clip
    column: Clip


@dataclass(frozen=True)
class Needs:
    """What a metric needs besides the grids."""

    licence: str
    files: tuple[str, ...] = ()  # in the weights folder
    get: str = ""  # where they come from
    packages: tuple[str, ...] = ()  # importable names
    install: str = ""
    data: str = ""  # of the grids: cameras, prompts, true frames


@dataclass(frozen=True)
class Column:
    """One figure of a metric: its key in result files, heading and which way is better."""

    key: str
    title: str
    higher: bool


@dataclass
class References:
    """What distances of sets are measured to: records of the inputs, and of a large set."""

    inputs: list[Record] = field(default_factory=list)
    large: list[Record] = field(default_factory=list)


class Metric(ABC):
    """Base class of all metrics; `weights` is the folder with every metric's files."""

    name: ClassVar[str]
    needs: ClassVar[Needs]
    columns: ClassVar[tuple[Column, ...]]

    def __init__(self, weights: Path | None = None, device: torch.device | str = "cpu"):
        self.weights, self.device = weights, torch.device(device)
        self._network: Any = None

    def path(self, name: str) -> Path:
        """A file of the weights folder."""
        assert self.weights is not None
        return self.weights / name

    def is_available(self) -> tuple[bool, str]:
        """Whether the metric can run here; if not, what is missing and where to get it."""
        if self.needs.files:
            absent = [n for n in self.needs.files if not (self.weights and self.path(n).exists())]
            if absent:
                return False, f"weights missing: get {' and '.join(absent)} from {self.needs.get}"
        lacking = [p for p in self.needs.packages if not _installed(p)]
        if lacking:
            return False, f"package missing: {', '.join(lacking)} ({self.needs.install})"
        return True, ""

    def key(self) -> str:
        """What records depend on besides the grid: names and sizes of the files in use."""
        sizes = [f"{n}:{_size(self.path(n))}" for n in self.needs.files]
        return " ".join([self.name, *sizes])

    @property
    def network(self) -> Any:
        """The network, loaded at its first use.  UserError when it is not available."""
        if self._network is None:
            ok, reason = self.is_available()
            if not ok:
                raise UserError(f"{self.name}: {reason}")
            self._network = self.load()
        return self._network

    def use(self, network: Any) -> None:
        """Run with this network instead of the one on disk."""
        self._network = network

    def load(self) -> Any:
        """Read the network from the weights folder, ready to run on `device`."""
        raise NotImplementedError

    @abstractmethod
    def measure(self, sample: Sample) -> Record:
        """The record of one grid; an empty one when the grid lacks what `needs.data` says."""

    def measure_inputs(self, pair: InputPair) -> Record:
        """The record of one input pair, for metrics that compare with the inputs."""
        return {}

    def measure_clip(self, clip: Clip) -> Record:
        """The record of one clip of a large reference set, for metrics that compare with one."""
        return {}

    @abstractmethod
    def summary(self, records: Sequence[Record], references: References) -> dict[str, Estimate]:
        """The figures over grids by the keys of `columns`; `MISSING` where there is none."""


def values_of(records: Iterable[Record], name: str) -> NDArray[np.float64]:
    """One number a grid: the mean of a record's array, NaN where it has none."""
    return np.array([float(np.mean(r[name])) if np.size(r.get(name, ())) else np.nan
                     for r in records], np.float64)  # fmt: skip


def arrays_of(records: Iterable[Record], name: str) -> list[NDArray]:
    """The arrays of that name of the records that have one."""
    return [r[name] for r in records if name in r]


def no_figures(columns: Sequence[Column]) -> Mapping[str, Estimate]:
    """Every key of a metric without a figure."""
    return {c.key: Estimate(None) for c in columns}


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(p.stat().st_size for p in files)
