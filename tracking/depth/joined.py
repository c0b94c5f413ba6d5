"""Depth of each pixel as the views that agree on it see it together: less noise than in one alone.

Every view's depth is matched on its own, so neighbours put one surface at slightly different
places: several thin layers of canonical points where there is one. Where a ray meets what another
view sees, near to its own depth, its depth becomes the mean of both. A view that sees something
else there (another side of an edge, what hides it) has no say, so nothing is mixed across edges.

Legend: V views, H W image, n other views. rho = 1/z in the view's own camera.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fourreal.kernel_threads import cores, run_threaded, take
from fourreal.kernels import njit
from tracking.depth.sweep import pixel_transfer

_SURE = 0.3  # trust above which a depth has a say, and is changed
_STEPS = 4  # along the ray until it meets the other view's surface
_EXACT = 3e-4  # relative 1/z at which the ray is there ...
_MET = 4e-3  # ... and at which it is there after the last step
_EDGE = 0.03  # relative 1/z between four pixels above which they are of two surfaces


@njit(cache=True, fastmath=True, nogil=True)
def _join(counter, rho, trust, kept, others, believed, a, b, tolerance, out):
    """Rows of one view: out [H, W] gets the mean of 1/z over the views that agree."""
    h, w = rho.shape
    while True:
        y = take(counter)
        if y >= h:
            break
        for x in range(w):
            own = rho[y, x]
            out[y, x] = own
            if trust[y, x] <= np.float32(_SURE) or kept[y, x]:
                continue
            total = trust[y, x]
            mean = total * own
            for i in range(len(others)):
                q0 = a[i, 0, 0] * x + a[i, 0, 1] * y + a[i, 0, 2]
                q1 = a[i, 1, 0] * x + a[i, 1, 1] * y + a[i, 1, 2]
                q2 = a[i, 2, 0] * x + a[i, 2, 1] * y + a[i, 2, 2]
                r, off, weight = own, np.float32(1.0), np.float32(0.0)
                for _ in range(_STEPS):
                    z, off = q2 + r * b[i, 2], np.float32(1.0)
                    if z < np.float32(1e-3):
                        break
                    u, v = (q0 + r * b[i, 0]) / z, (q1 + r * b[i, 1]) / z
                    if not (u >= 0 and v >= 0 and u < w - 1 and v < h - 1):
                        break
                    x0, y0 = int(u), int(v)
                    nx, ny = int(u + np.float32(0.5)), int(v + np.float32(0.5))
                    weight = believed[i, ny, nx]
                    if weight <= np.float32(_SURE):
                        break
                    seen = others[i, ny, nx]
                    p, q = others[i, y0, x0], others[i, y0, x0 + 1]
                    s, t = others[i, y0 + 1, x0], others[i, y0 + 1, x0 + 1]
                    if max(p, q, s, t) - min(p, q, s, t) < np.float32(_EDGE) * seen:
                        fx, fy = u - x0, v - y0
                        seen = (p * (1 - fx) + q * fx) * (1 - fy) + (s * (1 - fx) + t * fx) * fy
                    met = seen * z
                    off = abs(met / r - np.float32(1.0))
                    r = met
                    if abs(r - own) > tolerance * own:
                        off = np.float32(1.0)
                        break
                    if off < np.float32(_EXACT):
                        break
                if off < np.float32(_MET):
                    total += weight
                    mean += weight * r
            out[y, x] = mean / total


def joined(
    rho: np.ndarray,
    trust: np.ndarray,
    K: np.ndarray,
    w2c: np.ndarray,
    near: Sequence[Sequence[int]],
    tolerance: float,
    kept: np.ndarray | None = None,
) -> np.ndarray:
    """1/z [V, H, W] with that of trusted pixels replaced by the mean over the views that agree.

    rho, trust (0..1) float32 [V, H, W]; K [V, 3, 3]; w2c [V, 4, 4]; near: the views that each one
    is compared with; tolerance: relative difference of 1/z up to which they agree; kept bool
    [V, H, W]: pixels that stay as they are (None: none), though others hear them.
    """
    rho = np.ascontiguousarray(rho, np.float32)
    trust = np.ascontiguousarray(trust, np.float32)
    kept = np.zeros(rho.shape, bool) if kept is None else kept
    out = np.empty_like(rho)
    for v, others in enumerate(near):
        a, b = pixel_transfer(v, others, K, w2c)
        pick = np.asarray(others)
        run_threaded(
            cores(), _join, rho[v], trust[v], kept[v], rho[pick], trust[pick], a, b,
            np.float32(tolerance), out[v],
        )  # fmt: skip
    return out
