"""Outlines before plain areas: what is followed there slides over what turns."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from tracking.cameras.bundle import Observations
from tracking.flow.optical import PairFlows

_RIM_PX = 5  # working pixels from a plain area within which a point is taken for its outline
_PLAIN_STEP = 3  # grey levels that a plain area changes by over five pixels, at most
_PLAIN_SHARE = 0.1  # of the picture, from which an even area is one


def within_outlines(seen: Observations, outlines: NDArray[np.bool_]) -> Observations:
    """The observations of points that are not on ``outlines_of`` the pictures, [V, h, w].

    Outlines slide over what turns, all in one direction, and cameras that turn less explain it.
    """
    x, y = np.floor(seen.anchor_uv).astype(int).T
    return seen.of_tracks(~outlines[seen.anchor, y, x])


def outlines_of(pairs: PairFlows) -> NDArray[np.bool_]:
    """Pixels [V, h, w] in or near large plain areas of the views."""
    return np.stack([_near_plain(gray) for gray in pairs.gray_Vhw])


def _near_plain(gray: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels [h, w] in or near large even areas."""
    square = np.ones((5, 5), np.uint8)
    even = cv2.subtract(cv2.dilate(gray, square), cv2.erode(gray, square)) <= _PLAIN_STEP
    _, labels, facts, _ = cv2.connectedComponentsWithStats(even.astype(np.uint8))
    large = np.flatnonzero(facts[:, cv2.CC_STAT_AREA] > _PLAIN_SHARE * gray.size)
    plain = np.isin(labels, large[large > 0]).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _RIM_PX + 1, 2 * _RIM_PX + 1))
    return cv2.dilate(plain, disc) > 0
