"""Builds small glTF files for tests, and the two that most tests use.

`Builder` collects arrays and JSON entries; `bent_box` is a skinned box with two joints that bends
by 90 degrees in one second, with a morph target that widens it.
"""

import base64
import json
import struct

import cv2
import numpy as np

from gen.data.gltf.pose import pose_at, posed_vertices

KINDS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
SHAPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


class Builder:
    """A glTF document under construction; every `add_*` returns the new entry's number."""

    def __init__(self):
        self.json = {"asset": {"version": "2.0"}}
        self.data = b""

    def add(self, key, **entry):
        self.json.setdefault(key, []).append(entry)
        return len(self.json[key]) - 1

    def add_view(self, data, **more):
        self.data += b"\0" * (-len(self.data) % 4)
        start = len(self.data)
        self.data += bytes(data)
        return self.add("bufferViews", buffer=0, byteOffset=start, byteLength=len(data), **more)

    def add_array(self, values, dtype="f4", **more):
        array = np.asarray(values, dtype)
        array = array.reshape(len(array), -1)
        return self.add(
            "accessors", bufferView=self.add_view(array.tobytes()), count=len(array),
            componentType=KINDS[dtype], type=SHAPES[array.shape[1]], **more,
        )  # fmt: skip

    def add_clip(self, *channels, name="clip"):
        """channels: (node, path, times, values[, interpolation])."""
        samplers, targets = [], []
        for node, path, times, values, *kind in channels:
            width = 1 if path == "weights" else np.shape(values)[-1]
            output = self.add_array(np.reshape(values, (-1, width)))
            samplers.append({"input": self.add_array(times), "output": output})
            if kind:
                samplers[-1]["interpolation"] = kind[0]
            target = {"node": node, "path": path}
            targets.append({"sampler": len(samplers) - 1, "target": target})
        return self.add("animations", name=name, samplers=samplers, channels=targets)

    def document(self):
        """The JSON with its one buffer, and nothing else changed."""
        out = dict(self.json)
        if self.data:
            out["buffers"] = [{"byteLength": len(self.data)}]
        return out

    def glb(self):
        return pack_glb(self.document(), self.data)

    def gltf(self, uri=None):
        """The text form; its buffer is embedded, or said to lie at `uri`."""
        out = self.document()
        out["buffers"][0]["uri"] = uri or (
            "data:application/octet-stream;base64," + base64.b64encode(self.data).decode()
        )
        return json.dumps(out).encode()


def pack_glb(document, data):
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    data += b"\0" * (-len(data) % 4)
    body = struct.pack("<II", len(text), 0x4E4F534A) + text
    if data:
        body += struct.pack("<II", len(data), 0x004E4942) + data
    return b"glTF" + struct.pack("<II", 2, 12 + len(body)) + body


def turn(axis, degrees):
    """A quaternion x, y, z, w."""
    half = np.radians(degrees) / 2
    return [*(np.array(axis, float) / np.linalg.norm(axis) * np.sin(half)), np.cos(half)]


BOX = np.array([[x, y, z] for y in (0, 1, 2) for x in (-0.5, 0.5) for z in (-0.5, 0.5)], "f4")
_SIDES = [
    q for r in (0, 4)
    for q in ((r, r + 1, r + 5, r + 4), (r + 1, r + 3, r + 7, r + 5), (r + 3, r + 2, r + 6, r + 7),
              (r + 2, r, r + 4, r + 6))
]  # fmt: skip
QUADS = [(0, 2, 3, 1), *_SIDES, (8, 9, 11, 10)]
BOX_TRIANGLES = np.array([t for a, b, c, d in QUADS for t in ((a, b, c), (a, c, d))], "u2")


def bent_box(root=None, clips=True):
    """A box of 1 x 2 x 1 standing on y = 0; its upper joint sits at y = 1.

    The bottom ring follows joint 0, the top ring joint 1, the middle ring half of each. From 0 to
    1 s joint 1 turns by 90 degrees about z (the top falls towards -x). The morph target moves every
    vertex with x > 0 by 1 along x; its weight is 0.25 in the mesh and runs to 1 at 1 s. `root` is
    merged into the root node, which all hangs on.
    """
    b = Builder()
    ring = np.repeat([0, 1, 2], 4)
    joints = np.stack([np.zeros(12), np.ones(12), np.zeros(12), np.zeros(12)], 1)
    share = np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 1, 0, 0]])[ring]
    wide = np.zeros_like(BOX)
    wide[BOX[:, 0] > 0, 0] = 1
    material = b.add("materials", pbrMetallicRoughness={"baseColorFactor": [0.9, 0.4, 0.1, 1]})
    primitive = {
        "attributes": {
            "POSITION": b.add_array(BOX), "JOINTS_0": b.add_array(joints, "u1"),
            "WEIGHTS_0": b.add_array(share),
        },
        "indices": b.add_array(BOX_TRIANGLES.reshape(-1), "u2"),
        "targets": [{"POSITION": b.add_array(wide)}], "material": material,
    }  # fmt: skip
    mesh = b.add("meshes", primitives=[primitive], weights=[0.25])
    bind = np.stack([np.eye(4), np.eye(4)])
    bind[1, 1, 3] = -1
    inverse = b.add_array(bind.transpose(0, 2, 1).reshape(2, 16))
    skin = b.add("skins", joints=[1, 2], inverseBindMatrices=inverse)
    b.add("nodes", name="root", children=[1, 3], **(root or {}))
    b.add("nodes", name="lower", children=[2])
    b.add("nodes", name="upper", translation=[0, 1, 0])
    b.add("nodes", name="box", mesh=mesh, skin=skin, translation=[9, 9, 9])
    b.add("scenes", nodes=[0])
    b.json["scene"] = 0
    if clips:
        b.add_clip(
            (2, "rotation", [0, 1], [turn([0, 0, 1], 0), turn([0, 0, 1], 90)]),
            (3, "weights", [0, 1], [[0.0], [1.0]]),
            name="Rig|Bend_Over",
        )
    return b


def sheet(colour=(1, 1, 1, 1), texture=None, uv=None, material=None, tint=None, z=0.0, b=None):
    """A unit square in the plane z facing +z (the front), moved a little by a clip so that it is an
    animated asset; optionally with a PNG as texture, vertex colours or further material entries."""
    b = b or Builder()
    corners = np.array([[-1, -1, z], [1, -1, z], [1, 1, z], [-1, 1, z]], "f4")
    surface = {"baseColorFactor": list(colour)}
    attributes = {"POSITION": b.add_array(corners)}
    if texture is not None:
        image = b.add("images", bufferView=b.add_view(texture), mimeType="image/png")
        surface["baseColorTexture"] = {"index": b.add("textures", source=image)}
        places = [[0, 1], [1, 1], [1, 0], [0, 0]] if uv is None else uv
        attributes["TEXCOORD_0"] = b.add_array(places)
    if tint is not None:
        attributes["COLOR_0"] = b.add_array(tint)
    extra = {"extensions": {"KHR_materials_unlit": {}}, **(material or {})}
    number = b.add("materials", pbrMetallicRoughness=surface, **extra)
    triangles = b.add_array([0, 1, 2, 0, 2, 3], "u2")
    primitive = {"attributes": attributes, "indices": triangles, "material": number}
    node = b.add("nodes", mesh=b.add("meshes", primitives=[primitive]))
    b.json.setdefault("scenes", [{"nodes": []}])[0]["nodes"].append(node)
    if node == 0:
        b.add_clip((0, "translation", [0, 1], [[0, 0, 0], [0, 0, 0.001]]))
    return b


def saved(tmp_path, content, name="a.glb"):
    """The path of a file of a ``Builder``, or of bytes."""
    path = tmp_path / name
    path.write_bytes(content.glb() if isinstance(content, Builder) else content)
    return path


def png(image):
    """An image [H, W, 3 or 4] as a PNG file's bytes."""
    return cv2.imencode(".png", image)[1].tobytes()


def vertices(asset, time, clip=0):
    """World positions of all vertices of the first mesh node."""
    pose = pose_at(asset, asset.clips[clip] if asset.clips else None, time)
    node = next(i for i, n in enumerate(asset.nodes) if n.mesh is not None)
    return posed_vertices(asset, node, asset.meshes[asset.nodes[node].mesh].primitives[0], pose)[0]
