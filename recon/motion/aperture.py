"""What a picture tells of where a point is: much at corners, half at edges, little on plain skin.

On a plain surface flow and gradient steps leave a point anywhere; at an edge they know it across
the edge alone (the aperture problem). So a sighting counts, direction by direction, by how much
the picture changes there, and the rest is said by what the point hangs on.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
_NOISE = 4e-4  # squared change of colour a pixel, summed over RGB, that tells half of a place
_LEAST = 0.05  # what plain skin tells
_SIGMA = 0.7, 1.5  # pixels: of the colours, of the surroundings that count


def told_by(image_HW3: FloatArray, uv_M2: FloatArray) -> FloatArray:
    """Symmetric matrices [M, 2, 2] by which differences of places in the picture, in pixels, count
    at pixels ``uv``: eigenvalues up to 1 across edges, ``_LEAST ** 0.5`` where nothing changes."""
    colours = cv2.GaussianBlur(np.ascontiguousarray(image_HW3, np.float32), (0, 0), _SIGMA[0])
    dx, dy = (cv2.Sobel(colours, cv2.CV_32F, i, 1 - i, ksize=3, scale=1 / 8) for i in (1, 0))
    tensor = np.stack([(dx * dx).sum(-1), (dx * dy).sum(-1), (dy * dy).sum(-1)], -1)
    tensor = cv2.GaussianBlur(tensor, (0, 0), _SIGMA[1])
    height, width = tensor.shape[:2]
    column, row = (
        np.clip(np.nan_to_num(c), 0, n - 1).astype(int)
        for c, n in zip(uv_M2.T, (width, height), strict=True)
    )
    xx, xy, yy = tensor[row, column].astype(np.float64).T
    square, axes = np.linalg.eigh(np.stack([xx, xy, xy, yy], -1).reshape(-1, 2, 2))
    square = np.maximum(square, 0.0)
    root = np.sqrt(_LEAST + (1 - _LEAST) * square / (square + _NOISE))
    told: FloatArray = (axes * root[:, None]) @ axes.swapaxes(1, 2)
    return told
