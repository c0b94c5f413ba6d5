"""Ray intersection with the world's solids, in each solid's own frame.

Rays are o + t d with o, d as three flat tensors each (d need not have unit length). Every function
returns (t, nx, ny, nz): t [N] is inf where the ray misses, normals point outwards and have unit
length. All solids are about one unit tall and centred; see `HALF_HEIGHT` in `gen.data.world.scene`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Vec = tuple[Tensor, Tensor, Tensor]
Hit = tuple[Tensor, Tensor, Tensor, Tensor]

NEAR = 1e-4
BOX_HALF = 0.43
CYLINDER_RADIUS, CYLINDER_HALF = 0.37, 0.48
CONE_RADIUS, CONE_HALF = 0.50, 0.50
CAPSULE_RADIUS, CAPSULE_HALF = 0.26, 0.30  # half length of the straight part
TORUS_MAJOR, TORUS_MINOR = 0.35, 0.15  # axis along local y, so that it stands upright
LOCAL_BOX = (  # half extents of each solid, in the order of `gen.data.world.scene.SHAPES`
    (0.5, 0.5, 0.5),
    (BOX_HALF, BOX_HALF, BOX_HALF),
    (CYLINDER_RADIUS, CYLINDER_RADIUS, CYLINDER_HALF),
    (CONE_RADIUS, CONE_RADIUS, CONE_HALF),
    (CAPSULE_RADIUS, CAPSULE_RADIUS, CAPSULE_RADIUS + CAPSULE_HALF),
    (TORUS_MAJOR + TORUS_MINOR, TORUS_MINOR, TORUS_MAJOR + TORUS_MINOR),
)
_INF = float("inf")


def _dot(a: Vec, b: Vec) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _near_root(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Smaller root of a t^2 + 2 b t + c with a > 0; inf where there is none in front."""
    disc = b * b - a * c
    t = (-b - disc.clamp_min(0).sqrt()) / a
    return torch.where((disc > 0) & (t > NEAR), t, _INF)


def _ball(o: Vec, d: Vec, radius: float, z: float = 0.0) -> Tensor:
    oz = o[2] - z
    return _near_root(
        _dot(d, d), o[0] * d[0] + o[1] * d[1] + oz * d[2],
        o[0] * o[0] + o[1] * o[1] + oz * oz - radius * radius,
    )  # fmt: skip


def sphere(o: Vec, d: Vec) -> Hit:
    """Ball of radius 0.5."""
    t = _ball(o, d, 0.5)
    s = torch.where(t < _INF, t, 0.0)
    return t, (o[0] + s * d[0]) * 2, (o[1] + s * d[1]) * 2, (o[2] + s * d[2]) * 2


def cube(o: Vec, d: Vec) -> Hit:
    """Box of half edge `BOX_HALF` (slab method)."""
    enter, leave = [], []
    for k in range(3):
        inv = 1.0 / torch.where(d[k].abs() < 1e-9, 1e-9, d[k])
        centre, half = -o[k] * inv, BOX_HALF * inv.abs()
        enter.append(centre - half)
        leave.append(centre + half)
    t = torch.maximum(torch.maximum(enter[0], enter[1]), enter[2])
    far = torch.minimum(torch.minimum(leave[0], leave[1]), leave[2])
    hit = (t < far) & (t > NEAR)
    on_x = (t == enter[0]).float()
    on_y = (t == enter[1]).float() * (1 - on_x)
    on_z = (1 - on_x) * (1 - on_y)
    t = torch.where(hit, t, _INF)
    return t, -on_x * d[0].sign(), -on_y * d[1].sign(), -on_z * d[2].sign()


def _side(o: Vec, d: Vec, radius: float, half: float) -> Tensor:
    """Open cylinder around z."""
    a = (d[0] * d[0] + d[1] * d[1]).clamp_min(1e-12)
    t = _near_root(a, o[0] * d[0] + o[1] * d[1], o[0] * o[0] + o[1] * o[1] - radius * radius)
    z = o[2] + torch.where(t < _INF, t, 0.0) * d[2]
    return torch.where(z.abs() <= half, t, _INF)


def _disc(o: Vec, d: Vec, z: Tensor | float, radius: float) -> Tensor:
    t = (z - o[2]) / torch.where(d[2].abs() < 1e-9, 1e-9, d[2])
    x, y = o[0] + t * d[0], o[1] + t * d[1]
    return torch.where((x * x + y * y <= radius * radius) & (t > NEAR), t, _INF)


def cylinder(o: Vec, d: Vec) -> Hit:
    """Upright closed cylinder."""
    t_side = _side(o, d, CYLINDER_RADIUS, CYLINDER_HALF)
    facing = -d[2].sign()  # only the cap that faces the ray can be hit first
    t_cap = _disc(o, d, facing * CYLINDER_HALF, CYLINDER_RADIUS)
    t = torch.minimum(t_side, t_cap)
    s = torch.where(t < _INF, t, 0.0)
    flat = t_cap < t_side
    nx = torch.where(flat, 0.0, (o[0] + s * d[0]) / CYLINDER_RADIUS)
    ny = torch.where(flat, 0.0, (o[1] + s * d[1]) / CYLINDER_RADIUS)
    return t, nx, ny, torch.where(flat, facing, 0.0)


def cone(o: Vec, d: Vec) -> Hit:
    """Upright cone, apex up."""
    slope = CONE_RADIUS / (2 * CONE_HALF)
    k2 = slope * slope
    w = CONE_HALF - o[2]  # distance below the apex
    a = d[0] * d[0] + d[1] * d[1] - k2 * d[2] * d[2]
    b = o[0] * d[0] + o[1] * d[1] + k2 * w * d[2]
    c = o[0] * o[0] + o[1] * o[1] - k2 * w * w
    root = (b * b - a * c).clamp_min(0).sqrt()
    a = torch.where(a.abs() < 1e-9, 1e-9, a)
    t_side = torch.full_like(a, _INF)
    for sign in (-1.0, 1.0):  # the sign of a varies: try both roots
        t = (-b + sign * root) / a
        z = o[2] + t * d[2]
        good = (b * b - a * c > 0) & (t > NEAR) & (z.abs() <= CONE_HALF)
        t_side = torch.where(good & (t < t_side), t, t_side)
    t_cap = torch.where(d[2] > 0, _disc(o, d, -CONE_HALF, CONE_RADIUS), _INF)
    t = torch.minimum(t_side, t_cap)
    s = torch.where(t < _INF, t, 0.0)
    x, y = o[0] + s * d[0], o[1] + s * d[1]
    flat = t_cap < t_side
    up = (1 + k2) ** -0.5
    r = (x * x + y * y).sqrt().clamp_min(1e-6) / up
    nx, ny = torch.where(flat, 0.0, x / r), torch.where(flat, 0.0, y / r)
    return t, nx, ny, torch.where(flat, -1.0, slope * up)


def capsule(o: Vec, d: Vec) -> Hit:
    """Upright capsule."""
    t = torch.minimum(
        torch.minimum(_ball(o, d, CAPSULE_RADIUS, CAPSULE_HALF),
                      _ball(o, d, CAPSULE_RADIUS, -CAPSULE_HALF)),
        _side(o, d, CAPSULE_RADIUS, CAPSULE_HALF),
    )  # fmt: skip
    s = torch.where(t < _INF, t, 0.0)
    z = o[2] + s * d[2]
    k = 1 / CAPSULE_RADIUS
    rest = z - z.clamp(-CAPSULE_HALF, CAPSULE_HALF)
    return t, (o[0] + s * d[0]) * k, (o[1] + s * d[1]) * k, rest * k


def torus(o: Vec, d: Vec, steps: int = 28) -> Hit:
    """Ring standing upright (axis y), by sphere tracing inside its bounding ball."""
    speed = _dot(d, d).sqrt()
    t_ball = _ball(o, d, TORUS_MAJOR + TORUS_MINOR + 0.01)
    inside = _dot(o, o) < (TORUS_MAJOR + TORUS_MINOR + 0.01) ** 2
    start = torch.where(inside, 2 * NEAR, t_ball)
    alive = start < _INF
    t = torch.where(alive, start, 0.0)
    inv = 1 / speed
    for _ in range(steps):
        x, y, z = o[0] + t * d[0], o[1] + t * d[1], o[2] + t * d[2]
        ring = (x * x + z * z).sqrt() - TORUS_MAJOR
        distance = (ring * ring + y * y).sqrt() - TORUS_MINOR
        t = t + distance * inv
    near = (distance < 2e-3) & alive & (t > NEAR)
    k = TORUS_MAJOR / (ring + TORUS_MAJOR).clamp_min(1e-6)
    nx, ny, nz = x - x * k, y, z - z * k
    norm = (nx * nx + ny * ny + nz * nz).sqrt().clamp_min(1e-6)
    return torch.where(near, t, _INF), nx / norm, ny / norm, nz / norm


INTERSECT: tuple[Callable[[Vec, Vec], Hit], ...] = (sphere, cube, cylinder, cone, capsule, torus)
