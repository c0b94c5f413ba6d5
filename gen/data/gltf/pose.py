"""What an asset looks like at a time: node matrices, morph weights, and the vertices that follow.

Coordinates are glTF's own (right-handed, y up); matrices act on columns. Where a clip has no
channel for a property, the node's own value holds; morph weights come from the clip, else the
node, else the mesh (glTF 2.0, sections 3.7.2 and 3.11). Legend: P vertices, J joints, M morphs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gen.data.gltf.animation import Clip, unit_quaternion
from gen.data.gltf.asset import Asset, Node
from gen.data.gltf.primitives import Primitive

_BLOCK = 65536  # vertices skinned at once, which bounds the memory of their matrices


@dataclass(frozen=True)
class Pose:
    """The state of all nodes: matrices to the world float64 [nodes, 4, 4], morph weights [M]."""

    world: NDArray[np.float64]
    weights: dict[int, NDArray[np.float64]]


def compose(
    translation: NDArray[np.float64], rotation: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Translation * rotation * scale as a matrix [4, 4]; rotation is x, y, z, w."""
    x, y, z, w = unit_quaternion(rotation)
    out = np.eye(4)
    out[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    out[:3, :3] *= scale
    out[:3, 3] = translation
    return out


def pose_at(asset: Asset, clip: Clip | None, time: float) -> Pose:
    """The pose of an asset at `time` seconds of a clip; without a clip its rest pose."""
    driven: dict[int, dict[str, NDArray[np.float64]]] = {}
    for channel in clip.channels if clip else ():
        driven.setdefault(channel.node, {})[channel.path] = channel.at(time)
    world = np.empty((len(asset.nodes), 4, 4))
    weights = {}
    for i in asset.order:
        node, values = asset.nodes[i], driven.get(i, {})
        parent = asset.parents[i]
        local = _local(node, values)
        world[i] = local if parent < 0 else world[parent] @ local
        if node.mesh is not None:
            default = asset.meshes[node.mesh].weights if node.weights is None else node.weights
            weights[i] = values.get("weights", default)
    return Pose(world, weights)


def _local(node: Node, values: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    if node.matrix is not None:  # glTF forbids animating such a node
        return node.matrix
    return compose(
        values.get("translation", node.translation),
        values.get("rotation", node.rotation),
        values.get("scale", node.scale),
    )


def posed_vertices(
    asset: Asset, node: int, primitive: Primitive, pose: Pose
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """World positions [P, 3] and unit normals [P, 3] (None where the file has none).

    A skinned mesh follows its joints alone: the matrix of the node that shows it does not count.
    """
    positions, normals = _morphed(primitive, pose.weights[node])
    skin = asset.nodes[node].skin
    if skin is None or primitive.joints is None:
        matrix = pose.world[node][None, :3]
        moved, turned = _apply(matrix, positions, normals)
    else:
        bones = pose.world[list(asset.skins[skin].joints)] @ asset.skins[skin].inverse_bind
        moved = np.empty_like(positions)
        turned = None if normals is None else np.empty_like(normals)
        for start in range(0, len(positions), _BLOCK):
            part = slice(start, start + _BLOCK)
            matrix = _blend(bones[:, :3], primitive, part)
            some = None if normals is None else normals[part]
            moved[part], some = _apply(matrix, positions[part], some)
            if turned is not None:
                turned[part] = some
    if turned is not None:
        length = np.linalg.norm(turned, axis=-1, keepdims=True)
        turned = turned / np.where(length > 0, length, 1)
    return moved, turned


def _morphed(
    primitive: Primitive, weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Rest positions and normals plus their weighted displacements."""
    positions = primitive.positions.astype(np.float64)
    normals = None if primitive.normals is None else primitive.normals.astype(np.float64)
    for m, weight in enumerate(weights[: len(primitive.morph_positions)]):
        if weight != 0:
            positions += weight * primitive.morph_positions[m]
            if normals is not None and primitive.morph_normals is not None:
                normals += weight * primitive.morph_normals[m]
    return positions, normals


def _blend(bones: NDArray[np.float64], primitive: Primitive, part: slice) -> NDArray[np.float64]:
    """Each vertex's weighted joint matrix [n, 3, 4]."""
    assert primitive.joints is not None and primitive.influences is not None
    joints, influences = primitive.joints[part], primitive.influences[part]
    out = np.zeros((len(joints), 3, 4))
    for i in range(joints.shape[1]):
        share = influences[:, i]
        if share.any():
            out += share[:, None, None] * bones[joints[:, i]]
    return out


def _apply(
    matrix: NDArray[np.float64], positions: NDArray[np.float64], normals: NDArray | None
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Move points by matrices [n or 1, 3, 4]; normals turn by the cofactors of the 3x3 part.

    Cofactors are the inverse transpose times the determinant: they exist for flattened shapes too.
    The sign of the determinant goes along, so normals keep pointing out of a mirrored shape.
    """
    moved = np.einsum("nij,nj->ni", matrix[..., :3], positions) + matrix[..., 3]
    if normals is None:
        return moved, None
    a, b, c = (matrix[..., :, k] for k in range(3))
    cofactors = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=-1)
    turned = np.einsum("nij,nj->ni", cofactors, normals)
    sign = np.sign(np.einsum("ni,ni->n", a, np.cross(b, c)))
    return moved, turned * np.where(sign == 0, 1.0, sign)[:, None]
