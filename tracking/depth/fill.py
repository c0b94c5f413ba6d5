"""Edge-aware, confidence-weighted completion of an inverse-depth map by sparse conjugate gradients.

Solves min_q sum_p c_p (q_p - log rho_p)^2 + SMOOTH * sum_pq w_pq (q_p - q_q)^2, with w_pq falling
across colour edges, so that depth flows inside a region of even colour and stops at its border.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg

SMOOTH = 0.05  # weight of links beside that of what is known


def fill_inverse_depth(
    rho: np.ndarray,
    confidence: np.ndarray,
    image: np.ndarray,
    *,
    edge: float = 0.02,
) -> np.ndarray:
    """rho [H, W] (1/z; unused where confidence is 0), image [H, W, 3] in 0..1 -> rho [H, W] > 0."""
    known = (confidence > 0) & np.isfinite(rho) & (rho > 0)
    if not known.any():
        return np.ones_like(rho, dtype=np.float32)
    log = np.log(np.where(known, rho, 1.0))
    weight = np.where(known, confidence, 0.0)
    return np.exp(diffused(log, weight, image, edge=edge)).astype(np.float32)


def diffused(
    value: np.ndarray,
    confidence: np.ndarray,
    image: np.ndarray,
    *,
    edge: float = 0.02,
    iterations: int = 200,
) -> np.ndarray:
    """value [H, W] where confidence is above 0 (somewhere), spread to where it is not: [H, W]."""
    h, w = value.shape
    known = confidence > 0
    weight = confidence.astype(np.float64).ravel()
    target = np.zeros(h * w)
    target[known.ravel()] = value[known]
    index = np.arange(h * w).reshape(h, w)

    def links(axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        a = index[:, :-1] if axis else index[:-1]
        b = index[:, 1:] if axis else index[1:]
        step = np.abs(np.diff(image, axis=axis)).max(-1)
        return a.ravel(), b.ravel(), (np.exp(-step / edge) + 1e-3).ravel()

    ax, bx, wx = links(1)
    ay, by, wy = links(0)
    a, b = np.concatenate([ax, ay]), np.concatenate([bx, by])
    v = SMOOTH * np.concatenate([wx, wy])
    degree = np.bincount(a, v, h * w) + np.bincount(b, v, h * w)
    matrix = sparse.csr_matrix(
        (
            np.concatenate([-v, -v, weight + degree]),
            (np.concatenate([a, b, index.ravel()]), np.concatenate([b, a, index.ravel()])),
        ),
        shape=(h * w, h * w),
    )
    start = _spread(np.where(known, value, 0.0), known)
    diagonal = matrix.diagonal()
    precondition = sparse.diags(1.0 / np.maximum(diagonal, 1e-12))
    solution, _ = cg(
        matrix, weight * target, x0=start.ravel(), rtol=1e-5, maxiter=iterations, M=precondition
    )
    low, high = target[known.ravel()].min(), target[known.ravel()].max()
    return np.clip(solution, low, high).reshape(h, w)


def _spread(value: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Fill unknown pixels coarse to fine with the mean of known ones (the start of the solver)."""
    if known.all() or min(value.shape) < 2:
        mean = value[known].mean() if known.any() else 0.0
        return np.where(known, value, mean)
    h, w = value.shape
    half = (max(1, (w + 1) // 2), max(1, (h + 1) // 2))
    mass = cv2.resize(known.astype(np.float32), half, interpolation=cv2.INTER_AREA)
    total = cv2.resize((value * known).astype(np.float32), half, interpolation=cv2.INTER_AREA)
    coarse = _spread(np.where(mass > 0, total / np.maximum(mass, 1e-9), 0.0), mass > 0)
    fine = cv2.resize(coarse.astype(np.float32), (w, h), interpolation=cv2.INTER_LINEAR)
    return np.where(known, value, fine)
