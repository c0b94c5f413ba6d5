"""From what a dense network tracker says to Tracks: both directions in time, our pixel grid, depth.

Legend: F frames, H W size, N = H*W pixels of the query frame, row-major; uv in pixels, centres at
+0.5.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fourreal.cameras import pixel_grid
from tracking.depth.consistency import nearest
from tracking.flow.optical import inside
from tracking.tracks import Tracks

Maps = dict[str, np.ndarray]


def both_ways(forward_only: Callable[[slice], Maps], frames: int, query: int) -> Maps:
    """Run a tracker that follows its first frame forwards, towards both ends of the clip.

    forward_only(order) -> maps [f, ...] for the clip ``frames[order]``, its first frame the query;
    the result has one entry a frame, in the clip's order. A side of the query without any frame
    is not run.
    """
    parts: list[Maps] = []
    if query > 0:
        before = forward_only(slice(query, None, -1))
        parts.append({name: value[:0:-1] for name, value in before.items()})
    if query < frames - 1:
        after = forward_only(slice(query, None, 1))
    else:
        after = {name: value[:1] for name, value in before.items()}
    parts.append(after)
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def dense_tracks(
    frames: np.ndarray,
    uv: np.ndarray,
    visible: np.ndarray,
    confidence: np.ndarray,
    K: np.ndarray,
    query: int,
    z: np.ndarray | None = None,
    depth: np.ndarray | None = None,
) -> Tracks:
    """Tracks of the query frame's pixel grid, cameras still unknown (identity).

    frames [F, H, W, 3]; uv [F, H, W, 2]; visible, confidence [F, H, W]; K [3, 3]; z [F, H, W] of
    the point in each frame's own camera, or depth [F, H, W] of the frames to read it from (the
    nearest pixel, so that both sides of an edge never mix). In the query frame uv is the grid
    exactly. Where z is not known it is NaN and the point not visible.
    """
    count, height, width = uv.shape[:3]
    grid = pixel_grid(height, width, np.float32)
    uv = np.nan_to_num(np.array(uv, np.float32))
    uv[query] = grid
    visible = np.array(visible, bool)
    visible[query] = True
    confidence = np.clip(np.nan_to_num(np.array(confidence, np.float32)), 0.0, 1.0)
    confidence[query] = 1.0
    if z is None:
        if depth is None:
            raise ValueError("dense_tracks: give z or depth")
        z = np.stack([nearest(np.float32(d), p) for d, p in zip(depth, uv, strict=True)])
    known = np.isfinite(z) & (z > 1e-6)
    z = np.where(known, z, np.nan)
    visible &= known & np.stack([inside(p, height, width) for p in uv])
    n = height * width
    return Tracks(
        uv.reshape(count, n, 2),
        z.reshape(count, n),
        visible.reshape(count, n),
        (confidence * visible).reshape(count, n),
        np.full(n, query),
        grid.reshape(n, 2),
        frames[query].reshape(n, 3),
        np.broadcast_to(K, (count, 3, 3)),
        np.broadcast_to(np.eye(4), (count, 4, 4)),
        query,
        (height, width),
        np.zeros(n, bool),
    )
