"""Which views to build the scene from, and in what order: each adds what is not covered yet.

Legend: V views, H W image; rho = 1/z in the view's own camera.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from tracking.depth.consistency import compare_views


def keyframe_order(
    depth: np.ndarray,
    K: np.ndarray,
    w2c: np.ndarray,
    canonical: int,
    dropped: Sequence[int] = (),
    *,
    least: float = 0.0,
    long_side: int = 160,
    tolerance: float = 0.05,
) -> list[int]:
    """The canonical view, then always the one with most pixels that none before it shows.

    depth [V, H, W], K [V, 3, 3], w2c [V, 4, 4]. A pixel is covered when a keyframe sees a
    surface at the same depth there, up to `tolerance`; pictures are compared at `long_side`. Views
    in `dropped`, whose camera is a guess, and views that would add less than `least` of their
    pixels are left out.
    """
    views, height, width = depth.shape
    factor = min(1.0, long_side / max(height, width))
    size = max(2, round(width * factor)), max(2, round(height * factor))
    rho = np.stack(
        [
            1.0 / cv2.resize(d.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
            for d in depth
        ]
    )
    K = np.array(K, np.float64)
    K[:, 0] *= size[0] / width
    K[:, 1] *= size[1] / height
    uncovered = np.ones(rho.shape, bool)
    order = [int(canonical)]
    left = [v for v in range(views) if v not in dropped and v != canonical]
    while left:
        for v in left:
            agree, _ = compare_views(rho[v], rho, v, [order[-1]], K, w2c, tolerance)
            uncovered[v] &= agree == 0
        gain = [float(uncovered[v].mean()) for v in left]
        best = int(np.argmax(gain))
        if gain[best] < least:
            break
        order.append(left.pop(best))
    return order
