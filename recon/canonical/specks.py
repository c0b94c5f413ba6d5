"""No specks that the fit leaves: points that stand before a surface in a colour that is not there.

A point of wrong depth is right in the views that it comes from, and from elsewhere it covers
something else. What too few steps see to fade stays half there, and many such points in one place,
each nearly transparent, are a speck together that no picture is wrong enough to tell
(``recon.canonical.refuted``). So a point is doubted by its own colour, where it stands on or before
what a view draws and that view has its colour nowhere near. What counts then is what the pictures
are without those: points that make none better stay.

Legend: V views, N points, H W image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from recon.canonical.refuted import near_colours
from recon.gaussians import Gaussians
from recon.raster.rasterize import RasterOutput, rasterize
from recon.scene import Scene4D

_OFF = 0.2  # colour difference to all that is near in the picture
_BEFORE = 0.01  # relative depth behind what is drawn at which a point still counts as in front
_COVERED = 0.5  # opacity below which a pixel is a hole
_ROUNDS = 3  # behind a speck there may be the next


@torch.no_grad()
def without_specks(
    scene: Scene4D, frames_VHW3: Tensor, views: Sequence[int], ignored_VHW: Tensor | None = None
) -> Scene4D:
    """The scene at its canonical time without such points.

    frames_VHW3: freeze-time column, float32 in 0..1; views: those that count; ignored_VHW: bool,
    pixels that are no part of the scene.
    """
    for _ in range(_ROUNDS):
        doubtful = torch.zeros(len(scene), dtype=torch.bool, device=scene.means.device)
        seen: dict[int, _Seen] = {}
        for v in views:
            ignored = None if ignored_VHW is None else ignored_VHW[v]
            seen[v] = _seen(scene, v, frames_VHW3[v], ignored)
            doubtful |= seen[v].against_N
        if not doubtful.any():
            break
        without = scene.keep(~doubtful)
        worse = torch.zeros(len(scene), device=scene.means.device)
        for v, of_view in seen.items():
            change = _error(_draw(without, v)[1], frames_VHW3[v]) - of_view.error_HW
            if ignored_VHW is not None:
                change = change.masked_fill(ignored_VHW[v], 0.0)
            around = avg_pool2d(change[None, None], 3, 1, 1).reshape(-1)
            worse += around[of_view.pixel_N] * of_view.front_N
        gone = doubtful & (worse < 0)
        if not gone.any():
            break
        scene = scene.keep(~gone)
    return scene


@dataclass
class _Seen:
    """What a view says: the pixel of every point, whether it stands in front there, and with a
    colour that is not there; the error [H, W] of its picture."""

    pixel_N: Tensor
    front_N: Tensor
    against_N: Tensor
    error_HW: Tensor


def _seen(scene: Scene4D, v: int, frame: Tensor, ignored: Tensor | None) -> _Seen:
    height, width = scene.size
    gaussians, drawn = _draw(scene, v)
    w2c, K = scene.w2c[v], scene.K[v]
    p = gaussians.means @ w2c[:3, :3].T + w2c[:3, 3]
    z = p[:, 2].clamp_min(1e-9)
    x = (K[0, 0] * p[:, 0] / z + K[0, 2]).floor()
    y = (K[1, 1] * p[:, 1] / z + K[1, 2]).floor()
    inside = (p[:, 2] > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    pixel = torch.where(inside, y * width + x, torch.zeros_like(x)).long()
    front = inside & (z < drawn.depth.reshape(-1)[pixel] * (1 + _BEFORE))
    if ignored is not None:
        front &= ~ignored.reshape(-1)[pixel]
    low, high = (near.reshape(-1, 3)[pixel] for near in near_colours(frame))
    colors = gaussians.colors.clamp(0, 1)
    against = front & (torch.maximum(low - colors, colors - high).amax(-1) > _OFF)
    return _Seen(pixel, front, against, _error(drawn, frame))


def _draw(scene: Scene4D, v: int) -> tuple[Gaussians, RasterOutput]:
    gaussians = scene.at(float(scene.times[scene.canonical_time]), scene.w2c[v], 1.0)
    return gaussians, rasterize(gaussians, scene.camera(v), scene.background)


def _error(drawn: RasterOutput, frame: Tensor) -> Tensor:
    """Mean difference [H, W] of a picture to a frame; a hole is as wrong as can be."""
    off = (drawn.rgb.clamp(0, 1) - frame).abs().mean(-1)
    return torch.where(drawn.alpha < _COVERED, 1.0, off)
