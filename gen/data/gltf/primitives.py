"""One primitive of a mesh: the arrays of a triangle surface with one material.

Legend: P vertices, F triangles, M morph targets, I joint influences (4 per set).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gen.data.gltf.accessors import Accessors
from gen.data.gltf.fields import Json, MalformedGltf, index, integer, objects, sub_object
from gen.data.gltf.materials import Material, Texture

TRIANGLES, STRIP, FAN = 4, 5, 6


@dataclass(frozen=True)
class Primitive:
    """Rest-pose arrays of a triangle surface, in the mesh's own coordinates.

    Attributes:
        positions: float32 [P, 3].
        normals: float32 [P, 3], or None: flat shading (glTF's rule for missing normals).
        triangles: int32 [F, 3], counter-clockwise seen from outside.
        colours: float32 [P, 4] linear RGBA that multiplies the material's, or None.
        colour_uv, emission_uv: float32 [P, 2] for the material's textures, or None.
        joints, influences: int32 and float32 [P, I], influences summing to 1; or None.
        morph_positions: float32 [M, P, 3] displacements; morph_normals likewise, or None.
        material: number in the asset's materials, None for glTF's default.
    """

    positions: NDArray[np.float32]
    normals: NDArray[np.float32] | None
    triangles: NDArray[np.int32]
    colours: NDArray[np.float32] | None
    colour_uv: NDArray[np.float32] | None
    emission_uv: NDArray[np.float32] | None
    joints: NDArray[np.int32] | None
    influences: NDArray[np.float32] | None
    morph_positions: NDArray[np.float32]
    morph_normals: NDArray[np.float32] | None
    material: int | None


def read_primitive(
    accessors: Accessors, materials: list[Material], entry: Json, where: str, notes: list[str]
) -> Primitive | None:
    """Read one entry of a mesh's primitives; None (and a note) for points and lines."""
    mode = integer(entry, "mode", where, TRIANGLES, high=6)
    if mode not in (TRIANGLES, STRIP, FAN):
        notes.append("points and lines are not drawn")
        return None
    attributes = sub_object(entry, "attributes", where)
    if "POSITION" not in attributes:
        notes.append("a primitive without positions is not drawn")
        return None
    positions = accessors.floats(integer(attributes, "POSITION", where), (3,))
    count = len(positions)

    def floats(name: str, components: tuple[int, ...]) -> NDArray[np.float32] | None:
        if name not in attributes:
            return None
        values = accessors.floats(integer(attributes, name, where), components)
        if len(values) != count:
            raise MalformedGltf(f"{where}.{name} has {len(values)} rows for {count} vertices")
        return values

    material = index(entry, "material", len(materials), where, None)
    looks = Material() if material is None else materials[material]
    colours = floats("COLOR_0", (3, 4))
    if colours is not None and colours.shape[1] == 3:
        colours = np.concatenate([colours, np.ones((count, 1), np.float32)], axis=1)
    joints, influences = _influences(accessors, attributes, count, where)
    morph_positions, morph_normals = _morphs(accessors, entry, count, where)

    def uv(texture: Texture | None) -> NDArray[np.float32] | None:
        stored = None if texture is None else floats(f"TEXCOORD_{texture.uv_set}", (2,))
        if texture is None or stored is None:
            return None
        moved = stored @ texture.uv_matrix[:, :2].T + texture.uv_matrix[:, 2]
        return moved.astype(np.float32)

    return Primitive(
        positions=positions,
        normals=floats("NORMAL", (3,)),
        triangles=_triangles(accessors, entry, mode, count, where),
        colours=colours,
        colour_uv=uv(looks.colour_texture),
        emission_uv=uv(looks.emission_texture),
        joints=joints,
        influences=influences,
        morph_positions=morph_positions,
        morph_normals=morph_normals,
        material=material,
    )


def _triangles(
    accessors: Accessors, entry: Json, mode: int, count: int, where: str
) -> NDArray[np.int32]:
    """Corner numbers [F, 3] from a list, a strip or a fan, with or without an index array."""
    if "indices" in entry:
        named = accessors.integers(integer(entry, "indices", where), 1)[:, 0]
        if named.min() < 0 or named.max() >= count:
            raise MalformedGltf(f"{where} names vertex {named.max()} of {count}")
        corners = named.astype(np.int32)
    else:
        corners = np.arange(count, dtype=np.int32)
    if mode == TRIANGLES:
        return corners[: len(corners) // 3 * 3].reshape(-1, 3)
    faces = max(len(corners) - 2, 0)
    start = np.arange(faces, dtype=np.int32)
    first, second, third = np.zeros_like(start) if mode == FAN else start, start + 1, start + 2
    if mode == STRIP:  # every second triangle of a strip runs the other way round
        odd = start % 2 == 1
        second, third = np.where(odd, third, second), np.where(odd, second, third)
    return np.stack([corners[first], corners[second], corners[third]], axis=1)


def _influences(
    accessors: Accessors, attributes: Json, count: int, where: str
) -> tuple[NDArray[np.int32] | None, NDArray[np.float32] | None]:
    """Joints and weights of all sets side by side, the weights of a vertex summing to 1."""
    joints, weights = [], []
    for s in range(4):
        if f"JOINTS_{s}" not in attributes or f"WEIGHTS_{s}" not in attributes:
            break
        names = accessors.integers(integer(attributes, f"JOINTS_{s}", where), 4)
        shares = accessors.floats(integer(attributes, f"WEIGHTS_{s}", where), (4,))
        if len(names) != count or len(shares) != count:
            raise MalformedGltf(f"{where}: JOINTS_{s} and WEIGHTS_{s} need {count} rows")
        joints.append(names.astype(np.int32))
        weights.append(np.maximum(shares, 0))
    if not joints:
        return None, None
    joint, weight = np.concatenate(joints, 1), np.concatenate(weights, 1)
    if joint.min() < 0:
        raise MalformedGltf(f"{where} names a negative joint")
    total = weight.sum(1, keepdims=True)
    weight = np.where(total > 0, weight / np.where(total > 0, total, 1), 0)
    weight[total[:, 0] <= 0, 0] = 1  # a vertex without weights follows its first joint
    return np.where(weight > 0, joint, 0), weight.astype(np.float32)


def _morphs(
    accessors: Accessors, entry: Json, count: int, where: str
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Displacements [M, P, 3] of positions and (or None) of normals."""
    targets = objects(entry, "targets", where, most=1024)
    moved: dict[str, NDArray[np.float32]] = {}
    for i, target in enumerate(targets):
        for name in ("POSITION", "NORMAL"):
            if name in target:
                values = accessors.floats(integer(target, name, where), (3,))
                if len(values) != count:
                    raise MalformedGltf(f"{where}: morph target {i} has {len(values)} rows")
                moved.setdefault(name, np.zeros((len(targets), count, 3), np.float32))[i] = values
    empty = np.zeros((len(targets), count, 3), np.float32)
    return moved.get("POSITION", empty), moved.get("NORMAL")
