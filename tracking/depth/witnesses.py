"""What views all around say about a depth that one view supposes: its colour there, or another.

Neighbours see nearly the same picture, and blank surfaces fit them at many depths. Views far around
do not: paper that is taken for a part of the pot before it is brown from elsewhere.

Legend: V views, H W image; rho = 1/z in the view's own camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from fourreal.cameras import relative_pose

OTHER = 0.25  # difference to all colours around a pixel that is another colour
ALIKE = 0.1  # ... and that is the same
_BEHIND = 0.04  # relative difference of 1/z by which a view's own surface hides a point
_ON = 0.02  # ... and within which the point lies on it
_BELIEVED = 0.3  # trust from which a view's own surface hides others
_SOLID = 0.45  # ... and from which there surely is one


def witnesses(good: list[int], v: int, most: int) -> list[int]:
    """Views that are asked about what view v shows: ``most`` of the others, spread evenly."""
    others = [u for u in good if u != v]
    if len(others) > most:
        chosen = np.round(np.linspace(0, len(others) - 1, most)).astype(int)
        others = [others[k] for k in np.unique(chosen)]
    return others


@dataclass
class Votes:
    """Numbers of views [H, W]: of the same colour there, of another, and with a surface there."""

    alike: np.ndarray
    other: np.ndarray
    solid: np.ndarray

    @property
    def against(self) -> np.ndarray:
        """Share [H, W] of the views that object; 0 where no view says anything."""
        return self.other / (self.other + self.alike + 0.5)

    @property
    def contradicted(self) -> np.ndarray:
        """Where more views object than agree, and more than one."""
        return (self.other >= 2) & (self.other > self.alike)


class Witnesses:
    """The pictures [V, H, W, 3] of all views, in alike colours, with K [V, 3, 3], w2c [V, 4, 4]."""

    def __init__(self, images: np.ndarray, K: np.ndarray, w2c: np.ndarray, most: int = 8) -> None:
        self.images, self.K, self.w2c, self.most = images, K, w2c, most
        grain = np.ones((3, 3), np.uint8)  # an edge that is off by a pixel contradicts nothing
        self.low = [cv2.erode(image, grain) for image in images]
        self.high = [cv2.dilate(image, grain) for image in images]

    def votes(
        self,
        v: int,
        supposed: np.ndarray,
        rho: np.ndarray,
        trust: np.ndarray,
        asked: np.ndarray | None = None,
    ) -> Votes:
        """About `supposed` 1/z [H, W] of view v, where `asked` (bool [H, W]; by default all).

        rho, trust [V, H, W]: what the views have now.
        """
        h, w = supposed.shape
        y, x = np.nonzero(np.ones((h, w), bool) if asked is None else asked)
        ray = np.stack([x + 0.5, y + 0.5, np.ones(len(x))], 1) @ np.linalg.inv(self.K[v]).T
        near, colour = supposed[y, x], self.images[v][y, x].T
        count = np.zeros((3, len(x)), np.float32)
        for u in witnesses(list(range(len(rho))), v, self.most):
            move = relative_pose(self.w2c[v], self.w2c[u])
            point = (ray @ move[:3, :3].T + near[:, None] * move[:3, 3]) @ self.K[u].T
            z = np.maximum(point[:, 2], 1e-6)
            column, row = point[:, 0] / z, point[:, 1] / z
            seen = (column >= 0.5) & (column <= w - 0.5) & (row >= 0.5) & (row <= h - 0.5)
            at = np.where(seen, row, 0).astype(np.intp), np.where(seen, column, 0).astype(np.intp)
            there, own, believed = near / z, rho[u][at], trust[u][at]
            count[2] += seen & (np.abs(own - there) < _ON * there) & (believed > _SOLID)
            seen &= (own < (1 + _BEHIND) * there) | (believed < _BELIEVED)
            off = np.maximum(self.low[u][at].T - colour, colour - self.high[u][at].T)
            off = np.maximum(np.maximum(off[0], off[1]), off[2])  # faster than max over an axis
            count[0] += seen & (off < ALIKE)
            count[1] += seen & (off > OTHER)
        out = np.zeros((3, h, w), np.float32)
        out[:, y, x] = count
        return Votes(*out)
