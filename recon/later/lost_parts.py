"""What flow has lost, found again: limbs that swing further than they are wide.

From one time to the next flow takes a fast leg for what is behind it; gradient steps then draw it
into a body of its colour, and it stays there. Before they can, the drawing is held against the
frames: where views are wrong together, the missing surface is searched (`recon.later.search`), and
the nodes that are drawn where nothing of theirs is seen are laid onto it as a whole
(`recon.motion.registration`). Where a single view knows a time, what is missing lies on the rays of
its wrong pixels, as far away as the nodes drawn nearby that are not seen; rigid frames say later
how far that is (`recon.motion.single_view`). Ours; the paper's tracks end where they are lost.

Legend: V views, M nodes, those of them that move: L.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fourreal.cameras import invert, pixel_index, project, transform, unproject
from fourreal.video_io import to_float
from recon.later.cells import MARGIN, Cell, Cells, LaterConfig, beside, share_of_wrong
from recon.later.search import search
from recon.motion.follow import FollowContext
from recon.motion.registration import Found, Registration
from recon.render import render_canonical
from recon.scene import Scene4D

FloatArray = NDArray[np.floating]
Mask = NDArray[np.bool_]
_ROUNDS = 3
_GAIN = 0.98  # what is wrong must shrink to so much of itself, else a round is taken back ...
_GAIN_ALONE = 1.0  # ... and with one view, which shows little of a part, must not grow
_WRONG_ALONE = 2e-3  # part of its pixels that must be wrong for that: a clip has many times
_FEW = 20  # found places that tell nothing
_MANY = 800  # found places, more of which tell no more
_RAYS = 400  # that are searched in a view
_HIDDEN = 0.3  # how strongly nodes that no view sees stay where they are
_LEAST = 30  # moving nodes


def recover_lost(
    scene: Scene4D, context: FollowContext, nodes_M3: FloatArray, free_M: Mask
) -> Callable[[int, FloatArray], FloatArray] | None:
    """What ``FollowContext.recover`` asks for; None where no time but the canonical one is known to
    enough views or to one alone, or too little moves.

    Args:
        scene: in its canonical pose; what follows no node stands still.
        free_M: the nodes that move.
    """
    views_T = context.known.sum(0)
    enough = (views_T >= LaterConfig.views) | (views_T == 1)
    enough[context.canonical_time] = False
    if not enough.any() or free_M.sum() < _LEAST:
        return None
    parts = _LostParts(scene, context, nodes_M3, free_M)
    return lambda t, offsets_M3: parts.recovered(t, offsets_M3) if enough[t] else offsets_M3


class _LostParts:
    def __init__(
        self, scene: Scene4D, context: FollowContext, nodes_M3: FloatArray, free_M: Mask
    ) -> None:
        self.context, self.free, self.config = context, free_M, LaterConfig()
        self.nodes = nodes_M3[free_M].astype(np.float64)
        self.still, self.device = _still_pictures(scene), scene.means.device
        self.registration = Registration(self.nodes, self._colors(len(free_M)))

    def recovered(self, t: int, offsets_M3: FloatArray) -> FloatArray:
        """Offsets [M, 3] at a time from those to which flow carried the nodes."""
        offsets_M3 = np.array(offsets_M3, np.float64)
        cells, off = self._cells(t, offsets_M3)
        alone = len(cells) == 1
        least, gain = (_WRONG_ALONE, _GAIN_ALONE) if alone else (self.config.share, _GAIN)
        for _ in range(_ROUNDS):
            wrong = share_of_wrong(cells)
            if wrong < least:
                break
            tried = self._laid(cells, off, offsets_M3)
            if tried is None:
                break
            cells, off = self._cells(t, tried)
            if share_of_wrong(cells) > gain * wrong:
                break
            offsets_M3 = tried
        return offsets_M3

    def _laid(
        self, cells: Cells, off: dict[int, FloatArray], offsets_M3: FloatArray
    ) -> FloatArray | None:
        """Offsets [M, 3] with lost nodes on what is missing; None where nothing is to be done."""
        w2c = self.context.w2c
        offsets_L3 = offsets_M3[self.free]
        here = self.nodes + offsets_L3
        seen, denied = np.zeros((2, len(here)))
        for v in cells:
            pixel, shown = self._shown(here, v, cells)
            seen += shown
            denied += shown & (off[v].reshape(-1)[pixel] > self.config.error)
        lost, hidden = (seen > 0) & (denied > 0.5 * seen), seen == 0
        if not lost.any():
            return None
        if len(cells) > 1:
            places, colors, _ = search(self.context.K, w2c, here, cells, self.config, _RAYS)
        else:
            ((v, cell),) = cells.items()
            places, colors = _on_rays(cell, here[lost], self.context.K[v], w2c[v])
        if len(places) < _FEW:
            return None
        some = np.random.default_rng(0).permutation(len(places))[:_MANY]
        held = np.where(lost, 0.0, np.where(hidden, _HIDDEN, 1.0))
        z = here @ w2c[0][2, :3] + w2c[0][2, 3]
        pixel_size = float(np.median(np.abs(z)) / self.context.K[0, 0, 0])
        out = offsets_M3.copy()
        out[self.free] = self.registration.fit(
            offsets_L3, held, lost | hidden, Found(places[some], colors[some]), pixel_size
        )
        return out

    def _cells(self, t: int, offsets_M3: FloatArray) -> tuple[Cells, dict[int, FloatArray]]:
        """The known cells of a time, with nodes at these offsets, and how far they are off."""
        known, c = self.context.known, self.context.canonical_time
        offsets = torch.as_tensor(offsets_M3, dtype=torch.float32, device=self.device)
        cells: Cells = {}
        off = {}
        for v in np.flatnonzero(known[:, t]).tolist():
            with torch.no_grad():
                drawn = self.context.draw((v, t), offsets)
            # what the surroundings look like is no missing part, nor what was there all the time
            same = [(self.still[v], 1.0)]
            if known[v, c]:
                same.append((self._frame(v, c), 0.5))
            cells[v], off[v] = beside(self._frame(v, t), drawn, same, self.config.error)
        return cells, off

    def _frame(self, v: int, t: int) -> FloatArray:
        frame: FloatArray = self.context.frames[v, t].cpu().numpy()
        return frame

    def _shown(self, places_L3: FloatArray, v: int, cells: Cells) -> tuple[NDArray[np.int64], Mask]:
        """The pixel of places in a view, and which are not behind what it draws."""
        uv, z = project(transform(self.context.w2c[v], places_L3), self.context.K[v])
        drawn = cells[v].depth
        pixel, inside = pixel_index(uv, z, drawn.shape)
        return pixel, inside & (z < drawn.reshape(-1)[pixel] * (1 + MARGIN))

    def _colors(self, nodes: int) -> FloatArray:
        """RGB [L, 3] that the views of the canonical time show of the nodes that move; black of
        those that none sees, so that little pulls at them."""
        cells, _ = self._cells(self.context.canonical_time, np.zeros((nodes, 3)))
        total, count = np.zeros((len(self.nodes), 3)), np.zeros((len(self.nodes), 1))
        for v, cell in cells.items():
            pixel, shown = self._shown(self.nodes, v, cells)
            total += shown[:, None] * (cell.frame.reshape(-1, 3)[pixel] / 255)
            count += shown[:, None]
        return total / np.maximum(count, 1)


def _on_rays(
    cell: Cell, near_N3: FloatArray, K: FloatArray, w2c: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Places [P, 3] and RGB [P, 3] of the pixels that are drawn wrongly in a view, each as far away
    as the one of some nodes that is drawn nearest to it."""
    y, x = np.nonzero(cell.wrong)
    uv = np.stack([x, y], -1) + 0.5
    near, z = project(transform(w2c, near_N3), K)
    depth = z[cKDTree(near).query(uv)[1]]
    places: FloatArray = transform(invert(w2c), unproject(uv, depth, K))
    return places, to_float(cell.frame)[y, x]


def _still_pictures(scene: Scene4D) -> list[FloatArray]:
    """How every view [H, W, 3] looks without what moves."""
    still = scene.keep(scene.node_weights.sum(1) == 0)
    views = range(len(scene.w2c))
    drawn = [render_canonical(still, v, scene.background).rgb for v in views]
    return [image.clamp(0, 1).cpu().numpy() for image in drawn]
