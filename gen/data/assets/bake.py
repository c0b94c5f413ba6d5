"""An animated asset as vertex positions at chosen times, in the world the cameras live in.

World: z up, y towards the back of the asset (glTF's front, +z, looks along -y), moved and scaled so
that the asset's box over all times is centred at 0 and the whole motion lies in the unit sphere:
world = (zup(glTF) - centre) / radius with zup = (x, -z, y). Legend: T times, P vertices, F faces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourreal.errors import UserError
from gen.data.gltf.animation import Clip
from gen.data.gltf.asset import Asset
from gen.data.gltf.materials import Material
from gen.data.gltf.pose import Pose, pose_at, posed_vertices
from gen.data.gltf.primitives import Primitive

MAX_BAKED = 64_000_000  # vertices times times


@dataclass(frozen=True)
class Placement:
    """Where the asset is put: z-up centre [3] and radius that become 0 and 1."""

    centre: tuple[float, float, float]
    radius: float


@dataclass(frozen=True)
class BakedPart:
    """One primitive as one node shows it.

    positions float32 [T, P, 3] and unit normals likewise (None: flat shading), triangles int32
    [F, 3] counter-clockwise from outside, the primitive's other arrays and its material.
    """

    positions: NDArray[np.float32]
    normals: NDArray[np.float32] | None
    triangles: NDArray[np.int32]
    primitive: Primitive
    material: Material


@dataclass(frozen=True)
class BakedAsset:
    """All parts of a scene at T times (seconds of the clip), and the placement they were given."""

    parts: tuple[BakedPart, ...]
    seconds: NDArray[np.float64]
    placement: Placement

    def points(self, most: int = 200_000) -> NDArray[np.float32]:
        """Vertices of all times [n, 3], thinned evenly to about `most`."""
        every = max(sum(p.positions[..., 0].size for p in self.parts) // most, 1)
        return np.concatenate([p.positions.reshape(-1, 3)[::every] for p in self.parts])


def zup(xyz: NDArray) -> NDArray:
    """glTF axes to z-up axes: (x, y, z) -> (x, -z, y); [..., 3]."""
    return np.stack([xyz[..., 0], -xyz[..., 2], xyz[..., 1]], axis=-1)


def bake(
    asset: Asset,
    clip: Clip | None,
    seconds: NDArray[np.float64],
    *,
    scene: int | None = None,
    placement: Placement | None = None,
) -> BakedAsset:
    """Evaluate a scene (default: the file's own) at every time of `seconds` [T].

    Args:
        placement: where to put it; default: from its box over these times.

    Raises:
        UserError: nothing to draw, too much, or positions that are not finite.
    """
    members = [n for n in asset.members(asset.scene if scene is None else scene)]
    shown = [
        (n, primitive)
        for n in members
        if (mesh := asset.nodes[n].mesh) is not None
        for primitive in asset.meshes[mesh].primitives
        if len(primitive.triangles)
    ]
    if not shown:
        raise UserError(f"{asset.name} has no triangles to draw")
    if sum(len(p.positions) for _, p in shown) * len(seconds) > MAX_BAKED:
        raise UserError(
            f"{asset.name} has too many vertices for {len(seconds)} times; ask for fewer times"
        )
    moved = [np.empty((len(seconds), *p.positions.shape), np.float32) for _, p in shown]
    turned = [
        None if p.normals is None else np.empty_like(m)
        for (_, p), m in zip(shown, moved, strict=True)
    ]
    for t, time in enumerate(seconds):
        pose = pose_at(asset, clip, float(time))
        with np.errstate(over="ignore", invalid="ignore"):
            for i, (node, primitive) in enumerate(shown):
                positions, normals = posed_vertices(asset, node, primitive, pose)
                moved[i][t] = zup(positions)
                if normals is not None:
                    turned[i][t] = zup(normals)  # type: ignore[index]
    placement = placement or _placement(asset.name, moved)
    for positions in moved:
        positions -= np.array(placement.centre, np.float32)
        positions /= np.float32(placement.radius)
    rest = pose_at(asset, clip, float(seconds[0]))
    parts = tuple(
        BakedPart(
            positions=positions,
            normals=normals,
            triangles=_facing_out(asset, node, primitive, rest),
            primitive=primitive,
            material=Material()
            if primitive.material is None
            else asset.materials[primitive.material],
        )
        for (node, primitive), positions, normals in zip(shown, moved, turned, strict=True)
    )
    return BakedAsset(parts, np.asarray(seconds, np.float64), placement)


def _placement(name: str, moved: list[NDArray[np.float32]]) -> Placement:
    """The box centre and the farthest vertex from it, over all times."""
    low = np.min([m.min((0, 1)) for m in moved], axis=0).astype(np.float64)
    high = np.max([m.max((0, 1)) for m in moved], axis=0).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        centre = (low + high) / 2
        radius = max(float(np.linalg.norm(m - centre, axis=-1).max()) for m in moved)
    if not np.isfinite(radius) or not 1e-9 < radius < 1e12:
        raise UserError(f"{name} has no usable extent (radius {radius:.3g})")
    return Placement((float(centre[0]), float(centre[1]), float(centre[2])), radius)


def _facing_out(asset: Asset, node: int, primitive: Primitive, pose: Pose) -> NDArray[np.int32]:
    """The triangles, turned over where the node (or most of its joints) mirrors the shape."""
    skin = asset.nodes[node].skin
    matrices = pose.world[node][None]
    if skin is not None and primitive.joints is not None:
        matrices = pose.world[list(asset.skins[skin].joints)] @ asset.skins[skin].inverse_bind
    mirrored = np.median(np.sign(np.linalg.det(matrices[:, :3, :3]))) < 0
    return primitive.triangles[:, ::-1] if mirrored else primitive.triangles
