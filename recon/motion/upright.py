"""The upright plane in which something walks, runs or jumps.

Legs and the body that they carry move nearly in one upright plane, that of the heading: of twelve
walking, running and jumping animals and figures, 3 to 16 % of the motion left it. A view that is
not in that plane sees the whole of such motion: where a point is in its picture says how far away
it is. What is long goes where it points, so the plane is that of its length, if rigid frames in it
explain what the view saw at all times nearly as well as free ones do, and better than frames in the
level plane, in which fish swim. Else nothing is said. Legend: M nodes, V views.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fourreal.cameras import camera_centres, project, transform
from recon.motion.frames import FrameConfig, RigidFrames
from recon.motion.node_solver import Sighting

FloatArray = NDArray[np.floating]
_NODES = 300
_TIMES = 4
_FRAMES = FrameConfig(count=40, rounds=6, plane=1.0)
_SIGHTED = 40  # nodes a frame, as they weigh against links
_MOVED = 0.15  # of the way of the fastest
_LONG = 2.0  # how much longer than wide a thing is that goes where it points
_DEARER = 1.25  # how much more than free frames may frames in a plane miss
_FACING = 0.25  # cosine between normal and ray from which a plane tells depth
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
    up = upward(w2c_V44)
    long = _long_axis(nodes_M3[_surely_moved(nodes_M3, sighted)], up)
    if long is None:
        return None
    normal = np.cross(up, long)
    if abs(normal @ _ray(nodes_M3, sighted[times[0]].w2c)) < _FACING:
        return None
    times = times[:: -(-len(times) // _TIMES)]
    share = _SIGHTED * _FRAMES.count / len(some)
    seen = {
        t: replace(
            sighted[t], uv_M2=sighted[t].uv_M2[some], weight_M=sighted[t].weight_M[some] * share
        )
        for t in times
    }
    frames = RigidFrames(nodes_M3[some], _FRAMES)
    start = frames.state()

    def misfit(normal: FloatArray | None) -> float:
        frames.normal, total = normal, 0.0
        reached = {True: start, False: start}  # after home, before it
        for t in times:
            frames.restore(reached[t > home])
            frames.solve([seen[t]])
            reached[t > home] = frames.state()
            total += frames.misfit([seen[t]])
        return total

    return normal if misfit(normal) < min(_DEARER * misfit(None), misfit(up)) else None


def upward(w2c_V44: FloatArray) -> FloatArray:
    """Unit axis [3] that is upright where cameras are held level: across their horizontal axes."""
    right, down = w2c_V44[:, 0, :3], w2c_V44[:, 1, :3].mean(0)
    down = down / np.linalg.norm(down)
    spread = right.T @ right / len(right) + _LEVEL * (np.eye(3) - np.outer(down, down))
    return np.linalg.eigh(spread)[1][:, 0]


def _surely_moved(nodes_M3: FloatArray, sighted: Mapping[int, Sighting]) -> NDArray[np.bool_]:
    """Nodes [M] that were seen to move a share of what the fastest did: ground around feet, which
    may be among the nodes, is none."""
    far = np.zeros(len(nodes_M3))
    for seen in sighted.values():
        uv, _ = project(transform(seen.w2c, nodes_M3), seen.K)
        far = np.maximum(far, np.linalg.norm(seen.uv_M2 - uv, axis=1) * (seen.weight_M > 0))
    return far > _MOVED * np.percentile(far, 95)


def _long_axis(nodes_M3: FloatArray, up: FloatArray) -> FloatArray | None:
    """Unit vector [3] along which the nodes lie, across ``up``; None where they are about round."""
    flat = nodes_M3 - nodes_M3.mean(0)
    flat = flat - (flat @ up)[:, None] * up
    size, axes = np.linalg.eigh(flat.T @ flat)
    return axes[:, 2] if size[2] > _LONG**2 * size[1] else None


def _ray(nodes_M3: FloatArray, w2c: FloatArray) -> FloatArray:
    """Unit vector [3] from a camera to the middle of the nodes."""
    ray = nodes_M3.mean(0) - camera_centres(w2c)
    return ray / np.linalg.norm(ray)
