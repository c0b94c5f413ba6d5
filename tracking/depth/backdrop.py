"""A backdrop that does not move with the scene: behind a turntable, outside a train's window.

Carried into other views by the rigid scene's depth, such a pixel meets other colours; left where it
is in the picture, it meets its own. Nothing that really stands in the scene does that.

Legend: V views, H W image.
"""

from __future__ import annotations

import cv2
import numpy as np

from fourreal.cameras import relative_pose
from tracking.depth.consistency import reproject
from tracking.depth.dense import neighbours_of
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
    for v in range(views):
        moved, stood, met = (np.zeros((h, w), np.float32) for _ in range(3))
        for u in neighbours_of(v, views, _REACH):
            uv, there = reproject(rho[v], lens[v], lens[u], relative_pose(w2c[v], w2c[u]))
            x, y = uv[..., 0] - 0.5, uv[..., 1] - 0.5
            seen = cv2.remap(small[u], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            nearer = cv2.remap(rho[u], x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
            # where the pixel hardly moves, both say the same
            away = np.hypot(x - np.arange(w), y - np.arange(h)[:, None]) > 2.0
            use = inside(uv, h, w) & (nearer < 1.1 * there) & away
            moved += use * np.minimum(np.abs(seen - small[v]).max(-1), _MOST)
            stood += use * np.minimum(np.abs(small[u] - small[v]).max(-1), _MOST)
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


def _from_border(mask: np.ndarray) -> np.ndarray:
    """The parts of a mask [h, w] that reach the picture's border, without its thin ones.

    A turning pot looks still where it is round; what lies behind a scene goes on at its border.
    """
    core = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(core, connectivity=8)
    edge = np.unique(np.concatenate([labels[1], labels[-2], labels[:, 1], labels[:, -2]]))
    large = [k for k in edge if k and stats[k, cv2.CC_STAT_AREA] >= 0.002 * core.size]
    return np.isin(labels, large)


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
            closed = cv2.morphologyEx(
                alike[v].astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)
            )
            out[v] |= _from_border(closed.astype(bool))
    grain = np.ones((3, 3), np.uint8)
    return np.stack([cv2.dilate(m.astype(np.uint8), grain).astype(bool) for m in out])
