"""Pseudo-4D grids: a fixed-view clip under a smooth path of 2-D affine warps (paper 3.3, (1)).

Row v is the clip under warp v, column t is frame t under all warps, as if a camera moved; warp 0
is the identity, so row 0 is the clip itself.  The warp mimics camera motion, so it is applied to
clips with motion only: the paper leaves the static ("3D") videos out (supplement 1.1).

Clips come larger than the grid by `ENLARGE`, so that warps look beyond the picture's border into
what the clip really shows there; only beyond that is the border reflected.  Positions are pixels,
(0, 0) is the centre of the first one, x right, y down.

Shape legend: V warps (views), T frames, H W pixels of the grid, h w pixels of the clip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from kornia.geometry.transform import get_affine_matrix2d, warp_affine
from torch import Generator, Tensor

from gen.data.batches import Clip, Source, seeded, to_uint8
from gen.data.grid_batches import Grid
from gen.flow.windows import WINDOW

ENLARGE = 1.25


@dataclass(frozen=True)
class AffineRange:
    """The most that the last warp of a path does, either way."""

    shift: float = 0.12  # of the picture's size
    rotation: float = 8.0  # degrees
    zoom: float = 0.12  # natural logarithm of the scale
    shear: float = 5.0  # degrees

    def __post_init__(self) -> None:
        if min(self.shift, self.rotation, self.zoom, self.shear) < 0:
            raise ValueError("affine ranges must not be negative")


def enlarged(height: int, width: int) -> tuple[int, int]:
    """The clip size to ask for: `ENLARGE` times the grid's, with even margins."""
    return (
        height + 2 * math.ceil(height * (ENLARGE - 1) / 2),
        width + 2 * math.ceil(width * (ENLARGE - 1) / 2),
    )


def affine_path(
    views: int, height: int, width: int, g: Generator, ranges: AffineRange | None = None
) -> Tensor:
    """Warps [V, 3, 3] that move pixels of view 0 to their places in view v; the first is the
    identity. Shift, rotation, zoom and shear each run along a random parabola through 0."""
    r = ranges or AffineRange()
    most = torch.tensor([r.shift * width, r.shift * height, r.rotation, r.zoom, r.shear, r.shear])
    end, bend = (torch.rand(2, 6, generator=g) * 2 - 1).unbind(0)
    u = torch.linspace(0, 1, views)[:, None] if views > 1 else torch.zeros(1, 1)
    path_V6 = most * end * (u + bend * u * (1 - u))
    shear = torch.deg2rad(path_V6[:, 4:])
    matrices = get_affine_matrix2d(
        translations=path_V6[:, :2],
        center=torch.tensor([(width - 1) / 2, (height - 1) / 2]).expand(views, 2),
        scale=path_V6[:, 3:4].exp().expand(views, 2),
        angle=path_V6[:, 2],
        sx=shear[:, 0],
        sy=shear[:, 1],
    )
    matrices[0] = torch.eye(3)
    return matrices


def warped_grid(clip_ThwC: Tensor, path_V33: Tensor, height: int, width: int) -> Tensor:
    """uint8 grid [V, T, H, W, 3] of a uint8 clip [T, h, w, 3] that is at least as large.

    Row 0 is the clip's central window, exactly.  Raises ValueError for a smaller clip.
    """
    t, h, w, _ = clip_ThwC.shape
    if h < height or w < width:
        raise ValueError(f"got a clip of {h}x{w}, expected at least {height}x{width}")
    top, left = (h - height) // 2, (w - width) // 2
    window = torch.eye(3)
    window[0, 2], window[1, 2] = -left, -top
    rows = [clip_ThwC[:, top : top + height, left : left + width]]
    clip_T3hw = clip_ThwC.permute(0, 3, 1, 2).float() / 255
    for matrix in (path_V33[1:] @ window)[:, :2]:
        row = warp_affine(
            clip_T3hw, matrix.expand(t, 2, 3), (height, width), padding_mode="reflection"
        )
        rows.append(to_uint8(row.permute(0, 2, 3, 1)))
    return torch.stack(rows)


class Pseudo4D:
    """Pseudo-4D grids of height x width pixels over any source of clips of 8 frames with motion
    (a `VideoFolder` or procedural clips) of `enlarged(height, width)` pixels."""

    def __init__(
        self,
        clips: Source[Clip],
        height: int,
        width: int,
        seed: int,
        ranges: AffineRange | None = None,
    ):
        self.clips, self.size, self.seed = clips, (height, width), seed
        self.ranges = ranges or AffineRange()

    def prepare(self, step: int) -> None:
        self.clips.prepare(step)

    def item(self, step: int, number: int) -> Grid:
        clip = self.clips.item(step, number)
        g = seeded(self.seed, step, number, 22)
        path = affine_path(WINDOW, *self.size, g, self.ranges)
        return Grid(warped_grid(clip.frames, path, *self.size), clip.text)
