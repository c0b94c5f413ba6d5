"""Gaussians whose shape or colour changes freely, as Gaussians that keep theirs.

A ``PlayerScene`` holds one shape, which may turn, and one colour (times a shade) for each Gaussian.
One that turns far, grows or changes hue is cut into episodes: each becomes a Gaussian of its own
that is visible at the stamps of its episode and fades into the next between them.

Shape letters: N Gaussians of the source, T stamps, E episodes of all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_GROWN = 0.1  # natural log of a radius
TURNED = np.cos(2.0 / 2)  # 2 rad, as a product of quaternions
_OTHER_HUE = 6 / 255
_ROUND = 0.05  # logs of radii closer than this have no axes to speak of


@dataclass
class States:
    """The same Gaussians at T stamps: means [T,N,3], log_axes [T,N,3], rotations [T,N,4] (w, x, y,
    z), colors [T,N,3], opacities [T,N] (0 where one is absent). float32."""

    means: NDArray
    log_axes: NDArray
    rotations: NDArray
    colors: NDArray
    opacities: NDArray


def episodes_of(states: States) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Which Gaussian [E] and which stamp [E] gives an episode its shape, and where [T,E] it is the
    one that is shown. Gaussians that never change have one episode, shown at every stamp."""
    count, n = states.opacities.shape
    present = states.opacities > 0
    model = np.argmax(present, 0)  # the stamp that the running episode looks like
    models = [model.copy()]
    every = np.arange(n)
    number = np.zeros((count, n), np.int64)
    current = np.zeros(n, np.int64)
    for t in range(count):
        other = present[t] & (t > model) & _differs(states, t, model, every)
        model = np.where(other, t, model)
        current = current + other
        number[t] = current
        if other.any():
            while len(models) <= current.max():
                models.append(np.full(n, -1))
            for k in np.unique(current[other]):
                rows = other & (current == k)
                models[k][rows] = t
    whose, looks = [], []
    for stamps in models:
        rows = np.flatnonzero(stamps >= 0)
        whose.append(rows)
        looks.append(stamps[rows])
    order = np.concatenate(whose)
    place = np.concatenate([np.full(len(rows), k) for k, rows in enumerate(whose)])
    return order, np.concatenate(looks), number[:, order] == place


def _differs(states: States, t: int, model: NDArray, every: NDArray) -> NDArray[np.bool_]:
    """Whether the Gaussians at stamp ``t`` look unlike they did at their own stamp ``model``."""
    logs, before = states.log_axes[t], states.log_axes[model, every]
    grown = np.abs(logs - before).max(1) > _GROWN
    same = np.abs((states.rotations[t] * states.rotations[model, every]).sum(1))
    turned = (same < TURNED) & (np.ptp(before, axis=1) > _ROUND)
    now, then = states.colors[t], states.colors[model, every]
    shade = (now * then).sum(1) / np.maximum((then * then).sum(1), 1e-9)
    hue = np.abs(now - np.clip(then * shade[:, None], 0, 1)).max(1) > _OTHER_HUE
    return grown | turned | hue
