"""What moves on its own while the camera sweeps: a clip of no frozen moment.

Flow to the views before and behind must lead along the epipolar lines of the cameras, and both to
one depth. Flow is believed where it leads back; the gate against other motions is left out here.

Legend: V views, h w working resolution, rho = 1/z.
"""

from __future__ import annotations

import cv2
import numpy as np

from fourreal.cameras import pixel_grid, relative_pose, unproject
from fourreal.colour import difference
from tracking.flow.optical import PairFlows, inside, sample

_BACK = 1.0  # working pixels from which flow there and back must lead home
_ACROSS = 2.0  # working pixels off the epipolar line
_ALONG = 4.0  # ... and along it between the two depths
_OF_MEDIAN = 4.0  # times the median of either: cameras that are slightly off move nothing
_GRAIN = 5  # working pixels: smaller spots are noise
_AROUND = 0.02  # of the long side that the mask grows: flow fails at the edges of what moves
_CONTRAST = 4.0  # grey levels around a pixel below which its flow is not its own
_SAME = 0.08  # difference of colours of one place
_LEAST = 0.02  # share of the pictures below which nothing is said


def moving_parts(
    pairs: PairFlows, K: np.ndarray, w2c: np.ndarray, left_out: np.ndarray | None = None
) -> np.ndarray | None:
    """Mask [V, h, w] of what moves against the rigid scene of these cameras, or None.

    K [V, 3, 3] in pixels of the frames, w2c [V, 4, 4]; flow between neighbouring views is there.
    left_out: bool [H, W] of the frames, where nothing is looked for.
    """
    h, w = pairs.size
    scene = np.ones((h, w), bool)
    if left_out is not None:
        grown = cv2.dilate(left_out.astype(np.uint8), np.ones((_GRAIN, _GRAIN), np.uint8))
        scene = cv2.resize(grown, (w, h), interpolation=cv2.INTER_NEAREST) == 0
    lens = np.diag([pairs.scale[0], pairs.scale[1], 1.0]) @ K
    mask = np.zeros((pairs.views, h, w), bool)
    for v in range(pairs.views):
        seen = [_depth_by(pairs, lens, w2c, v, u) for u in pairs.linked(v)]
        if not seen:
            continue
        moves = np.zeros((h, w), bool)
        for sure, _, _, across in seen:
            moves |= sure & (across > _limit(_ACROSS, across[sure]))
        if len(seen) == 2:
            (a, rho_a, gain_a, _), (b, rho_b, gain_b, _) = seen
            along = np.abs(rho_a - rho_b) * np.minimum(gain_a, gain_b)
            moves |= a & b & (along > _limit(_ALONG, along[a & b]))
        mask[v] = _without_specks(moves & scene)
    return None if mask.mean() < _LEAST else _grown(mask)


def unexplained(
    moving: np.ndarray, frames: np.ndarray, depth: np.ndarray, K: np.ndarray, w2c: np.ndarray
) -> np.ndarray | None:
    """What of ``moving`` bool [V, H, W] the rigid scene cannot show, or None where that is little.

    Depth [V, H, W] that leads to the same colour in a neighbouring frame [V, H, W, 3] holds there,
    wherever flow went. Only where it holds in neither neighbour something moves for sure; then
    all that does not hold in both counts. K [V, 3, 3], w2c [V, 4, 4].
    """
    views, height, width = depth.shape
    smooth = [cv2.blur(frame, (3, 3)) for frame in frames]
    grid = pixel_grid(height, width, np.float32)
    sure, likely = moving.copy(), moving.copy()
    for v in range(views):
        same, beside = [], [u for u in (v - 1, v + 1) if 0 <= u < views]
        for u in beside:
            move = relative_pose(w2c[v], w2c[u])
            there = unproject(grid, depth[v], K[v]) @ move[:3, :3].T + move[:3, 3]
            to = (there @ K[u].T)[..., :2] / np.maximum(there[..., 2:], 1e-9)
            off = difference(sample(smooth[u], to), smooth[v])
            same.append(inside(to, height, width) & (there[..., 2] > 0) & (off < _SAME))
        sure[v] = _without_specks(moving[v] & ~np.any(same, axis=0))
        likely[v] = _without_specks(moving[v] & ~np.all(same, axis=0))
    if sure.mean() < _LEAST:
        return None
    # around what does move, flow and depth fail alike
    return _grown(likely) & moving


def _without_specks(mask: np.ndarray) -> np.ndarray:
    grain = np.ones((_GRAIN, _GRAIN), np.uint8)
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, grain).astype(bool)


def _grown(mask_VHW: np.ndarray) -> np.ndarray:
    reach = 2 * round(_AROUND * max(mask_VHW.shape[1:])) + 1
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    return np.stack([cv2.dilate(m.astype(np.uint8), around) for m in mask_VHW]).astype(bool)


def _limit(least: float, values: np.ndarray) -> float:
    return max(least, _OF_MEDIAN * float(np.median(values))) if len(values) else least


def _depth_by(
    pairs: PairFlows, lens: np.ndarray, w2c: np.ndarray, v: int, u: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What flow from view v to u says, all [h, w]: where it is sure, rho along the epipolar line,
    pixels in u per unit of rho, pixels across the line."""
    h, w = pairs.size
    grid = pixel_grid(h, w, np.float32)
    to = grid + pairs.flow[v, u]
    back = pairs.flow[v, u] + sample(pairs.flow[u, v], to)
    sure = inside(to, h, w) & (np.linalg.norm(back, axis=-1) < _BACK)
    move = relative_pose(w2c[v], w2c[u])
    rays = unproject(grid, np.ones((h, w)), lens[v])
    far, shift = rays @ move[:3, :3].T @ lens[u].T, lens[u] @ move[:3, 3]  # seen at far + rho shift
    gain = shift[:2] - to * shift[2]
    lack = to * far[..., 2:] - far[..., :2]
    rho = (gain * lack).sum(-1) / np.maximum((gain * gain).sum(-1), 1e-12)
    at = far + rho[..., None] * shift
    depth = np.maximum(at[..., 2], 1e-6)
    across = np.linalg.norm(at[..., :2] / depth[..., None] - to, axis=-1)
    sure &= _textured(pairs.gray_Vhw[v])
    return sure, rho, np.linalg.norm(gain, axis=-1) / depth, across


def _textured(gray: np.ndarray) -> np.ndarray:
    """Where gray uint8 [h, w] has something that flow can hold on to."""
    image = gray.astype(np.float32)
    mean = cv2.blur(image, (9, 9))
    return cv2.blur(image * image, (9, 9)) - mean * mean > _CONTRAST**2
