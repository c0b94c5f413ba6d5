"""Baselines without a scene: frames stand in for pictures that nobody gave.

Legend: V' and T' count input and held-out views and times together (``TruthGrid``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fourreal.cameras import camera_centres
from recon.motion.curve import bracket
from scripts.evaluate.truth_grid import FloatArray, TruthGrid
from tracking.flow.trusted import trusted_both_ways

_UNTRUSTED = 1e-4  # what a pixel counts whose flow does not lead back


class NearestCell:
    """The nearest known cell stands in for every other picture.

    Within an input view the known cell nearest in time, else (no cell of that view is nearer in
    the grid) the one at the same time of the nearest view; for a free camera the input view whose
    centre is nearest.
    """

    def __init__(self, truth: TruthGrid, known: NDArray[np.bool_]) -> None:
        self.truth, self.cells = truth, np.argwhere(known)
        self.centres = camera_centres(truth.w2c[: truth.views])

    def input_view(self, view: int, t: float) -> FloatArray:
        times = self.truth.times[: self.truth.steps]
        step = float(np.interp(t, times, np.arange(len(times))))
        apart = np.abs(self.cells - (view, step))
        v, j = self.cells[np.lexsort((apart[:, 0], apart.sum(1)))[0]]
        return self.truth.rgb[v, j]

    def free_view(self, w2c: FloatArray, K: FloatArray, t: float) -> FloatArray:
        away = np.linalg.norm(self.centres - camera_centres(w2c), axis=-1)
        return self.input_view(int(away.argmin()), t)


class FlowBetween(NearestCell):
    """Frame interpolation: between two known times of a view, its frames moved along their flow.

    Both frames are splatted to the moment, each by how near it is in time and how far its flow is
    trusted. What supervision between stamps by flow would have to follow. All else as the nearest
    cell.
    """

    def input_view(self, view: int, t: float) -> FloatArray:
        known = [int(j) for v, j in self.cells if v == view]
        left, right, share = bracket([float(self.truth.times[j]) for j in known], t)
        if share == 0:
            return super().input_view(view, t)
        a, b = self.truth.rgb[view, known[left]], self.truth.rgb[view, known[right]]
        (there, trust), (back, trust_back) = trusted_both_ways(a, b)
        early = _splatted(a, share * there, (1 - share) * (trust + _UNTRUSTED))
        late = _splatted(b, (1 - share) * back, share * (trust_back + _UNTRUSTED))
        colours, weight = early[..., :3] + late[..., :3], early[..., 3:] + late[..., 3:]
        blend = (1 - share) * a + share * b
        return np.where(weight > _UNTRUSTED / 10, colours / np.maximum(weight, 1e-12), blend)


def _splatted(image_HW3: FloatArray, flow_HW2: FloatArray, weight_HW: FloatArray) -> FloatArray:
    """Weighted colours and weights [H, W, 4] of pixels that move, spread over the four nearest."""
    H, W = weight_HW.shape
    y, x = np.mgrid[:H, :W]
    moved = np.stack([x, y], -1) + flow_HW2
    first = np.floor(moved)
    values = np.concatenate([image_HW3, np.ones((H, W, 1))], -1)
    out = np.zeros((4, H * W))
    for step in ((0, 0), (0, 1), (1, 0), (1, 1)):
        place = first + step
        near = np.prod(1 - np.abs(moved - place), -1) * weight_HW
        i, j = place[..., 1].astype(int), place[..., 0].astype(int)
        inside = (i >= 0) & (i < H) & (j >= 0) & (j < W)
        at = (i * W + j)[inside]
        for channel in range(4):
            share = (values[..., channel] * near)[inside]
            out[channel] += np.bincount(at, share, H * W)
    return out.T.reshape(H, W, 4)
