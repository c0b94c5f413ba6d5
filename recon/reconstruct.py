"""VideoGrid + freeze-time tracks -> Scene4D, in three stages from artefact to artefact.

1. ``fit_canonical``: keyframes of column 0 -> canonical Gaussians, floaters removed;
2. ``fit_static``: all their parameters (and estimated cameras) against column 0;
3. ``fit_motion``: control nodes follow the rows, then everything against all known cells.
``fit_scene`` runs them all and reports.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fourreal.console import say, warn
from fourreal.errors import UserError
from gen.grid import VideoGrid
from recon.canonical.build import build_canonical
from recon.canonical.colours import even_grid, maps_from_scene
from recon.canonical.compensation import disagreement_px, view_offsets
from recon.canonical.contradicted import contradicted
from recon.canonical.floaters import remove_floaters
from recon.canonical.free_space import seen_through
from recon.canonical.hidden_background import add_hidden_background
from recon.clip import at_times, clip_knots, more_steps
from recon.config import FitConfig
from recon.fit.adam import Adam
from recon.fit.checkpoint import Checkpoint
from recon.fit.scene_fit import Cell, JointFit, median_depth
from recon.later_surface import add_later_surface, resized
from recon.left_out import without_dropped, without_moving
from recon.moments import fit_moments, needs_moments
from recon.motion.follow import FollowConfig, Footage, follow_motion
from recon.motion.frames import FrameConfig
from recon.motion.knots import KnotOffsets, places
from recon.motion.nodes import choose_nodes, interpolation, node_graph
from recon.motion.offsets import FreeOffsets, MlpOffsets
from recon.motion.pyramid import Pyramid
from recon.motion.rigidity import LocalTurns
from recon.motion.stillness import Sights, still_points
from recon.place import Moment, Sight, place
from recon.quality import cell_quality, say_what_does_not_fit
from recon.raster.rasterize import rasterize
from recon.scene import Scene4D
from recon.targets import targets_of
from tracking.column import ColumnTracks

OnScene = Callable[[Scene4D], None]
_SHOW_EVERY = 2.0  # seconds between two states handed to ``on_scene``
_SAMPLE = 5000  # points that tell whether the freeze-time frames disagree


def fit_scene(
    grid: VideoGrid,
    column: ColumnTracks,
    config: FitConfig | None = None,
    on_scene: OnScene | None = None,
    checkpoint: Checkpoint | None = None,
) -> tuple[Scene4D, dict[str, Any]]:
    """Reconstruct a grid of which at least row 0 and column 0 are known.

    Args:
        grid: the frames; one time (T = 1) gives a static scene.
        column: depth, cameras and tracks of column 0 (``tracking.column.track_column``).
        on_scene: called with the scene as it stands, every few seconds (for a live view).
        checkpoint: keeps the state of the fit, and has it go on where an earlier one was killed.

    Returns:
        The scene and a report: seconds per stage, points, PSNR of every known cell.

    Raises:
        UserError: the column has no usable depth, or does not belong to this grid.
    """
    config = config or FitConfig()
    if not grid.complete:  # where one view knows a time, surfaces follow it better in fine points
        config = replace(config, canonical=replace(config.canonical, flat=0.0))
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
        scene = fit_static(scene, grid, config, on_scene, checkpoint, column.backdrop)
        if checkpoint is not None:
            checkpoint.finished("static", scene)
    if maps is not None:  # again, from what the scene has in common
        maps = maps_from_scene(scene, given.freeze_time, maps)
        whole = even_grid(given, maps)
        grid = at_times(whole, knots)
    lap("static")
    scene = fit_motion(scene, grid, config, on_scene, checkpoint, column.backdrop, whole)
    lap("motion")
    quality = cell_quality(scene, given, maps, column.backdrop)
    if column.backdrop is None and column.parallax:
        quality |= say_what_does_not_fit(scene, given, maps)
    report = {"seconds": seconds, "points": len(scene), **quality}
    lap("scoring")
    return scene, report


def _fit_moment(grid: VideoGrid, column: ColumnTracks, config: FitConfig) -> Scene4D:
    """A grid of one time, from its tracks to the static fit."""
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
        ignored = _ignored(column.backdrop, config)
        scene = remove_floaters(scene, targets, config.floaters, config.seed, views, ignored)
    return scene


def fit_static(
    scene: Scene4D,
    grid: VideoGrid,
    config: FitConfig,
    on_scene: OnScene | None = None,
    checkpoint: Checkpoint | None = None,
    backdrop: NDArray[np.bool_] | None = None,
) -> Scene4D:
    """Stage 2: all parameters of the static scene against the freeze-time column.

    A grid of one time ends here, so it gets more steps.
    """
    if config.anisotropic and grid.T == 1:
        scene = scene.anisotropic()
    if not config.static_steps:
        return scene
    frames, poses = targets_of(grid, config.device), _refined(scene, grid, config)
    fit = JointFit(scene, frames, config, poses=poses, ignored=_ignored(backdrop, config))
    cells = [(v, scene.canonical_time) for v in _freeze_views(grid)]
    # what moves is fitted on with the same rates, so they must not run out here
    steps, stop = (5 * config.static_steps // 2, 1.0) if grid.T == 1 else (config.static_steps, 0.4)
    steps = config.scaled(steps, len(scene))
    show = _now_and_then(fit, on_scene)
    fit.run(cells, steps, "static fit", stop=stop, on_step=show, checkpoint=checkpoint)
    return fit.result()


def fit_motion(
    scene: Scene4D,
    grid: VideoGrid,
    config: FitConfig,
    on_scene: OnScene | None = None,
    checkpoint: Checkpoint | None = None,
    backdrop: NDArray[np.bool_] | None = None,
    whole: VideoGrid | None = None,
) -> Scene4D:
    """Stage 3: motion over time and the joint fit to all known cells. No-op for one time.

    ``whole``: the clip of which ``grid`` has some times (``recon.clip.at_times``), all of which
    are fitted to; by default the same.
    """
    settings = config.deformation
    if grid.T == 1 or not settings.steps:
        return scene
    assert grid.known is not None
    frames = targets_of(grid, config.device)
    points = scene.means.cpu().numpy()
    depth = _drawn_depth(scene)
    K, w2c = scene.K.cpu().double().numpy(), scene.w2c.cpu().double().numpy()
    colors = scene.colors.cpu().numpy()
    still = np.zeros(len(points), bool)
    if settings.stillness:
        still = still_points(
            Sights(points, colors, grid.frames, grid.known, depth, K, w2c, scene.canonical_time)
        )
        if still.all():
            warn("nothing moves in the fixed-view videos; the scene is static")
            return scene
    if settings.hidden_background:
        scene, still = add_hidden_background(
            scene, grid, still, config.canonical.sigma, config.canonical.flat
        )
        points = scene.means.cpu().numpy()
    per_point = settings.kind == "mlp-points"
    if per_point:
        chosen = np.arange(len(points))
    else:
        weight = (~still).astype(np.float32)
        chosen = choose_nodes(points, weight, settings.nodes, config.seed)
    nodes = points[chosen]
    count = 1 if per_point else settings.neighbours
    index, weights = interpolation(points, nodes, count, still, still[chosen])
    scene = replace(
        scene,
        node_index=torch.from_numpy(index).to(config.device),
        node_weights=torch.from_numpy(weights).to(config.device),
        node_offsets=torch.zeros(grid.T, len(nodes), 3, device=config.device),
    )
    unit = median_depth(scene)
    free = torch.from_numpy(~still[chosen])
    motion = FreeOffsets(len(nodes), grid.T, scene.canonical_time, settings.bound * unit, free)
    motion = motion.to(config.device)
    rigidity = _rigidity(grid, config)
    turns = _turns(scene, chosen)
    begun = checkpoint is not None and checkpoint.has("joint fit")
    if settings.track_init and not begun:
        stiff = [config.loss.following * factor for factor in rigidity]
        start = JointFit(scene, frames, config, motion, turns, rigidity_T=stiff)
        pyramid = Pyramid(nodes, motion.free)
        footage = Footage(
            *(frames, grid.known, K, w2c, scene.canonical_time),
            depth=lambda cell, offsets: start.render(cell, offsets).depth,
            refine=lambda t, views, steps: start.refine_time(t, views, steps, pyramid),
        )
        follow = FollowConfig(frames=FrameConfig() if settings.rigid_parts else None)
        follow_motion(motion, turns, nodes.astype(np.float64), footage, follow)
    if whole is not None and whole.T > grid.T and settings.later_surface:
        found = checkpoint.kept_nodes(config.device) if checkpoint is not None and begun else None
        if found is not None:  # where nodes are is what the fit that goes on says
            (scene, chosen), motion = found, resized(motion, len(found[1]))
        else:
            scene, motion, chosen = add_later_surface(scene, motion, chosen, grid)
            if checkpoint is not None:
                checkpoint.keep_nodes(scene, chosen)
        turns = _turns(scene, chosen)
    if config.anisotropic:
        scene = scene.anisotropic()
        if settings.turning and scene.offset_frame != "literal":  # as printed, nothing turns
            scene.node_turns = torch.zeros_like(scene.node_offsets)
    field: FreeOffsets | MlpOffsets = motion
    if settings.kind != "nodes":
        field = _network(motion, nodes, scene, config)
    at = None
    if whole is not None and whole.T > grid.T:
        assert isinstance(field, FreeOffsets)
        stamps = scene.times.tolist()
        field = KnotOffsets(field, stamps, settings.curved)
        grid, at = whole, places(stamps, np.asarray(whole.times).tolist())
        frames, rigidity = targets_of(grid, config.device), _rigidity(grid, config)
    cells: list[Cell] = [(int(v), int(t)) for v, t in np.argwhere(np.asarray(grid.known))]
    shade, poses = settings.shade, _refined(scene, grid, config)
    fit = JointFit(
        scene, frames, config, field, turns, shade, poses=poses, rigidity_T=rigidity,
        ignored=_ignored(backdrop, config), places_T=at,
    )  # fmt: skip
    steps = config.scaled(settings.steps, len(scene))
    if at is not None:
        steps = round(steps * more_steps(len(scene.times)))
    show = _now_and_then(fit, on_scene)
    fit.run(cells, steps, "joint fit", on_step=show, checkpoint=checkpoint)
    return fit.result()


def _turns(scene: Scene4D, chosen: NDArray[np.int64]) -> LocalTurns:
    """Of the graph of the nodes, which are points of the scene."""
    nodes = scene.means[torch.from_numpy(chosen)]
    return LocalTurns(nodes, torch.from_numpy(node_graph(nodes.cpu().numpy())).to(nodes.device))


def _now_and_then(fit: JointFit, on_scene: OnScene | None) -> Callable[[int], None] | None:
    """A hook for ``JointFit.run`` that hands out the scene every ``_SHOW_EVERY`` seconds."""
    if on_scene is None:
        return None
    last = time.monotonic()

    def hook(step: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _SHOW_EVERY:
            on_scene(fit.result())
            last = time.monotonic()

    return hook


def _network(
    motion: FreeOffsets, nodes: NDArray[np.floating], scene: Scene4D, config: FitConfig
) -> MlpOffsets:
    """A network, regressed before any rendering to the nodes that were followed."""
    settings = config.deformation
    generator = torch.Generator().manual_seed(config.seed)
    network = MlpOffsets(
        torch.as_tensor(nodes, dtype=torch.float32),
        scene.times.cpu(),
        scene.canonical_time,
        motion.bound,
        settings.mlp_width,
        settings.mlp_depth,
        generator,
        motion.free.cpu(),
    ).to(config.device)
    if not settings.track_init:
        return network
    targets = [motion(t).detach() for t in range(len(scene.times))]
    optimiser = Adam([{"params": list(network.parameters()), "lr": config.rates.mlp}], eps=1e-8)
    for step in range(500):
        t = step % len(targets)
        if t != scene.canonical_time:
            optimiser.zero_grad()
            ((network(t) - targets[t]).abs().mean() / motion.bound).backward()
            optimiser.step()
    return network


@torch.no_grad()
def _drawn_depth(scene: Scene4D) -> NDArray[np.float32]:
    """Depth [V, H, W] that the canonical scene draws in its input views."""
    out = []
    for v in range(len(scene.w2c)):
        gaussians = place(scene.canonical(), Moment(), Sight(offset=scene.view_offsets[v]))
        drawn = rasterize(gaussians, scene.camera(v))
        out.append(drawn.depth.cpu().numpy())
    return np.stack(out)


def _ignored(backdrop: NDArray[np.bool_] | None, config: FitConfig) -> torch.Tensor | None:
    return None if backdrop is None else torch.from_numpy(backdrop).to(config.device)


def _refined(scene: Scene4D, grid: VideoGrid, config: FitConfig) -> bool:
    """Whether cameras are fitted too: estimated ones may be, given ones are kept, but for those
    that matches have moved already."""
    if not config.refine_cameras or grid.w2c is None:
        return config.refine_cameras
    moved = np.abs(scene.w2c.cpu().numpy() - grid.w2c.astype(np.float32)).max()
    return bool(moved > 1e-6 * max(1.0, float(np.abs(grid.w2c).max())))


def _freeze_views(grid: VideoGrid) -> list[int]:
    """The views whose cell of the freeze-time column may be fitted to."""
    assert grid.known is not None
    return [int(v) for v in np.flatnonzero(grid.known[:, grid.shared[1]])]


def _rigidity(grid: VideoGrid, config: FitConfig) -> list[float]:
    """Factor on the rigidity at every time: what few views do not see has to follow its
    neighbours."""
    views_T = np.maximum(np.asarray(grid.known).sum(0), 1)
    return [float(np.clip(config.loss.few_views / n, 1.0, None)) for n in views_T]
