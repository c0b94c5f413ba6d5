"""Exposure and white balance of one picture brought to those of another of the same thing."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

DARK, BRIGHT = 0.03, 0.97  # levels that an exposure may have cut off
NOTICEABLE = 0.01
ENOUGH = 0.05  # of a picture of the same moment has to be evenly exposed
ENOUGH_STILL = 0.25  # of another moment, of which a part has changed


def colour_match(
    source: NDArray[np.floating], target: NDArray[np.floating], enough: float = ENOUGH
) -> NDArray[np.float64] | None:
    """Gain per channel [3] with which ``source`` [H, W, 3] looks like ``target`` [H, W, 3].

    A gain of light is a gain of gamma-coded levels too. The median over pixels does not see what
    moved in between. None when it is not noticeable, or nothing is evenly exposed.
    """
    a, b = (cv2.GaussianBlur(np.asarray(x, np.float32), (0, 0), 1.5) for x in (source, target))
    usable = ((a > DARK) & (a < BRIGHT) & (b > DARK) & (b < BRIGHT)).all(-1)
    if usable.mean() < enough:
        return None
    gain = np.median(b[usable] / a[usable], axis=0).astype(np.float64)
    if np.abs(gain - 1).max() < NOTICEABLE or not (0.2 < gain).all() or not (gain < 5).all():
        return None
    return gain


def flicker(frames: NDArray[np.floating], reference: NDArray[np.floating]) -> NDArray[np.float64]:
    """Gain per frame and channel [F, 3] with which frames of a fixed view [F, H, W, 3] have the
    exposure of a reference [H, W, 3]; 1 where it is the same."""
    gains = [colour_match(f, reference, ENOUGH_STILL) for f in frames]
    return np.stack([np.ones(3) if g is None else g for g in gains])


def exposed(frames: NDArray[np.float32], gains: NDArray[np.float64]) -> NDArray[np.float32]:
    """Frames [..., H, W, 3] times gains [..., 3]; what was cut off at white stays white."""
    gain = gains[..., None, None, :].astype(np.float32)
    white = np.clip((frames - BRIGHT) / (1 - BRIGHT), 0, 1)
    out = frames * (gain + white * np.maximum(1 - gain, 0))
    return np.clip(out, 0, 1).astype(np.float32)
