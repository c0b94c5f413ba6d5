"""The repository's one PSNR, of mean squared errors of values in 0..1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PSNR_CAP = 60.0  # rounding to 8 bit alone costs 59 dB: beyond, pictures are equal


def decibel(squared_error: float | NDArray) -> NDArray:
    """PSNR of mean squared errors of values in 0..1, at most PSNR_CAP; NaN stays NaN."""
    error = np.asarray(squared_error, np.float64)
    return np.minimum(-10 * np.log10(np.maximum(error, 1e-12)), PSNR_CAP)
