"""A scene that turns before a still camera and a still backdrop, as on a turntable.

What stands still in the pictures says that the camera does, and would win by numbers; the cameras
that belong to what turns are found without it.

Legend: V views, H W image.
"""

from __future__ import annotations

import cv2
import numpy as np

from tracking.cameras.bundle import Observations
from tracking.cameras.search import Attempt, Search

_STILL_PX = 1.0  # working pixels that a point never leaves its place by
_MOVED_PX = 3.0  # ... and that it must leave it by
_FAR = 2  # views away that a point must be seen to tell
_LEAST_STILL = 0.1  # share of those points
_LEAST_MOVING = 40  # points
_SURE = 0.7  # confidence of what belongs to the scene ...
_GAP = 0.015  # ... with gaps closed of this share of the long side ...
_BLOB = 0.01  # ... in parts of at least this share of the picture
_ALIKE = 0.06  # difference to the median of all pictures that is none


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
    number = np.cumsum(kept) - 1
    use = kept[obs.track]
    moving = Observations(
        obs.anchor[kept], obs.anchor_uv[kept], number[obs.track[use]], obs.view[use], obs.uv[use]
    )
    return moving, still


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


def still_parts(frames: np.ndarray) -> np.ndarray:
    """Where frames [V, H, W, 3] (0..1) show what most of them show in that place, [V, H, W]."""
    smooth = np.stack([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in frames])
    return np.abs(smooth - np.median(smooth, axis=0)).max(-1) < _ALIKE


def still_around(frames: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """The backdrop [V, H, W]: still parts that reach the border of the picture.

    Not what is sure to belong to the scene (confidence [V, H, W] of its depth): of a pot that turns
    and is of one colour, or cut off by the picture's border, much looks still.
    """
    out = np.zeros(frames.shape[:3], bool)
    grain = np.ones((3, 3), np.uint8)
    reach = np.ones((max(3, round(max(frames.shape[1:3]) * _GAP) | 1),) * 2, np.uint8)
    for v, still in enumerate(still_parts(frames)):
        sure = cv2.morphologyEx((confidence[v] > _SURE).astype(np.uint8), cv2.MORPH_OPEN, grain)
        blobs = _without_small(sure, _BLOB, False).astype(np.uint8)
        scene = np.asarray(cv2.morphologyEx(blobs, cv2.MORPH_CLOSE, reach))
        core = cv2.morphologyEx((still & (scene == 0)).astype(np.uint8), cv2.MORPH_OPEN, grain)
        around = cv2.dilate(_without_small(core, 0.002, True).astype(np.uint8), grain)
        # what the scene hid elsewhere is not still in most pictures
        beside = cv2.dilate(scene, reach) == 0
        out[v] = (scene == 0) & ((around > 0) | beside)
    return out


def _without_small(mask: np.ndarray, share: float, border: bool) -> np.ndarray:
    """Parts of mask [H, W] that make up a share of the picture, and (if asked) reach its border."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    large = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] >= share * mask.size)
    if border:
        edges = labels[0], labels[-1], labels[:, 0], labels[:, -1]
        large = np.intersect1d(large, np.concatenate(edges))
    return np.isin(labels, large[large > 0])
