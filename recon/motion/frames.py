"""Rigid frames that carry the nodes: motion in 3-D from what a single view sees of it.

Along a ray one view sees nothing of a single node, but much of a part: what turns is foreshortened,
what comes nearer grows. So a few frames, each with a turn and a place, carry the nodes; a node goes
where the nearest frames take it together, and neighbouring frames should agree on where the other
one is (Sumner et al. 2007, "Embedded deformation for shape manipulation"; with a norm of 1, so that
joints may bend). Frames are measured against the canonical shape, not against the time before:
errors of shape do not add up. Small errors of flow that agree look like a part that comes nearer,
so the worse the sightings fit, the more a frame stays at the distance it has at rest. Where the
plane is known in which things move (`recon.motion.upright`), frames stay near theirs. Found by
Gauss-Newton on reprojection errors with robust weights.
Legend: C frames, M nodes, K frames that carry a node, L directed links between frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve

from fourreal.cameras import camera_centres, project, transform
from fourreal.epipolar import cross
from recon.motion.node_solver import Sighting
from recon.motion.nodes import choose_nodes, interpolation, node_graph
from recon.motion.rigidity import rotations

FloatArray = NDArray[np.floating]
_SETTLED = 0.02  # pixels that a round may still move a frame when it is the last one
_WIDTH = (4.0, 1.5)  # of the robust weights, pixels: in the first two rounds and after
_MISSED = 1.5  # pixels; what misses by more counts as this


@dataclass
class FrameConfig:
    """How frames are laid out and how stiffly they hold together."""

    count: int = 150
    neighbours: int = 4
    links: int = 8
    stiffness: float = 0.3
    """Weight of a pixel that two frames disagree, in pixels of a node that is off."""
    inertia: float = 1e-3
    """Weight of a pixel that a frame moves from where it was."""
    distance: float = 0.5
    """Weight of a link's length that a frame is farther or nearer than at rest, for every square
    pixel by which sightings miss."""
    plane: float = 0.3
    """Weight of a pixel that a frame leaves its plane by, where there is one."""
    rounds: int = 15


class RigidFrames:
    """Frames spread over nodes [M, 3] at rest; ``turns`` [C, 3, 3] and ``places`` [C, 3] are their
    state, which ``solve`` changes. ``link``: how far apart linked ones are at rest. ``normal`` [3]:
    frames move in planes across it; None: anywhere.
    """

    def __init__(self, nodes_M3: FloatArray, config: FrameConfig, seed: int = 0) -> None:
        self.config = config
        chosen = choose_nodes(nodes_M3, np.ones(len(nodes_M3), np.float32), config.count, seed)
        self.rest = np.asarray(nodes_M3[chosen], np.float64)
        self.index, self.weights = interpolation(nodes_M3, self.rest, config.neighbours)
        self.arms_MK3 = nodes_M3[:, None] - self.rest[self.index]
        one_way = node_graph(self.rest, config.links)
        self.links = np.concatenate([one_way, one_way[:, ::-1]])
        i, j = one_way.T
        self.link = float(np.linalg.norm(self.rest[j] - self.rest[i], axis=-1).mean())
        self.turns: FloatArray = np.tile(np.eye(3), (len(self.rest), 1, 1))
        self.places: FloatArray = self.rest.copy()
        self.normal: FloatArray | None = None

    def state(self) -> tuple[FloatArray, FloatArray]:
        """Turns and places, to come back to."""
        return self.turns, self.places

    def restore(self, state: tuple[FloatArray, FloatArray]) -> None:
        """Come back to what ``state`` gave."""
        self.turns, self.places = state

    def carried(self) -> FloatArray:
        """Where the frames take the nodes, [M, 3]."""
        return self._blend(self._turned_arms())

    def solve(self, sightings: Sequence[Sighting]) -> None:
        """Move the frames so that the nodes they carry are where they are sighted."""
        count, config = len(self.rest), self.config
        start, pixel = self.places, self._pixel(sightings)
        reach = self.link / pixel
        # unknowns of a frame: a turn, in pixels at the length of a link, and a shift in pixels
        lazy = np.tile(np.full(6, config.inertia), count)
        for k in range(config.rounds):
            back = np.zeros((count, 6))
            back[:, 3:] = config.inertia * (start - self.places) / pixel
            square, pull = np.diag(lazy + 1e-6), back.reshape(-1)
            width = None if k == 0 else _WIDTH[0] if k < 2 else _WIDTH[1]
            arms = self._turned_arms()
            here = self._blend(arms)
            rows = [self._sighted(s, arms, here, pixel, reach, width) for s in sightings]
            rows.append(self._linked(pixel, reach, 0.3 if k else 1.0))
            if self.normal is not None:
                rows.append(self._in_plane(self.normal, pixel))
            if k >= 2:
                rows += [self._as_far_away(s, here, pixel, reach) for s in sightings]
            jacobian = sparse.vstack([matrix for matrix, _ in rows], format="csr")
            square += (jacobian.T @ jacobian).toarray()
            pull += jacobian.T @ np.concatenate([residual for _, residual in rows])
            step = cho_solve(cho_factor(square, check_finite=False), pull).reshape(count, 6)
            self.turns = rotations(torch.from_numpy(step[:, :3] / reach)).numpy() @ self.turns
            self.places = self.places + step[:, 3:] * pixel
            if np.abs(step[:, 3:]).max() < _SETTLED:
                break

    def misfit(self, sightings: Sequence[Sighting]) -> float:
        """What ``solve`` makes small: by how much sightings, and links, are missed."""
        total, here = 0.0, self.carried()
        for seen in sightings:
            uv, _ = project(transform(seen.w2c, here), seen.K)
            square = ((seen.uv_M2 - uv) ** 2).sum(-1)
            width = _WIDTH[1] ** 2
            total += float((seen.weight_M * square * width / (width + square)).sum())
        apart = np.linalg.norm(self._apart()[0], axis=-1) / self._pixel(sightings)
        return total + 2 * self.config.stiffness * float(apart.sum())

    def _pixel(self, sightings: Sequence[Sighting]) -> float:
        """World length of one pixel at the median frame."""
        depths = [np.median(transform(s.w2c, self.rest)[:, 2]) / s.K[0, 0] for s in sightings]
        return float(np.abs(np.median(depths)))

    def _turned_arms(self) -> FloatArray:
        return (self.turns[self.index] @ self.arms_MK3[..., None])[..., 0]

    def _blend(self, arms_MK3: FloatArray) -> FloatArray:
        return ((arms_MK3 + self.places[self.index]) * self.weights[..., None]).sum(1)

    def _sighted(
        self,
        seen: Sighting,
        arms: FloatArray,
        here_M3: FloatArray,
        pixel: float,
        reach: float,
        width: float | None,
    ) -> tuple[sparse.csr_matrix, FloatArray]:
        """Weighted Jacobian and residual of where a view sees the nodes, which their turned
        ``arms`` [M, K, 3] take ``here``; Geman-McClure weights of a ``width`` in pixels."""
        at = transform(seen.w2c, here_M3)
        uv, z = project(at, seen.K)
        z = np.maximum(z, 1e-9)
        residual = seen.uv_M2 - uv
        weight = np.asarray(seen.weight_M, np.float64)
        if width is not None:
            weight = weight * (width**2 / (width**2 + (residual**2).sum(-1))) ** 2
        used = np.flatnonzero((weight > 1e-4) & (z > 1e-8))
        fx, fy = seen.K[0, 0], seen.K[1, 1]
        slope = np.zeros((len(used), 2, 3))
        slope[:, 0, 0], slope[:, 1, 1] = fx / z[used], fy / z[used]
        slope[:, 0, 2] = -fx * at[used, 0] / z[used] ** 2
        slope[:, 1, 2] = -fy * at[used, 1] / z[used] ** 2
        slope = slope @ seen.w2c[:3, :3] * pixel
        share = self.weights[used]
        by_turn = np.einsum("mab,mkbc->makc", slope, -cross(arms[used]) / (pixel * reach))
        by_shift = np.broadcast_to(slope[:, :, None], by_turn.shape)
        rows = np.concatenate([by_turn, by_shift], -1) * share[:, None, :, None]
        root = np.sqrt(weight[used])
        rows = rows.reshape(len(used), 2, 6 * share.shape[1]) * root[:, None, None]
        return (
            _sparse(rows, self.index[used], len(self.rest)),
            (residual[used] * root[:, None]).reshape(-1),
        )

    def _as_far_away(
        self, seen: Sighting, here_M3: FloatArray, pixel: float, reach: float
    ) -> tuple[sparse.csr_matrix, FloatArray]:
        """Weighted Jacobian and residual of how much nearer frames are to a view than at rest, with
        the nodes ``here``."""
        uv, _ = project(transform(seen.w2c, here_M3), seen.K)
        missed = np.minimum(np.linalg.norm(seen.uv_M2 - uv, axis=-1), _MISSED)
        weight = np.asarray(seen.weight_M, np.float64)
        spread = float((weight * missed**2).sum() / max(weight.sum(), 1e-9))
        root = np.sqrt(self.config.distance * spread) / reach
        ray = self.rest - camera_centres(seen.w2c)
        ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
        rows = np.zeros((len(ray), 1, 6))
        rows[:, 0, 3:] = root * ray
        residual = root * ((self.rest - self.places) * ray).sum(-1) / pixel
        return _sparse(rows, np.arange(len(ray))[:, None], len(ray)), residual

    def _linked(
        self, pixel: float, reach: float, least: float
    ) -> tuple[sparse.csr_matrix, FloatArray]:
        """Weighted Jacobian and residual of where frames see their neighbours; a norm of 1."""
        apart, arm = self._apart()
        residual = apart / pixel
        length = np.linalg.norm(residual, axis=-1)
        root = np.sqrt(self.config.stiffness / np.maximum(length, least))
        rows = np.zeros((len(arm), 3, 12))
        rows[:, :, :3] = -cross(arm) / (pixel * reach)
        rows[:, :, 3:6], rows[:, :, 9:] = np.eye(3), -np.eye(3)
        rows = rows * root[:, None, None]
        return (
            _sparse(rows, self.links, len(self.rest)),
            (residual * root[:, None]).reshape(-1),
        )

    def _apart(self) -> tuple[FloatArray, FloatArray]:
        """How far [L, 3] neighbours are from where a frame sees them, and where that is from it."""
        i, j = self.links.T
        arm = (self.turns[i] @ (self.rest[j] - self.rest[i])[..., None])[..., 0]
        return self.places[j] - arm - self.places[i], arm

    def _in_plane(self, normal: FloatArray, pixel: float) -> tuple[sparse.csr_matrix, FloatArray]:
        """Weighted Jacobian and residual of how far frames have left their planes."""
        count, root = len(self.rest), self.config.plane**0.5
        rows = np.zeros((count, 1, 6))
        rows[:, 0, 3:] = root * normal
        residual = root * ((self.rest - self.places) @ normal) / pixel
        return _sparse(rows, np.arange(count)[:, None], count), residual


def _sparse(rows_NRB: FloatArray, frames_NK: NDArray[np.int64], count: int) -> sparse.csr_matrix:
    """A matrix [N R, 6 count] of dense rows, six numbers for each of a row's K frames."""
    n, r, b = rows_NRB.shape
    columns = (frames_NK[:, :, None] * 6 + np.arange(6)).reshape(n, 1, b)
    every = np.broadcast_to(columns, rows_NRB.shape).reshape(-1)
    starts = np.arange(0, n * r * b + 1, b)
    return sparse.csr_matrix((rows_NRB.reshape(-1), every, starts), shape=(n * r, 6 * count))
