"""Paths of selected points through time, as lines in the viser scene."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from viewer.viser.look import moving_points, pick, traces
from viewer.viser.shown import Shown

_SAMPLE = 40
_STILL = 1e-4  # a path shorter than this share of the distance to the scene is a dot
_DOT = 0.02  # viser units; the scene's centre is 3 away


class Traces:
    """The controls and the lines they make. Picking takes clicks on the scene while it is on."""

    def __init__(self, app: Shown) -> None:
        self._app = app
        self.points: list[int] = []
        self._handles: list[Any] = []
        gui = app.server.gui
        with gui.add_folder("Paths"):
            self.picking = gui.add_checkbox(
                "Click to trace", False, hint="click on a point to see its path through time"
            )
            sample = gui.add_button("Trace moving points")
            clear = gui.add_button("Clear paths")
        still = len(app.scene.times) < 2
        for handle in (self.picking, sample, clear):
            handle.disabled = still
        self.picking.on_update(lambda _: self._listen(self.picking.value))
        sample.on_click(lambda _: self.show(moving_points(app.scene, _SAMPLE)))
        clear.on_click(lambda _: self.clear())

    def _listen(self, on: bool) -> None:
        scene = self._app.server.scene
        if on:
            scene.on_pointer_event("click")(self.clicked)
        else:
            scene.remove_pointer_callback()

    def clicked(self, event: Any) -> None:
        """Trace the point under a click; the ray comes in viser's units."""
        if event.ray_origin is None or event.ray_direction is None:
            return
        app = self._app
        origin = np.asarray(event.ray_origin) / app.unit
        chosen = pick(app.scene, float(app.time.value), origin, np.asarray(event.ray_direction))
        if chosen is not None:
            self.show(np.array([chosen]))

    def show(self, points: NDArray[np.integer]) -> None:
        """Add the paths of some Gaussians."""
        if not len(points):
            return
        app = self._app
        scene = app.server.scene
        for k, path in zip(points, traces(app.scene, points) * app.unit, strict=True):
            number = len(self.points)
            hue = colorsys.hsv_to_rgb((0.11 + 0.618 * number) % 1, 0.75, 1.0)
            color = tuple(int(255 * c) for c in hue)
            self.points.append(int(k))
            self._handles.append(
                scene.add_icosphere(
                    f"/paths/{number}/start", _DOT, color, position=tuple(map(float, path[0]))
                )
            )
            if np.abs(path - path[0]).max() > _STILL * app.unit * app.distance:
                self._handles.append(
                    scene.add_spline_catmull_rom(f"/paths/{number}/line", path, color=color)
                )

    def clear(self) -> None:
        """Remove all paths."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.points.clear()
