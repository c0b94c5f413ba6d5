"""The upright plane in which something walks, runs or jumps.

Legs, arms and the body that they carry move nearly in one upright plane, that of the heading: of
ten animals and figures, 3 to 12 % of the motion left it. A view that is not in that plane sees the
whole of such motion: where a point is in its picture says how far away it is. The plane is found
among upright ones as that in which rigid frames best explain what the view saw at all times. Where
a level plane explains it better, as of a fish, where no plane explains it nearly as well as free
frames do, or where the view all but lies in the plane, nothing is said.
Legend: M nodes, V views.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fourreal.cameras import camera_centres
from recon.motion.frames import FrameConfig, RigidFrames
from recon.motion.node_solver import Sighting

FloatArray = NDArray[np.floating]
_NODES = 300
_TIMES = 4
_PLANES = 12
_FRAMES = FrameConfig(count=40, rounds=6, plane=1.0)
_DEARER = 1.06  # how much more than free frames may frames in a plane miss
_FACING = 1 / 3  # cosine between normal and ray from which a plane tells depth
_SIGHTED = 40  # nodes a frame, as they weigh against links
_LEVEL = 0.02  # how much of the upward axis comes from the pictures' own, where cameras hardly turn


def plane_of_motion(
    nodes_M3: FloatArray, sighted: Mapping[int, Sighting], home: int, w2c_V44: FloatArray
) -> FloatArray | None:
    """Unit normal [3] of the upright plane in which nodes [M, 3] move from the time ``home``, from
    where they are ``sighted`` at other times; None where they move in none, or in one that tells
    no depth."""
    some = np.random.default_rng(0).permutation(len(nodes_M3))[:_NODES]
    times = sorted(sighted, key=lambda t: abs(t - home))
    if not times or len(some) <= 2 * _FRAMES.links:
        return None
    times = times[:: -(-len(times) // _TIMES)]
    share = _SIGHTED * _FRAMES.count / len(some)
    seen = {
        t: replace(
            sighted[t], uv_M2=sighted[t].uv_M2[some], weight_M=sighted[t].weight_M[some] * share
        )
        for t in times
    }
    up = upward(w2c_V44)
    normals = [*_across(up, _PLANES), up]
    frames = RigidFrames(nodes_M3[some], _FRAMES)
    start = frames.state()

    def misfit(normal: FloatArray | None, enough: float = np.inf) -> float:
        """Of all times; where it gets more than ``enough``, of some."""
        frames.normal, total = normal, 0.0
        reached = {True: start, False: start}  # after home, before it
        for t in times:
            frames.restore(reached[t > home])
            frames.solve([seen[t]])
            reached[t > home] = frames.state()
            total += frames.misfit([seen[t]])
            if total > enough:
                break
        return total

    best, least = _PLANES, _DEARER * misfit(None)
    for k, normal in enumerate(normals):
        total = misfit(normal, least)
        if total < least:
            best, least = k, total
    if best == _PLANES or abs(normals[best] @ _ray(nodes_M3, seen[times[0]].w2c)) < _FACING:
        return None
    return normals[best]


def upward(w2c_V44: FloatArray) -> FloatArray:
    """Unit axis [3] that is upright where cameras are held level: across their horizontal axes."""
    right, down = w2c_V44[:, 0, :3], w2c_V44[:, 1, :3].mean(0)
    down = down / np.linalg.norm(down)
    spread = right.T @ right / len(right) + _LEVEL * (np.eye(3) - np.outer(down, down))
    return np.linalg.eigh(spread)[1][:, 0]


def _ray(nodes_M3: FloatArray, w2c: FloatArray) -> FloatArray:
    """Unit vector [3] from a camera to the middle of the nodes."""
    ray = nodes_M3.mean(0) - camera_centres(w2c)
    return ray / np.linalg.norm(ray)


def _across(axis: FloatArray, count: int) -> FloatArray:
    """Unit vectors [count, 3] across an axis, evenly over half a turn."""
    first = np.eye(3)[np.abs(axis).argmin()]
    first = first - (first @ axis) * axis
    first /= np.linalg.norm(first)
    angle = np.arange(count)[:, None] * np.pi / count
    return np.cos(angle) * first + np.sin(angle) * np.cross(axis, first)
