"""A scene that turns before a still camera and a still backdrop, as on a turntable.

What stands still in the pictures says that the camera does, and would win by numbers; the cameras
that belong to what turns are found without it.
"""

from __future__ import annotations

import numpy as np

from tracking.cameras.bundle import Observations
from tracking.cameras.search import Attempt, Search

_STILL_PX = 1.0  # working pixels that a point never leaves its place by
_MOVED_PX = 3.0  # ... and that it must leave it by
_FAR = 2  # views away that a point must be seen to tell
_LEAST_STILL = 0.1  # share of those points
_LEAST_MOVING = 40  # points


def what_moves(obs: Observations) -> tuple[Observations, float] | None:
    """The tracks that leave their place in the picture, and the share of those that do not.

    None unless a good share of the points stands still and enough others move.
    """
    points = len(obs.anchor)
    moved, away = np.zeros(points), np.zeros(points, int)
    shift = np.linalg.norm(obs.uv - obs.anchor_uv[obs.track], axis=1)
    np.maximum.at(moved, obs.track, shift)
    np.maximum.at(away, obs.track, np.abs(obs.view - obs.anchor[obs.track]))
    tells = away >= min(_FAR, max(int(away.max(initial=0)), 1))
    if not tells.any():
        return None
    still = float((moved[tells] < _STILL_PX).mean())
    kept = moved > _MOVED_PX
    if still < _LEAST_STILL or kept.sum() < _LEAST_MOVING:
        return None
    return obs.of_tracks(kept), still


def of_what_turns(search: Search, moving: Observations, still: float) -> Attempt | None:
    """Cameras of the tracks that move (see ``what_moves``), or None when nothing turns as one.

    What stands still must not say where the camera is.
    """
    found = search.attempt(moving)
    if not search.enough(found) or found.angle_deg <= search.limits.turntable_angle_deg:
        return None
    search.note(
        f"{100 * still:.0f} % of the points stand still in the pictures while others "
        "turn (a turntable?): the cameras are those of what turns"
    )
    return found
