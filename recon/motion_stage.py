"""Stage 3 of a reconstruction: the static scene begins to move, and all of it is fitted.

What stands still is found, what moves hangs on control nodes, these follow the rows, and then
everything is fitted to all known cells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from fourreal.console import warn
from gen.grid import VideoGrid
from recon.canonical.hidden_background import add_hidden_background
from recon.clip import more_steps
from recon.config import FitConfig
from recon.fit.adam import Adam
from recon.fit.checkpoint import Checkpoint
from recon.fit.scene_fit import Cell, JointFit, median_depth
from recon.fit.stage import (
    OnScene,
    cameras_are_fitted,
    empty_pixels,
    ignored_pixels,
    now_and_then,
)
from recon.later.lost_parts import recover_lost
from recon.later.surface import Added, add_later_surface, resized
from recon.motion.follow import (
    Flow,
    FollowConfig,
    FollowContext,
    FrameFlow,
    follow_later,
    follow_motion,
)
from recon.motion.frames import FrameConfig
from recon.motion.knots import KnotOffsets, places
from recon.motion.nodes import choose_nodes, interpolation, node_graph
from recon.motion.offsets import FreeOffsets, MlpOffsets
from recon.motion.pyramid import Pyramid
from recon.motion.rigidity import LocalTurns
from recon.motion.stillness import Sights, still_points
from recon.render import render_canonical
from recon.scene import Scene4D
from recon.targets import Targets, targets_of

KnownMotion = Callable[[Scene4D, NDArray[np.floating]], NDArray[np.floating]]
"""(scene, points [M, 3] of it) -> their offsets [T, M, 3] from the canonical to every time."""


@dataclass
class _Nodes:
    """The control nodes of a scene: which of its points they are [M], and how they move."""

    chosen: NDArray[np.int64]
    motion: FreeOffsets


def fit_motion(
    scene: Scene4D,
    grid: VideoGrid,
    config: FitConfig,
    on_scene: OnScene | None = None,
    checkpoint: Checkpoint | None = None,
    backdrop: NDArray[np.bool_] | None = None,
    whole: VideoGrid | None = None,
    known_motion: KnownMotion | None = None,
    past: NDArray[np.bool_] | None = None,
) -> Scene4D:
    """Motion over time and the joint fit to all known cells. No-op for one time.

    ``whole``: the clip of which ``grid`` has some times (``recon.clip.at_times``), all of which
    are fitted to; by default the same. ``known_motion``: where the nodes start, instead of being
    followed.
    """
    settings = config.deformation
    if grid.T == 1 or not settings.steps:
        return scene
    still = _what_stands_still(scene, grid, config)
    if settings.stillness and still.all():
        warn("nothing moves in the fixed-view videos; the scene is static")
        return scene
    if settings.hidden_background:
        scene, still = add_hidden_background(
            scene, grid, still, config.canonical.sigma, config.canonical.flat
        )
    scene, nodes = _hung_on_nodes(scene, still, grid.T, config)
    if whole is not None and whole.T == grid.T:
        whole = None
    scene, nodes = _set_moving(
        scene, nodes, grid, whole is not None, config, checkpoint, known_motion
    )
    if config.anisotropic:
        scene = scene.anisotropic()
        if settings.turning and scene.offset_frame != "literal":  # as printed, nothing turns
            scene.node_turns = torch.zeros_like(scene.node_offsets)
    return _joint_fit(scene, nodes, grid, whole, config, on_scene, checkpoint, backdrop, past)


def _what_stands_still(scene: Scene4D, grid: VideoGrid, config: FitConfig) -> NDArray[np.bool_]:
    """Bool [N], the points that never move; none where nothing is asked to be still."""
    points = scene.means.cpu().numpy()
    if not config.deformation.stillness:
        return np.zeros(len(points), bool)
    assert grid.known is not None
    K, w2c = scene.cameras()
    colors, home = scene.colors.cpu().numpy(), scene.canonical_time
    depth = _drawn_depth(scene)
    return still_points(Sights(points, colors, grid.frames, grid.known, depth, K, w2c, home))


def _hung_on_nodes(
    scene: Scene4D, still: NDArray[np.bool_], times: int, config: FitConfig
) -> tuple[Scene4D, _Nodes]:
    """The scene whose moving points follow nodes, chosen among them, that have not moved yet."""
    settings = config.deformation
    points = scene.means.cpu().numpy()
    per_point = settings.kind == "mlp-points"
    if per_point:
        chosen = np.arange(len(points))
    else:
        weight = (~still).astype(np.float32)
        chosen = choose_nodes(points, weight, settings.nodes, config.seed)
    count = 1 if per_point else settings.neighbours
    index, weights = interpolation(points, points[chosen], count, still, still[chosen])
    scene = replace(
        scene,
        node_index=torch.from_numpy(index).to(config.device),
        node_weights=torch.from_numpy(weights).to(config.device),
        node_offsets=torch.zeros(times, len(chosen), 3, device=config.device),
    )
    bound = settings.bound * median_depth(scene)
    free = torch.from_numpy(~still[chosen])
    motion = FreeOffsets(len(chosen), times, scene.canonical_time, bound, free)
    return scene, _Nodes(chosen, motion.to(config.device))


def _set_moving(
    scene: Scene4D,
    nodes: _Nodes,
    grid: VideoGrid,
    knots: bool,
    config: FitConfig,
    checkpoint: Checkpoint | None,
    known_motion: KnownMotion | None,
) -> tuple[Scene4D, _Nodes]:
    """The scene and its nodes as the joint fit begins: moving, with what the canonical time hides.

    Flow is kept for as long as this takes, not while the joint fit needs memory.
    """
    settings = config.deformation
    flow = FrameFlow(targets_of(grid, "cpu"))
    begun = checkpoint is not None and checkpoint.has("joint fit")
    if not begun:
        _start(scene, nodes, grid, flow, config, known_motion)
    if not (settings.track_init and settings.later_surface and settings.kind == "nodes"):
        return scene, nodes
    kept = checkpoint.kept_nodes(config.device) if checkpoint is not None and begun else None
    if kept is not None:  # where nodes are is what the fit that goes on says
        scene, chosen = kept
        return scene, _Nodes(chosen, resized(nodes.motion, len(chosen)))
    scene, nodes = _with_later_surface(scene, nodes, grid, flow, knots, config)
    if checkpoint is not None:
        checkpoint.keep_nodes(scene, nodes.chosen)
    return scene, nodes


def _start(
    scene: Scene4D,
    nodes: _Nodes,
    grid: VideoGrid,
    flow: Flow,
    config: FitConfig,
    known_motion: KnownMotion | None,
) -> None:
    """The nodes' motion from which the joint fit goes on: as it is known, or followed."""
    if known_motion is not None:
        offsets_TM3 = known_motion(scene, scene.means.cpu().numpy()[nodes.chosen])
        for t, offsets in enumerate(torch.as_tensor(offsets_TM3)):
            nodes.motion.set_time(t, offsets.to(scene.means))
    elif config.deformation.track_init:
        _follow(scene, nodes, grid, flow, config)


def _follow(scene: Scene4D, nodes: _Nodes, grid: VideoGrid, flow: Flow, config: FitConfig) -> None:
    """The nodes' motion, from time to time."""
    frames = targets_of(grid, config.device)
    free = nodes.motion.free
    places_M3, turns, context = _follow_context(scene, nodes, grid, frames, flow, config, free)
    if config.deformation.recover:
        context.recover = recover_lost(scene, context, places_M3, nodes.motion.free.cpu().numpy())
    follow = FollowConfig(frames=FrameConfig() if config.deformation.rigid_parts else None)
    follow_motion(nodes.motion, turns, places_M3, context, follow)


def _follow_context(
    scene: Scene4D,
    nodes: _Nodes,
    grid: VideoGrid,
    frames: Targets,
    flow: Flow,
    config: FitConfig,
    moving_M: torch.Tensor,
) -> tuple[NDArray[np.float64], LocalTurns, FollowContext]:
    """Places of nodes, their rigidity, and what those that are ``moving_M`` are followed in."""
    assert grid.known is not None
    K, w2c = scene.cameras()
    places_M3 = scene.means.cpu().numpy()[nodes.chosen]
    turns = _turns(scene, nodes.chosen)
    stiff = [config.loss.following * factor for factor in _rigidity(grid, config)]
    start = JointFit(scene, frames, config, nodes.motion, turns, rigidity_T=stiff)
    pyramid = Pyramid(places_M3, moving_M)
    context = FollowContext(
        *(frames, grid.known, K, w2c, scene.canonical_time),
        draw=start.render,
        refine=lambda t, views, steps: start.refine_time(t, views, steps, pyramid),
        flow=flow,
    )
    return places_M3.astype(np.float64), turns, context


def _with_later_surface(
    scene: Scene4D, nodes: _Nodes, grid: VideoGrid, flow: Flow, knots: bool, config: FitConfig
) -> tuple[Scene4D, _Nodes]:
    """The scene with points for what the canonical time hides; these are followed, but between
    ``knots`` of a clip, which are close in time."""
    frames = targets_of(grid, config.device)

    def follow(added: Added) -> None:
        now = _Nodes(added.chosen_M, added.motion)
        new = torch.from_numpy(added.new_M).to(config.device)
        places_M3, turns, context = _follow_context(
            added.scene, now, grid, frames, flow, config, new
        )
        follow_later(added.motion, turns, places_M3, context, added.t, added.new_M, added.lost)

    scene, motion, chosen = add_later_surface(
        scene, nodes.motion, nodes.chosen, grid, follow=None if knots else follow
    )
    return scene, _Nodes(chosen, motion)


def _joint_fit(
    scene: Scene4D,
    nodes: _Nodes,
    grid: VideoGrid,
    whole: VideoGrid | None,
    config: FitConfig,
    on_scene: OnScene | None,
    checkpoint: Checkpoint | None,
    backdrop: NDArray[np.bool_] | None,
    past: NDArray[np.bool_] | None,
) -> Scene4D:
    """Everything against all known cells of ``grid``, or of the ``whole`` clip along curves."""
    settings = config.deformation
    field: FreeOffsets | MlpOffsets = nodes.motion
    if settings.kind != "nodes":
        field = _network(nodes.motion, scene.means.cpu().numpy()[nodes.chosen], scene, config)
    at = None
    if whole is not None:
        assert isinstance(field, FreeOffsets)
        stamps = scene.times.tolist()
        field = KnotOffsets(field, stamps, settings.curved)
        grid, at = whole, places(stamps, np.asarray(whole.times).tolist())
    cells: list[Cell] = [(int(v), int(t)) for v, t in np.argwhere(np.asarray(grid.known))]
    fit = JointFit(
        scene, targets_of(grid, config.device), config, field, _turns(scene, nodes.chosen),
        settings.shade, cameras_are_fitted(scene, grid, config), _rigidity(grid, config),
        ignored_pixels(backdrop, config), empty_pixels(past, config), at,
    )  # fmt: skip
    steps = config.scaled(settings.steps, len(scene))
    if at is not None:
        steps = round(steps * more_steps(len(scene.times)))
    show = now_and_then(fit, on_scene)
    fit.run(cells, steps, "joint fit", on_step=show, checkpoint=checkpoint)
    return fit.result()


def _turns(scene: Scene4D, chosen: NDArray[np.int64]) -> LocalTurns:
    """Of the graph of the nodes, which are points of the scene."""
    nodes = scene.means[torch.from_numpy(chosen)]
    return LocalTurns(nodes, torch.from_numpy(node_graph(nodes.cpu().numpy())).to(nodes.device))


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


def _drawn_depth(scene: Scene4D) -> NDArray[np.float32]:
    """Depth [V, H, W] that the canonical scene draws in its input views."""
    views = range(len(scene.w2c))
    return np.stack([render_canonical(scene, v).depth.cpu().numpy() for v in views])


def _rigidity(grid: VideoGrid, config: FitConfig) -> list[float]:
    """Factor on the rigidity at every time: what few views do not see has to follow its
    neighbours."""
    views_T = np.maximum(np.asarray(grid.known).sum(0), 1)
    return [float(np.clip(config.loss.few_views / n, 1.0, None)) for n in views_T]
