"""Motion start, one time after the other: the nodes are followed by flow and by rendering.

Legend: M nodes, V views, T times, cell = (view, time). From one time to the next,
1. the flow between the two frames of every known view carries the nodes (rays of all views are
   intersected, neighbours move alike);
2. optionally the scene is drawn where it now is, and the flow from the drawing to the frame
   corrects it;
3. gradient steps on the nodes of this time alone bring the drawing to the frame, so that errors
   do not add up from time to time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fourreal.cameras import project, transform
from recon.fit.scene_fit import JointFit
from recon.motion.deformation import FreeOffsets
from recon.motion.node_solver import Sighting, solve_step
from recon.motion.rigidity import LocalTurns
from tracking.flow.trusted import trusted_flow

FloatArray = NDArray[np.floating]


@dataclass
class FollowConfig:
    """How nodes are followed from time to time."""

    corrections: int = 0
    """Rounds of flow from the drawing to the frame: measured, they gain nothing over step 3."""
    gradient_steps: int = 48
    smoothness: float = 0.3
    depth_tolerance: float = 0.04
    """A node is seen where its depth is that of the drawn surface, within this fraction."""


def follow_motion(
    fit: JointFit,
    nodes_M3: FloatArray,
    known_VT: NDArray[np.bool_],
    config: FollowConfig,
    on_time: Callable[[int], None] | None = None,
) -> None:
    """Set ``fit.motion`` so that the drawn scene follows the known cells over time.

    Times are visited away from the canonical one in both directions.
    """
    assert isinstance(fit.motion, FreeOffsets)
    V, T = known_VT.shape
    c = fit.scene.canonical_time
    for t in sorted((t for t in range(T) if t != c), key=lambda t: abs(t - c)):
        before = t - 1 if t > c else t + 1
        with torch.no_grad():
            offsets = fit.motion(before).double().cpu().numpy()
        views = [v for v in range(V) if known_VT[v, t]]
        both = [v for v in views if known_VT[v, before]]
        frames = {v: fit.frames[v, before].cpu().numpy() for v in both}
        offsets = _advance(fit, nodes_M3, offsets, frames, before, t, config)
        for _ in range(config.corrections):
            images: dict[int, FloatArray | None] = dict.fromkeys(views)
            offsets = _advance(fit, nodes_M3, offsets, images, t, t, config)
        fit.motion.set_time(t, torch.as_tensor(offsets).to(fit.means))
        fit.refine_time(t, views, config.gradient_steps)
        if on_time is not None:
            on_time(t)


def _advance(
    fit: JointFit,
    nodes_M3: FloatArray,
    offsets_M3: FloatArray,
    images: dict[int, FloatArray | None],
    drawn_time: int,
    target_time: int,
    config: FollowConfig,
) -> FloatArray:
    """Offsets corrected by the flow from ``images`` (None: the drawing) to the target frames."""
    here = nodes_M3 + offsets_M3
    sightings = []
    for v, image in images.items():
        with torch.no_grad():
            moved = torch.as_tensor(offsets_M3).to(fit.means)
            drawn = fit.render((v, drawn_time), moved)
            camera = fit.camera(v).double().cpu().numpy()
        start = drawn.rgb.clamp(0, 1).cpu().numpy() if image is None else image
        flow, good = trusted_flow(start, fit.frames[v, target_time].cpu().numpy())
        H, W = good.shape
        K = fit.scene.K[v].double().cpu().numpy()
        uv, z = project(transform(camera, here), K)
        x, y = np.floor(np.nan_to_num(uv, nan=-1.0)).astype(np.int64).T
        inside = (z > 0) & (x >= 0) & (x < W) & (y >= 0) & (y < H)
        x, y = np.where(inside, x, 0), np.where(inside, y, 0)
        surface = drawn.depth.cpu().numpy()[y, x]
        seen = inside & (np.abs(z - surface) < config.depth_tolerance * surface)
        sightings.append(Sighting(uv + flow[y, x], good[y, x] * seen, K, camera))
    if not sightings:
        return offsets_M3

    assert fit.turns is not None
    edges = torch.stack([fit.turns.first, fit.turns.second], 1).cpu()
    turns = LocalTurns(torch.as_tensor(here), edges)

    def turned(step_M3: FloatArray) -> FloatArray:
        return turns(torch.as_tensor(step_M3)).numpy()

    free = fit.motion.free.cpu().numpy()
    step = solve_step(
        here, edges.numpy(), sightings, config.smoothness, 3, free=free, turned=turned
    )
    return offsets_M3 + step
