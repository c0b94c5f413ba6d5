"""Batched ray tracer for the procedural world: frames, depth and cameras of any view x time block.

Depth is z in the camera (rays have unit z there, so a ray's parameter is its depth); background
depth is inf. Images are float32 RGB in 0..1. Legend: n scenes, V views, T times, O = 2 objects,
M = n V T images, R = compact rays (only those inside an object's or a shadow's screen rectangle).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gen.data.world.floor import ground
from gen.data.world.motion import Poses, camera_path, intrinsics, object_poses
from gen.data.world.scene import MAX_FLOOR_DEPTH, SHAPES, TEXTURES, SceneBatch
from gen.data.world.shapes import INTERSECT, LOCAL_BOX, Vec

SHADOW = 0.58  # the share of its light that shadowed floor keeps
_RAYS_PER_CHUNK = 400_000


@dataclass
class RenderOutput:
    """rgb [n,V,T,H,W,3], depth [n,V,T,H,W] or None, K [n,V,3,3], w2c [n,V,4,4] (OpenCV)."""

    rgb: Tensor
    depth: Tensor | None
    K: Tensor
    w2c: Tensor


def _as_rows(values: Tensor, n: int, device: torch.device, name: str) -> Tensor:
    values = torch.as_tensor(values, dtype=torch.float32, device=device)
    if values.ndim == 1:
        values = values.expand(n, -1)
    if values.ndim != 2 or len(values) != n:
        raise ValueError(f"{name} must be [n, k] or [k] with n = {n}; got {tuple(values.shape)}")
    return values


@torch.no_grad()
def render(
    scenes: SceneBatch,
    view_params: Tensor,
    times: Tensor,
    height: int,
    width: int,
    *,
    want_depth: bool = False,
    samples: int = 1,
) -> RenderOutput:
    """Render every view x time of every scene, on the scenes' device.

    view_params [n,V] or [V] runs 0..1 along each scene's camera path, times [n,T] or [T] runs 0..1
    through its motion; V = 1 is a fixed-view row, T = 1 a freeze-time column. samples x samples
    rays a pixel are averaged for rgb; depth always belongs to the pixel's centre ray. Cells do not
    depend on one another: a row rendered alone equals the same row of a grid.
    """
    n = len(scenes)
    view_nV = _as_rows(view_params, n, scenes.device, "view_params")
    time_nT = _as_rows(times, n, scenes.device, "times")
    w2c = camera_path(scenes, view_nV)
    poses = object_poses(scenes, time_nT)
    views, steps = view_nV.shape[1], time_nT.shape[1]
    rays = views * steps * height * width * samples * samples
    chunk = max(1, _RAYS_PER_CHUNK // rays)
    rgb, depth = [], []
    for i in range(0, n, chunk):
        part = slice(i, i + chunk)
        pose = Poses(poses.rotation[part], poses.centre[part], poses.scale[part])
        frames, z = _trace(scenes[part], pose, w2c[part], height * samples, width * samples)
        if samples > 1:
            frames = torch.nn.functional.avg_pool2d(frames.flatten(0, 3), samples).view(
                3, -1, views, steps, height, width
            )
            if want_depth:
                z = _trace(scenes[part], pose, w2c[part], height, width)[1]
        rgb.append(frames.permute(1, 2, 3, 4, 5, 0).contiguous())
        depth.append(z)
    K = intrinsics(height, width).to(scenes.device).expand(n, views, 3, 3)
    return RenderOutput(torch.cat(rgb), torch.cat(depth) if want_depth else None, K, w2c)


def _trace(
    scenes: SceneBatch, poses: Poses, w2c_nV: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """One ray a pixel: rgb [3,n,V,T,H,W], depth [n,V,T,H,W] (inf where background)."""
    steps = poses.scale.shape[1]
    eye, basis = ray_basis(w2c_nV, height, width)
    back_rgb, back_depth = ground(scenes, eye, basis, height, width)
    rgb = back_rgb[:, :, :, None].expand(-1, -1, -1, steps, -1, -1).contiguous()
    depth = back_depth[:, :, None, :, None].expand(-1, -1, steps, -1, width).contiguous()
    items = _ObjectViews(scenes, poses, eye, basis, w2c_nV)
    flat_rgb, flat_depth = rgb.view(3, -1), depth.view(-1)
    shadowed = torch.zeros(flat_depth.shape, dtype=torch.bool, device=rgb.device)
    for shape in range(len(SHAPES)):
        found = items.rays(shape, height, width, shadow=True)
        if found is not None:
            ray, pixel, px, py = found
            t_floor = -ray[18] / (ray[19] + py * ray[20])
            on_floor = (t_floor > 0) & (t_floor < MAX_FLOOR_DEPTH)
            o, d = _local_rays(ray, px, py)
            start = tuple(o[k] + t_floor * d[k] for k in range(3))
            light = (ray[12], ray[13], ray[14])
            hit = INTERSECT[shape](start, light)[0] < float("inf")  # type: ignore[arg-type]
            shadowed[pixel[hit & on_floor]] = True
    dark = shadowed.nonzero()[:, 0]
    flat_rgb[:, dark] *= SHADOW + (1 - SHADOW) * ((flat_depth[dark] - 7) / 6).clamp(0, 1)
    for shape in range(len(SHAPES)):
        found = items.rays(shape, height, width, shadow=False)
        if found is None:
            continue
        ray, pixel, px, py = found
        t, *normal = INTERSECT[shape](*_local_rays(ray, px, py))
        hit = (t < flat_depth[pixel]).nonzero()[:, 0]
        t, pixel = t[hit], pixel[hit]
        flat_depth.scatter_reduce_(0, pixel, t, "amin")
        first = (t == flat_depth[pixel]).nonzero()[:, 0]
        hit, t, pixel = hit[first], t[first], pixel[first]
        ray, px, py = ray[:, hit], px[hit], py[hit]
        flat_rgb[:, pixel] = _shade(ray, px, py, t, [x[hit] for x in normal], shape)
    return rgb, depth


def ray_basis(w2c_nV: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Camera centres [n,V,3] and basis [n,V,3,3]: the world ray of pixel (column px, row py) is
    eye + z (basis[0] + px basis[1] + py basis[2]) with z the depth."""
    K = intrinsics(height, width)
    focal, cx, cy = float(K[0, 0]), float(K[0, 2]), float(K[1, 2])
    rotation = w2c_nV[..., :3, :3]
    eye = -(rotation.mT @ w2c_nV[..., :3, 3:])[..., 0]
    right, down, forward = rotation.unbind(-2)
    b, c = right / focal, down / focal
    return eye, torch.stack([forward + (0.5 - cx) * b + (0.5 - cy) * c, b, c], -2)


def _local_rays(ray: Tensor, px: Tensor, py: Tensor) -> tuple[Vec, Vec]:
    """Origins and directions in the object's frame from the parameter rows of `_ObjectViews`."""
    o = (ray[0], ray[1], ray[2])
    d = tuple(ray[3 + k] + px * ray[6 + k] + py * ray[9 + k] for k in range(3))
    return o, d  # type: ignore[return-value]


class _ObjectViews:
    """All (scene, view, time, slot) items: their local cameras and screen rectangles.

    Parameter rows: 0-2 local eye, 3-11 local ray basis, 12-14 local light, 15-17 local up,
    18 eye height, 19-20 floor slope of a ray (constant, per row), 21-23 colour, 24 texture.
    """

    def __init__(
        self, scenes: SceneBatch, poses: Poses, eye: Tensor, basis: Tensor, w2c: Tensor
    ) -> None:
        n, views = eye.shape[:2]
        steps = poses.scale.shape[1]
        full = (n, views, steps, 2)
        rotation, scale = poses.rotation[:, None], poses.scale[:, None, ..., None]
        to_local = rotation.mT / scale[..., None]  # [n,1,T,O,3,3]
        local_eye = to_local @ (eye[:, :, None, None] - poses.centre[:, None])[..., None]
        local_basis = to_local[..., None, :, :] @ basis[:, :, None, None, :, :, None]
        light = rotation.mT @ scenes.light[:, None, None, None, :, None]
        floor = torch.stack([eye[..., 2], basis[..., 0, 2], basis[..., 2, 2]], -1)
        paint = torch.cat([scenes.rgb, scenes.texture[..., None].float()], -1)
        rows = [
            local_eye[..., 0], local_basis[..., 0].flatten(-2), light[..., 0],
            rotation[..., 2, :], floor[:, :, None, None], paint[:, None, None],
        ]  # fmt: skip
        self.params = torch.cat([r.expand(*full, -1) for r in rows], -1)
        self.w2c, self.poses, self.light = w2c, poses, scenes.light
        shape = torch.where(
            torch.arange(2, device=eye.device) < scenes.count[:, None], scenes.shape, -1
        )
        self.shape = shape[:, None, None].expand(full)
        self.corners = self._corners(scenes)

    def _corners(self, scenes: SceneBatch) -> Tensor:
        """World corners [n,T,O,8,3] of every object's box."""
        signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3).to(scenes.device)
        half = torch.tensor(LOCAL_BOX, device=scenes.device)[scenes.shape]
        local = signs * half[:, None, :, None] * self.poses.scale[..., None, None]
        return local @ self.poses.rotation.mT + self.poses.centre[..., None, :]

    def _rectangles(self, height: int, width: int, shadow: bool) -> Tensor:
        """Screen rectangle [n,V,T,O,4] (x0, y0, w, h) of every object or of its shadow."""
        corners = self.corners
        if shadow:
            light = self.light[:, None, None, None]
            corners = corners - light * (corners[..., 2:] / light[..., 2:])
        cam = self.w2c[:, :, None, None]
        points = corners[:, None] @ cam[..., :3, :3].mT + cam[..., None, :3, 3]
        K = intrinsics(height, width)
        z = points[..., 2:].clamp_min(0.05)
        centre = points.new_tensor([width / 2, height / 2])
        uv = points[..., :2] / z * float(K[0, 0]) + centre
        limit = points.new_tensor([width, height])
        low = (uv.amin(-2) - 0.5).floor().clamp_min(0).minimum(limit)
        high = (uv.amax(-2) + 0.5).ceil().clamp_min(0).minimum(limit)
        return torch.cat([low, (high - low).clamp_min(0)], -1)

    def rays(
        self, shape: int, height: int, width: int, shadow: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
        """Rays that may hit objects of one shape: parameters [25,R], flat pixel, px, py [R]."""
        key = f"_rect{int(shadow)}"
        if not hasattr(self, key):
            setattr(self, key, self._rectangles(height, width, shadow).flatten(0, 3))
        item = (self.shape.flatten() == shape).nonzero()[:, 0]
        if len(item) == 0:
            return None
        rect = getattr(self, key)[item]
        count = (rect[:, 2] * rect[:, 3]).long()
        total = int(count.sum())
        if total == 0:
            return None
        which = torch.repeat_interleave(
            torch.arange(len(item), device=item.device), count, output_size=total
        )
        start = count.cumsum(0) - count
        rank = (torch.arange(total, device=item.device) - start[which]).float()
        x0, y0, w = rect[:, 0][which], rect[:, 1][which], rect[:, 2][which]
        row = ((rank + 0.5) / w).floor()
        px, py = x0 + rank - row * w, y0 + row
        image = item[which] // 2
        pixel = image * (height * width) + (py * width + px).long()
        params = self.params.flatten(0, 3)[item].T.contiguous()
        return params.index_select(1, which), pixel, px, py


def _shade(
    ray: Tensor, px: Tensor, py: Tensor, t: Tensor, normal: list[Tensor], shape: int
) -> Tensor:
    """Colour [3,R] of the hit points: two-tone texture, Lambert, ambient, a small highlight."""
    o, d = _local_rays(ray, px, py)
    x, y, z = (o[k] + t * d[k] for k in range(3))
    round_axis = y if SHAPES[shape] != "torus" else z
    checks, sectors = TEXTURES.index("checks"), TEXTURES.index("sectors")
    sector = x * round_axis
    value = torch.where(
        ray[24] == checks,
        x * y * z,
        torch.where(ray[24] == sectors, sector, (10.0 * z + 0.5).sin()),
    )
    tone = torch.where(value > 0, 1.0, 0.70) + 0.05 * (15 * x + 2).sin() * (15 * z + 13 * y).sin()
    lit = normal[0] * ray[12] + normal[1] * ray[13] + normal[2] * ray[14]
    up = normal[0] * ray[15] + normal[1] * ray[16] + normal[2] * ray[17]
    length = (d[0] * d[0] + d[1] * d[1] + d[2] * d[2]).rsqrt()
    half = [ray[12 + k] - d[k] * length for k in range(3)]
    norm = (half[0] * half[0] + half[1] * half[1] + half[2] * half[2]).rsqrt()
    gloss = normal[0] * half[0] + normal[1] * half[1] + normal[2] * half[2]
    gloss = (gloss * norm).clamp_min(0)
    gloss = 0.22 * gloss.square().square().square().square().square()
    shade = (0.56 + 0.07 * up + 0.48 * lit.clamp_min(0)) * tone
    return (ray[21:24] * shade + gloss).clamp(0, 1)
