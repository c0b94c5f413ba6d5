"""What goes on behind something: values that change evenly, from what is known around."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


def local_planes(
    offset_Pk2: FloatArray, values_Pk: FloatArray, weight_Pk: FloatArray, ridge_P: FloatArray
) -> FloatArray:
    """Planes [P, 3] of weighted least squares: a value at offset 0 and its two slopes, of k values
    at offsets; ``ridge``: what slopes cost, so that there is one only where values show it."""
    terms = with_one(offset_Pk2)
    normal = np.einsum("pk,pki,pkj->pij", weight_Pk, terms, terms)
    normal += ridge_P[:, None, None] * np.diag([0.0, 1.0, 1.0])
    right = np.einsum("pk,pk,pki->pi", weight_Pk, values_Pk, terms)
    return np.linalg.solve(normal, right[..., None])[..., 0]


def with_one(offset_Pk2: FloatArray) -> FloatArray:
    """Terms [P, k, 3] that a plane is multiplied with."""
    return np.concatenate([np.ones_like(offset_Pk2[..., :1]), offset_Pk2], -1)
