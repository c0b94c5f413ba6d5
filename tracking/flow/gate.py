"""Which flow to believe: there and back again, the same look, on the epipolar line."""

from __future__ import annotations

import math

import cv2
import numpy as np

from fourreal.kernels import njit


@njit(cache=True, fastmath=True, nogil=True)
def _checks(a, b, flow, back, line, epipolar, most_back, most_off, difference, ok):
    """Grey difference along the flow and the gates that need one pixel alone.

    a, b uint8 [h, w]; flow a -> b, back b -> a [h, w, 2]; line [3, 3]: fundamental matrix, used
    when `epipolar`; difference float32 [h, w] and ok bool [h, w] are written.
    """
    h, w = a.shape
    for y in range(h):
        for x in range(w):
            u, v = x + flow[y, x, 0], y + flow[y, x, 1]
            inside = u >= 0 and v >= 0 and u <= w - 1 and v <= h - 1
            u = min(max(u, np.float32(0.0)), np.float32(w - 1.001))
            v = min(max(v, np.float32(0.0)), np.float32(h - 1.001))
            x0, y0 = int(u), int(v)
            fx, fy = u - x0, v - y0
            w00, w01 = (1 - fx) * (1 - fy), fx * (1 - fy)
            w10, w11 = (1 - fx) * fy, fx * fy
            seen = w00 * b[y0, x0] + w01 * b[y0, x0 + 1]
            seen += w10 * b[y0 + 1, x0] + w11 * b[y0 + 1, x0 + 1]
            difference[y, x] = a[y, x] - seen
            gap = np.float32(0.0)
            for c in range(2):
                there = w00 * back[y0, x0, c] + w01 * back[y0, x0 + 1, c]
                there += w10 * back[y0 + 1, x0, c] + w11 * back[y0 + 1, x0 + 1, c]
                gap += (flow[y, x, c] + there) ** 2
            good = inside and gap < most_back * most_back
            if good and epipolar:
                px, py = x + 0.5, y + 0.5
                qx, qy = px + flow[y, x, 0], py + flow[y, x, 1]
                l0 = line[0, 0] * px + line[0, 1] * py + line[0, 2]
                l1 = line[1, 0] * px + line[1, 1] * py + line[1, 2]
                l2 = line[2, 0] * px + line[2, 1] * py + line[2, 2]
                off = abs(l0 * qx + l1 * qy + l2) / max(math.sqrt(l0 * l0 + l1 * l1), 1e-12)
                good = off < most_off
            ok[y, x] = good


def gate_pixels(
    a: np.ndarray,
    b: np.ndarray,
    flow: np.ndarray,
    back: np.ndarray,
    fundamental: np.ndarray | None,
    max_forward_backward: float,
    max_photometric: float,
    max_epipolar: float,
) -> np.ndarray:
    """Pixels [h, w] whose flow a -> b passes; a, b uint8 [h, w], flow and back [h, w, 2] in pixels.

    max_photometric: mean absolute grey difference over 5x5, a difference of exposure removed;
    max_epipolar: distance in pixels, only where there is a fundamental matrix [3, 3] (y^T F x = 0).
    """
    difference = np.empty(a.shape, np.float32)
    ok = np.empty(a.shape, bool)
    line = np.zeros((3, 3)) if fundamental is None else np.asarray(fundamental, np.float64)
    _checks(
        a, b, flow, back, line, fundamental is not None, np.float32(max_forward_backward),
        max_epipolar, difference, ok,
    )  # fmt: skip
    difference -= np.median(difference[::4, ::4])
    return ok & (cv2.blur(np.abs(difference), (5, 5)) < max_photometric)
