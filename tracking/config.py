"""Settings of the built-in tracker, one dataclass a room below."""

from __future__ import annotations

from dataclasses import dataclass, field

from tracking.cameras.fallbacks import FallbackConfig
from tracking.cameras.poses import PoseConfig
from tracking.depth.dense import DepthConfig
from tracking.flow.optical import FlowConfig


@dataclass(frozen=True)
class TrackConfig:
    """Settings of the `flow` tracker."""

    flow: FlowConfig = field(default_factory=FlowConfig)
    poses: PoseConfig = field(default_factory=PoseConfig)
    depth: DepthConfig = field(default_factory=DepthConfig)
    fallbacks: FallbackConfig = field(default_factory=FallbackConfig)
    central: int | None = None  # None: the most central view that belongs to the clip
    adjust_cameras: bool = True  # given ones that the pictures say are slightly off
    nonrigid_px: float = 2.0  # residual above which a pixel is not part of the rigid scene
    max_track_points: int = 24_000_000  # tracks x views kept, 17 bytes each; else every nth pixel
