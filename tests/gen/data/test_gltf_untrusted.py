"""glTF files from anywhere: hostile and broken ones are refused in one line, at little cost."""

import json
import time

import numpy as np
import pytest

from fourreal.errors import UserError
from gen.data.gltf import asset as asset_module
from gen.data.gltf import container
from gen.data.gltf.asset import load_asset
from gen.data.gltf.container import read_document
from gen.data.gltf.fields import MalformedGltf
from tests.gen.data.tiny_gltf import Builder, bent_box, pack_glb, png, saved, sheet, vertices


def test_only_files_beside_the_asset_are_opened(tmp_path):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bent_box().data)
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "link.bin").symlink_to(secret)
    tries = (
        "../secret.bin", "%2e%2e/secret.bin", str(secret), f"file://{secret}", "..\\secret.bin",
        "http://127.0.0.1:9/x.bin", "//host/x.bin", "link.bin", "C:\\x.bin", "a\0b", "x" * 5000,
        "data:text/plain,abc", "data:;base64,@@@", "missing.bin", ".",
    )  # fmt: skip
    for uri in tries:
        with pytest.raises(UserError, match="cannot be used") as caught:
            load_asset(saved(inner, bent_box().gltf(uri), "a.gltf"))
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def broken_documents():
    """Names of mutations and what they do to a good document."""

    def put(*path_value):
        *path, value = path_value

        def change(d):
            for key in path[:-1]:
                d = d[key]
            d[path[-1]] = value

        return change

    primitive = ("meshes", 0, "primitives", 0)
    big = 2**33
    return {
        "two parents": put("nodes", 1, "children", [2, 3]),
        "loop": put("nodes", 2, "children", [1]),
        "self": put("nodes", 0, "children", [0]),
        "child": put("nodes", 0, "children", [77]),
        "negative child": put("nodes", 0, "children", [-1]),
        "huge count": put("accessors", 0, "count", big),
        "zero count": put("accessors", 0, "count", 0),
        "text count": put("accessors", 0, "count", "12"),
        "float count": put("accessors", 0, "count", 11.5),
        "component": put("accessors", 0, "componentType", 5130),
        "list type": put("accessors", 0, "type", ["VEC3"]),
        "offset": put("accessors", 0, "byteOffset", 10**9),
        "no view": put("accessors", 0, "bufferView", 999),
        "view end": put("bufferViews", 0, "byteLength", big),
        "stride": put("bufferViews", 0, "byteStride", 1),
        "buffer": put("bufferViews", 0, "buffer", 5),
        "buffers": put("buffers", [{"byteLength": 10**9}]),
        "joint": put(*primitive, "attributes", "JOINTS_0", 0),
        "weights": put(*primitive, "attributes", "WEIGHTS_0", 7),
        "material": put(*primitive, "material", 3),
        "mode": put(*primitive, "mode", 9),
        "targets": put(*primitive, "targets", {"a": 1}),
        "positions": put(*primitive, "attributes", "POSITION", 5),
        "mesh weights": put("meshes", 0, "weights", [1, 2, 3]),
        "skin": put("nodes", 3, "skin", 4),
        "no joints": put("skins", 0, "joints", []),
        "bind": put("skins", 0, "inverseBindMatrices", 0),
        "scene": put("scene", 8),
        "scene nodes": put("scenes", 0, "nodes", [99]),
        "matrix": put("nodes", 0, "matrix", [1, 2]),
        "rotation": put("nodes", 0, "rotation", [0, 0, None, 1]),
        "bool": put("nodes", 0, "translation", [True, 0, 0]),
        "far": put("nodes", 0, "translation", [10**400, 0, 0]),
        "version": put("asset", "version", "1.0"),
        "no asset": put("asset", []),
        "nodes": put("nodes", {"0": {}}),
        "node": put("nodes", 0, "box"),
        "draco": put("extensionsRequired", ["KHR_draco_mesh_compression"]),
        "sampler": put("animations", 0, "channels", 0, "sampler", 9),
        "target node": put("animations", 0, "channels", 0, "target", "node", 9),
        "interpolation": put("animations", 0, "samplers", 0, "interpolation", "SPLINE"),
        "keys": put("animations", 0, "samplers", 0, "interpolation", "CUBICSPLINE"),
        "output": put("animations", 0, "samplers", 0, "output", 0),
    }


@pytest.mark.parametrize("name", broken_documents())
def test_broken_documents_give_one_line(tmp_path, name):
    b = bent_box()
    document = json.loads(json.dumps(b.document()))
    broken_documents()[name](document)
    with pytest.raises(UserError, match="a.glb cannot be used: ") as caught:
        load_asset(saved(tmp_path, pack_glb(document, b.data)))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_small_files_cannot_ask_for_much_memory(tmp_path):
    b = Builder()
    huge = b.add("accessors", count=10**8, type="VEC3", componentType=5126)  # zeros, no bytes
    b.add("meshes", primitives=[{"attributes": {"POSITION": huge}}])
    some = b.add("accessors", count=10**6, type="VEC3", componentType=5126)
    many = Builder()
    many.json = json.loads(json.dumps(b.json))
    many.json["meshes"] = [{"primitives": [{"attributes": {"POSITION": some}}] * 5000}]
    for document in (b, many):
        with pytest.raises(UserError, match="vertices"):
            load_asset(saved(tmp_path, document))
    picture = Builder()
    header = png(np.zeros((1, 1, 3), np.uint8))
    bomb = header[:16] + (60000).to_bytes(4, "big") * 2 + header[24:]
    picture = sheet(texture=bomb)
    with pytest.raises(UserError, match="too large|decoded"):
        load_asset(saved(tmp_path, picture))


def test_cut_and_scrambled_files_give_one_line_quickly(tmp_path):
    """Any prefix, and any file with bytes changed, either loads or is a UserError."""
    whole = bent_box().glb()
    rng = np.random.default_rng(0)
    broken = [whole[:n] for n in range(0, len(whole), 97)]
    for _ in range(250):
        scrambled = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 6)):
            scrambled[place] = rng.integers(256)
        broken.append(bytes(scrambled))
    broken += [b"", b"glTF", b"{", b"[" * 100_000, b"\xff\xfe{}", b'{"asset":NaN}', b"null"]
    start, refused = time.perf_counter(), 0
    for content in broken:
        try:
            asset = load_asset(saved(tmp_path, content))
            with np.errstate(all="ignore"):
                vertices(asset, 0.5)
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
        except StopIteration:  # it lost its mesh, which the format allows
            pass
    assert refused > 60 and time.perf_counter() - start < 60


def test_what_all_parts_add_up_to_is_limited(tmp_path, monkeypatch):
    picture = sheet(texture=png(np.zeros((64, 64, 3), np.uint8)))
    monkeypatch.setattr(asset_module, "MAX_PICTURE_BYTES", 64 * 64 * 4)
    load_asset(saved(tmp_path, picture))
    monkeypatch.setattr(asset_module, "MAX_PICTURE_BYTES", 64 * 64 * 4 - 1)
    with pytest.raises(UserError, match="pictures exceed"):
        load_asset(saved(tmp_path, picture))
    crowd = sheet()
    for _ in range(9):
        crowd.add("nodes", mesh=0)
    monkeypatch.setattr(asset_module, "MAX_PRIMITIVES", 10)
    load_asset(saved(tmp_path, crowd))
    crowd.add("nodes", mesh=0)
    with pytest.raises(UserError, match="more than 10 primitives"):
        load_asset(saved(tmp_path, crowd))
    monkeypatch.setattr(asset_module, "MAX_VERTICES", 43)
    with pytest.raises(UserError, match="more than 43 vertices"):
        load_asset(saved(tmp_path, crowd))


def test_missing_pictures_are_drawn_without_and_files_are_limited(tmp_path, monkeypatch):
    b = sheet(texture=png(np.zeros((1, 1, 3), np.uint8)))
    b.json["images"][0] = {"uri": "gone.png"}
    asset = load_asset(saved(tmp_path, b))
    assert "gone.png" in asset.notes[0] and asset.images[0].tolist() == [[[255] * 4]]
    monkeypatch.setattr(container, "MAX_FILE_BYTES", 100)
    with pytest.raises(MalformedGltf, match="larger"):
        read_document(saved(tmp_path, b))
    with pytest.raises(UserError, match="no such asset"):
        load_asset(tmp_path / "nothing.glb")
