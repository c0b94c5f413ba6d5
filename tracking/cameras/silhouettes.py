"""What the outlines of a subject before a plain backdrop say about the cameras.

Shaded skin has few points to follow, and those near outlines slide. Outlines themselves are exact:
on the ray of each of their points lies a place of the subject, which every view must show inside
its own silhouette. How far outside the best place of a ray lies is zero for the true cameras,
whatever the shape (silhouette coherence: Hernández, Schmitt, Cipolla 2007).

Legend: V views, P points, K other views that are asked, h w working resolution, S = 6 V + 1
unknowns as in ``tracking.cameras.normal_equations``. Pixels have centres at +0.5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tracking.cameras.silhouette_kernel import incoherence

COHERENT_PX = 0.55  # off: true cameras have .3 to .5 ...
MOVING_PX = 0.7  # ... and none of what moves has less
POINTS = 60  # a view, spread along its outlines
_OTHERS = 10  # views that a point is looked for in, at most
_REACH = (0.3, 2.5)  # inverse depths that are tried, to that of the middle of the scene
_RIM_PX = 3  # from the picture's border: where it cuts, there is no outline
_LEAST = 0.005  # share of a picture that a subject must cover ...
_MOST = 0.8  # ... and may cover
_SMOOTH_PX = 0.5
_FAR_OFF_PX = 4.0
_SHORT = 20  # points of an outline that is grain


@dataclass(frozen=True)
class Silhouettes:
    """Where views of one moment show a subject before a plain backdrop.

    outside: pixels to the silhouette, float32 [V, h, w], negative within; points: [P, 2] on the
    outlines of view [P]; others: views [V, K] in which the points of a view are looked for.
    """

    outside: NDArray[np.float32]
    points: NDArray[np.float64]
    view: NDArray[np.int64]
    others: NDArray[np.int64]

    def thinned(self, step: int) -> Silhouettes:
        """The same with one outline point in ``step``."""
        return replace(self, points=self.points[::step], view=self.view[::step])

    def cost(
        self,
        rotation: np.ndarray,
        translation: np.ndarray,
        focal: float,
        centre: np.ndarray,
        scale: float,
        equations: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> float:
        """Robust cost of cameras: of the squared distances of all points, in pixels.

        scale: distance from which it grows with the logarithm alone. equations: h [S, S] and g [S],
        to which its normal equations are added.
        """
        h, g = equations or (np.empty((0, 0)), np.empty(0))
        return float(incoherence(
            self.outside, self.points, self.view, self.others, rotation, translation, focal, centre,
            *_REACH, scale, equations is not None, h, g,
        ))  # fmt: skip

    def off_px(
        self, rotation: np.ndarray, translation: np.ndarray, focal: float, centre: np.ndarray
    ) -> float:
        """How far from the silhouettes the outlines are in these cameras: root mean square."""
        total = self.cost(rotation, translation, focal, centre, _FAR_OFF_PX)
        return float(np.sqrt(2 * total / len(self.points)))

    @property
    def middle(self) -> NDArray[np.float64]:
        """Middle [V, 2] of every view's silhouette, in pixels."""
        return np.array([np.argwhere(o < 0)[:, ::-1].mean(0) + 0.5 for o in self.outside])


def silhouettes(plain: NDArray[np.bool_] | None) -> Silhouettes | None:
    """Those of what stands before the plain backdrop [V, h, w] (None: there is none).

    None too where a view shows hardly anything, or hardly any backdrop.
    """
    if plain is None:
        return None
    smooth = [cv2.GaussianBlur(1.0 - p.astype(np.float32), (0, 0), _SMOOTH_PX) > 0.5 for p in plain]
    if not all(_LEAST < s.mean() < _MOST for s in smooth):
        return None
    outside = np.stack([_distance(s) for s in smooth])
    points = [_outline(o) for o in outside]
    if not all(map(len, points)):
        return None
    views = len(plain)
    count = min(views - 1, _OTHERS)
    spread = np.linspace(0, views - 2, count).round().astype(np.int64)
    others = np.stack([np.delete(np.arange(views), v)[spread] for v in range(views)])
    view = np.repeat(np.arange(views), [len(p) for p in points])
    return Silhouettes(outside, np.concatenate(points), view, others)


def _distance(subject: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Pixels to a subject [h, w], negative within; half a pixel on either side of its border."""
    out = ndimage.distance_transform_edt(~subject) - 0.5
    within = 0.5 - ndimage.distance_transform_edt(subject)
    return np.where(subject, within, out).astype(np.float32)


def _outline(outside: NDArray[np.float32]) -> NDArray[np.float64]:
    """Points [P, 2] spread along the zero level of outside [h, w], away from the border."""
    h, w = outside.shape
    found, _ = cv2.findContours(
        (outside < 0).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
    )
    long = [c[:, 0] for c in found if len(c) > _SHORT]
    if not long:
        return np.empty((0, 2))
    x, y = np.concatenate(long).T
    inner = (np.minimum(x, y) >= _RIM_PX) & (x < w - _RIM_PX) & (y < h - _RIM_PX)
    x, y = x[inner], y[inner]
    if not len(x):
        return np.empty((0, 2))
    pick = np.linspace(0, len(x) - 1, min(POINTS, len(x))).round().astype(int)
    x, y = x[pick], y[pick]
    down, right = (np.gradient(outside, axis=k)[y, x] for k in (0, 1))
    slope = np.stack([right, down], 1).astype(np.float64)
    slope /= np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-6)
    return np.stack([x, y], 1) + 0.5 - slope * outside[y, x][:, None]
