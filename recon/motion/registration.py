"""A shape laid onto places where its surface was found, far from where it is now.

Flow and gradients follow what moves less than it is wide. A leg that swings further is found
elsewhere, and has to go there as a whole. Coherent point drift does that (Myronenko and Song 2010):
every found place pulls at the loose nodes around it, by distance and colour, first at those far
away, then at ever nearer ones; but here neighbours keep to as-rigid-as-possible motion from the
canonical shape instead of a smooth field, so that limbs swing about their joints.

Legend: M nodes, E edges of their graph, U loose nodes among them, F found places.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from fourreal.kernels import njit
from recon.motion.node_solver import relaxed
from recon.motion.nodes import node_graph
from recon.motion.rigidity import LocalTurns

FloatArray = NDArray[np.floating]
_NOTHING = 25.0  # e to the power of minus so much


@dataclass(frozen=True)
class RegistrationConfig:
    """How far and how stiffly loose nodes are pulled."""

    rounds: int = 12
    rigidity: float = 6.0
    """Weight of an edge beside that of a node that is in place ..."""
    bends: float = 3.0
    """... until it is off by so many pixels; from there the pull no longer grows."""
    colour: float = 0.15
    """Standard deviation of colours that belong together."""
    outliers: float = 0.1
    """Pull that a found place keeps to itself: it may belong to nothing there is."""
    most_pull: float = 3.0
    """Largest weight of what pulls at one node."""
    last: float = 1.5
    """Standard deviation of distances in the last round, in pixels; in the first one it is that
    of four in five of the found places from the nearest loose node."""
    sweeps: int = 20


@dataclass
class Found:
    """Places [F, 3] of a surface and their RGB [F, 3]."""

    places: FloatArray
    colors: FloatArray


class Registration:
    """Nodes that can be laid onto a surface.

    Args:
        nodes_M3: where they are in the canonical shape.
        colors_M3: their RGB.
    """

    def __init__(
        self, nodes_M3: FloatArray, colors_M3: FloatArray, config: RegistrationConfig | None = None
    ) -> None:
        self.nodes, self.colors = nodes_M3.astype(np.float64), colors_M3.astype(np.float64)
        self.config = config or RegistrationConfig()
        self.edges = node_graph(self.nodes)
        self.turns = LocalTurns(torch.from_numpy(self.nodes), torch.from_numpy(self.edges))
        row, edge = self.edges.T.reshape(-1), np.tile(np.arange(len(self.edges)), 2)
        sign = np.repeat([1.0, -1.0], len(self.edges))
        shape = len(self.nodes), len(self.edges)
        self.ends_ME = sparse.csr_matrix((sign, (row, edge)), shape=shape)

    def fit(
        self, offsets_M3: FloatArray, held_M: FloatArray, loose_M: NDArray[np.bool_],
        found: Found, pixel: float,
    ) -> FloatArray:  # fmt: skip
        """Offsets [M, 3] that lay the loose nodes onto what was found, from ``offsets_M3``.

        Args:
            held_M: how strongly nodes keep their offsets (1: in place; 0: free).
            pixel: what is as long as a pixel of the pictures is wide there.
        """
        c = self.config
        loose = np.flatnonzero(loose_M)
        start, moved = offsets_M3, offsets_M3.copy()
        distance = cKDTree((self.nodes + moved)[loose]).query(found.places)[0]
        far, near = max(np.quantile(distance, 0.8), 2 * c.last * pixel), c.last * pixel
        given = [np.ascontiguousarray(x, np.float64) for x in (found.places, found.colors)]
        paint, by_colour = self.colors[loose], 1 / (2 * c.colour**2)
        for k in range(c.rounds):
            width = far * (near / far) ** (k / max(c.rounds - 1, 1))
            total, sums = _pulls(
                *given, (self.nodes + moved)[loose], paint, 1 / (2 * width**2), by_colour,
                c.outliers,
            )  # fmt: skip
            pull, goal = np.zeros(len(moved)), np.zeros_like(moved)
            pull[loose] = np.minimum(total, c.most_pull)
            goal[loose] = sums / np.maximum(total, 1e-9)[:, None]
            moved = self._pulled(moved, start, held_M, pull, goal - self.nodes, pixel)
        return moved

    def _pulled(
        self, moved: FloatArray, start: FloatArray, held: FloatArray, pull: FloatArray,
        goal: FloatArray, pixel: float,
    ) -> FloatArray:  # fmt: skip
        """One solve: nodes between where they are held, what pulls and what their neighbours do."""
        c = self.config
        rigid = self.turns(torch.from_numpy(moved)).numpy()
        bent = moved[self.edges[:, 0]] - moved[self.edges[:, 1]] - rigid
        link = c.rigidity / np.maximum(np.linalg.norm(bent, axis=-1) / pixel, c.bends)
        rhs = held[:, None] * start + pull[:, None] * goal
        rhs += self.ends_ME @ (link[:, None] * rigid)
        return relaxed(held + pull + 1e-4, rhs, self.edges, link, moved, c.sweeps)


@njit(cache=True, error_model="numpy")
def _pulls(places, colors, nodes, paint, by_distance, by_colour, outliers):
    """What found places pull at nodes with: in all [U], and by it the sums of places [U, 3].

    A place shares itself among the nodes and ``outliers``, to each by e to the power of minus its
    squared distance and difference of colour, times these factors.
    """
    count = len(nodes)
    total, sums, share = np.zeros(count), np.zeros((count, 3)), np.zeros(count)
    for f in range(len(places)):
        x, y, z = places[f, 0], places[f, 1], places[f, 2]
        r, g, b = colors[f, 0], colors[f, 1], colors[f, 2]
        whole = outliers
        for u in range(count):
            dx, dy, dz = nodes[u, 0] - x, nodes[u, 1] - y, nodes[u, 2] - z
            dr, dg, db = paint[u, 0] - r, paint[u, 1] - g, paint[u, 2] - b
            off = by_distance * (dx * dx + dy * dy + dz * dz)
            off += by_colour * (dr * dr + dg * dg + db * db)
            share[u] = math.exp(-off) if off < _NOTHING else 0.0
            whole += share[u]
        for u in range(count):
            if share[u] > 0:
                part = share[u] / whole
                total[u] += part
                sums[u, 0] += part * x
                sums[u, 1] += part * y
                sums[u, 2] += part * z
    return total, sums
