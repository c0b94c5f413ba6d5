"""A black rim around every picture of a clip, as undistorting and letterboxing leave it.

It stays where it is in the picture while the scene moves, and what lies behind it is not known.

Legend: V views, H W image.
"""

from __future__ import annotations

import numpy as np

_DARK = 0.12  # brightness below which a pixel is black
_DEEPEST = 0.3  # share of the picture that a rim may reach into it
_BLENDED = 3  # lines in which black and picture may be mixed
_DARKER = 0.8  # than the picture three lines on, everywhere: such a line is mixed ...
_RATHER = 0.9  # ... and so is one behind a mixed or a black one
_SEGMENTS = 24  # of a side: a rim may be curved
_ROUND = 0.7  # share of a side that must have a rim
_MOST_OF = 0.85  # of a segment's pixels over all views must say so


def empty_rim(frames: np.ndarray) -> np.ndarray | None:
    """Mask [H, W] of what is black at the border of all frames [V, H, W, 3] (0..1), or None.

    A rim is on opposite sides: one black side may be the scene.
    """
    if len(frames) < 3:
        return None
    gray = frames.mean(-1)
    # every side as the top one: views of the same memory
    sides = [(np.rot90(gray, k, (1, 2)), k) for k in range(4)]
    deep = [_depths(side) for side, _ in sides]
    mask = np.zeros(gray.shape[1:], bool)
    for (_, k), own, opposite in zip(sides, deep, deep[2:] + deep[:2], strict=True):
        if min((own > 0).mean(), (opposite > 0).mean()) < _ROUND:
            continue
        turned = np.rot90(mask, k)
        for part, depth in zip(_parts(turned.shape[1]), _widest(own), strict=True):
            turned[:depth, part] = True
    return mask if mask.any() else None


def _parts(width: int) -> list[slice]:
    ends = np.linspace(0, width, min(_SEGMENTS, width) + 1).round().astype(int)
    return [slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]


def _depths(gray: np.ndarray) -> np.ndarray:
    """Lines of the rim at the top of gray [V, H, W], for every part of it."""
    most = round(_DEEPEST * gray.shape[1])
    return np.array([_thickness(gray[:, :, part], most) for part in _parts(gray.shape[2])])


def _widest(depth: np.ndarray) -> np.ndarray:
    """The largest of each entry [n] and the two beside it."""
    padded = np.pad(depth, 1, mode="edge")
    return np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])


def _thickness(gray: np.ndarray, most: int) -> int:
    """Lines of the rim at the top of gray [V, H, w]."""
    lines = gray.shape[1]
    black = np.quantile(gray[:, :most], _MOST_OF, axis=(0, 2)) < _DARK
    core = int(np.argmin(black)) if not black.all() else most
    thick = core
    while thick < min(core + _BLENDED, lines - 4):
        share = gray[:, thick] / np.maximum(gray[:, thick + 3], 1e-3)
        if np.quantile(share, _MOST_OF) > (_RATHER if thick else _DARKER):
            break
        thick += 1
    if not 0 < thick < most:
        return 0
    inner = np.median(gray[:, thick + 1])
    # a rim ends at once; a dark scene does not
    ends = inner > 3 * float(np.median(gray[:, 0])) or not core
    return thick if ends and inner > _DARK else 0
