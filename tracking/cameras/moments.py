"""Cameras that stand still while the scene moves see it at several moments: each has points of its
own, and all of them say where the same cameras are.

A column shows an animal before plain paper in one pose only, in a small part of the pictures; eight
poses fill more of them. What textures fill does not need it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from tracking.cameras.bundle import Observations
from tracking.cameras.follow import FollowConfig
from tracking.cameras.search import Attempt
from tracking.flow.optical import PairFlows

Moments = Callable[[], Iterator[PairFlows]]  # flow of other moments, each made when it is asked for

SURE_PX = 1.0  # from where cameras see the surest points: more is no match

_FEW = 0.5  # of the points that a picture full of texture gives
_ALIKE = 0.7  # share of matches that fit: of the worst moment, of the usual one
_WORSE = 1.7  # median distance of these from where they should be: the same
_SURE_ZNCC = 0.98  # of patches: what slides over a surface changes its looks
_CORRECTION_DEG = 5.0  # that the surest points may turn a camera by
_RIM_PX = 5  # working pixels from a plain area within which a point is taken for its outline
_PLAIN_STEP = 3  # grey levels that a plain area changes by over five pixels, at most
_PLAIN_SHARE = 0.1  # of the picture, from which an even area is one


def few_points(seen: Observations, config: FollowConfig) -> bool:
    """Whether points fill but a small part of the pictures."""
    return len(seen.anchor) < _FEW * config.tracks


def surest(config: FollowConfig) -> FollowConfig:
    """Settings for the surest points: of many moments there are enough."""
    return replace(config, min_zncc=_SURE_ZNCC)


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


def joined(moments: Sequence[Observations]) -> Observations:
    """The observations of several moments as one; a point belongs to its moment alone."""
    first = np.cumsum([0] + [len(m.anchor) for m in moments[:-1]])
    return Observations(
        np.concatenate([m.anchor for m in moments]),
        np.concatenate([m.anchor_uv for m in moments]),
        np.concatenate([m.track + at for m, at in zip(moments, first, strict=True)]),
        np.concatenate([m.view for m in moments]),
        np.concatenate([m.uv for m in moments]),
    )


def same_cameras(found: Attempt, moments: Sequence[Observations]) -> bool:
    """Whether cameras found from the joined moments fit each of them about as well as the others.

    By how many of its matches fit, and how well: few points, in a plane say, fit most cameras, but
    not as well as their own.
    """
    if found.solution is None:
        return False
    ends = np.cumsum([len(m.track) for m in moments])[:-1]
    fit = [part[np.isfinite(part)] for part in np.split(found.solution.residual, ends)]
    if not all(len(part) for part in fit):
        return False
    shares = np.array([len(f) / len(m.track) for f, m in zip(fit, moments, strict=True)])
    off = np.array([np.median(part) for part in fit])
    return bool(shares.min() >= _ALIKE * np.median(shares) and off.max() <= _WORSE * np.median(off))


def near(found: Attempt, start: Attempt) -> bool:
    """Whether cameras are a correction of others, not another explanation of the same pictures."""
    a, b = found.solution, start.solution
    assert a is not None and b is not None
    both = a.registered & b.registered
    turn = np.einsum("vij,vkj->vik", a.rotation[both], b.rotation[both])
    cosine = (np.trace(turn, axis1=1, axis2=2) - 1) / 2
    return bool(np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < _CORRECTION_DEG)


def of_first(found: Attempt, first: Observations) -> Attempt:
    """What was found from joined moments, with the points of the first alone."""
    assert found.solution is not None
    solution = replace(
        found.solution,
        inverse_depth=found.solution.inverse_depth[: len(first.anchor)],
        residual=found.solution.residual[: len(first.track)],
    )
    return replace(found, obs=first, solution=solution)
