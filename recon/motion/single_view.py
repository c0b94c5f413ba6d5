"""How far away nodes are at times that a single view knows.

Along its rays a view sees nothing of a node: rigid frames (`recon.motion.frames`) and the upright
plane in which things move (`recon.motion.upright`) say where on them the nodes are.
Legend: M nodes, of which those that may move hang on the frames.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fourreal.cameras import camera_centres, invert, project, transform, unproject
from recon.motion.frames import FrameConfig, RigidFrames
from recon.motion.node_solver import Sighting
from recon.motion.upright import plane_of_motion

FloatArray = NDArray[np.floating]
_LINK = 15.0  # pixels between neighbouring frames, at most, in the picture that these are shown
_BESIDE = 10  # nodes around one, itself among them
_TORN = 2.0  # pixels by which a node may leave its frames alone, and not with the nodes around it
_ACROSS = 100.0  # squares of how far from its frames a node is across the plane of motion, to in it


class SingleView:
    """Nodes [M, 3] at rest at the time ``home``, of which ``free`` (indices) may move.

    Times are visited one after the other, away from ``home``.
    """

    def __init__(
        self,
        nodes_M3: FloatArray,
        free: NDArray[np.int64],
        home: int,
        config: FrameConfig,
    ) -> None:
        self._count, self._free, self._home = len(nodes_M3), free, home
        self._rest = np.asarray(nodes_M3[free], np.float64)
        self._frames = RigidFrames(self._rest, config)
        beside = min(_BESIDE, len(free))
        self._beside_MB = cKDTree(self._rest).query(self._rest, k=beside)[1]
        self._states = {home: self._frames.state()}
        self._sighted: dict[int, Sighting] = {}

    def follows(self, time: int) -> bool:
        """Whether it is known where the frames are at a time."""
        return time in self._states

    def carried(self, before: int, seen: Sighting) -> FloatArray:
        """Offsets [M, 3] with the frames, coming from the time ``before``, where nodes are seen."""
        self._frames.restore(self._states[before])
        self._frames.solve([self._of_free(seen)])
        return self._offsets(self._frames.carried())

    def lifted(self, time: int, seen: Sighting) -> FloatArray:
        """Offsets [M, 3] at a time: where the view sees a node, as far away as the frames say;
        nodes that it does not see go where the frames take them."""
        self._sighted[time] = self._of_free(seen)
        return self._lift(time, self._states)

    def in_upright_plane(self, w2c_V44: FloatArray) -> Iterator[tuple[int, FloatArray]]:
        """Times and offsets [M, 3] there, lifted anew in the plane in which the nodes move; none
        where no plane fits. ``w2c_V44``: all cameras, which say what is upright."""
        self._frames.restore(self._states[self._home])
        normal = plane_of_motion(self._rest, self._sighted, self._home, w2c_V44)
        if normal is None:
            return
        self._frames.normal = normal
        states = {self._home: self._states[self._home]}
        for time in self._sighted:
            self._frames.restore(states[time - 1 if time > self._home else time + 1])
            yield time, self._lift(time, states)

    def _lift(self, time: int, states: dict[int, tuple[FloatArray, FloatArray]]) -> FloatArray:
        seen = self._sighted[time]
        self._frames.solve([seen])
        states[time] = self._frames.state()
        carried = self._frames.carried()
        uv, depth = project(transform(seen.w2c, carried), seen.K)
        placed = (seen.weight_M > 0) & (depth > 0)
        uv = uv + self._together(seen.uv_M2 - uv, placed)
        on_ray = transform(invert(seen.w2c), unproject(uv, depth, seen.K))
        if self._frames.normal is not None:
            on_ray = self._in_plane(on_ray, carried, camera_centres(seen.w2c), self._frames.normal)
        return self._offsets(np.where(placed[:, None], on_ray, carried))

    def _together(self, off_M2: FloatArray, placed_M: NDArray[np.bool_]) -> FloatArray:
        """By how many pixels [M, 2] nodes leave their frames in the picture: as seen, but of those
        that leave them alone what is the median around them, for gradient steps tear apart what
        they cannot reach."""
        around = np.where(placed_M[:, None], off_M2, np.nan)[self._beside_MB]
        around[~placed_M] = 0.0  # not asked for
        shared = np.nanmedian(around, axis=1)
        torn = np.linalg.norm(off_M2 - shared, axis=-1) > _TORN
        return np.where(torn[:, None], shared, off_M2)

    @staticmethod
    def _in_plane(
        on_ray_M3: FloatArray, carried_M3: FloatArray, centre: FloatArray, normal: FloatArray
    ) -> FloatArray:
        """Places [M, 3] on the same rays as near as can be to where nodes are carried: across the
        plane in which they move much nearer than in it, for limbs swing farther than frames do."""
        ray = on_ray_M3 - centre
        ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
        arm, slope = carried_M3 - centre, ray @ normal
        far = (ray * arm).sum(-1) + _ACROSS * slope * (arm @ normal)
        return centre + (far / (1 + _ACROSS * slope**2))[:, None] * ray

    def _offsets(self, here: FloatArray) -> FloatArray:
        out = np.zeros((self._count, 3))
        out[self._free] = here - self._rest
        return out

    def _of_free(self, seen: Sighting) -> Sighting:
        """Where free nodes are seen, in a picture so small that frames are as stiff, and bear as
        much error of flow, whatever the size of the frames and of what moves in them."""
        depth = float(np.median(transform(seen.w2c, self._rest)[:, 2]))
        link = self._frames.link * seen.K[0, 0] / max(depth, 1e-9)
        K = seen.K.copy()
        K[:2] *= min(1.0, _LINK / max(link, 1e-9))
        uv = seen.uv_M2[self._free] * (K[0, 0] / seen.K[0, 0])
        return Sighting(uv, seen.weight_M[self._free], K, seen.w2c)
