"""Backdrops of one flat colour (a studio, a white page): nothing there can be matched.

Their depth is unknown, and a guess in front of the object would hide it from the side, so they go
behind everything.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def blank_backdrop(
    frames: np.ndarray, tolerance: float = 6.0 / 255.0, share: float = 0.6
) -> np.ndarray | None:
    """Mask [V, H, W] of the flat backdrop of frames [V, H, W, 3], or None when there is none.

    The backdrop has one colour over all views, covers most of every picture's border and is
    connected to it.
    """
    border = np.concatenate(
        [frames[:, 0], frames[:, -1], frames[:, :, 0], frames[:, :, -1]], axis=1
    )
    colour = np.median(border.reshape(-1, 3), axis=0)
    on_border = (np.abs(border - colour).max(-1) < tolerance).mean(1)
    if np.median(on_border) < share or on_border.min() < 0.5 * share:
        return None
    mask = np.zeros(frames.shape[:3], bool)
    for v, image in enumerate(frames):
        labels, _ = ndimage.label(np.abs(image - colour).max(-1) < tolerance)
        edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        mask[v] = np.isin(labels, edge[edge > 0])
    return mask if mask.mean() > 0.1 else None


def push_behind(
    rho: np.ndarray, trust: np.ndarray, blank: np.ndarray, margin: float = 0.85
) -> None:
    """Put blank pixels of one view behind its farthest trusted surface, in place (1/z, trust)."""
    solid = ~blank & (trust > 0.3)
    if not solid.any():
        solid = ~blank
    if solid.any():
        rho[blank] = np.float32(np.percentile(rho[solid], 1) * margin)
    trust[blank] = 0.05
