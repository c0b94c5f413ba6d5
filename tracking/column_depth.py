"""Depth of the views of a freeze-time column, and what of its pictures is no part of the scene.

Legend: V views, H W frame. Lengths in the units of the cameras.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fourreal.errors import UserError
from tracking.cameras.fallbacks import pseudo_depth
from tracking.cameras.find import shrink
from tracking.cameras.search import CLOSER, STAND_IN, Cameras
from tracking.config import TrackConfig
from tracking.depth.backdrop import still_around, still_backdrop
from tracking.depth.blank import blank_backdrop, same_backdrop
from tracking.depth.colours import evened, view_colours
from tracking.depth.consistency import is_far, splat_from
from tracking.depth.dense import DepthConfig, dense_depth, inverse_depth_ranges
from tracking.depth.fill import fill_inverse_depth
from tracking.depth.fixed import FixedParts, fixed_parts
from tracking.depth.found_planes import texture
from tracking.depth.guided import guide_depth, network_depth
from tracking.depth.neighbours import neighbours
from tracking.depth.planes import TRUST
from tracking.depth.redrawn import redrawn
from tracking.protocols import Depth

FLAT = 2.0 / 255.0  # local contrast of a surface with nothing to match
_UNSURE = 0.05  # confidence of depth that nothing measured
_SURE = 0.3  # and from which it is agreed on
FIXED = "A clip of a still camera is a --fixed-view, a freeze-time clip goes around the subject"
Note = Callable[[str], None]


@dataclass
class ColumnDepth:
    """What is known of every pixel.

    depth (z), confidence [V, H, W]; alike [V, H, W, 3]: the frames in the colours of the central
    view; colours [V, 3, 2]: gain and offset that make them so (None: they are). What is no part of
    the scene: backdrop [V, H, W], which stands still; past [V, H, W], the part of it that is behind
    the scene; fixed, which every picture has in one place (in the backdrop too). blank [V, H, W]:
    of one flat colour and far away. None: nothing is.
    """

    depth: np.ndarray
    confidence: np.ndarray
    alike: np.ndarray
    colours: np.ndarray | None = None
    backdrop: np.ndarray | None = None
    past: np.ndarray | None = None
    blank: np.ndarray | None = None
    fixed: FixedParts = field(default_factory=FixedParts)


def without_parallax(frames: np.ndarray, estimate: Depth | None, note: Note) -> ColumnDepth:
    """Where cameras cannot tell depth: a smooth stand-in, or the network's."""
    if estimate is None:
        depth = pseudo_depth(*frames.shape[:3])
    else:
        depth = network_depth(estimate)
        note("in place of the stand-in: the network's depth, at a scale of its own per view")
    return ColumnDepth(depth, np.full_like(depth, _UNSURE), frames)


def measured_depth(
    frames: np.ndarray,
    found: Cameras,
    central: int,
    config: TrackConfig,
    given: bool,
    estimate: Depth | None,
    note: Note,
    progress: Callable[[int], None],
) -> ColumnDepth:
    """Depth of frames [V, H, W, 3] from the cameras that were found, or were ``given``.

    estimate: a network's depth, for where that is not sure. note: takes one line for each thing
    that did not go the normal way.

    Raises:
        UserError: the views hardly agree, and no stand-in was asked for.
    """
    K, w2c, limits = found.K, found.w2c, config.fallbacks
    assert found.points is not None
    kept = [v for v in range(len(frames)) if v not in found.dropped]
    fixed = fixed_parts(frames[kept] if found.dropped else frames)
    ranges = inverse_depth_ranges(found.points, w2c)
    depth, confidence = depth_of_kept(
        frames, K, w2c, ranges, found.dropped, config.depth, progress, fixed
    )
    laid = confidence[central] == TRUST  # on planes: that says nothing of the cameras
    if estimate is not None:
        confidence = (confidence * found.trust).astype(np.float32)
    elif found.trust < 1.0:
        depth = shrink(depth, confidence, found.trust)
    out = ColumnDepth(depth, confidence, frames, fixed=fixed)
    out.blank = blank_backdrop(frames, rim=fixed.rim)
    if given or not same_backdrop(frames, out.blank):
        out.colours = view_colours(
            frames, 1.0 / depth, confidence, K, w2c, central,
            neighbours(w2c, 2), one_camera=not given,
        )  # fmt: skip
    if out.colours is not None:
        note("the views differ in exposure or colour: evened to those of the central one")
        out.alike = np.clip(evened(frames, out.colours), 0, 1)
    _leave_out(out, found, given, note)
    left = 1.0 if out.backdrop is None else 1.0 - float(out.backdrop.mean())
    if left < limits.least_left and not limits.allow_stand_in:
        raise UserError(
            f"only {100 * left:.0f} % of the pictures move with the scene: does the camera move at "
            f"all? {FIXED}; what turns before a still camera must fill more of it ({STAND_IN})"
        )
    held = redrawn(out.alike, depth, K, w2c, out.backdrop, found.dropped)
    if held is not None and held.off > limits.redrawn_off:
        nearer = "cameras" if given else "views (of a video: a larger --max-views)"
        note(
            f"depth does not hold between the views: {100 * held.off:.0f} % of what neighbours "
            f"show, {held.apart_deg:.0f} degrees apart, is not there in the next one. Expect "
            f"torn pictures between them; {nearer} nearer to each other help"
        )
    agreed = float(((confidence[central] > _SURE) & ~laid).mean())
    far = is_far(central, kept, w2c, float(np.median(depth[central])))
    enough = limits.far_agreed if far else limits.wide_agreed
    if found.wide and agreed < enough and not limits.allow_stand_in:
        raise UserError(
            f"cameras could not be recovered (those of wide-baseline features agree with "
            f"{100 * agreed:.0f} % of the picture); {CLOSER} ({STAND_IN})"
        )
    if out.blank is not None:
        note("the backdrop is one flat colour: its depth is unknown, it was put behind all else")
    solid = np.ones(depth.shape[1:], bool) if out.blank is None else ~out.blank[central]
    matched = (confidence[central] > _SURE) & (texture(frames[central]) > FLAT)
    covered = float(matched[solid].mean()) if solid.any() else 0.0
    if covered < limits.textureless_share:
        note(f"little texture: {100 * (1 - covered):.0f} % of depth follows its surroundings")
    if estimate is not None:
        guided, out.confidence = guide_depth(depth, confidence, estimate, frames)
        out.depth = guided if out.blank is None else np.where(out.blank, depth, guided)
    return out


def _leave_out(out: ColumnDepth, found: Cameras, given: bool, note: Note) -> None:
    """Mark as backdrop what does not move with the scene, and trust no depth there."""
    parts = [] if given else [still_backdrop(out.alike, out.depth, found.K, found.w2c)]
    if found.turntable:
        parts.append(still_around(out.alike, out.confidence))
    out.backdrop = out.past = _joined(*parts)
    if out.backdrop is not None:
        note(
            f"{100 * out.backdrop.mean():.0f} % of the pictures do not move with the scene (a "
            "backdrop): left out"
        )
    for part, what in (
        (out.fixed.rim, "the pictures have a black rim"),
        (out.fixed.burnt, "something is burnt into the pictures (a logo, a caption?)"),
    ):
        if part is not None:
            note(f"{what} ({100 * part.mean():.1f} % of them): left out")
            out.backdrop = _joined(out.backdrop, np.broadcast_to(part, out.depth.shape))
    if out.backdrop is not None:
        out.confidence[out.backdrop] = 0.0


def _joined(*masks: np.ndarray | None) -> np.ndarray | None:
    """All masks that there are in one, a new one; None where there is none."""
    there = [mask for mask in masks if mask is not None]
    return np.logical_or.reduce(there) if there else None


def depth_of_kept(
    frames: np.ndarray,
    K: np.ndarray,
    w2c: np.ndarray,
    ranges: np.ndarray,
    dropped: list[int],
    config: DepthConfig,
    progress: Callable[[int], None],
    fixed: FixedParts,
) -> tuple[np.ndarray, np.ndarray]:
    """dense_depth without the views that were dropped; those get what the others see from there."""
    kept = [v for v in range(len(frames)) if v not in dropped]
    if not dropped or len(kept) < 2:
        return dense_depth(frames, K, w2c, ranges, config, progress, fixed)
    depth = np.ones(frames.shape[:3], np.float32)
    confidence = np.full(frames.shape[:3], _UNSURE, np.float32)
    depth[kept], confidence[kept] = dense_depth(
        frames[kept], K[kept], w2c[kept], ranges[kept], config, progress, fixed
    )
    for v in dropped:
        seen = splat_from(v, kept, 1.0 / depth, confidence, K, w2c)
        flat = np.zeros_like(frames[v])  # its colours say nothing about this scene
        depth[v] = 1.0 / fill_inverse_depth(seen, (seen > 0).astype(np.float32), flat)
    return depth, confidence
