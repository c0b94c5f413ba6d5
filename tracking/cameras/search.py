"""What the ways to find cameras share: the clip, what was asked for, and how an end is said.

Legend: V views; `points` are world positions [M, 3] of tracks that fit, used for depth ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from fourreal.errors import UserError
from tracking.cameras.bundle import Observations, Solution
from tracking.cameras.fallbacks import FallbackConfig, triangulation_angle_deg, unusable
from tracking.cameras.poses import PoseConfig, focal_of_fov, sharpen, solve_poses
from tracking.cameras.silhouettes import Silhouettes, silhouettes
from tracking.flow.optical import PairFlows

STAND_IN = "--allow-stand-in makes a scene without depth all the same"
CLOSER = (
    "give views at most about 15 degrees apart (of a video: a larger --max-views) of something "
    "that stands still and has texture, or cameras that are known"
)


@dataclass
class Cameras:
    """K [V, 3, 3], w2c [V, 4, 4]; points None: no usable parallax; trust in 0..1 of the depth."""

    K: np.ndarray
    w2c: np.ndarray
    points: np.ndarray | None
    trust: float = 1.0
    dropped: list[int] = field(default_factory=list)
    central: int | None = None  # another view must be the world, since the first was not placed
    wide: bool = False  # from wide-baseline features
    turntable: bool = False  # parts of the pictures stand still while the scene turns


@dataclass
class Attempt:
    """Cameras of some tracks, and why they cannot be used (None: they can)."""

    obs: Observations
    solution: Solution | None = None
    why: str | None = None

    @property
    def placed(self) -> int:
        """Views that have their place in cameras that can be used."""
        if self.solution is None or self.why is not None:
            return 0
        return int(self.solution.registered.sum())

    def fits(self) -> float:
        """Share of the matches that fit the cameras; 0 where these cannot be used."""
        if self.solution is None or self.why is not None:
            return 0.0
        return float(np.isfinite(self.solution.residual).mean())

    @property
    def angle_deg(self) -> float:
        """Of triangulation (``triangulation_angle_deg``); 0 without cameras."""
        return 0.0 if self.solution is None else triangulation_angle_deg(self.solution, self.obs)


@dataclass
class Search:
    """A clip whose cameras are looked for; K [V, 3, 3] where it is known, in pixels of frames of
    ``size``; note: says what did not go the normal way."""

    pairs: PairFlows
    size: tuple[int, int]
    central: int
    K: np.ndarray | None
    config: PoseConfig
    limits: FallbackConfig
    note: Callable[[str], None]

    @property
    def focal(self) -> float | None:
        """In working pixels, where it is known."""
        return None if self.K is None else float(self.K[self.central, 0, 0] * self.pairs.scale[0])

    @property
    def guess(self) -> float:
        """A focal length to show a scene without depth with."""
        return self.focal or focal_of_fov(50.0, self.pairs.size)

    @cached_property
    def silhouettes(self) -> tuple[Silhouettes, ...]:
        """Of this moment, where the backdrop is plain."""
        return self.silhouettes_of(self.pairs)

    def silhouettes_of(self, pairs: PairFlows) -> tuple[Silhouettes, ...]:
        """Those before a plain backdrop; none otherwise, or where every view has its own lens."""
        if self.K is not None:
            focal = self.K[:, [0, 1], [0, 1]] * pairs.scale
            if not (np.allclose(self.K, self.K[:1], rtol=1e-3) and np.allclose(focal, focal[0, 0])):
                return ()
        found = silhouettes(pairs.plain)
        return () if found is None else (found,)

    def attempt(
        self, obs: Observations, silhouettes: Sequence[Silhouettes] | None = None
    ) -> Attempt:
        """The cameras of these tracks, and of silhouettes (None: of this moment)."""
        try:
            solution = solve_poses(
                self.pairs, obs, self.central, K=self.K, config=self.config,
                silhouettes=self.silhouettes if silhouettes is None else silhouettes,
            )  # fmt: skip
        except ValueError as error:
            return Attempt(obs, None, str(error))
        return Attempt(obs, solution, unusable(solution, obs, self.limits))

    def sharpened(
        self,
        found: Attempt,
        obs: Observations,
        outlier_px: float | None = None,
        silhouettes: Sequence[Silhouettes] | None = None,
    ) -> Attempt:
        """The cameras that were found, as other tracks of the same clip put them exactly, with
        silhouettes (None: of this moment)."""
        assert found.solution is not None
        config = self.config
        if outlier_px is not None:
            config = replace(config, outlier_px=outlier_px)
        solution = sharpen(
            self.pairs, obs, found.solution, self.central, K=self.K, config=config,
            silhouettes=self.silhouettes if silhouettes is None else silhouettes,
        )  # fmt: skip
        return Attempt(obs, solution, unusable(solution, obs, self.limits))

    def enough(self, found: Attempt) -> bool:
        """Most views have their place."""
        return found.placed > 0 and found.placed >= (1 - self.limits.lost_share) * self.pairs.views

    def intrinsics(self, focal: float) -> np.ndarray:
        """K [V, 3, 3] of the frames: as known, or from a focal length in working pixels."""
        if self.K is not None:
            return self.K
        sx, sy = self.pairs.scale
        height, width = self.size
        K = np.array([[focal / sx, 0, width / 2], [0, focal / sy, height / 2], [0, 0, 1.0]])
        return np.tile(K, (self.pairs.views, 1, 1))

    def no_parallax(self, w2c: np.ndarray, focal: float, why: str) -> Cameras:
        """Cameras of a scene without depth, which is said."""
        self.note(f"{why}: depth is a smooth stand-in, do not expect parallax from new viewpoints")
        return Cameras(self.intrinsics(focal), w2c, None)

    def end(self, why: str, advice: str, w2c: np.ndarray, focal: float) -> Cameras:
        """Without cameras there is no scene; a stand-in only where it was asked for.

        Raises:
            UserError: it was not.
        """
        if not self.limits.allow_stand_in:
            raise UserError(f"{why}; {advice} ({STAND_IN})")
        return self.no_parallax(w2c, focal, why)


def world_points(solution: Solution, obs: Observations, centre: np.ndarray) -> np.ndarray:
    """World positions [M, 3] of the tracks that the adjustment kept."""
    kept = np.zeros(len(obs.anchor), bool)
    kept[obs.track[np.nan_to_num(solution.residual, nan=np.inf) < 4.0]] = True
    kept &= np.nan_to_num(solution.inverse_depth) > 1e-3
    uv, anchor = obs.anchor_uv[kept], obs.anchor[kept]
    ray = np.concatenate([(uv - centre) / solution.focal, np.ones((len(uv), 1))], 1)
    camera = ray / solution.inverse_depth[kept][:, None]
    return np.einsum("nji,nj->ni", solution.rotation[anchor], camera - solution.translation[anchor])
