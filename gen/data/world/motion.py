"""Closed-form motion: where every object is at a normalised time, and where the camera is.

Legend: n scenes, O = 2 slots, T times, V views. A pose maps local to world points,
x_world = size * R x_local + centre, with local shapes centred at their middle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gen.data.world.scene import FOV_X_DEGREES, HALF_HEIGHT, MOTIONS, SceneBatch

SPIN_TURN = math.radians(225.0)  # below half a symmetry step per frame even for a cube at T = 8


@dataclass
class Poses:
    """Similarity poses of all objects: rotation [n,T,O,3,3], centre [n,T,O,3], scale [n,T,O]."""

    rotation: Tensor
    centre: Tensor
    scale: Tensor


def object_poses(scenes: SceneBatch, times_nT: Tensor) -> Poses:
    """Poses at normalised times [n,T] in 0..1; every motion tells its whole story in that span."""
    t = times_nT[:, :, None].float()  # [n,T,1] against [n,1,O]
    half_height = torch.tensor(HALF_HEIGHT, device=scenes.device)[scenes.shape]
    size = scenes.size[:, None].expand(-1, t.shape[1], -1)
    pair = (scenes.count == 2)[:, None, None]

    def when(*names: str) -> Tensor:
        ids = torch.tensor([MOTIONS.index(x) for x in names], device=scenes.device)
        return torch.isin(scenes.motion, ids)[:, None].float()

    def signed(left: str, right: str) -> Tensor:
        return when(right) - when(left)

    scale = size * (1 + when("grow") * (0.72 * t - 0.62) + when("shrink") * (0.10 - 0.72 * t))
    two_pi = 2 * math.pi
    lift = when("bounce") * 0.66 * (two_pi * t).sin().abs() + when("jump") * 4 * 0.68 * t * (1 - t)
    reach = torch.where(pair, 0.36, 0.85)
    glide = signed("slide_left", "slide_right") + signed("roll_left", "roll_right")
    shift_x = glide * reach * (2 * t - 1)
    theta = when("swing") * torch.where(pair, 0.30, 0.58) * (two_pi * t).sin()
    length = 1.35
    shift_x = shift_x + length * theta.sin()
    lift = lift + when("swing") * (0.06 + length * (1 - theta.cos()))

    angle = scenes.phase[:, None, None] + two_pi * t
    radius = when("orbit") * torch.where(pair, 1.0, 0.52)
    x = scenes.base[:, None, :, 0] + shift_x + radius * angle.cos()
    y = scenes.base[:, None, :, 1] + radius * angle.sin()
    z = half_height[:, None] * scale + lift
    centre = torch.stack(torch.broadcast_tensors(x, y, z), -1)

    rolled = signed("roll_left", "roll_right").abs() * shift_x / (half_height[:, None] * size)
    tilt = rolled - theta  # about the world's y axis
    turn = scenes.yaw[:, None] + when("spin") * SPIN_TURN * t
    ca, sa, cz, sz = torch.broadcast_tensors(tilt.cos(), tilt.sin(), turn.cos(), turn.sin())
    rotation = torch.stack(  # Ry(tilt) @ Rz(turn)
        [ca * cz, -ca * sz, sa, sz, cz, torch.zeros_like(ca), -sa * cz, sa * sz, ca], -1
    ).unflatten(-1, (3, 3))
    return Poses(rotation, centre, scale.expand(centre.shape[:-1]))


def camera_path(scenes: SceneBatch, view_params_nV: Tensor) -> Tensor:
    """World-to-camera matrices [n,V,4,4] at path parameters [n,V] in 0..1 (OpenCV axes)."""
    u = view_params_nV[..., None].float()
    path = scenes.camera[:, None, :3] * (1 - u) + scenes.camera[:, None, 3:] * u
    distance, elevation, azimuth = path.unbind(-1)
    backward = torch.stack(
        [elevation.cos() * azimuth.sin(), -elevation.cos() * azimuth.cos(), elevation.sin()], -1
    )
    eye = scenes.target[:, None] + distance[..., None] * backward
    right = torch.stack([azimuth.cos(), azimuth.sin(), torch.zeros_like(azimuth)], -1)
    down = torch.linalg.cross(-backward, right)
    rotation = torch.stack([right, down, -backward], -2)
    w2c = torch.zeros(*rotation.shape[:-2], 4, 4, device=eye.device)
    w2c[..., :3, :3] = rotation
    w2c[..., :3, 3] = -(rotation @ eye[..., None])[..., 0]
    w2c[..., 3, 3] = 1.0
    return w2c


def intrinsics(height: int, width: int) -> Tensor:
    """K [3,3] of the world's one lens, pixel centres at +0.5."""
    focal = 0.5 * width / math.tan(math.radians(FOV_X_DEGREES) / 2)
    return torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
