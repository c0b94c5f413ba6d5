"""Surface that the canonical time hides: points for what other times show and nothing draws.

A leg that stands behind another one, or a back that turns to the cameras, has no canonical points.
After the nodes were followed, the rays of pixels that are drawn wrongly at a time are searched, in
front of what is drawn, for a place where other views are wrong as well and have the same colour,
and where none of them sees past it to something that is drawn well. What is found becomes points
with nodes of their own, which the nodes around carry, turn and all, to the other times. A point is
visible at the times around its own at which no view sees past it.

Legend: V views, T stamps, M nodes, P points that are found at one stamp, D places along a ray.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fourreal.cameras import invert, project, transform, unproject
from fourreal.video_io import to_float, to_uint8
from gen.grid import VideoGrid
from recon.motion.nodes import choose_nodes, interpolation, node_graph
from recon.motion.offsets import FreeOffsets
from recon.motion.rigidity import LocalTurns
from recon.render import render_scene
from recon.scene import Scene4D

FloatArray = NDArray[np.floating]
Mask = NDArray[np.bool_]
_MARGIN = 0.03  # of a depth, within which two surfaces are one
_COLOUR = 0.12  # largest difference of colours that are the same
_FEW = 20  # points that are not worth nodes
_LOGIT = 0.85  # of a new point's opacity


@dataclass(frozen=True)
class LaterConfig:
    """What counts as later surface."""

    views: int = 3
    """So many views must know a time."""
    error: float = 0.12
    """Difference of colour, smoothed, that is wrong."""
    share: float = 2e-4
    """Part of a time's pixels that must be wrong for it to be looked at."""
    times: int = 16
    """At most so many times are, the worst first."""
    depths: int = 64
    """Places along a ray."""
    sigma: float = 0.7
    """Standard deviation of a point in pixels."""


@dataclass
class Cell:
    """One frame beside how it is drawn.

    frame: uint8 [H, W, 3], smoothed; depth [H, W] drawn (infinite where nothing is); wrong [H, W],
    where the two differ and the frame is not what it was at the canonical time.
    """

    frame: NDArray[np.uint8]
    depth: FloatArray
    wrong: Mask


Cells = dict[int, Cell]  # by view


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
) -> tuple[Scene4D, FreeOffsets, NDArray[np.int64]]:
    """The scene with points for what stamps other than the canonical one show.

    Args:
        scene: its times are those of ``grid``. motion: moves its nodes, which are its points
            ``chosen_M``.

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
    every = {t: draw_cells(scene, motion, grid, t, config) for t in times}
    wrong = {t: _share(cells) for t, cells in every.items() if t != scene.canonical_time}
    for t in sorted(wrong, key=lambda t: -wrong[t])[: config.times]:
        if wrong[t] < config.share:
            break
        every[t] = draw_cells(scene, motion, grid, t, config)  # with what was added since
        if _share(every[t]) < config.share:
            continue
        places, colors, sigma = search(scene, carrier.at(t)[0], every[t], config)
        if len(places) >= _FEW:
            seen = visible_times(scene, carrier, t, places, colors, every)
            more = _with_points(scene, places, colors, sigma, seen)
            scene, motion, chosen_M = _with_nodes(more, motion, carrier, chosen_M, t, len(places))
    return scene, motion, chosen_M


def draw_cells(
    scene: Scene4D, motion: FreeOffsets, grid: VideoGrid, t: int, config: LaterConfig
) -> Cells:
    """The known cells of a stamp."""
    with torch.no_grad():
        offsets = torch.stack([motion(s) for s in range(len(scene.times))])
    now, c, known = replace(scene, node_offsets=offsets), scene.canonical_time, grid.known
    assert known is not None
    side = max(3, round(max(scene.size) / 100) | 1)
    out = {}
    for v in np.flatnonzero(known[:, t]).tolist():
        drawn = render_scene(now, float(scene.times[t]), scene.w2c[v], scene.K[v])
        frame = _smooth(grid.frames[v, t])
        off = _difference(frame, _smooth(drawn.rgb.clamp(0, 1).cpu().numpy()))
        wrong = off > config.error
        if known[v, c]:
            wrong &= _difference(frame, _smooth(grid.frames[v, c])) > 0.5 * config.error
        core = cv2.morphologyEx(wrong.astype(np.uint8), cv2.MORPH_OPEN, np.ones((side, side)))
        depth = np.where(drawn.alpha.cpu().numpy() > 0.5, drawn.depth.cpu().numpy(), np.inf)
        out[v] = Cell(to_uint8(frame), depth.astype(np.float32), core.astype(bool))
    return out


def search(
    scene: Scene4D, near_M3: FloatArray, cells: Cells, config: LaterConfig
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Points where the views are wrong: places [P, 3], RGB [P, 3], sigma [P].

    Args:
        near_M3: where the nodes that move are; nothing is sought much nearer than these.
    """
    K, w2c = scene.K.cpu().double().numpy(), scene.w2c.cpu().double().numpy()
    places, colors, sigma = [np.zeros((0, 3))], [np.zeros((0, 3))], [np.zeros(0)]
    for v, cell in cells.items():
        todo = cell.wrong & ~_covered(np.concatenate(places), cell, K[v], w2c[v])
        y, x = np.nonzero(todo)
        if not len(y):
            continue
        z = transform(w2c[v], near_M3)[:, 2]
        closest = 0.9 * np.percentile(z[z > 0], 1) if (z > 0).any() else np.inf
        far = np.minimum(cell.depth[y, x], 2 * np.percentile(z, 99)) * (1 - 0.5 * _MARGIN)
        inside = closest < far
        y, x, far = y[inside], x[inside], far[inside]
        share = np.linspace(0, 1, config.depths)
        depth = 1 / (1 / closest + (1 / far - 1 / closest)[:, None] * share)  # [P, D]
        uv = np.stack([x, y], -1) + 0.5
        rays = unproject(np.repeat(uv, config.depths, 0), depth.reshape(-1), K[v])
        along = transform(invert(w2c[v]), rays)
        colour = to_float(cell.frame)[y, x]
        off = _agreement(along.reshape(*depth.shape, 3), colour, v, cells, K, w2c)
        good = np.isfinite(off).any(1)
        best = np.arange(len(off))[good], off[good].argmin(1)
        places.append(along.reshape(*depth.shape, 3)[best])
        colors.append(colour[good])
        sigma.append(config.sigma * depth[best] / K[v, 0, 0])
    return np.concatenate(places), np.concatenate(colors), np.concatenate(sigma)


def _agreement(
    along_PD3: FloatArray,
    colour_P3: FloatArray,
    v: int,
    cells: Cells,
    K: FloatArray,
    w2c: FloatArray,
) -> FloatArray:
    """How badly [P, D] the other views agree with a place; infinite where they contradict it.

    Where many places of a ray do as well, the middle ones are the best.
    """
    P, D, _ = along_PD3.shape
    support, through, off = np.zeros((3, P, D), np.float32)
    for u, cell in cells.items():
        if u == v:
            continue
        z, pixel, inside = _in_picture(along_PD3.reshape(-1, 3), cell, K[u], w2c[u])
        z, inside = z.reshape(P, D), inside.reshape(P, D)
        beside = cv2.dilate(cell.wrong.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        wrong = beside.reshape(-1)[pixel].reshape(P, D) & inside
        there = to_float(cell.frame).reshape(-1, 3)[pixel].reshape(P, D, 3)
        differs = _difference(there, colour_P3[:, None])
        alike = wrong & (differs < _COLOUR)
        support += alike
        off += np.where(alike, differs, 0)
        through += (
            inside & ~wrong & (cell.depth.reshape(-1)[pixel].reshape(P, D) > z * (1 + _MARGIN))
        )
    needed = 1 if len(cells) < 4 else 2
    possible = (support >= needed) & (4 * through <= support)
    index = np.arange(D)
    middle = (possible * index).sum(1) / np.maximum(possible.sum(1), 1)
    away = np.abs(index - middle[:, None]) / D
    return np.where(possible, off / np.maximum(support, 1) + 0.1 * away, np.inf)


def visible_times(
    scene: Scene4D,
    carrier: Carrier,
    t: int,
    places_P3: FloatArray,
    colors_P3: FloatArray,
    every: dict[int, Cells],
) -> Mask:
    """Whether a point is visible [T, P]: at the stamps around ``t`` at which hardly any view sees
    past it something of another colour; stamps that are not in ``every`` are as their neighbours.
    """
    K, w2c = scene.K.cpu().double().numpy(), scene.w2c.cpu().double().numpy()
    T = len(scene.times)
    denied = np.zeros((T, len(places_P3)), bool)
    for s, cells in every.items():
        if s == t:
            continue
        there = carrier.carried(t, s, places_P3)
        past, seen = np.zeros((2, len(there)))
        for v, cell in cells.items():
            z, pixel, inside = _in_picture(there, cell, K[v], w2c[v])
            drawn = cell.depth.reshape(-1)[pixel]
            other = _difference(to_float(cell.frame).reshape(-1, 3)[pixel], colors_P3) > _COLOUR
            past += inside & other & (drawn > z * (1 + _MARGIN))
            seen += inside & (z < drawn * (1 + _MARGIN))
        denied[s] = past > 0.34 * seen
    later = np.cumsum(denied[t:], axis=0) > 0
    before = np.cumsum(denied[: t + 1][::-1], axis=0)[::-1] > 0
    return ~np.concatenate([before[:-1], later])


def _with_points(
    scene: Scene4D, places: FloatArray, colors: FloatArray, sigma: FloatArray, seen_TP: Mask
) -> Scene4D:
    """With points that follow no node yet."""

    def more(name: str, values: NDArray) -> torch.Tensor:
        old = getattr(scene, name)
        return torch.cat([old, torch.from_numpy(np.ascontiguousarray(values)).to(old)])

    n, P, T = len(scene), len(places), len(scene.times)
    visible = scene.visibility
    if visible is None:
        visible = scene.means.new_ones(T, n)
    none = scene.view_offsets.new_zeros(len(scene.w2c), P, 3)
    return replace(
        scene,
        means=more("means", places),
        log_scales=more("log_scales", np.log(sigma)),
        opacity_logits=more("opacity_logits", np.full(P, _LOGIT)),
        colors=more("colors", colors),
        node_index=more("node_index", np.zeros((P, scene.node_index.shape[1]))),
        node_weights=more("node_weights", np.zeros((P, scene.node_index.shape[1]))),
        view_offsets=torch.cat([scene.view_offsets, none], 1),
        visibility=torch.cat([visible, torch.from_numpy(seen_TP).to(visible)], 1),
    )


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


def _covered(places_P3: FloatArray, cell: Cell, K: FloatArray, w2c: FloatArray) -> Mask:
    """Pixels [H, W] at or beside which a place lies in front of what is drawn."""
    out = np.zeros(cell.depth.shape, np.uint8)
    z, pixel, inside = _in_picture(places_P3, cell, K, w2c)
    front = inside & (z < cell.depth.reshape(-1)[pixel])
    out.reshape(-1)[pixel[front]] = 1
    return cv2.dilate(out, np.ones((3, 3), np.uint8)).astype(bool)


def _in_picture(
    points_P3: FloatArray, cell: Cell, K: FloatArray, w2c: FloatArray
) -> tuple[FloatArray, NDArray[np.int64], Mask]:
    """Depth [P], pixel [P] (0 outside) and which of the points are in the picture [P]."""
    H, W = cell.depth.shape
    uv, z = project(transform(w2c, points_P3), K)
    x, y = np.floor(np.nan_to_num(uv, nan=-1.0, posinf=-1.0, neginf=-1.0)).astype(np.int64).T
    inside = (z > 0) & (x >= 0) & (x < W) & (y >= 0) & (y < H)
    return z, np.where(inside, y * W + x, 0), inside


def _difference(a: FloatArray, b: FloatArray) -> FloatArray:
    """Largest difference of the channels [...]."""
    off = np.abs(a - b)
    return np.maximum(np.maximum(off[..., 0], off[..., 1]), off[..., 2])


def _smooth(image_HW3: FloatArray) -> FloatArray:
    return np.asarray(cv2.blur(image_HW3, (3, 3)))


def _share(cells: Cells) -> float:
    return float(np.mean([cell.wrong.mean() for cell in cells.values()]))
