"""One picture that tells whether a scene came out: input cells, their renders, new viewpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from fourreal.atomic import atomic_file
from fourreal.video_io import to_uint8, write_image
from gen.grid import VideoGrid
from recon.render import render_scene
from viewer.camera_paths import camera_path

if TYPE_CHECKING:
    from recon.scene import Scene4D

_GAP = 6
_MARGIN = 92
_TOP = 30
_PAPER = (18, 15, 13)  # RGB
_INK = (225, 228, 232)


def write_overview(scene: Scene4D, grid: VideoGrid | None, path: str | Path) -> None:
    """Write a contact sheet as a PNG.

    Up to four times side by side; for the first and the last view a row of input cells (hatched
    where unknown, left out without a grid) above a row of renders; then two new viewpoints.
    """
    views = sorted({0, len(scene.w2c) - 1})
    moments = np.unique(np.linspace(0, len(scene.times) - 1, min(4, len(scene.times))).round())
    times = [float(scene.times[int(t)]) for t in moments]
    rows: list[tuple[str, list[NDArray[np.uint8]]]] = []
    for v in views:
        if grid is not None:
            rows.append((f"view {v + 1}|input", [_cell(grid, v, time) for time in times]))
        shots = [_shot(scene, t, scene.w2c[v].cpu().numpy(), v, 1.0) for t in moments]
        rows.append((f"view {v + 1}|render", shots))
    new = camera_path("orbit", scene.w2c.cpu().numpy(), scene.means.detach().cpu().numpy(), 8)
    middle = len(scene.w2c) // 2
    for name, camera in (("a", new[1]), ("b", new[5])):
        rows.append(
            (f"new view {name}|render", [_shot(scene, t, camera, middle, 0.0) for t in moments])
        )
    with atomic_file(path) as temporary:
        write_image(temporary, _sheet(rows, times))


def _cell(grid: VideoGrid, v: int, moment: float) -> NDArray[np.uint8]:
    """The input cell at a time in 0..1, or a hatched one where it is unknown."""
    t = int(np.abs(np.asarray(grid.times) - moment).argmin())
    if v < grid.V and (grid.known is None or grid.known[v, t]):
        return to_uint8(grid.frames[v, t])
    y, x = np.mgrid[: grid.height, : grid.width]
    stripe = ((x + y) // 8 % 2).astype(np.uint8)
    return (30 + 12 * stripe)[..., None].repeat(3, -1).astype(np.uint8)


def _shot(scene: Scene4D, t: float, w2c: NDArray, v: int, compensation: float) -> NDArray[np.uint8]:
    moment = float(scene.times[int(t)])
    rgb = render_scene(scene, moment, w2c, scene.K[v], compensation=compensation).rgb
    return to_uint8(rgb.clamp(0, 1).cpu().numpy())


def _sheet(
    rows: list[tuple[str, list[NDArray[np.uint8]]]], times: list[float]
) -> NDArray[np.uint8]:
    """Rows of equal pictures with labels; pictures are enlarged to at least 200 px width."""
    height, width = rows[0][1][0].shape[:2]
    factor = max(1.0, 200 / width)
    h, w = round(height * factor), round(width * factor)
    sheet = np.empty(
        (_TOP + len(rows) * (h + _GAP), _MARGIN + len(times) * (w + _GAP), 3), np.uint8
    )
    sheet[:] = _PAPER
    for k, t in enumerate(times):
        _write(sheet, f"t = {t:.2f}", (_MARGIN + k * (w + _GAP), 20))
    for r, (label, pictures) in enumerate(rows):
        y = _TOP + r * (h + _GAP)
        for line, text in enumerate(label.split("|")):
            _write(sheet, text, (8, y + 20 + 18 * line), dim=line > 0)
        for k, picture in enumerate(pictures):
            x = _MARGIN + k * (w + _GAP)
            sheet[y : y + h, x : x + w] = cv2.resize(
                picture, (w, h), interpolation=cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
            )
    return sheet


def _write(sheet: NDArray[np.uint8], text: str, at: tuple[int, int], dim: bool = False) -> None:
    ink = tuple(c // 2 + 20 for c in _INK) if dim else _INK
    cv2.putText(sheet, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, ink, 1, cv2.LINE_AA)
