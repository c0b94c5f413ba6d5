"""No points that an input view shows to be wrong: specks before a surface of another colour.

A point of wrong depth is right in the views that it comes from; from elsewhere it covers something
else. Few steps see such a view, so the fit alone leaves it half there. What counts is what the
picture is without it: a point that is right, behind something that passed by, makes none better.

Legend: V views, N points, H W image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from recon.raster.rasterize import RasterOutput, rasterize
from recon.scene import Scene4D

_OFF = 0.15  # colour difference to all that is near in the picture
_NEAR = 2  # pixels: an edge that is off by so many refutes nothing
_SHOWN = 0.2  # pixels of a view that a point must show wrongly ...
_SHARE = 0.5  # ... and the share of what it shows there
_BETTER = 0.5  # share of that error that must be gone without it
_COVERED = 0.5  # opacity below which a pixel is a hole
_ROUNDS = 3  # behind a speck there may be the next


@torch.no_grad()
def without_refuted(
    scene: Scene4D, frames_VHW3: Tensor, views: Sequence[int], ignored_VHW: Tensor | None = None
) -> Scene4D:
    """The scene at its canonical time without such points.

    frames_VHW3: freeze-time column, float32 in 0..1; views: those that count; ignored_VHW: bool,
    pixels that are no part of the scene.
    """
    for _ in range(_ROUNDS):
        doubtful = torch.zeros(len(scene), dtype=torch.bool, device=scene.means.device)
        wrong: dict[int, tuple[Tensor, Tensor]] = {}
        for v in views:
            error = _error(scene, frames_VHW3[v], v)
            bad = error > _OFF
            if ignored_VHW is not None:
                bad &= ~ignored_VHW[v]
            if not bad.any():
                continue
            weights = torch.stack([bad.float(), torch.ones_like(error), error * bad], -1)
            shown, whole, off = _shown(scene, v, weights).unbind(-1)
            there = _shown(scene, v, frames_VHW3[v] * bad[..., None]) / shown[:, None].clamp_min(
                1e-9
            )
            other = (scene.colors.clamp(0, 1) - there).abs().amax(-1) > _OFF
            doubtful |= (shown > _SHOWN) & (shown > _SHARE * whole) & other
            wrong[v] = bad, off
        if not doubtful.any():
            break
        without, gone = scene.keep(~doubtful), torch.zeros_like(doubtful)
        for v, (bad, before) in wrong.items():
            left = _error(without, frames_VHW3[v], v, covered=True) * bad
            after = _shown(scene, v, left[..., None].expand(-1, -1, 3))[:, 0]
            gone |= doubtful & (before > _OFF * _SHOWN) & (after < (1 - _BETTER) * before)
        if not gone.any():
            break
        scene = scene.keep(~gone)
    return scene


def _draw(scene: Scene4D, v: int, colors: Tensor | None = None) -> RasterOutput:
    time = float(scene.times[scene.canonical_time])
    gaussians = scene.at(time, scene.w2c[v], 1.0)
    if colors is not None:
        gaussians = replace(gaussians, colors=colors)
    return rasterize(gaussians, scene.camera(v), scene.background)


def _error(scene: Scene4D, frame: Tensor, v: int, covered: bool = False) -> Tensor:
    """By how much [H, W] the drawn colour is off every colour that is near in the frame; covered:
    a hole is as wrong as can be."""
    out = _draw(scene, v)
    drawn = out.rgb.clamp(0, 1)
    low, high = near_colours(frame)
    error = torch.maximum(low - drawn, drawn - high).amax(-1).clamp_min(0)
    return torch.where(out.alpha < _COVERED, 1.0, error) if covered else error


def near_colours(frame: Tensor) -> tuple[Tensor, Tensor]:
    """Least and most [H, W, 3] of each channel near every pixel of a frame [H, W, 3]."""
    image, side = frame.permute(2, 0, 1)[None], 2 * _NEAR + 1
    high = max_pool2d(image, side, 1, _NEAR)[0].permute(1, 2, 0)
    low = -max_pool2d(-image, side, 1, _NEAR)[0].permute(1, 2, 0)
    return low, high


def _shown(scene: Scene4D, v: int, weights: Tensor) -> Tensor:
    """Sum [N, 3] of weights [H, W, 3] over the pixels that a point is seen in, as far as it is:
    the drawn picture is linear in colours."""
    with torch.enable_grad():
        colors = torch.full_like(scene.colors, 0.5, requires_grad=True)
        (_draw(scene, v, colors).rgb * weights).sum().backward()
    assert colors.grad is not None
    return colors.grad
