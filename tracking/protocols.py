"""What a depth network or a tracker has to offer to stand in for the built-in `flow` backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from tracking.tracks import Tracks


@dataclass
class Depth:
    """Depth of F frames: `depth` [F, H, W] of the given kind, confidence in 0..1, K if known.

    kind: metric (metres), scale (z up to one factor per clip), disparity (affine in 1/z).
    """

    depth: np.ndarray
    confidence: np.ndarray
    K: np.ndarray | None
    kind: Literal["metric", "scale", "disparity"]


@runtime_checkable
class DepthEstimator(Protocol):
    """Depth of every frame of a clip."""

    def is_available(self) -> tuple[bool, str]:
        """(usable, reason when it is not)."""
        ...

    def __call__(self, frames: np.ndarray) -> Depth:
        """frames float32 [F, H, W, 3] in 0..1 -> Depth."""
        ...


@runtime_checkable
class Tracker(Protocol):
    """Dense 3-D tracks of one query frame through a clip."""

    def is_available(self) -> tuple[bool, str]:
        """(usable, reason when it is not)."""
        ...

    def __call__(
        self, frames: np.ndarray, depth: Depth | None, K: np.ndarray | None, query_view: int
    ) -> Tracks:
        """frames float32 [F, H, W, 3] in 0..1 -> tracks of the query view's pixel grid."""
        ...
