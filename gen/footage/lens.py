"""Lens distortion of given cameras: removed on reading, so that later stages see pin-holes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Lens:
    """A distorted camera: K [3, 3] (pixel centres at +0.5), OpenCV's k1 k2 p1 p2 k3 (or, as its
    rational model, k1 k2 p1 p2 k3 k4 k5 k6), image size."""

    K: NDArray[np.float64]
    coefficients: tuple[float, ...]
    size: tuple[int, int]

    @cached_property
    def pinhole(self) -> NDArray[np.float64]:
        """K [3, 3] of the undistorted image, which holds only pixels that the camera saw."""
        height, width = self.size
        K, _ = cv2.getOptimalNewCameraMatrix(
            _centres_at_whole(self.K, -0.5), np.array(self.coefficients), (width, height), 0
        )
        if not (np.isfinite(K).all() and 0.2 < K[0, 0] / self.K[0, 0] < 5):
            raise ValueError(
                f"distortion {_text(self.coefficients)} cannot be undone; undistort the images"
            )
        return _centres_at_whole(K, 0.5)

    @cached_property
    def _maps(self) -> tuple[Any, Any]:
        height, width = self.size
        return cv2.initUndistortRectifyMap(
            _centres_at_whole(self.K, -0.5), np.array(self.coefficients), np.eye(3),
            _centres_at_whole(self.pinhole, -0.5), (width, height), cv2.CV_32FC1,
        )  # fmt: skip

    def undistort(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image [H, W, 3] that the camera ``pinhole`` would have taken."""
        if image.shape[:2] != self.size:
            raise ValueError(
                f"the calibration is for {self.size[0]}x{self.size[1]} pixels, the frames have "
                f"{image.shape[0]}x{image.shape[1]}"
            )
        out = cv2.remap(image, *self._maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return out  # type: ignore[return-value]


def lens_or_none(
    K: NDArray[np.float64], coefficients: Sequence[float], size: tuple[int, int]
) -> Lens | None:
    """A lens; None when nothing is distorted. Coefficients are k1 k2 p1 p2 k3, then zeros only, or
    the eight of OpenCV's rational model.

    Raises:
        ValueError: more coefficients than that are in use.
    """
    values = [float(c) for c in coefficients]
    if len(values) == 8 and any(values[5:]):
        return Lens(K, tuple(values), size)
    if any(values[5:]):
        raise ValueError(
            f"distortion has more terms than k1 k2 p1 p2 k3 ({_text(values)}); undistort the images"
        )
    k1, k2, p1, p2, k3 = (values + [0.0] * 5)[:5]
    if not any((k1, k2, p1, p2, k3)):
        return None
    return Lens(K, (k1, k2, p1, p2, k3), size)


def _centres_at_whole(K: NDArray, shift: float) -> NDArray[np.float64]:
    """K with its principal point moved: OpenCV's image functions have pixel centres at whole
    numbers, ours are at +0.5."""
    out = np.array(K, np.float64)
    out[:2, 2] += shift
    return out


def _text(values: Sequence[float]) -> str:
    return " ".join(f"{v:.3g}" for v in values)
