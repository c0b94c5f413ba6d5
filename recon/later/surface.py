"""Surface that the canonical time hides: points for what other times show and nothing draws.

A leg that stands behind another one, or a back that turns to the cameras, has no canonical points.
After the nodes were followed, the rays of pixels that are drawn wrongly at a time are searched, in
front of what is drawn, for a place where other views are wrong as well and have the same colour,
and where none of them sees past it to something that is drawn well. What is found becomes points
with nodes of their own, which the nodes around carry, turn and all, to the other times; from there
they can be followed. A point is visible at the times around its own at which no view sees past it.

Legend: V views, T stamps, M nodes, P points that are found at one stamp, D places along a ray.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from gen.grid import VideoGrid
from recon.later.cells import LaterConfig, draw_cells, share_of_wrong
from recon.later.search import search
from recon.later.visible import lost_at, moved_points, visible_times
from recon.motion.nodes import choose_nodes, interpolation, node_graph
from recon.motion.offsets import FreeOffsets
from recon.motion.rigidity import LocalTurns
from recon.scene import Scene4D

FloatArray = NDArray[np.floating]
Mask = NDArray[np.bool_]
_FEW = 20  # points that are not worth nodes


@dataclass
class Added:
    """A scene to which points were added, with nodes of their own.

    motion: of the nodes, which are the points ``chosen_M``; new_M: bool [M], the nodes of what was
    added; t: the stamp at which these are where they should be; lost: whether most of what was
    added contradicts the frames of a stamp.
    """

    scene: Scene4D
    motion: FreeOffsets
    chosen_M: NDArray[np.int64]
    new_M: Mask
    t: int
    lost: Callable[[int], bool]


Follow = Callable[[Added], None]


class Carrier:
    """The moving nodes as they were followed: they take what is found at one stamp to others.

    Args:
        motion: of nodes that lie at ``nodes_M3``.
    """

    def __init__(self, motion: FreeOffsets, nodes_M3: FloatArray) -> None:
        self.motion, self.free = motion, motion.free.cpu().numpy()
        self.rest = nodes_M3[self.free]
        edges = torch.from_numpy(node_graph(self.rest))
        self.turns = LocalTurns(torch.from_numpy(self.rest), edges)
        self._at: dict[int, tuple[FloatArray, FloatArray]] = {}

    def at(self, t: int) -> tuple[FloatArray, FloatArray]:
        """Where nodes are [M, 3] at a stamp, and how their surroundings turned [M, 3, 3]."""
        if t not in self._at:
            with torch.no_grad():
                offsets = self.motion(t).double().cpu()[self.free]
            self._at[t] = self.rest + offsets.numpy(), self.turns.rotations(offsets).numpy()
        return self._at[t]

    def carried(self, t: int, s: int, places_P3: FloatArray) -> FloatArray:
        """Where the nodes around them take places [P, 3] of stamp ``t`` at stamp ``s``."""
        (here, turned), (there, turn) = self.at(t), self.at(s)
        index, weights = interpolation(places_P3, here)
        by = turn[index] @ turned[index].transpose(0, 1, 3, 2)
        arms = (by @ (places_P3[:, None] - here[index])[..., None])[..., 0]
        return ((there[index] + arms) * weights[..., None]).sum(1)


def add_later_surface(
    scene: Scene4D,
    motion: FreeOffsets,
    chosen_M: NDArray[np.int64],
    grid: VideoGrid,
    config: LaterConfig | None = None,
    follow: Follow | None = None,
) -> tuple[Scene4D, FreeOffsets, NDArray[np.int64]]:
    """The scene with points for what stamps other than the canonical one show.

    Args:
        scene: its times are those of ``grid``. motion: moves its nodes, which are its points
            ``chosen_M``.
        follow: sets where the nodes of what was added are at other stamps; by default these are
            where the nodes around take them.

    Returns:
        Scene, motion and which points are nodes; what was given where nothing is found.
    """
    config = config or LaterConfig()
    known = np.asarray(grid.known)
    times = [t for t in range(grid.T) if known[:, t].sum() >= config.views]
    if not bool(motion.free.any()) or len(times) < 2:
        return scene, motion, chosen_M
    nodes = scene.means[torch.from_numpy(chosen_M)].double().cpu().numpy()
    carrier = Carrier(motion, nodes)
    K, w2c = scene.cameras()
    every = {t: draw_cells(scene, motion, grid, t, config) for t in times}
    wrong = {t: share_of_wrong(cells) for t, cells in every.items() if t != scene.canonical_time}
    followed = 0
    for t in sorted(wrong, key=lambda t: -wrong[t])[: config.times]:
        if wrong[t] < config.share:
            break
        every[t] = draw_cells(scene, motion, grid, t, config)  # with what was added since
        if share_of_wrong(every[t]) < config.share:
            continue
        places, colors, sigma = search(K, w2c, carrier.at(t)[0], every[t], config)
        if len(places) >= _FEW:
            if scene.visibility is None:
                scene = replace(scene, visibility=scene.means.new_ones(grid.T, len(scene)))
            old, more = motion.nodes, scene.with_points(places, colors, sigma)
            scene, motion, chosen_M = _with_nodes(more, motion, carrier, chosen_M, t, len(places))
            if follow is not None and followed < config.followed:
                followed += 1
                lost = lost_at(scene, motion, colors, every)
                new_M = np.arange(motion.nodes) >= old
                follow(Added(scene, motion, chosen_M, new_M, t, lost))
            there = np.stack([moved_points(scene, motion, len(places), s) for s in range(grid.T)])
            seen = visible_times(scene, there, t, colors, every)
            assert scene.visibility is not None
            scene.visibility[:, -len(places) :] = torch.from_numpy(seen).to(scene.visibility)
    return scene, motion, chosen_M


def _with_nodes(
    scene: Scene4D,
    motion: FreeOffsets,
    carrier: Carrier,
    chosen_M: NDArray[np.int64],
    t: int,
    count: int,
) -> tuple[Scene4D, FreeOffsets, NDArray[np.int64]]:
    """With nodes among the last ``count`` points, which are where they are at stamp ``t``."""
    places = scene.means[-count:].double().cpu().numpy()
    T, c, old, first = len(scene.times), scene.canonical_time, len(chosen_M), len(scene) - count
    followers = int((scene.node_weights[:first].sum(1) > 0).sum())
    per_node = max(4.0, followers / max(int(motion.free.sum()), 1))
    among = np.ones(count, np.float32)
    chosen = choose_nodes(places, among, max(4, round(count / per_node)))
    at = [carrier.carried(t, s, places[chosen]) for s in range(T)]
    at[t] = places[chosen]
    joined = resized(motion, old + len(chosen))
    for s in range(T):
        with torch.no_grad():
            offsets = torch.cat([motion(s), torch.as_tensor(at[s] - at[c]).to(motion.raw[0])])
        joined.set_time(s, offsets)
    width = scene.node_index.shape[1]
    index, weights = interpolation(places, places[chosen], width)
    spare = ((0, 0), (0, width - index.shape[1]))
    index, weights = np.pad(index, spare) + old, np.pad(weights, spare)
    with torch.no_grad():
        moved = joined(t).double().cpu().numpy()
    home = places - (moved[index] * weights[..., None]).sum(1)
    out = replace(scene, node_offsets=scene.node_offsets.new_zeros(T, old + len(chosen), 3))
    for name, values in (("means", home), ("node_index", index), ("node_weights", weights)):
        value = getattr(out, name).clone()
        value[first:] = torch.from_numpy(values).to(value)
        setattr(out, name, value)
    return out, joined, np.concatenate([chosen_M, first + chosen])


def resized(motion: FreeOffsets, nodes: int) -> FreeOffsets:
    """Offsets of so many nodes, those that ``motion`` does not have free; all zero."""
    free = torch.cat([motion.free, motion.free.new_ones(nodes - motion.nodes)])
    raw = motion.raw[0]
    return FreeOffsets(nodes, len(motion.raw), motion.canonical_time, motion.bound, free).to(raw)
