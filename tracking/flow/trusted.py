"""Flow of two pictures with how far it can be trusted, at the pictures' own size."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from tracking.flow.optical import FlowConfig, dis, to_gray, working_size

Array = NDArray[np.floating]


def trusted_flow(a_HW3: Array, b_HW3: Array) -> tuple[Array, Array]:
    """Flow a -> b [H, W, 2] in pixels and its trust [H, W] in 0..1 (forward-backward error)."""
    return _trusted(*_both_ways(a_HW3, b_HW3), a_HW3.shape[:2])


def trusted_both_ways(
    a_HW3: Array, b_HW3: Array
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """``trusted_flow`` a -> b and b -> a, in hardly more time than one of them."""
    (forward, backward), size = _both_ways(a_HW3, b_HW3), a_HW3.shape[:2]
    return _trusted(forward, backward, size), _trusted(backward, forward, size)


def _both_ways(a_HW3: Array, b_HW3: Array) -> tuple[Array, Array]:
    """Flow a -> b and b -> a at working size."""
    H, W = a_HW3.shape[:2]
    gray = to_gray(np.stack([a_HW3, b_HW3]).astype(np.float32), working_size(H, W, FlowConfig()))
    return dis(gray[0], gray[1]), dis(gray[1], gray[0])


def _trusted(forward: Array, backward: Array, size: tuple[int, int]) -> tuple[Array, Array]:
    """A flow at working size, at the pictures' own, and how far the way back agrees."""
    (H, W), (h, w) = size, forward.shape[:2]
    x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    back = cv2.remap(
        backward,
        x + forward[..., 0],
        y + forward[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    error = np.hypot(*cv2.split(forward + back))  # norm() is slow along an axis of two
    trust = np.exp(-((error / 2.0) ** 2)).astype(np.float32)
    scale = np.array([W / w, H / h], np.float32)
    full = np.asarray(cv2.resize(forward, (W, H), interpolation=cv2.INTER_AREA), np.float32) * scale
    return full, np.asarray(cv2.resize(trust, (W, H), interpolation=cv2.INTER_AREA), np.float32)
