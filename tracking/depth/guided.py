"""A depth network's shape, made to agree with what was triangulated.

Where the swept depth is trusted it stays what it is; where it is not, the network says how the
surface runs on. Legend: V views, H W image.
"""

from __future__ import annotations

import numpy as np

from tracking.depth.fill import fill_inverse_depth
from tracking.protocols import Depth

SURE = 0.3  # confidence above which a triangulated depth is taken as it is


def affine_fit(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray, iterations: int = 20
) -> tuple[float, float]:
    """(a, b) of y ~ a x + b for [N] samples, Geman-McClure re-weighted."""
    current = weight.astype(np.float64)
    a, b = 0.0, float(np.median(y))
    for _ in range(iterations):
        total = max(float(current.sum()), 1e-12)
        mx, my = float(current @ x) / total, float(current @ y) / total
        a = float(current @ ((x - mx) * (y - my))) / max(float(current @ (x - mx) ** 2), 1e-12)
        b = my - a * mx
        residual = np.abs(y - a * x - b)
        sigma = max(1.5 * float(np.median(residual)), 1e-6)
        current = weight / (1.0 + (residual / sigma) ** 2) ** 2
    return a, b


def aligned_rho(network: Depth, rho: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """The network's 1/z [V, H, W] brought to the scale of rho, view by view.

    rho, trust [V, H, W]: triangulated 1/z and its confidence. Disparity is fitted affinely, depth
    by one factor. A view without trusted pixels takes the fit of all views together.
    """
    shape = network.depth if network.kind == "disparity" else 1.0 / np.maximum(network.depth, 1e-6)
    use = trust > SURE

    def fit(pick: np.ndarray, v: int | slice) -> tuple[float, float]:
        x, y, w = shape[v][pick], rho[v][pick], trust[v][pick]
        if network.kind != "disparity":
            return float(np.median(y / np.maximum(x, 1e-9))), 0.0
        return affine_fit(x, y, w)

    every = slice(None)
    whole = fit(use if use.any() else np.ones_like(use), every)
    out = np.empty_like(rho)
    for v in range(len(rho)):
        a, b = fit(use[v], v) if use[v].sum() >= 50 else whole
        if a <= 0:  # the network contradicts the geometry here
            a, b = whole if whole[0] > 0 else (0.0, float(np.median(rho[v])))
        low = 0.5 * float(np.percentile(rho[v], 1))
        out[v] = np.maximum(a * shape[v] + b, low)
    return out


def guide_depth(
    depth: np.ndarray, confidence: np.ndarray, network: Depth, frames: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Depth [V, H, W] that keeps trusted pixels and follows the network between them.

    The log ratio of the two is completed smoothly inside colour regions, so there is no step where
    they meet. Confidence [V, H, W] of what the network filled is at most SURE.
    """
    rho = 1.0 / depth
    shape = aligned_rho(network, rho, confidence)
    out, sure = depth.copy(), confidence.copy()
    for v in range(len(depth)):
        trusted = confidence[v] > SURE
        ratio = fill_inverse_depth(
            rho[v] / shape[v], np.where(trusted, confidence[v], 0.0), frames[v], edge=0.1
        )
        if not trusted.any():
            ratio = np.ones_like(ratio)
        out[v] = np.where(trusted, depth[v], 1.0 / (shape[v] * ratio))
        sure[v] = np.where(trusted, confidence[v], np.maximum(confidence[v], 0.6 * SURE))
    return out.astype(np.float32), sure.astype(np.float32)


def network_depth(network: Depth) -> np.ndarray:
    """A plausible depth [V, H, W] with nothing to align to, median 1 in every view.

    Disparity without scale and shift is taken as 1/z between a near and a six times farther end.
    """
    if network.kind == "disparity":
        low, high = np.percentile(network.depth, [0.5, 99.5])
        rho = 0.2 + np.clip((network.depth - low) / max(high - low, 1e-9), 0, None)
        depth = 1.0 / rho
    else:
        depth = network.depth
    return (depth / np.median(depth, axis=(1, 2), keepdims=True)).astype(np.float32)
