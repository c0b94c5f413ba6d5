"""Exact 3-D tracks of surface points in procedural scenes.

Points are picked at one view and time, attached to the object (or floor) under that pixel, and
carried along by its pose. Legend: n scenes, V views, T times, N points, O = 2 object slots.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from gen.data.world.motion import Poses, camera_path, intrinsics, object_poses
from gen.data.world.scene import MAX_FLOOR_DEPTH, SHAPES, SceneBatch
from gen.data.world.shapes import INTERSECT, Vec

FLOOR, BACKGROUND = -1, -2


@dataclass
class PointTracks:
    """Tracks of N points: xyz [n,T,N,3] in the world, uv [n,V,T,N,2] pixels, z [n,V,T,N] depth,
    visible [n,V,T,N] (inside the frame and not hidden), surface [n,N] (object slot or FLOOR)."""

    xyz: Tensor
    uv: Tensor
    z: Tensor
    visible: Tensor
    surface: Tensor


def first_hit(
    scenes: SceneBatch, poses: Poses, eye: Tensor, ray: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What rays eye [n,V,3] + depth ray [n,V,T,N,3] meet first.

    Returns depth [n,V,T,N] (inf for background), surface (slot, FLOOR or BACKGROUND) and the hit
    in the surface's own coordinates [n,V,T,N,3] (object-local; world for the floor).
    """
    start = eye[:, :, None, None]
    down = ray[..., 2].clamp_max(-1e-6)
    depth = torch.where(ray[..., 2] < 0, -start[..., 2] / down, torch.inf)
    on_floor = depth < MAX_FLOOR_DEPTH
    depth = torch.where(on_floor, depth, torch.inf)
    surface = torch.where(on_floor, FLOOR, BACKGROUND)
    local = start + torch.where(on_floor, depth, 0.0)[..., None] * ray
    for slot in range(2):
        for shape in range(len(SHAPES)):
            who = ((scenes.shape[:, slot] == shape) & (scenes.count > slot)).nonzero()[:, 0]
            if len(who) == 0:
                continue
            to_local = (poses.rotation[who, :, slot].mT / poses.scale[who, :, slot, None, None])[
                :, None, :, None
            ]
            offset = start[who] - poses.centre[who, None, :, slot, None]
            o = (to_local @ offset[..., None])[..., 0].expand(ray[who].shape)
            d = (to_local @ ray[who][..., None])[..., 0]
            o_flat: Vec = tuple(o.reshape(-1, 3).unbind(-1))  # type: ignore[assignment]
            d_flat: Vec = tuple(d.reshape(-1, 3).unbind(-1))  # type: ignore[assignment]
            t = INTERSECT[shape](o_flat, d_flat)[0].view(d.shape[:-1])
            nearer = t < depth[who]
            point = o + torch.where(nearer, t, 0.0)[..., None] * d
            depth[who] = torch.where(nearer, t, depth[who])
            surface[who] = torch.where(nearer, slot, surface[who])
            local[who] = torch.where(nearer[..., None], point, local[who])
    return depth, surface, local


@torch.no_grad()
def track_points(
    scenes: SceneBatch,
    view_params: Tensor,
    times: Tensor,
    height: int,
    width: int,
    points: int,
    generator: Generator,
    *,
    object_share: float = 0.6,
    w2c: Tensor | None = None,
) -> PointTracks:
    """Follow `points` surface points seen by the first view at the first time.

    view_params [V] and times [T] as in `render`; w2c [n,V,4,4], if given, replaces the cameras of
    the scenes' paths. About object_share of the points lie on objects, the rest on the floor.
    """
    n, device = len(scenes), scenes.device
    time_nT = torch.as_tensor(times, dtype=torch.float32, device=device).expand(n, -1)
    if w2c is None:
        view = torch.as_tensor(view_params, dtype=torch.float32, device=device)
        w2c = camera_path(scenes, view.expand(n, -1))
    K = intrinsics(height, width)
    focal = float(K[0, 0])
    centre = torch.tensor([width / 2, height / 2], device=device)
    rotation = w2c[..., :3, :3]
    eye = -(rotation.mT @ w2c[..., :3, 3:])[..., 0]

    def world_rays(uv: Tensor, views: slice) -> Tensor:
        pixel = torch.cat([(uv - centre) / focal, torch.ones_like(uv[..., :1])], -1)
        return pixel @ rotation[:, views, None]  # rows times R = R^T applied to columns

    poses = object_poses(scenes, time_nT)
    first = Poses(poses.rotation[:, :1], poses.centre[:, :1], poses.scale[:, :1])
    candidates = torch.rand(n, 1, 1, 12 * points, 2, generator=generator).to(device)
    uv0 = candidates * torch.tensor([width, height], device=device)
    _, surface, local = first_hit(scenes, first, eye[:, :1], world_rays(uv0, slice(0, 1)))
    surface, local = surface[:, 0, 0], local[:, 0, 0]  # [n,C], [n,C,3]
    on_object = (surface >= 0).float()
    on_floor = (surface == FLOOR).float()
    share = object_share * on_object / on_object.sum(1, keepdim=True).clamp_min(1)
    share = share + (1 - object_share) * on_floor / on_floor.sum(1, keepdim=True).clamp_min(1)
    chosen = torch.multinomial(share.cpu() + 1e-12, points, generator=generator).to(device)
    surface = surface.gather(1, chosen)
    local = local.gather(1, chosen[..., None].expand(-1, -1, 3))

    slot = surface.clamp_min(0)[:, None, :].expand(-1, time_nT.shape[1], -1)  # [n,T,N]
    batch = torch.arange(n, device=device)[:, None, None]
    step = torch.arange(time_nT.shape[1], device=device)[None, :, None]
    turned = (poses.rotation[batch, step, slot] @ local[:, None, :, :, None])[..., 0]
    moved = poses.scale[batch, step, slot][..., None] * turned + poses.centre[batch, step, slot]
    xyz = torch.where((surface >= 0)[:, None, :, None], moved, local[:, None])
    in_camera = xyz[:, None] @ rotation[:, :, None].mT + w2c[:, :, None, None, :3, 3]
    z = in_camera[..., 2]
    uv = in_camera[..., :2] / z[..., None].clamp_min(1e-3) * focal + centre
    depth = first_hit(scenes, poses, eye, world_rays(uv, slice(None)))[0]
    inside = (uv >= 0).all(-1) & (uv < torch.tensor([width, height], device=device)).all(-1)
    visible = inside & (z > 0) & ((depth - z).abs() < 0.01)
    return PointTracks(xyz, uv, z, visible, surface)
