"""One moment of a scene as every file format takes it, and which moments are written.

Shape letter: N points. World axes as in the scene (x right, y down, z forward) unless ``upright``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fourreal.errors import UserError
from viewer.player_scene import Floats, PlayerScene

SH_C0 = 0.28209479177387814


@dataclass(frozen=True)
class Moment:
    """Gaussians at one time: means [N,3]; log_axes [N,3], natural logs of the three radii along
    the axes that the unit quaternions rotations [N,4] (w, x, y, z) turn; opacities [N] and colors
    [N,3] in 0..1."""

    means: Floats
    log_axes: Floats
    rotations: Floats
    opacities: Floats
    colors: Floats

    def keep(self, which: NDArray) -> Moment:
        """The Gaussians of an index or mask [N]."""
        return Moment(
            *(self.means[which], self.log_axes[which], self.rotations[which]),
            *(self.opacities[which], self.colors[which]),
        )

    def upright(self) -> Moment:
        """The same with y up and z towards the viewer: half a turn about x, as OpenGL, glTF, USD
        and most editors have it. Doing it twice changes nothing but the quaternions' sign."""
        w, x, y, z = self.rotations.T
        return replace(
            self,
            means=self.means * np.array([1, -1, -1], np.float32),
            rotations=np.stack([-x, w, -z, y], 1),
        )


def moment_at(player: PlayerScene, t: float) -> Moment:
    """The Gaussians of ``player`` at time ``t`` in 0..1, view compensation left out."""
    means, _, opacities, colors = player.at(t)
    turns = np.zeros((len(means), 4), np.float32)
    turns[:, 0] = 1
    axes = player.axes_at(t)
    if axes is not None:
        norm = np.linalg.norm(axes, axis=1, keepdims=True)
        turns = (axes / np.maximum(norm, 1e-12)).astype(np.float32)
    return Moment(means, player.log_axes(), turns, opacities, colors)


def moments(player: PlayerScene, count: int | None) -> NDArray[np.floating]:
    """The stored times, or ``count`` evenly spaced ones. Raises UserError below 1."""
    if count is not None and count < 1:
        raise UserError(f"{count} frames: at least 1 is needed")
    times = player.times
    return times if count is None else np.linspace(times[0], times[-1], count)


def line_moments(player: PlayerScene, count: int | None) -> NDArray[np.floating]:
    """Like ``moments``, for files that know straight lines only.

    Where the scene's motion is curved, the times half-way between stored ones come with them.
    """
    times = moments(player, count)
    if count is not None or player.slopes is None or len(times) < 2:
        return times
    return np.sort(np.concatenate([times, (times[1:] + times[:-1]) / 2]))


def seconds(player: PlayerScene, times: NDArray[np.floating]) -> NDArray[np.float64]:
    """When the moments ``times`` (0..1) are played, in seconds from the first stored time."""
    first, last = float(player.times[0]), float(player.times[-1])
    length = (len(player.times) - 1) / player.fps
    return (np.asarray(times, np.float64) - first) / max(last - first, 1e-12) * length
