"""The world's backdrop: textured floor that fades into the horizon, and a sky gradient.

A camera without roll sees the floor at one depth per image row, so everything but the pattern
itself is computed per row. Legend: n scenes, V views, H rows, W columns.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gen.data.world.scene import FLOORS, MAX_FLOOR_DEPTH, SKY_RGB, SceneBatch

CELL = 0.9  # side of a check, in world units


def _square(wave: Tensor, sharp: Tensor) -> Tensor:
    """A square wave 0..1 with edges about one pixel wide."""
    return 0.5 + 0.5 * (wave * sharp).clamp(-1, 1)


def _pattern(kind: str, x: Tensor, y: Tensor, sharp: Tensor) -> Tensor:
    """Tone 0 (dark) .. 1 (light) at floor points."""
    k = math.pi / CELL
    if kind == "checkered":
        return _square((k * x).sin() * (k * y).sin(), sharp)
    if kind == "striped":
        return _square((1.25 * k * (x + 0.25 * y)).sin(), sharp)
    if kind == "wooden":
        board = (x / 0.42).floor()
        tone = 0.5 + 0.28 * (board * 12.9).sin()
        grain = 0.14 * (22 * x + 2.5 * (2.2 * y + board).sin()).sin()
        gap = (x / 0.42 - board - 0.5).abs() > 0.45
        return torch.where(gap, 0.0, tone + grain)
    if kind == "dotted":
        u, v = x / 0.85, y / 0.85
        radius = ((u - u.round()) ** 2 + (v - v.round()) ** 2).sqrt()
        return _square(radius - 0.29, 3 * sharp)
    if kind == "grassy":
        waves = (6 * x + 2.0 * (3 * y).sin()).sin() + (7 * y + 2.0 * (4 * x).sin()).sin()
        return 0.5 + 0.25 * waves
    return torch.full_like(x, 0.5)  # plain


def ground(
    scenes: SceneBatch, eye: Tensor, basis: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Backdrop rgb [3,n,V,H,W] and depth per row [n,V,H] (inf for sky and beyond the fade)."""
    device = eye.device
    px = torch.arange(width, device=device, dtype=torch.float32)
    py = torch.arange(height, device=device, dtype=torch.float32)
    ray_row = basis[..., 0, None, :] + py[:, None] * basis[..., 2, None, :]  # [n,V,H,3]
    slope = ray_row[..., 2]
    depth = -eye[..., 2:] / slope.clamp_max(-1e-6)
    is_floor = (slope < 0) & (depth < MAX_FLOOR_DEPTH)
    depth = torch.where(is_floor, depth, MAX_FLOOR_DEPTH)
    start = eye[..., None, :] + depth[..., None] * ray_row  # floor point at px = 0
    step = depth[..., None] * basis[..., 1, None, :]
    shift = scenes.floor_shift[:, None, None]
    x = (start[..., 0] + shift[..., 0])[..., None] + px * step[..., 0, None]
    y = (start[..., 1] + shift[..., 1])[..., None] + px * step[..., 1, None]
    # world length that one pixel covers along the line of sight, and what it lets through
    footprint = depth.square() * (basis[..., 2, :].norm(dim=-1) / eye[..., 2])[..., None]
    contrast = (2 - 2 * footprint / CELL).clamp(0, 1)[..., None]
    sharp = (CELL / (math.pi * footprint)).clamp(1, 12)[..., None]
    tone = torch.full_like(x, 0.5)
    for index, kind in enumerate(FLOORS):
        rows = (scenes.floor == index).nonzero()[:, 0]
        if len(rows):
            tone[rows] = _pattern(kind, x[rows], y[rows], sharp[rows])
    mottle = (5 * x + 1.3 * (2.3 * y).sin()).sin() * (4.1 * y + 1).sin()
    tone = 0.5 + (tone - 0.5) * contrast

    sky = torch.tensor(SKY_RGB, device=device)[scenes.sky]  # [n,2,3]
    fade = ((depth - 6) / (MAX_FLOOR_DEPTH - 6.5)).clamp(0, 1)
    fade = (fade * fade * (3 - 2 * fade))[..., None]
    horizon, zenith = sky[:, None, None, 0], sky[:, None, None, 1]
    light, dark = scenes.floor_rgb[:, None, None, 0], scenes.floor_rgb[:, None, None, 1]
    climb = (slope / 0.45).clamp(0, 1)[..., None]
    above = horizon + climb * (zenith - horizon)
    on_floor = is_floor[..., None]
    offset = torch.where(on_floor, dark * (1 - fade) + horizon * fade, above)  # [n,V,H,3]
    gain = torch.where(on_floor, (light - dark) * (1 - fade), 0.0)
    speckle = torch.where(on_floor, 0.03 * (1 - fade) * contrast, 0.0)[..., 0]
    mottle = mottle * speckle[..., None]
    rgb = torch.stack(
        [offset[..., c, None] + tone * gain[..., c, None] + mottle for c in range(3)]
    ).clamp_(0, 1)
    return rgb, torch.where(is_floor, depth, torch.inf)
