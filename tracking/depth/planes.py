"""Planes of textured surfaces carry on where there is nothing to match: paper, a table, walls.

White paper under a lamp looks alike wherever it is, and its shading, which does not turn with a
turntable, even matches in a wrong place. Where a picture's own depth is doubtful, or views all
around contradict it, and its surroundings or its colour belong to a plane, that plane is tried: it
is taken if the pictures do not object, and where the plane gets to without passing before what is
seen behind it. What would lie behind a plane that others see lies on it.

Legend: V views, H W image, P planes. rho = 1/z in the view's own camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fourreal.cameras import relative_pose
from tracking.depth.consistency import compare_views, reproject
from tracking.depth.fill import diffused
from tracking.depth.found_planes import NEAR, TEXTURE, UNDER, Planes, planes_of
from tracking.depth.witnesses import Votes, Witnesses
from tracking.flow.optical import inside, sample

_LONG_SIDE = 100  # of the pictures in which membership spreads
_MEMBER = 0.4  # share of the surroundings that must lie on a plane
_WORSE = 0.02  # mean colour difference by which a plane may explain texture worse to neighbours
_COLOUR = 0.6  # share of the sure pixels of a colour that must lie on a plane for all of it to
_BIN = np.array([12, 8, 8], np.float32)  # what counts as one colour, CIELAB
_BETTER = 0.2  # share of views that must object less to a plane that nothing else speaks for
_SLACK = 0.3  # ... and may object more to one that goes on from its surroundings or its colour
_OBJECTED = 0.5  # share of views that no plane may have against it
_ALONE = 0.5  # share of what is sure that may be so in hardly another view
_TORN = 0.15  # share of a blank part that two views or more must object to
_SMALL = 50  # pixels below which a part says nothing
_EDGE = 0.03  # change of colour from pixel to pixel that ends a part
_NOTHING = 0.05  # trust of a depth that nothing speaks for
_ROUNDS = 2
_GRAY = np.full(3, 1 / 3, np.float32)
TRUST = 0.5  # of a pixel that was put on a plane


def difference_to(
    images: np.ndarray, view: int, others: Sequence[int], rho: np.ndarray, K: np.ndarray,
    w2c: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Mean colour difference [H, W] around a pixel to the better half of the other views."""
    h, w = rho.shape
    out = []
    for other in others:
        uv, _ = reproject(rho, K[view], K[other], relative_pose(w2c[view], w2c[other]))
        off = cv2.blur(np.abs(sample(images[other], uv) - images[view]) @ _GRAY, (5, 5))
        out.append(np.where(inside(uv, h, w), off, 1.0))
    kept = np.sort(np.stack(out), 0)[: max(1, len(out) // 2)]
    return kept.mean(0).astype(np.float32)


def put_on_planes(
    rho: np.ndarray,
    trust: np.ndarray,
    images: np.ndarray,
    K: np.ndarray,
    w2c: np.ndarray,
    near: Sequence[Sequence[int]],
    tolerance: float,
    blank: np.ndarray | None = None,
    planes: Planes | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(rho, trust) [V, H, W] with doubtful pixels among those of a plane put on it.

    images [V, H, W, 3] in alike colours; near: neighbours of every view; tolerance: relative
    difference of 1/z of two views that see one surface; blank [V, H, W]: an empty backdrop;
    planes: by default those of what is trusted (`planes_of`).
    """
    planes = planes or planes_of(rho, trust, images, K, w2c)
    there, sure = planes.there_PVHW, planes.sure
    if not len(there):
        return rho, trust
    witnesses = Witnesses(images, K, w2c)
    scene = _Scene(images, K, w2c, near, tolerance, planes.grain, witnesses, blank)
    many = False
    for turn in range(_ROUNDS):  # what was put on a plane carries it on
        votes = [scene.witnesses.votes(v, rho[v], rho, trust) for v in range(len(rho))]
        if turn == 0:  # of what was seen: what is put on a plane is sure in one view at a time
            many = many_are_sure(sure, np.stack([of_view.solid for of_view in votes]))
        rho, trust = _once(rho, trust, sure, there, scene, votes, many)
        sure = sure | (trust == TRUST)
    return rho, trust


@dataclass
class _Scene:
    images: np.ndarray
    K: np.ndarray
    w2c: np.ndarray
    near: Sequence[Sequence[int]]
    tolerance: float
    grain: np.ndarray
    witnesses: Witnesses
    blank: np.ndarray | None


def _once(
    rho: np.ndarray,
    trust: np.ndarray,
    sure: np.ndarray,
    there_PVHW: np.ndarray,
    scene: _Scene,
    votes_V: list[Votes],
    many: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """One round of put_on_planes; there_PVHW: 1/z of every plane in every view; votes_V: about
    every view as it is; many: `many_are_sure`."""
    images, K, w2c = scene.images, scene.K, scene.w2c
    on_PVHW = np.abs(there_PVHW / rho - 1) < 1.5 * NEAR
    same_PVHW = _of_its_colours(on_PVHW, sure, images)
    off_all = ~on_PVHW.any(0)
    sunk_PVHW = np.zeros(there_PVHW.shape, bool)
    if many:
        for p, v in np.ndindex(there_PVHW.shape[:2]):
            solid = votes_V[v].solid
            sunk_PVHW[p, v] = sunk_below(there_PVHW[p, v], rho[v], same_PVHW[p, v], solid)
    # what is sure by chance below a plane would keep what is around it there
    chance = np.zeros_like(sure)
    for there, sunk in zip(there_PVHW, sunk_PVHW & off_all & sure, strict=True):
        for v in range(len(rho)):
            vouch = scene.witnesses.votes(v, there[v], rho, trust, sunk[v])
            chance[v] |= (vouch.alike >= 2) & (vouch.against < _OBJECTED)
    sure = sure & ~chance
    out, believed = rho.copy(), trust.copy()
    for v, votes in enumerate(votes_V):
        now = difference_to(images, v, scene.near[v], rho[v], K, w2c)
        wrong = votes.contradicted
        doubt = ~sure[v] | wrong
        if scene.blank is not None:
            doubt &= ~scene.blank[v]
        # texture beside a plane of its colour has a depth of its own
        plain = (scene.grain[v] <= TEXTURE) | wrong | (trust[v] < _NOTHING)
        blank = doubt & (scene.grain[v] <= TEXTURE)
        parts, objected = parts_of(blank, images[v]), votes.other >= 2
        best = np.full(rho.shape[1:], -np.inf, np.float32)
        planes = zip(there_PVHW, on_PVHW, same_PVHW, sunk_PVHW, strict=True)
        for there, on, same, sunk in planes:
            member = _membership(on[v], sure[v] & ~wrong, images[v])
            safe = np.where(there[v] > 0, there[v], rho[v])
            votes_there = scene.witnesses.votes(v, safe, rho, trust, doubt)
            _, violate = compare_views(
                safe, rho, v, scene.near[v], K, w2c, scene.tolerance, trust * sure
            )
            # nothing is seen behind a plane that others see
            under = (there[v] > (1 + UNDER) * rho[v]) & (votes_there.solid >= 2)
            seen = votes_there.alike >= 2
            mended = votes_there.against < votes.against - _BETTER
            mended &= seen & (votes.other >= 2) & (same[v] > _MEMBER)
            alike = np.maximum(member, same[v])
            belongs = (member > _MEMBER) | ((same[v] > _COLOUR) & plain & seen)
            fits = belongs & (votes_there.against <= votes.against + _SLACK)
            off = difference_to(images, v, scene.near[v], safe, K, w2c)
            allowed = (scene.grain[v] <= TEXTURE) | (off < now + _WORSE) | wrong | under
            allowed &= votes_there.against < _OBJECTED
            take = doubt & (there[v] > 0.2 * rho[v].min()) & (violate < 0.5)
            # what is blank is one surface: where views object to some of it, none of it is there
            whole = parts.torn(objected, votes_there.contradicted)
            take &= (allowed & (fits | mended | under)) | sunk[v] | whole
            before = rho[v] > (1 + UNDER) * there[v]
            take &= under | _reached(take, on[v] & sure[v] & ~wrong, before)
            score = alike - 2 * votes_there.against
            take &= score > best
            out[v][take], believed[v][take] = there[v][take], TRUST
            best = np.where(take, score, best)
        believed[v][wrong & np.isinf(best)] = 0.0
    return out, believed


def many_are_sure(sure: np.ndarray, solid: np.ndarray) -> bool:
    """Whether what a view is sure of [V, H, W], other views usually are as well (`solid` are).

    Of two cameras, or of three far apart, hardly one is, whatever is there.
    """
    return bool((solid[sure] < 2).sum() < _ALONE * sure.sum())


def sunk_below(
    plane: np.ndarray, rho: np.ndarray, same: np.ndarray, solid: np.ndarray
) -> np.ndarray:
    """Pixels [H, W] with 1/z `rho` behind that of a `plane` whose colours they have (share `same`)
    though hardly a view is sure of a surface there (`solid` are).

    One does not see through a plane; what is in a shadow that turns matches by chance, anywhere.
    """
    return (plane > (1 + UNDER) * rho) & (same > _MEMBER) & (solid < 2)


@dataclass
class Parts:
    """Connected parts of a picture: number of each pixel's [H, W], 0 where none is."""

    labels: np.ndarray

    def shares(self, mask: np.ndarray) -> np.ndarray:
        """Of each pixel's part [H, W], the share in `mask`; 0 in small parts and outside."""
        labels = self.labels
        count = np.bincount(labels.ravel())
        inside = np.bincount(labels[mask], minlength=len(count))
        share = np.where(count < _SMALL, 0.0, inside / np.maximum(count, 1))
        share[0] = 0.0
        return share[labels]

    def torn(self, objected: np.ndarray, there: np.ndarray) -> np.ndarray:
        """Pixels [H, W] of parts of which much is objected to where it is and far less `there`,
        but for those that are."""
        now, left = self.shares(objected), self.shares(there)
        return (now > _TORN) & (left < 0.5 * now) & ~there


def parts_of(mask: np.ndarray, image: np.ndarray) -> Parts:
    """Parts of a mask [H, W] through which colours of image [H, W, 3] change but little."""
    step = np.zeros(mask.shape, np.float32)
    for axis in (0, 1):
        change = np.abs(np.diff(image, axis=axis)).max(-1)
        step = np.maximum(step, np.pad(change, [(0, 1 - axis), (0, axis)]))
    inner = mask & (step < _EDGE)
    return Parts(cv2.connectedComponents(inner.astype(np.uint8), connectivity=4)[1])


def _reached(mask: np.ndarray, plane: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The parts of a mask [H, W] that a plane's own pixels get to behind what is ``before`` it.

    The sky over hills that show behind a wall does not go on from the wall.
    """
    way = (mask | plane | before).astype(np.uint8)
    labels = cv2.connectedComponents(way, connectivity=8)[1]
    return mask & np.isin(labels, np.unique(labels[plane]))


def _of_its_colours(on_PVHW: np.ndarray, sure: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Of the sure pixels of a pixel's colour, in all views, the share on each plane [P, V, H, W].

    White beside a brown rim goes on with the white paper, not with the rim.
    """
    lab = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2LAB) for image in images])
    bins = np.round(lab / _BIN).astype(np.int64) + 32
    cell = (bins[..., 0] * 64 + bins[..., 1]) * 64 + bins[..., 2]
    size = int(cell.max()) + 1
    # a colour of hardly any sure pixel says nothing
    count = np.bincount(cell[sure], minlength=size) + 1e-4 * sure.sum()
    return np.stack(
        [(np.bincount(cell[sure & on], minlength=size) / count)[cell] for on in on_PVHW]
    )


def _membership(on: np.ndarray, sure: np.ndarray, image: np.ndarray) -> np.ndarray:
    """How far the surroundings of a pixel lie on a plane, 0..1 [H, W]: sure pixels spread."""
    h, w = on.shape
    factor = min(1.0, _LONG_SIDE / max(h, w))
    size = (round(w * factor), round(h * factor))
    weight = cv2.resize(sure.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    if not weight.any():
        return np.zeros((h, w), np.float32)
    share = cv2.resize((on & sure).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    spread = diffused(share / np.maximum(weight, 1e-6), weight, small, iterations=60)
    return cv2.resize(spread.astype(np.float32), (w, h))
