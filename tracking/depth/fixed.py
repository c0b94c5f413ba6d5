"""What stays in its place in every picture of a clip: a black rim, something burnt in.

It matches itself from view to view, whatever the scene does, and is no part of it.

Legend: V views, H W image.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tracking.depth.burnt_in import burnt_in
from tracking.depth.rim import empty_rim


@dataclass(frozen=True)
class FixedParts:
    """Masks bool [H, W] of all pictures; None: there is none."""

    rim: np.ndarray | None = None
    burnt: np.ndarray | None = None

    @property
    def together(self) -> np.ndarray | None:
        """Whatever is fixed."""
        if self.rim is None or self.burnt is None:
            return self.burnt if self.rim is None else self.rim
        return self.rim | self.burnt

    def resized(self, height: int, width: int) -> FixedParts:
        """For pictures of another size: a pixel is fixed where any part of it is."""
        return FixedParts(_shrunk(self.rim, height, width), _shrunk(self.burnt, height, width))


def fixed_parts(frames: np.ndarray) -> FixedParts:
    """Those of frames [V, H, W, 3] (0..1)."""
    rim = empty_rim(frames)
    return FixedParts(rim, burnt_in(frames, rim))


def _shrunk(mask: np.ndarray | None, height: int, width: int) -> np.ndarray | None:
    if mask is None or mask.shape == (height, width):
        return mask
    share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return share > 0
