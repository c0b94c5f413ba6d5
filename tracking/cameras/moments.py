"""Cameras that stand still while the scene moves see it at several moments: each has points of its
own, and all of them say where the same cameras are.

A column shows an animal before plain paper in one pose only, in a small part of the pictures; eight
poses fill more of them. What textures fill does not need it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

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


def few_points(seen: Observations, config: FollowConfig) -> bool:
    """Whether points fill but a small part of the pictures."""
    return len(seen.anchor) < _FEW * config.tracks


def surest(config: FollowConfig) -> FollowConfig:
    """Settings for the surest points: of many moments there are enough."""
    return replace(config, min_zncc=_SURE_ZNCC)


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
