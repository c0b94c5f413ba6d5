"""Motion start, one time after the other: the nodes are followed by flow and by rendering.

Legend: M nodes, V views, T times, cell = (view, time). From one time to the next,
1. the flow between the two frames of every known view carries the nodes (rays of all views are
   intersected, neighbours move alike);
2. what flow has lost is found again (`recon.later.lost_parts`), where enough views show it;
3. gradient steps on the nodes of this time alone bring the drawing to the frame, so that errors
   do not add up from time to time.
Where a single view knows a time, `recon.motion.single_view` says how far from it the nodes are:
before the gradient steps, from where these brought what the view sees after them, and once more in
the end, from where all times were seen.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourreal.cameras import pixel_index, project, transform
from recon.motion.frames import FrameConfig
from recon.motion.node_solver import Sighting, solve_step
from recon.motion.offsets import FreeOffsets
from recon.motion.rigidity import LocalTurns
from recon.motion.single_view import SingleView
from recon.raster.rasterize import RasterOutput
from recon.targets import Targets
from tracking.flow.trusted import trusted_both_ways

FloatArray = NDArray[np.floating]
_FLOWS = 96  # that are kept, both ways


Flow = Callable[[int, int, int], tuple[FloatArray, FloatArray]]
"""(view, from time, to time) -> flow [H, W, 2], its trust [H, W]."""


@dataclass
class FollowConfig:
    """How nodes are followed from time to time."""

    gradient_steps: int = 48
    later_steps: int = 12
    """Of what the canonical time hides, which is followed ..."""
    later_views: int = 3
    """... by the flow of about so many views ..."""
    later_times: int = 4
    """... over so many times each way."""
    smoothness: float = 0.3
    depth_tolerance: float = 0.04
    """A node is seen where its depth is that of the drawn surface, within this fraction."""
    frames: FrameConfig | None = field(default_factory=FrameConfig)
    """None: no rigid frames."""


@dataclass
class FollowContext:
    """What is followed, and what the nodes hang on.

    frames: [H,W,3] of every (view, time); known bool [V,T]; K [V,3,3] and w2c [V,4,4];
    canonical_time.
    draw: draws the scene in a cell with its nodes at these offsets [M,3].
    refine: gradient steps on the nodes of one time over these views.
    flow: that of the frames (``FrameFlow``).
    recover: from the offsets [M,3] to which flow carries the nodes at a time, those at which it
    finds what flow has lost; None: it is not sought.
    """

    frames: Targets
    known: NDArray[np.bool_]
    K: FloatArray
    w2c: FloatArray
    canonical_time: int
    draw: Callable[[tuple[int, int], Tensor], RasterOutput]
    refine: Callable[[int, Sequence[int], int], None]
    flow: Flow
    recover: Callable[[int, FloatArray], FloatArray] | None = None


def follow_motion(
    motion: FreeOffsets,
    turns: LocalTurns,
    nodes_M3: FloatArray,
    context: FollowContext,
    config: FollowConfig,
) -> None:
    """Set ``motion`` so that the drawn scene follows the known cells over time.

    Times are visited away from the canonical one in both directions.
    """
    V, T = context.known.shape
    c = context.canonical_time
    free = np.flatnonzero(motion.free.cpu().numpy())
    alone = _single_view(nodes_M3, free, context, config.frames)

    with torch.no_grad():
        still = motion(c)

    def set_time(t: int, moved_M3: FloatArray) -> None:
        motion.set_time(t, torch.as_tensor(moved_M3).to(still))

    for t in sorted((t for t in range(T) if t != c), key=lambda t: abs(t - c)):
        before = t - 1 if t > c else t + 1
        with torch.no_grad():
            offsets = motion(before)
        views = [v for v in range(V) if context.known[v, t]]
        both = [v for v in views if context.known[v, before]]
        offsets_M3: FloatArray = offsets.double().cpu().numpy()
        sightings = [
            _carried_by_flow(v, before, t, nodes_M3 + offsets_M3, offsets, context, config)
            for v in both
        ]
        lifted = alone is not None and len(views) == len(both) == 1 and alone.follows(before)
        moved = offsets_M3
        if lifted:
            assert alone is not None
            moved = alone.carried(before, sightings[0])
        elif sightings:
            moved = offsets_M3 + _step(
                turns, nodes_M3 + offsets_M3, sightings, config, motion.free.cpu().numpy()
            )
        if context.recover is not None:
            moved = context.recover(t, moved)
        set_time(t, moved)
        context.refine(t, views, config.gradient_steps)
        if lifted:
            assert alone is not None
            seen = _sighted(views[0], t, nodes_M3, motion(t), context, config)
            set_time(t, alone.lifted(t, seen))
    if alone is not None:
        for t, moved in alone.in_upright_plane(context.w2c):
            set_time(t, moved)


def follow_later(
    motion: FreeOffsets,
    turns: LocalTurns,
    nodes_M3: FloatArray,
    context: FollowContext,
    start: int,
    only_M: NDArray[np.bool_],
    lost: Callable[[int], bool],
    config: FollowConfig | None = None,
) -> None:
    """Follow the nodes ``only_M`` from stamp ``start`` to the stamps around it that lie on its side
    of the canonical one, until they are ``lost``.

    Where they are at other stamps already is a first guess; the other nodes stay as they are.
    """
    config = config or FollowConfig()
    T, c = context.known.shape[1], context.canonical_time
    for step in (1, -1):
        for t in range(start + step, start + step * (config.later_times + 1), step):
            if t == c or not 0 <= t < T:
                break
            views = [v for v in range(len(context.known)) if context.known[v, t]]
            both = [v for v in views if context.known[v, t - step]]
            if not both:
                break
            with torch.no_grad():
                offsets, guess = motion(t - step), motion(t).double().cpu().numpy()
            offsets_M3: FloatArray = offsets.double().cpu().numpy()
            here = nodes_M3 + offsets_M3
            sightings = [
                _carried_by_flow(v, t - step, t, here, offsets, context, config)
                for v in both[:: max(1, len(both) // config.later_views)]
            ]
            moved = _step(turns, here, sightings, config, only_M, guess - offsets_M3)
            motion.set_time(t, torch.as_tensor(offsets_M3 + moved).to(offsets))
            context.refine(t, views, config.later_steps)
            if lost(t):
                break


class FrameFlow:
    """The flow of a view's frames between two times. Both ways are found at once, and the last
    ``_FLOWS`` kept, for what is added later is followed through the same ``frames``, on the CPU."""

    def __init__(self, frames: Targets) -> None:
        self.frames = frames
        self._kept: OrderedDict[tuple[int, int, int], tuple[FloatArray, FloatArray]] = OrderedDict()

    def __call__(self, view: int, before: int, after: int) -> tuple[FloatArray, FloatArray]:
        """As ``Flow`` says."""
        key = view, before, after
        if key not in self._kept:
            first, second = (self.frames[view, t].numpy() for t in (before, after))
            there, back = trusted_both_ways(first, second)
            for k, found in ((key[:1] + key[:0:-1], back), (key, there)):
                # to a hundredth of a pixel and less: of large frames these are many
                self._kept[k] = found[0].astype(np.float16), found[1].astype(np.float16)
            while len(self._kept) > _FLOWS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        flow, trust = self._kept[key]
        return flow.astype(np.float32), trust.astype(np.float32)


def _single_view(
    nodes_M3: FloatArray,
    free: NDArray[np.int64],
    context: FollowContext,
    config: FrameConfig | None,
) -> SingleView | None:
    """Where a time is known to one view alone and enough nodes move to make frames of."""
    if config is None or not (context.known.sum(0) == 1).any():
        return None
    if len(free) <= 2 * config.links:
        return None
    return SingleView(nodes_M3, free, context.canonical_time, config)


def _seen_nodes(
    v: int,
    t: int,
    here_M3: FloatArray,
    offsets: Tensor,
    context: FollowContext,
    config: FollowConfig,
) -> tuple[FloatArray, NDArray[np.int64], NDArray[np.bool_]]:
    """uv [M, 2] of nodes in a cell, the index of their pixels [M], and which the cell sees [M]."""
    with torch.no_grad():
        depth = context.draw((v, t), offsets).depth.cpu().numpy()
    uv, z = project(transform(context.w2c[v], here_M3), context.K[v])
    pixel, inside = pixel_index(uv, z, depth.shape)
    surface = depth.reshape(-1)[pixel]
    return uv, pixel, inside & (np.abs(z - surface) < config.depth_tolerance * surface)


def _sighted(
    v: int,
    t: int,
    nodes_M3: FloatArray,
    offsets: Tensor,
    context: FollowContext,
    config: FollowConfig,
) -> Sighting:
    """Where a view sees the nodes at a time, with these offsets."""
    here = nodes_M3 + offsets.detach().double().cpu().numpy()
    uv, _, seen = _seen_nodes(v, t, here, offsets, context, config)
    return Sighting(uv, seen.astype(np.float64), context.K[v], context.w2c[v])


def _carried_by_flow(
    v: int,
    before: int,
    after: int,
    here_M3: FloatArray,
    offsets: Tensor,
    context: FollowContext,
    config: FollowConfig,
) -> Sighting:
    """Where the flow from one time to another of a view takes the nodes it sees."""
    uv, pixel, seen = _seen_nodes(v, before, here_M3, offsets, context, config)
    flow, good = context.flow(v, before, after)
    moved, trust = flow.reshape(-1, 2)[pixel], good.reshape(-1)[pixel]
    return Sighting(uv + moved, trust * seen, context.K[v], context.w2c[v])


def _step(
    turns: LocalTurns,
    here_M3: FloatArray,
    sightings: Sequence[Sighting],
    config: FollowConfig,
    free: NDArray[np.bool_],
    start: FloatArray | None = None,
) -> FloatArray:
    """How far [M, 3] nodes at ``here_M3`` move to where they are sighted; those that are not
    ``free`` move as ``start`` says."""
    edges = torch.stack([turns.first, turns.second], 1).cpu()
    local = LocalTurns(torch.as_tensor(here_M3), edges)

    def turned(step_M3: FloatArray) -> FloatArray:
        return local(torch.as_tensor(step_M3)).numpy()

    return solve_step(
        here_M3, edges.numpy(), sightings, config.smoothness, 3, start, free=free, turned=turned
    )
