"""How much of their pictures neighbouring views have in common."""

from __future__ import annotations

import numpy as np

from tracking.flow.optical import linked_flow


def share_in_common(frames: np.ndarray) -> float:
    """Share 0..1 of a picture that is matched with the next one, the median over a clip.

    frames uint8 [V, H, W, 3]. What is matched: as for the cameras (``linked_flow``).
    """
    pairs = linked_flow(np.ascontiguousarray(frames, np.float32) / 255)
    shares = [pairs.in_common(a, b) for a, b in pairs.valid if a < b]
    return float(np.median(shares)) if shares else 0.0
