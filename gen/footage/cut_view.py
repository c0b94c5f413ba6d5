"""Photos of which some were taken upright and some on the camera's side: all are cut to the square
in the middle that both kinds show, in which their focal lengths and centres are alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourreal.video_decode import resized
from gen.footage.lens import Lens
from gen.footage.views import SAME_SHAPE, View


@dataclass(frozen=True)
class CutView:
    """The square in the middle of a view's frames; ``own`` undistorts them before they are cut."""

    view: View
    own: Lens | None = None

    @property
    def name(self) -> str:
        return self.view.name

    @property
    def side(self) -> int:
        """Of the square, px."""
        return min(self.view.size)

    @property
    def size(self) -> tuple[int, int]:
        return self.side, self.side

    @property
    def corner(self) -> tuple[int, int]:
        """(row, column) of the square's first pixel in the view."""
        height, width = self.view.size
        return (height - self.side) // 2, (width - self.side) // 2

    @property
    def notes(self) -> tuple[str, ...]:
        return self.view.notes

    def read(
        self, times: list[int], height: int, width: int, lens: Lens | None = None
    ) -> NDArray[np.uint8]:
        out = np.zeros((len(times), height, width, 3), np.uint8)
        (top, left), side = self.corner, self.side
        for k, t in enumerate(times):
            whole = self.view.read([t], *self.view.size, self.own)[0]
            cut = whole[top : top + side, left : left + side]
            out[k] = resized(cut if lens is None else lens.undistort(cut), height, width)
        return out

    def thumbnails(self, times: int, height: int, width: int) -> NDArray[np.uint8]:
        high, wide = self.view.size
        rows, columns = round(height * high / self.side), round(width * wide / self.side)
        small = self.view.thumbnails(times, rows, columns)
        top, left = (rows - height) // 2, (columns - width) // 2
        return small[:, top : top + height, left : left + width]


def are_turned(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether (height, width) are of one shape, the one upright and the other on its side."""
    on_its_side = abs(a[0] * b[0] / (a[1] * b[1]) - 1) < SAME_SHAPE
    return on_its_side and abs(a[0] * b[1] / (a[1] * b[0]) - 1) >= SAME_SHAPE


def one_shape(
    views: Sequence[View],
    K: NDArray[np.float64] | None = None,
    lenses: Sequence[Lens | None] = (),
) -> tuple[Sequence[View], NDArray[np.float64] | None, Sequence[Lens | None], str]:
    """Views of which some are upright and some on their side, cut to one shape; as they are if all
    are alike.

    Args:
        views: V views. K: [V, 3, 3] in pixels of each, or None. lenses: per view, or ().

    Returns:
        the views, K, lenses, and what to say of it ('': nothing was done).
    """
    upright = [v for v in views if v.size[0] > v.size[1]]
    lying = [v for v in views if v.size[0] < v.size[1]]
    both = bool(upright and lying) and len(upright) + len(lying) == len(views)
    if not both or not all(are_turned(a.size, lying[0].size) for a in upright):
        return views, K, lenses, ""
    cut = [CutView(v, lens) for v, lens in zip(views, lenses or [None] * len(views), strict=True)]
    if K is not None:
        own = [k if c.own is None else c.own.pinhole for k, c in zip(K, cut, strict=True)]
        K = np.stack(own)
        K[:, :2, 2] -= np.array([c.corner[::-1] for c in cut])
    fewer, held = min((upright, "upright"), (lying, "on their side"), key=lambda kind: len(kind[0]))
    note = (
        f"{len(fewer)} of {len(views)} views are {held}: all are cut to the square in the middle "
        f"that both kinds show (take the {len(fewer)} away to keep the others whole)"
    )
    return cut, K, [None] * len(cut), note
