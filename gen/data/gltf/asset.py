"""A glTF file as an `Asset`: nodes, meshes, skins, materials, pictures and clips, all checked.

Legend: P vertices and F triangles of a primitive, M morph targets, I joint influences, J joints.
Coordinates are glTF's own (right-handed, y up, metres); matrices act on columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourreal.errors import UserError
from gen.data.gltf.accessors import Accessors
from gen.data.gltf.animation import Clip, read_clips
from gen.data.gltf.container import Document, read_document
from gen.data.gltf.fields import (
    Json,
    MalformedGltf,
    MissingFile,
    index,
    indices,
    integer,
    numbers,
    objects,
    sub_object,
    text,
)
from gen.data.gltf.materials import Material, read_image, read_materials
from gen.data.gltf.primitives import Primitive, read_primitive

MAX_VERTICES = 4_000_000  # counting a mesh once for every node that shows it
MAX_MORPHED = 16_000_000  # vertices times morph targets
MAX_PRIMITIVES = 20_000  # likewise counted once for every node
MAX_PICTURE_BYTES = 2**30  # of all pictures together, decoded


@dataclass(frozen=True)
class Node:
    """One node of the tree: translation, rotation (x, y, z, w) and scale, or a fixed matrix.

    weights are the node's own morph weights, None where the mesh's defaults hold.
    """

    name: str
    children: tuple[int, ...]
    translation: NDArray[np.float64]
    rotation: NDArray[np.float64]
    scale: NDArray[np.float64]
    matrix: NDArray[np.float64] | None
    mesh: int | None
    skin: int | None
    weights: NDArray[np.float64] | None


@dataclass(frozen=True)
class Mesh:
    """Triangle primitives and the default morph weights [M]."""

    primitives: tuple[Primitive, ...]
    weights: NDArray[np.float64]


@dataclass(frozen=True)
class Skin:
    """Joint nodes [J] and their inverse bind matrices [J, 4, 4]."""

    joints: tuple[int, ...]
    inverse_bind: NDArray[np.float64]


@dataclass(frozen=True)
class Asset:
    """Everything of a file that has to do with its looks and motion.

    `order` lists all nodes, parents before children; `scenes` holds the root nodes of every scene;
    `scene` is the one that the file shows by default.
    """

    name: str
    nodes: tuple[Node, ...]
    parents: tuple[int, ...]
    order: tuple[int, ...]
    scenes: tuple[tuple[int, ...], ...]
    scene: int
    meshes: tuple[Mesh, ...]
    skins: tuple[Skin, ...]
    materials: tuple[Material, ...]
    images: dict[int, NDArray[np.uint8]]
    clips: tuple[Clip, ...]
    notes: tuple[str, ...] = ()

    def members(self, scene: int) -> tuple[int, ...]:
        """The nodes of a scene: its roots and all below them."""
        found = dict.fromkeys(self.scenes[scene])
        queue = list(found)
        for node in queue:  # grows while it is walked
            new = [c for c in self.nodes[node].children if c not in found]
            found.update(dict.fromkeys(new))
            queue.extend(new)
        return tuple(queue)


def load_asset(path: str | Path) -> Asset:
    """Read a .glb or .gltf file.

    Raises:
        UserError: no such file, damaged, hostile, or in need of something that is not supported.
    """
    p = Path(path)
    if not p.is_file():
        raise UserError(f"no such asset: {p}; give a .glb or .gltf file")
    try:
        return _assemble(read_document(p))
    except MalformedGltf as error:
        line = " ".join(str(error).split())[
            :300
        ]  # names from the file may be long, or several lines
        raise UserError(f"{p.name} cannot be used: {line}") from error
    except OSError as error:
        raise UserError(f"cannot read {p} ({error.strerror})") from error


def _assemble(document: Document) -> Asset:
    _check_size(document)
    accessors = Accessors(document)
    notes: list[str] = []
    materials = read_materials(document)
    meshes = tuple(
        _mesh(document, accessors, materials, entry, f"meshes[{i}]", notes)
        for i, entry in enumerate(document.list_of("meshes"))
    )
    nodes = tuple(
        _node(document, entry, f"nodes[{i}]", meshes)
        for i, entry in enumerate(document.list_of("nodes"))
    )
    parents = _parents(nodes)
    skins = tuple(
        _skin(accessors, entry, f"skins[{i}]", len(nodes))
        for i, entry in enumerate(document.list_of("skins"))
    )
    _check_influences(nodes, meshes, skins)
    shown = [meshes[n.mesh] for n in nodes if n.mesh is not None]
    if sum(len(p.positions) for mesh in shown for p in mesh.primitives) > MAX_VERTICES:
        raise MalformedGltf(f"it draws more than {MAX_VERTICES} vertices")
    if sum(len(mesh.primitives) for mesh in shown) > MAX_PRIMITIVES:
        raise MalformedGltf(f"it draws more than {MAX_PRIMITIVES} primitives")
    scenes = _scenes(document, len(nodes), parents)
    used = {
        texture.image
        for material in materials
        for texture in (material.colour_texture, material.emission_texture)
        if texture is not None
    }
    morphs = [0 if n.mesh is None else len(meshes[n.mesh].weights) for n in nodes]
    return Asset(
        name=document.name,
        nodes=nodes,
        parents=parents,
        order=_parents_first(nodes, parents),
        scenes=scenes,
        scene=index(document.json, "scene", len(scenes), "file", 0),
        meshes=meshes,
        skins=skins,
        materials=tuple(materials),
        images=_images(document, used, notes),
        clips=read_clips(document, accessors, morphs),
        notes=tuple(dict.fromkeys(notes)),
    )


def _images(document: Document, used: set[int], notes: list[str]) -> dict[int, NDArray[np.uint8]]:
    """The pictures that materials use; a missing file becomes plain white, and a note."""
    images: dict[int, NDArray[np.uint8]] = {}
    for number in sorted(used):
        try:
            images[number] = read_image(document, number)
        except MissingFile as error:
            notes.append(f"{error}; drawn without it")
            images[number] = np.full((1, 1, 4), 255, np.uint8)
        if sum(image.nbytes for image in images.values()) > MAX_PICTURE_BYTES:
            raise MalformedGltf(f"its pictures exceed {MAX_PICTURE_BYTES >> 20} MB")
    return images


def _check_size(document: Document) -> None:
    """Refuse a file whose meshes add up to more than we read, before any is decoded."""
    accessors = document.list_of("accessors")
    vertices = corners = morphed = 0
    for entry in document.list_of("meshes"):
        for raw in objects(entry, "primitives", "mesh"):
            attributes = sub_object(raw, "attributes", "primitive")
            place = index(attributes, "POSITION", len(accessors), "primitive", None)
            count = 0 if place is None else integer(accessors[place], "count", "accessor")
            place = index(raw, "indices", len(accessors), "primitive", None)
            corners += count if place is None else integer(accessors[place], "count", "accessor")
            vertices += count
            morphed += count * len(objects(raw, "targets", "primitive", most=1024))
    if vertices > MAX_VERTICES or corners > 6 * MAX_VERTICES or morphed > MAX_MORPHED:
        raise MalformedGltf(
            f"its meshes have {vertices} vertices, {corners} corners and {morphed} morphed "
            f"vertices; at most {MAX_VERTICES}, {6 * MAX_VERTICES} and {MAX_MORPHED} are read"
        )


def _mesh(
    document: Document,
    accessors: Accessors,
    materials: list[Material],
    entry: Json,
    where: str,
    notes: list[str],
) -> Mesh:
    found = [
        read_primitive(accessors, materials, raw, f"{where}.primitives[{i}]", notes)
        for i, raw in enumerate(objects(entry, "primitives", where))
    ]
    primitives = tuple(p for p in found if p is not None)
    count = max((len(p.morph_positions) for p in primitives), default=0)
    if any(len(p.morph_positions) not in (0, count) for p in primitives):
        raise MalformedGltf(f"{where}: its primitives have different numbers of morph targets")
    weights = numbers(entry, "weights", where, count or None, [0.0] * count)
    return Mesh(primitives, np.array(weights or [], np.float64)[:count])


def _node(document: Document, entry: Json, where: str, meshes: tuple[Mesh, ...]) -> Node:
    def vector(key: str, default: list[float]) -> NDArray[np.float64]:
        return np.array(numbers(entry, key, where, len(default), default), np.float64)

    matrix = numbers(entry, "matrix", where, 16, None)
    mesh = index(entry, "mesh", len(meshes), where, None)
    count = 0 if mesh is None else len(meshes[mesh].weights)
    weights = numbers(entry, "weights", where, count, None) if count else None
    return Node(
        name=text(entry, "name", where) or where,
        children=tuple(indices(entry, "children", len(document.list_of("nodes")), where)),
        translation=vector("translation", [0.0, 0.0, 0.0]),
        rotation=vector("rotation", [0.0, 0.0, 0.0, 1.0]),
        scale=vector("scale", [1.0, 1.0, 1.0]),
        matrix=None if matrix is None else np.array(matrix).reshape(4, 4).T,
        mesh=mesh,
        skin=index(entry, "skin", len(document.list_of("skins")), where, None),
        weights=None if weights is None else np.array(weights),
    )


def _parents(nodes: tuple[Node, ...]) -> tuple[int, ...]:
    """Every node's parent (-1 for a root); two parents or a loop are refused."""
    parents = [-1] * len(nodes)
    for i, node in enumerate(nodes):
        for child in node.children:
            if parents[child] >= 0:
                raise MalformedGltf(f"nodes[{child}] has two parents")
            parents[child] = i
    if len(_parents_first(nodes, tuple(parents))) != len(nodes):
        raise MalformedGltf("its nodes form a loop")
    return tuple(parents)


def _parents_first(nodes: tuple[Node, ...], parents: tuple[int, ...]) -> tuple[int, ...]:
    order = [i for i, parent in enumerate(parents) if parent < 0]
    for node in order:  # grows while it is walked
        order.extend(nodes[node].children)
    return tuple(order)


def _scenes(
    document: Document, nodes: int, parents: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    """The root nodes of every scene; a file without scenes is one scene of all roots."""
    scenes = tuple(
        tuple(indices(entry, "nodes", nodes, f"scenes[{i}]"))
        for i, entry in enumerate(document.list_of("scenes"))
    )
    return scenes or (tuple(i for i, parent in enumerate(parents) if parent < 0),)


def _skin(accessors: Accessors, entry: Json, where: str, nodes: int) -> Skin:
    joints = tuple(indices(entry, "joints", nodes, where))
    if not joints:
        raise MalformedGltf(f"{where} has no joints")
    inverse = np.broadcast_to(np.eye(4), (len(joints), 4, 4))
    if "inverseBindMatrices" in entry:
        stored = accessors.floats(integer(entry, "inverseBindMatrices", where), (16,))
        if len(stored) < len(joints):
            raise MalformedGltf(f"{where} has {len(stored)} bind matrices for {len(joints)} joints")
        # Stored column by column.
        inverse = stored[: len(joints)].astype(np.float64).reshape(-1, 4, 4).transpose(0, 2, 1)
    return Skin(joints, inverse)


def _check_influences(
    nodes: tuple[Node, ...], meshes: tuple[Mesh, ...], skins: tuple[Skin, ...]
) -> None:
    """Every joint number that a skinned mesh's vertices name exists in its skin."""
    for i, node in enumerate(nodes):
        if node.mesh is None or node.skin is None:
            continue
        for primitive in meshes[node.mesh].primitives:
            if primitive.joints is not None and primitive.joints.max() >= len(
                skins[node.skin].joints
            ):
                raise MalformedGltf(
                    f"nodes[{i}]: a vertex names joint {primitive.joints.max()} of "
                    f"{len(skins[node.skin].joints)}"
                )
