"""A backdrop that does not move with the scene: behind a turntable, outside a train's window.

There are two ways to know one, and a turntable needs both. By what the other views show
(``still_backdrop``): carried into them by the rigid scene's depth, such a pixel meets other
colours; left where it is in the picture, it meets its own. Nothing that really stands in the scene
does that, but a plain wall meets its colour either way. By the camera (``still_around``): where it
is known to stand still before what turns, what shows the same in most pictures is no part of the
scene, a plain wall as well (before a moving camera, a plain floor would pass for that).

Legend: V views, H W image.
"""

from __future__ import annotations

import cv2
import numpy as np

from fourreal.cameras import relative_pose
from fourreal.colour import difference
from tracking.depth.consistency import reproject
from tracking.depth.neighbours import neighbours
from tracking.flow.optical import inside

_LONG_SIDE = 256
_REACH = 6  # neighbours a view is compared with
_OFF = 0.10  # colour difference by which the rigid scene must fail ...
_SHARE = 0.45  # ... and the share of it that standing still may fail by
_MOST = 0.35  # of one difference: one view never decides
_SURE = 0.3  # share of a colour, over all pictures, that must fail before all of it is backdrop
_SPREAD = np.array([16.0, 10.0, 10.0], np.float32)  # of one colour, CIELAB
_COLOURS = 4
_LEAST = 0.005  # share of all pixels below which there is no backdrop
_PART = 0.002  # share of a picture below which a part of it is none
_ALIKE = 0.06  # difference to the median of all pictures that is none
_SCENE = 0.7  # confidence of what belongs to the scene ...
_GAP = 0.015  # ... with gaps closed of this share of the long side ...
_BLOB = 0.01  # ... in parts of at least this share of the picture
_GRAIN = np.ones((3, 3), np.uint8)


def still_backdrop(
    frames: np.ndarray, depth: np.ndarray, K: np.ndarray, w2c: np.ndarray
) -> np.ndarray | None:
    """Mask [V, H, W] of what stands still in the pictures while the scene moves, or None.

    frames [V, H, W, 3] in 0..1, in colours that agree; depth [V, H, W]; K [V, 3, 3]; w2c [V, 4, 4].
    """
    views, height, width = frames.shape[:3]
    if views < 4:
        return None
    factor = min(1.0, _LONG_SIDE / max(height, width))
    h, w = round(height * factor), round(width * factor)
    small = np.stack(
        [cv2.GaussianBlur(cv2.resize(f, (w, h), interpolation=cv2.INTER_AREA), (0, 0), 1.0)
         for f in frames]
    )  # fmt: skip
    rho = np.stack([cv2.resize(1.0 / d, (w, h), interpolation=cv2.INTER_NEAREST) for d in depth])
    lens = K.copy()
    lens[:, 0] *= w / width
    lens[:, 1] *= h / height
    core = np.zeros((views, h, w), bool)
    for v, near in enumerate(neighbours(w2c, _REACH)):
        moved, stood, met = (np.zeros((h, w), np.float32) for _ in range(3))
        for u in near:
            uv, there = reproject(rho[v], lens[v], lens[u], relative_pose(w2c[v], w2c[u]))
            x, y = uv[..., 0] - 0.5, uv[..., 1] - 0.5
            seen = cv2.remap(small[u], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            nearer = cv2.remap(rho[u], x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
            # where the pixel hardly moves, both say the same
            away = np.hypot(x - np.arange(w), y - np.arange(h)[:, None]) > 2.0
            use = inside(uv, h, w) & (nearer < 1.1 * there) & away
            moved += use * np.minimum(difference(seen, small[v]), _MOST)
            stood += use * np.minimum(difference(small[u], small[v]), _MOST)
            met += use
        moved, stood = (cv2.boxFilter(a, -1, (5, 5), normalize=False) for a in (moved, stood))
        count = np.maximum(cv2.boxFilter(met, -1, (5, 5), normalize=False), 1e-6)
        off, still = moved / count, stood / count
        core[v] = (count > 25) & (off > _OFF) & (still < _SHARE * off)
    core = np.stack([_from_border(c) for c in core])
    if core.mean() < _LEAST:
        return None
    mask = _of_its_colours(core, small)
    out = np.stack(
        [cv2.resize(m.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
         for m in mask]
    ).astype(bool)  # fmt: skip
    return out if out.mean() > _LEAST else None


def still_parts(frames: np.ndarray) -> np.ndarray:
    """Where frames [V, H, W, 3] (0..1) show what most of them show in that place, [V, H, W]."""
    smooth = np.stack([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in frames])
    return difference(smooth, np.median(smooth, axis=0)) < _ALIKE


def still_around(frames: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Mask [V, H, W] of what stands still around a scene that turns before a still camera.

    frames [V, H, W, 3] in 0..1: their still parts that reach the border of the picture, without
    what is sure to belong to the scene (confidence [V, H, W] of its depth): of a pot that is of one
    colour, or cut off by the picture's border, much looks still.
    """
    out = np.zeros(frames.shape[:3], bool)
    reach = np.ones((max(3, round(max(frames.shape[1:3]) * _GAP) | 1),) * 2, np.uint8)
    for v, still in enumerate(still_parts(frames)):
        sure = cv2.morphologyEx((confidence[v] > _SCENE).astype(np.uint8), cv2.MORPH_OPEN, _GRAIN)
        blobs = np.isin(*_parts(sure, _BLOB)).astype(np.uint8)
        scene = np.asarray(cv2.morphologyEx(blobs, cv2.MORPH_CLOSE, reach))
        around = cv2.dilate(_from_border(still & (scene == 0)).astype(np.uint8), _GRAIN)
        # what the scene hid elsewhere is not still in most pictures
        beside = cv2.dilate(scene, reach) == 0
        out[v] = (scene == 0) & ((around > 0) | beside)
    return out


def _from_border(mask: np.ndarray) -> np.ndarray:
    """The parts of a mask [h, w] that reach the picture's border, without its thin ones.

    A turning pot looks still where it is round; what lies behind a scene goes on at its border.
    """
    core = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, _GRAIN)
    labels, large = _parts(core, _PART)
    edge = np.concatenate([labels[1], labels[-2], labels[:, 1], labels[:, -2]])
    return np.isin(labels, np.intersect1d(large, edge))


def _parts(mask: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """The connected parts of a mask [h, w]: labels [h, w], and those that make up a ``share``."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    large = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] >= share * mask.size)
    return labels, large[large > 0]


def _of_its_colours(core: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Parts of all pictures that have a colour of `core` [V, h, w] which the scene lacks.

    A part without such a colour is left alone: white paper before a white wall is both.
    """
    lab = np.stack([cv2.cvtColor(f, cv2.COLOR_RGB2LAB) for f in frames])
    out, left = np.zeros_like(core), core.copy()
    for _ in range(_COLOURS):
        if left.mean() < 0.2 * _LEAST:
            break
        colours = lab[left]
        # the most common colour first
        bins = np.round(colours / 12.0).astype(int)
        cells, counts = np.unique(bins, axis=0, return_counts=True)
        middle = np.median(colours[(bins == cells[counts.argmax()]).all(1)], 0)
        alike = (np.abs(lab - middle) < _SPREAD).all(-1)
        left &= ~alike
        if core[alike].mean() < _SURE:
            continue
        for v in range(len(core)):
            if not alike[v].any():
                continue
            closed = cv2.morphologyEx(alike[v].astype(np.uint8), cv2.MORPH_CLOSE, _GRAIN)
            out[v] |= _from_border(closed.astype(bool))
    return np.stack([cv2.dilate(m.astype(np.uint8), _GRAIN).astype(bool) for m in out])
