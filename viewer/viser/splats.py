"""Gaussians in a viser scene that change over time, on old and new viser alike.

viser >= 1.1 updates one node in place. Older ones (0.2.7 is what nerfstudio pins) ignore changes
of a node, so there every moment gets a node of its own, and the right one is made visible.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

_KEPT = 64  # nodes kept by old viser before the oldest is removed


class Splats(NamedTuple):
    """Gaussians: centers [N,3], radii [N], colors [N,3] and opacities [N] in 0..1; those that are
    not round also have stretch [N,3] on the radii and rotations [N,4] (w, x, y, z)."""

    centers: NDArray[np.float32]
    radii: NDArray[np.float32]
    colors: NDArray[np.float32]
    opacities: NDArray[np.float32]
    stretch: NDArray[np.float32] | None = None
    rotations: NDArray[np.float32] | None = None


class SplatNode:
    """One changing set of Gaussians under ``name`` in the scene of a ``viser.ViserServer``."""

    def __init__(self, server: Any, name: str) -> None:
        self._scene = server.scene
        self._name = name
        self._handles: dict[Hashable, Any] = {}
        self._shown: Any = None
        self._made = 0
        self._add: Any = getattr(self._scene, "add_gaussian_splats", None) or getattr(
            self._scene, "_add_gaussian_splats", None
        )
        if self._add is None:
            raise RuntimeError("this viser draws no Gaussians; install viser>=0.2.7,<2")
        handle = self._add(f"{name}/probe", *as_arguments(_nothing()))
        self.in_place: bool = hasattr(handle, "set_gaussians")
        handle.remove()

    def show(self, key: Hashable, make: Callable[[], Splats]) -> None:
        """Show what ``make`` returns; where nodes cannot change it is kept under ``key``."""
        if self.in_place:
            arguments = as_arguments(make())
            if self._shown is None:
                self._shown = self._add(self._name, *arguments)
            else:
                self._shown.set_gaussians(*arguments)
            return
        if key not in self._handles:
            self._made += 1
            self._handles[key] = self._add(f"{self._name}/{self._made}", *as_arguments(make()))
        current = self._handles[key] = self._handles.pop(key)  # most recent last
        current.visible = True
        if self._shown is not None and self._shown is not current:
            self._shown.visible = False
        self._shown = current
        while len(self._handles) > _KEPT:
            self._handles.pop(next(iter(self._handles))).remove()

    def forget(self) -> None:
        """Drop kept moments: their look has changed."""
        if self.in_place:
            return
        for handle in self._handles.values():
            handle.remove()
        self._handles.clear()
        self._shown = None


def as_arguments(splats: Splats) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Centers, covariances [N,3,3], colours and opacities [N,1], as viser takes them."""
    variance = (splats.radii.astype(np.float32) ** 2)[:, None, None]
    covariances = variance * np.eye(3, dtype=np.float32)
    if splats.stretch is not None and splats.rotations is not None:
        turns = Rotation.from_quat(np.roll(splats.rotations, -1, axis=1)).as_matrix()
        axes = turns.astype(np.float32) * splats.stretch[:, None]
        covariances = variance * (axes @ axes.transpose(0, 2, 1))
    return splats.centers, covariances, splats.colors, splats.opacities[:, None]


def _nothing() -> Splats:
    return Splats(
        np.zeros((1, 3), "f4"), np.ones(1, "f4"), np.zeros((1, 3), "f4"), np.zeros(1, "f4")
    )
