"""Numba kernels of the photometric loss: value and gradient of L1 + weight * (1 - SSIM) / 2.

An image [H,W,3] is read as H rows of 3 W floats, so the 11-tap Gaussian window runs along a row
with a stride of 3 floats. Three passes, each over independent rows, with whole planes between:

1. `blur_along_rows`: x, y, x^2, y^2, xy blurred horizontally.
2. `ssim_rows`: blurred vertically, giving the SSIM map and its derivatives with respect to the
   blurred x, x^2 and xy, which go through the transposed horizontal blur at once.
3. `gradient_rows`: transposed vertical blur, chain rule, L1.

Borders are mirrored without repeating the edge pixel ("reflect"), as kornia does.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from fourreal.kernel_threads import take
from fourreal.kernels import njit

RADIUS = 5
# exp(-k^2 / (2 * 1.5^2)) / sum, k = 0..5
W0, W1, W2, W3, W4, W5 = (
    np.float32(v)
    for v in (0.26601172, 0.21300554, 0.10936069, 0.036000773, 0.0075987583, 0.0010283800)
)
PAD = 3 * RADIUS
C1 = np.float32(0.01**2)
C2 = np.float32(0.03**2)
EPS = np.float32(1e-12)
ROWS = 4  # rows taken at once
FAST = {"contract"}  # fused multiply-add; nothing is reordered


@lru_cache(maxsize=1024)
def vertical_weights(height: int) -> np.ndarray:
    """Rows of the mirrored blur as a banded matrix, float32 [height, 11].

    Entry [y, k] weighs input row y + k - 5; taps beyond the border are folded back in, so
    entries that point outside are 0. Needs height > 5.
    """
    taps = np.array([W5, W4, W3, W2, W1, W0, W1, W2, W3, W4, W5], np.float32)
    weights = np.zeros((height, 11), np.float32)
    for y in range(height):
        for k in range(11):
            source = abs(y + k - RADIUS)
            if source >= height:
                source = 2 * (height - 1) - source
            weights[y, source - y + RADIUS] += taps[k]
    return weights


@njit(nogil=True, fastmath=FAST, forceinline=True)
def blur_padded(padded, out):
    """11-tap blur of one padded row [n + 30] into `out` [n]."""
    n = out.shape[0]
    a0, a1, a2 = padded[0:n], padded[3 : n + 3], padded[6 : n + 6]
    a3, a4, a5 = padded[9 : n + 9], padded[12 : n + 12], padded[15 : n + 15]
    a6, a7, a8 = padded[18 : n + 18], padded[21 : n + 21], padded[24 : n + 24]
    a9, a10 = padded[27 : n + 27], padded[30 : n + 30]
    for j in range(n):
        v = W0 * a5[j]
        v += W1 * (a4[j] + a6[j])
        v += W2 * (a3[j] + a7[j])
        v += W3 * (a2[j] + a8[j])
        v += W4 * (a1[j] + a9[j])
        v += W5 * (a0[j] + a10[j])
        out[j] = v


@njit(nogil=True, fastmath=FAST, forceinline=True)
def mirror(padded, n):
    """Fill the borders of a padded row whose middle n floats are set."""
    for p in range(1, RADIUS + 1):
        for c in range(3):
            padded[PAD - 3 * p + c] = padded[PAD + 3 * p + c]
            padded[PAD + n - 3 + 3 * p + c] = padded[PAD + n - 3 - 3 * p + c]


@njit(nogil=True, fastmath=FAST, forceinline=True)
def blur_transposed(row, padded, wide, out):
    """Transpose of mirror + blur for one row [n]; `padded` [n + 60] and `wide` [n + 30] scratch."""
    n = row.shape[0]
    padded[:] = np.float32(0)
    padded[2 * PAD : 2 * PAD + n] = row
    blur_padded(padded, wide)
    out[:] = wide[PAD : PAD + n]
    for p in range(1, RADIUS + 1):
        for c in range(3):
            out[3 * p + c] += wide[PAD - 3 * p + c]
            out[n - 3 - 3 * p + c] += wide[PAD + n - 3 + 3 * p + c]


@njit(nogil=True, fastmath=FAST, forceinline=True)
def band_row(plane, y, source, weights, transposed):
    """Input row `source` of y - 5 .. y + 5 (any row if outside) and its weight (0 if outside)."""
    if source < 0 or source >= plane.shape[0]:
        return plane[y], np.float32(0)
    k = source - y + RADIUS
    return plane[source], weights[source, 10 - k] if transposed else weights[y, k]


@njit(nogil=True, fastmath=FAST, forceinline=True)
def blur_across_rows(plane, y, weights, transposed, out):
    """Row y of the (transposed) vertical blur of `plane` [H, n] into `out` [n].

    Rows are told by where they are, not by a number 0 .. 10: numba would compile `band_row` anew
    for each of these constants.
    """
    r0, w0 = band_row(plane, y, y - 5, weights, transposed)
    r1, w1 = band_row(plane, y, y - 4, weights, transposed)
    r2, w2 = band_row(plane, y, y - 3, weights, transposed)
    r3, w3 = band_row(plane, y, y - 2, weights, transposed)
    r4, w4 = band_row(plane, y, y - 1, weights, transposed)
    r5, w5 = band_row(plane, y, y, weights, transposed)
    r6, w6 = band_row(plane, y, y + 1, weights, transposed)
    r7, w7 = band_row(plane, y, y + 2, weights, transposed)
    r8, w8 = band_row(plane, y, y + 3, weights, transposed)
    r9, w9 = band_row(plane, y, y + 4, weights, transposed)
    r10, w10 = band_row(plane, y, y + 5, weights, transposed)
    for j in range(out.shape[0]):
        v = w0 * r0[j] + w1 * r1[j] + w2 * r2[j] + w3 * r3[j] + w4 * r4[j] + w5 * r5[j]
        out[j] = v + w6 * r6[j] + w7 * r7[j] + w8 * r8[j] + w9 * r9[j] + w10 * r10[j]


@njit(nogil=True, cache=True, fastmath=FAST)
def blur_along_rows(counter, pred, target, planes):
    """Horizontal blur of x, y, x^2, y^2, xy ([H, 3W] each) into `planes` [5, H, 3W]."""
    height, n = pred.shape
    padded = np.empty((5, n + 2 * PAD), np.float32)
    while True:
        start = take(counter) * ROWS
        if start >= height:
            break
        for row in range(start, min(start + ROWS, height)):
            for j in range(n):
                x, y = pred[row, j], target[row, j]
                padded[0, PAD + j] = x
                padded[1, PAD + j] = y
                padded[2, PAD + j] = x * x
                padded[3, PAD + j] = y * y
                padded[4, PAD + j] = x * y
            for p in range(5):
                mirror(padded[p], n)
                blur_padded(padded[p], planes[p, row])


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def ssim_rows(counter, planes, weights, ssim_sums, slopes):
    """Sum of SSIM per row [H] (float64); `slopes` [3, H, 3W]: dSSIM / d(blurred x, x^2, xy).

    The slopes have been through the transposed horizontal blur.
    """
    _, height, n = planes.shape
    moments = np.empty((5, n), np.float32)
    derivatives = np.empty((3, n), np.float32)
    padded, wide = np.empty(n + 4 * PAD, np.float32), np.empty(n + 2 * PAD, np.float32)
    values = np.empty(n, np.float32)
    one, two = np.float32(1), np.float32(2)
    while True:
        start = take(counter) * ROWS
        if start >= height:
            break
        for row in range(start, min(start + ROWS, height)):
            for p in range(5):
                blur_across_rows(planes[p], row, weights, False, moments[p])
            for j in range(n):
                mx, my = moments[0, j], moments[1, j]
                var = moments[2, j] - mx * mx + moments[3, j] - my * my
                cov = moments[4, j] - mx * my
                a1, a2 = two * mx * my + C1, two * cov + C2
                b1, b2 = mx * mx + my * my + C1, var + C2
                inv = one / (b1 * b2 + EPS)
                s = a1 * a2 * inv
                d_cov = two * a1 * inv
                d_var = -s * b1 * inv
                values[j] = s
                derivatives[0, j] = (
                    two * my * a2 * inv - two * mx * (s * b2 * inv + d_var) - my * d_cov
                )
                derivatives[1, j] = d_var
                derivatives[2, j] = d_cov
            total = 0.0
            for j in range(n):
                total += values[j]
            ssim_sums[row] = total
            for p in range(3):
                blur_transposed(derivatives[p], padded, wide, slopes[p, row])


@njit(nogil=True, cache=True, fastmath=FAST)
def gradient_rows(counter, pred, target, slopes, weights, l1_scale, ssim_scale, l1_sums, grad):
    """Gradient of l1_scale * sum |x - y| + ssim_scale * sum SSIM; `l1_sums` [H] sums of |x - y|."""
    height, n = pred.shape
    blurred = np.empty((3, n), np.float32)
    two, zero = np.float32(2), np.float32(0)
    while True:
        start = take(counter) * ROWS
        if start >= height:
            break
        for row in range(start, min(start + ROWS, height)):
            for p in range(3):
                blur_across_rows(slopes[p], row, weights, True, blurred[p])
            for j in range(n):
                x, y = pred[row, j], target[row, j]
                sign = l1_scale if x > y else (-l1_scale if x < y else zero)
                slope = blurred[0, j] + two * x * blurred[1, j] + y * blurred[2, j]
                grad[row, j] = sign + ssim_scale * slope
            total = 0.0
            for j in range(n):
                total += abs(pred[row, j] - target[row, j])
            l1_sums[row] = total
