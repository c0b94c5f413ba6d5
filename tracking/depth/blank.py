"""Backdrops of one colour, evenly or unevenly lit (a studio, a page): nothing can be matched there.

Their depth is unknown, and a guess in front of the object would hide it from the side, so they go
behind everything.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

from fourreal.colour import difference

_REACHES = (0.06, 0.04, 0.03)  # colour differences of a robust fit, in turn
_SIDE = 0.5  # share of the left, the right and the upper border that such a backdrop must cover
_SAME = 1.5 / 255  # change of a backdrop's colour that is none
_MIXED_PX = 1.5  # reach of the backdrop's colour
_ENOUGH = 100  # pixels of the border to fit to again


def blank_backdrop(
    frames: np.ndarray,
    tolerance: float = 6.0 / 255.0,
    share: float = 0.6,
    rim: np.ndarray | None = None,
) -> np.ndarray | None:
    """Mask [V, H, W] of the flat backdrop of frames [V, H, W, 3], or None when there is none.

    The backdrop has one colour, or one smooth shading, over all views, covers most of every
    picture's border and is connected to it. rim: bool [H, W], what is empty anyway
    (``tracking.depth.rim``): no backdrop.
    """
    border = np.ones(frames.shape[1:3], bool)
    border[1:-1, 1:-1] = False
    seen = frames[:, border]
    off = difference(frames, np.median(seen.reshape(-1, 3), axis=0))
    if not _surrounds(off[:, border] < tolerance, share):
        off = difference(frames, _shading(frames, border))
        sides = off[:, :, 0], off[:, :, -1], off[:, 0]
        if not _surrounds(off[:, border] < tolerance, share) or not all(
            _surrounds(side < tolerance, _SIDE) for side in sides
        ):
            return None
    mask = np.zeros(frames.shape[:3], bool)
    for v in range(len(frames)):
        labels, _ = ndimage.label(off[v] < tolerance)
        edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        mask[v] = np.isin(labels, edge[edge > 0])
    if rim is not None:
        mask &= ~rim
    return mask if mask.mean() > 0.1 else None


def _surrounds(on_border: np.ndarray, share: float) -> bool:
    """A backdrop on these of the border's pixels [V, B] is behind the whole scene."""
    shares = on_border.mean(1)
    return bool(np.median(shares) >= share and shares.min() >= 0.5 * share)


def _shading(frames: np.ndarray, border: np.ndarray) -> np.ndarray:
    """The colours [V, H, W, 3] of a backdrop that is lit unevenly; border [H, W].

    Colours that change evenly along both axes, as the upper half of the border says first: below
    may be a table. For every view a shift, as cameras set their exposure anew.
    """
    height, width = border.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y], -1).astype(np.float32)
    seen = frames[:, border]
    place = np.broadcast_to(terms[border], (*seen.shape[:2], 3))
    use = place[..., 2] < 0
    for reach in _REACHES:
        coefficients = np.linalg.lstsq(place[use], seen[use], rcond=None)[0]
        shown = place @ coefficients
        use = difference(seen, shown) < reach
        if use.sum() < _ENOUGH:
            break
    shifts = [np.median((s - b)[n], axis=0) if n.any() else np.zeros(3)
              for s, b, n in zip(seen, shown, use, strict=True)]  # fmt: skip
    return terms @ coefficients + np.array(shifts, np.float32)[:, None, None]


def same_backdrop(frames: np.ndarray, blank: np.ndarray | None) -> bool:
    """Whether frames [V, H, W, 3] show a flat backdrop, bool [V, H, W], in one and the same colour:
    then one exposure took them all, and colours that change are the subject's shading."""
    if blank is None:
        return False
    colours = [np.median(f[b], axis=0) for f, b in zip(frames, blank, strict=True) if b.any()]
    return bool(np.ptp(np.stack(colours), axis=0).max() < _SAME)


def backdrop_share(frame: np.ndarray, blank: np.ndarray) -> np.ndarray:
    """How much of each pixel of a frame [H, W, 3] is backdrop, float32 [H, W]; blank: bool [H, W].

    Pixels that an outline crosses are mixed, with what the next pixel further in shows.
    """
    known = blank.astype(np.float32)
    near = cv2.GaussianBlur(known, (0, 0), _MIXED_PX)
    behind = cv2.GaussianBlur(frame * known[..., None], (0, 0), _MIXED_PX)
    colour = behind / np.maximum(near, 1e-6)[..., None]
    off = np.where(near > 1e-3, difference(frame, colour), 1.0).astype(np.float32)
    most = cv2.dilate(np.where(blank, 0, off), np.ones((3, 3), np.uint8))
    subject = np.clip(off / np.maximum(most, 1e-6), 0, 1)
    return np.where(blank, 1.0, 1.0 - subject).astype(np.float32)


def push_behind(
    rho: np.ndarray, trust: np.ndarray, blank: np.ndarray, margin: float = 0.85
) -> None:
    """Put blank pixels of one view behind its farthest trusted surface, in place (1/z, trust)."""
    solid = ~blank & (trust > 0.3)
    if not solid.any():
        solid = ~blank
    if solid.any():
        rho[blank] = np.float32(np.percentile(rho[solid], 1) * margin)
    trust[blank] = 0.05
