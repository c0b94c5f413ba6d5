"""Motion start, one time after the other: the nodes are followed by flow and by rendering.

Legend: M nodes, V views, T times, cell = (view, time). From one time to the next,
1. the flow between the two frames of every known view carries the nodes (rays of all views are
   intersected, neighbours move alike);
2. gradient steps on the nodes of this time alone bring the drawing to the frame, so that errors
   do not add up from time to time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourreal.cameras import project, transform
from recon.frames import Frames
from recon.motion.node_solver import Sighting, solve_step
from recon.motion.offsets import FreeOffsets
from recon.motion.rigidity import LocalTurns
from tracking.flow.trusted import trusted_flow

FloatArray = NDArray[np.floating]


@dataclass
class FollowConfig:
    """How nodes are followed from time to time."""

    gradient_steps: int = 48
    smoothness: float = 0.3
    depth_tolerance: float = 0.04
    """A node is seen where its depth is that of the drawn surface, within this fraction."""


@dataclass
class Footage:
    """What is followed, and what the nodes hang on.

    frames: [H,W,3] of every (view, time); known bool [V,T]; K [V,3,3] and w2c [V,4,4];
    canonical_time.
    depth: draws the scene in a cell with its nodes at these offsets [M,3], depth [H,W].
    refine: gradient steps on the nodes of one time over these views.
    """

    frames: Frames
    known: NDArray[np.bool_]
    K: FloatArray
    w2c: FloatArray
    canonical_time: int
    depth: Callable[[tuple[int, int], Tensor], Tensor]
    refine: Callable[[int, Sequence[int], int], None]


def follow_motion(
    motion: FreeOffsets,
    turns: LocalTurns,
    nodes_M3: FloatArray,
    footage: Footage,
    config: FollowConfig,
) -> None:
    """Set ``motion`` so that the drawn scene follows the known cells over time.

    Times are visited away from the canonical one in both directions.
    """
    V, T = footage.known.shape
    c = footage.canonical_time
    for t in sorted((t for t in range(T) if t != c), key=lambda t: abs(t - c)):
        before = t - 1 if t > c else t + 1
        with torch.no_grad():
            offsets = motion(before)
        views = [v for v in range(V) if footage.known[v, t]]
        both = [v for v in views if footage.known[v, before]]
        moved = _advance(motion, turns, nodes_M3, offsets, both, before, t, footage, config)
        motion.set_time(t, torch.as_tensor(moved).to(offsets))
        footage.refine(t, views, config.gradient_steps)


def _advance(
    motion: FreeOffsets,
    turns: LocalTurns,
    nodes_M3: FloatArray,
    offsets: Tensor,
    views: Sequence[int],
    before: int,
    after: int,
    footage: Footage,
    config: FollowConfig,
) -> FloatArray:
    """Offsets [M, 3] carried on by the flow of the ``views`` from one time to another."""
    offsets_M3 = offsets.double().cpu().numpy()
    here = nodes_M3 + offsets_M3
    sightings = []
    for v in views:
        with torch.no_grad():
            depth = footage.depth((v, before), offsets).cpu().numpy()
        first, second = (footage.frames[v, t].cpu().numpy() for t in (before, after))
        flow, good = trusted_flow(first, second)
        H, W = good.shape
        K, camera = footage.K[v], footage.w2c[v]
        uv, z = project(transform(camera, here), K)
        x, y = np.floor(np.nan_to_num(uv, nan=-1.0)).astype(np.int64).T
        inside = (z > 0) & (x >= 0) & (x < W) & (y >= 0) & (y < H)
        x, y = np.where(inside, x, 0), np.where(inside, y, 0)
        surface = depth[y, x]
        seen = inside & (np.abs(z - surface) < config.depth_tolerance * surface)
        sightings.append(Sighting(uv + flow[y, x], good[y, x] * seen, K, camera))
    if not sightings:
        return offsets_M3

    edges = torch.stack([turns.first, turns.second], 1).cpu()
    local = LocalTurns(torch.as_tensor(here), edges)

    def turned(step_M3: FloatArray) -> FloatArray:
        return local(torch.as_tensor(step_M3)).numpy()

    free = motion.free.cpu().numpy()
    step = solve_step(
        here, edges.numpy(), sightings, config.smoothness, 3, free=free, turned=turned
    )
    return offsets_M3 + step
