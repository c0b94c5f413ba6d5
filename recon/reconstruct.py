"""VideoGrid + freeze-time tracks -> Scene4D, in three stages from artefact to artefact.

1. ``fit_canonical``: keyframes of column 0 -> canonical Gaussians, floaters removed;
2. ``fit_static``: all their parameters (and estimated cameras) against column 0;
3. ``recon.motion_stage.fit_motion``: control nodes follow the rows, then everything against all
   known cells.
``fit_scene`` runs them all and reports.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fourreal.console import say
from fourreal.errors import UserError
from gen.grid import VideoGrid
from recon.canonical.build import build_canonical
from recon.canonical.colours import even_grid, maps_from_scene
from recon.canonical.compensation import disagreement_px, view_offsets
from recon.canonical.contradicted import contradicted
from recon.canonical.floaters import remove_floaters
from recon.canonical.free_space import seen_through
from recon.canonical.gaps import close_gaps
from recon.canonical.refuted import without_refuted
from recon.canonical.specks import without_specks
from recon.clip import at_times, clip_knots
from recon.config import FitConfig
from recon.fit.checkpoint import Checkpoint
from recon.fit.scene_fit import JointFit
from recon.fit.stage import (
    OnScene,
    cameras_are_fitted,
    empty_pixels,
    ignored_pixels,
    now_and_then,
)
from recon.left_out import without_dropped, without_moving
from recon.moments import fit_moments, needs_moments
from recon.motion_stage import KnownMotion, fit_motion
from recon.quality import cell_quality, say_what_does_not_fit
from recon.scene import Scene4D
from recon.sheen import seen_from
from recon.targets import targets_of
from tracking.column import ColumnTracks

_SHEEN_VIEWS = 3  # from which on directions are told from surfaces
_ROUGH = "rough"  # the phase after which specks are taken out ...
_ROUGH_PART = 0.3  # ... and its part of the static fit
_SAMPLE = 5000  # points that tell whether the freeze-time frames disagree
_FINE = 2  # times as many points may be made where none are joined


def fit_scene(
    grid: VideoGrid,
    column: ColumnTracks,
    config: FitConfig | None = None,
    on_scene: OnScene | None = None,
    checkpoint: Checkpoint | None = None,
    known_motion: KnownMotion | None = None,
) -> tuple[Scene4D, dict[str, Any]]:
    """Reconstruct a grid of which at least row 0 and column 0 are known.

    Args:
        grid: the frames; one time (T = 1) gives a static scene.
        column: depth, cameras and tracks of column 0 (``tracking.column.track_column``).
        on_scene: called with the scene as it stands, every few seconds (for a live view).
        checkpoint: keeps the state of the fit, and has it go on where an earlier one was killed.
        known_motion: the motion from which the fit starts, of a tracker of one's own or exact; by
            default nodes are followed through the frames.

    Returns:
        The scene and a report: seconds per stage, points, PSNR of every known cell.

    Raises:
        UserError: the column has no usable depth, or does not belong to this grid.
    """
    config = config or FitConfig()
    if not grid.complete:  # where one view knows a time, surfaces follow it better in fine points
        most = _FINE * config.canonical.max_points
        config = replace(config, canonical=replace(config.canonical, flat=0.0, max_points=most))
    if column.depth.shape != (grid.V, grid.height, grid.width):
        raise UserError(
            f"the tracks are of {column.depth.shape} (views, height, width), the grid of "
            f"{(grid.V, grid.height, grid.width)}; track this grid's freeze-time column again"
        )
    grid = given = without_dropped(grid, column.dropped)
    column = without_moving(column, grid)
    maps = column.colours
    if maps is not None:
        grid = even_grid(given, maps)
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[name], clock = round(now - clock, 2), now

    torch.manual_seed(config.seed)
    if needs_moments(grid, column):
        scene = fit_moments(grid, column, config, _fit_moment, checkpoint)
        lap("moments")
        quality = cell_quality(scene, given, maps)
        return scene, {"seconds": seconds, "points": len(scene), **quality}
    kept = checkpoint.scene(config.device) if checkpoint is not None else None
    if kept is not None:
        say(f"  going on after the {kept[0]} phase of the fit")
    knots = clip_knots(grid, config)
    whole, grid = grid, at_times(grid, knots)
    scene = fit_canonical(grid, column, config) if kept is None else kept[1]
    if checkpoint is not None and kept is None:
        checkpoint.finished("canonical", scene)
    lap("canonical")
    if on_scene is not None:
        on_scene(scene)
    if kept is None or kept[0] != "static":
        clean = kept is not None and kept[0] == _ROUGH
        scene = fit_static(
            scene, grid, config, on_scene, checkpoint, column.backdrop, clean, past=column.past
        )
        if checkpoint is not None:
            checkpoint.finished("static", scene)
    if maps is not None:  # again, from what the scene has in common
        maps = maps_from_scene(scene, given.freeze_time, maps)
        whole = even_grid(given, maps)
        grid = at_times(whole, knots)
    lap("static")
    scene = fit_motion(
        scene, grid, config, on_scene, checkpoint, column.backdrop, whole,
        known_motion=known_motion, past=column.past,
    )  # fmt: skip
    lap("motion")
    quality = cell_quality(scene, given, maps, column.backdrop)
    if column.backdrop is None and column.parallax:
        quality |= say_what_does_not_fit(scene, given, maps)
    report = {"seconds": seconds, "points": len(scene), **quality}
    lap("scoring")
    return scene, report


def _fit_moment(grid: VideoGrid, column: ColumnTracks, config: FitConfig) -> Scene4D:
    """A grid of one time, from its tracks to the static fit."""
    config = replace(config, sheen=False, close_gaps=False)  # what is made up would flicker
    return fit_static(fit_canonical(grid, column, config), grid, config)


def fit_canonical(grid: VideoGrid, column: ColumnTracks, config: FitConfig) -> Scene4D:
    """Stage 1: aggregate column 0 into canonical Gaussians and remove floaters."""
    frames = grid.freeze_time
    assert grid.times is not None
    left_out = seen_through(column) if column.parallax else np.zeros(column.depth.shape, bool)
    if column.parallax:
        left_out |= contradicted(column, frames)
    if column.backdrop is not None:
        left_out |= column.backdrop
    scene = build_canonical(frames, column, config.canonical, grid.times, left_out)
    scene.canonical_time = grid.shared[1]
    if config.compensation:
        points = scene.means.numpy()
        some = points[:: max(1, len(points) // _SAMPLE)]
        offsets = view_offsets(column.tracks, some)
        # smaller ones are the tracks' own error, and would be built into the scene
        least = config.compensate_from * max(scene.size)
        if disagreement_px(offsets, some, column.K, column.w2c) >= least:
            scene.view_offsets = torch.from_numpy(view_offsets(column.tracks, points))
    scene.offset_frame = config.offset_frame
    scene = scene.to(config.device)
    if config.floaters.steps:
        targets = torch.from_numpy(np.ascontiguousarray(frames)).to(config.device)
        views = _freeze_views(grid)
        ignored = ignored_pixels(column.backdrop, config)
        scene = remove_floaters(scene, targets, config.floaters, config.seed, views, ignored)
    return scene


def fit_static(
    scene: Scene4D,
    grid: VideoGrid,
    config: FitConfig,
    on_scene: OnScene | None = None,
    checkpoint: Checkpoint | None = None,
    backdrop: NDArray[np.bool_] | None = None,
    clean: bool = False,
    past: NDArray[np.bool_] | None = None,
) -> Scene4D:
    """Stage 2: all parameters of the static scene against the freeze-time column.

    A grid of one time ends here, so it gets more steps. On the way, points that a view refutes go
    (clean: that was done before); at the end, specks do, and gaps beside the views are closed.
    """
    views = _freeze_views(grid)
    ignored, empty = ignored_pixels(backdrop, config), empty_pixels(past, config)

    def run(scene: Scene4D, what: str, begin: float, stop: float, steps: int) -> Scene4D:
        poses = cameras_are_fitted(scene, grid, config)
        fit = JointFit(scene, frames, config, poses=poses, ignored=ignored, empty=empty)
        cells = [(v, scene.canonical_time) for v in views]
        show = now_and_then(fit, on_scene)
        fit.run(cells, steps, what, stop, show, checkpoint, begin)
        return fit.result()

    if not clean:
        if config.anisotropic and grid.T == 1:
            scene = scene.anisotropic()
        if config.sheen and grid.T == 1 and len(views) >= _SHEEN_VIEWS:
            scene = replace(
                scene,
                sheen=scene.means.new_zeros(len(scene), 3, 3),
                sheen_from=seen_from(scene.means, scene.w2c[views]),
            )
    if not config.static_steps:
        return scene
    frames = targets_of(grid, config.device)
    if grid.T > 1:
        # what moves is fitted on with the same rates, so they must not run out here
        return run(scene, "static fit", 0.0, 0.4, config.scaled(config.static_steps, len(scene)))

    def share(part: float) -> int:
        return round(part * config.scaled(5 * config.static_steps // 2, len(scene)))

    column = torch.from_numpy(np.ascontiguousarray(grid.freeze_time)).to(config.device)
    if not clean:
        scene = run(scene, "rough fit", 0.0, _ROUGH_PART, share(_ROUGH_PART))
        scene = without_refuted(scene, column, views, ignored)
        if checkpoint is not None:
            checkpoint.finished(_ROUGH, scene)
    scene = run(scene, "static fit", _ROUGH_PART, 1.0, share(1 - _ROUGH_PART))
    scene = without_specks(scene, column, views, ignored)
    return close_gaps(scene, views) if config.close_gaps else scene


def _freeze_views(grid: VideoGrid) -> list[int]:
    """The views whose cell of the freeze-time column may be fitted to."""
    assert grid.known is not None
    return [int(v) for v in np.flatnonzero(grid.known[:, grid.shared[1]])]
