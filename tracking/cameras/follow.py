"""Tracks for camera poses: well-textured points of every view, followed through their neighbours.

Points start in every view, not only in the central one, so that the ends of a wide arc, which share
little with the centre, are tied through their neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from fourreal.cameras import pixel_grid
from fourreal.kernel_threads import cores, run_threaded
from tracking.cameras.align import follow_patches
from tracking.cameras.bundle import Observations
from tracking.flow.optical import PairFlows, threads


@dataclass(frozen=True)
class FollowConfig:
    """How points are chosen and followed; pixels are working pixels."""

    tracks: int = 4000  # over all views
    reach: int = 10  # views up and down
    blur_px: float = 0.7
    turns: int = 8  # of the alignment
    max_move_px: float = 4.0  # |aligned - flow|
    min_zncc: float = 0.8
    min_edge: float = 0.01  # least contrast of a patch over its largest, squared, by direction


def choose_points(pairs: PairFlows, per_view: int) -> tuple[np.ndarray, np.ndarray]:
    """(view [N], pixel index (x, y) [N, 2]) of textured, evenly spread points matched somewhere."""
    h, w = pairs.size
    cell = max(4, int(np.sqrt(h * w / per_view)))
    rows, columns = h // cell, w // cell

    def chosen_in(a: int) -> np.ndarray:
        """The best pixel of every cell of view a."""
        open_ = np.zeros((h, w), bool)
        for b in pairs.linked(a):
            open_ |= pairs.valid[a, b]
        corner = cv2.cornerMinEigenVal(cv2.GaussianBlur(pairs.gray_Vhw[a], (0, 0), 1.0), 5)
        texture = np.sqrt(np.maximum(corner, 0.0))
        score = np.where(open_ & (texture >= 2e-4), texture, 0.0)
        blocks = score[: rows * cell, : columns * cell].reshape(rows, cell, columns, cell)
        blocks = blocks.transpose(0, 2, 1, 3).reshape(rows * columns, -1)
        best = blocks.argmax(1)
        chosen = np.flatnonzero(blocks.max(1) > 0)
        y = (chosen // columns) * cell + best[chosen] // cell
        x = (chosen % columns) * cell + best[chosen] % cell
        return np.stack([x, y], 1)

    with threads() as pool:
        pixels = list(pool.map(chosen_in, range(pairs.views)))
    views = [np.full(len(p), a) for a, p in enumerate(pixels)]
    return np.concatenate(views).astype(np.int64), np.concatenate(pixels).astype(np.int64)


def follow(pairs: PairFlows, config: FollowConfig | None = None) -> Observations:
    """Points of all views and where the others see them."""
    config = config or FollowConfig()
    anchor, index = choose_points(pairs, max(40, config.tracks // pairs.views))
    own = np.array(pairs.sequence)
    # of a camera that goes all the way around, the last views come before the first as well
    beyond = min(config.reach, (len(own) - 1) // 2) if pairs.closed else 0
    reach = beyond or config.reach
    order = np.concatenate([own[len(own) - beyond :], own, own[:beyond]])
    h, w = pairs.size
    n = len(anchor)
    uv = np.zeros((n, len(order), 2))
    score = np.zeros((n, len(order)), np.float32)
    if n and len(order) > 1:
        images = [
            cv2.GaussianBlur(pairs.gray_Vhw[v].astype(np.float32), (0, 0), config.blur_px)
            for v in order
        ]
        up = list(zip(order[:-1], order[1:], strict=True))
        down = [(b, a) for a, b in up]
        flow_up, flow_down = (np.stack([pairs.flow[key] for key in keys]) for keys in (up, down))
        open_up, open_down = (np.stack([pairs.valid[key] for key in keys]) for keys in (up, down))
        run_threaded(
            cores(),
            follow_patches,
            np.stack(images), flow_up, flow_down, open_up, open_down,
            beyond + np.searchsorted(own, anchor), index, reach, config.turns,
            np.float32(config.max_move_px), np.float32(config.min_zncc),
            np.float32(config.min_edge), uv, score,
        )  # fmt: skip
    track, place = np.nonzero(score > 0)
    return Observations(
        anchor,
        pixel_grid(h, w)[index[:, 1], index[:, 0]].reshape(-1, 2),
        track.astype(np.int64),
        order[place].astype(np.int64),
        uv[track, place],
    )


def matches(obs: Observations, a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
    """Where tracks that start in view a or b are in both: pixels [M, 2] in a and in b."""
    there = (obs.anchor[obs.track] == a) & (obs.view == b)
    back = (obs.anchor[obs.track] == b) & (obs.view == a)
    x = np.concatenate([obs.anchor_uv[obs.track[there]], obs.uv[back]])
    y = np.concatenate([obs.uv[there], obs.anchor_uv[obs.track[back]]])
    return x, y
