"""glTF files: what animations, skins and morph targets mean, and that hostile files are refused."""

import json
import time

import cv2
import numpy as np
import pytest

from fourreal.errors import UserError
from gen.data.gltf import asset as asset_module
from gen.data.gltf import container
from gen.data.gltf.accessors import Accessors
from gen.data.gltf.animation import Channel, slerp
from gen.data.gltf.asset import load_asset
from gen.data.gltf.container import Document, read_document
from gen.data.gltf.fields import MalformedGltf
from gen.data.gltf.pose import compose, pose_at, posed_vertices
from tests.gen.data.tiny_gltf import BOX, Builder, bent_box, pack_glb, sheet, turn


def saved(tmp_path, content, name="a.glb"):
    path = tmp_path / name
    path.write_bytes(content.glb() if isinstance(content, Builder) else content)
    return path


def vertices(asset, time, clip=0):
    """World positions of all vertices of the first mesh node."""
    pose = pose_at(asset, asset.clips[clip] if asset.clips else None, time)
    node = next(i for i, n in enumerate(asset.nodes) if n.mesh is not None)
    return posed_vertices(asset, node, asset.meshes[asset.nodes[node].mesh].primitives[0], pose)[0]


def channel(path, times, values, kind="LINEAR"):
    return Channel(0, path, np.array(times, "f4"), np.array(values, "f4"), kind)


# ---- interpolation


def test_linear_step_and_clamping():
    linear = channel("translation", [1, 2, 4], [[0, 0, 0], [2, 4, 6], [2, 4, 8]])
    assert np.allclose(linear.at(1.25), [0.5, 1, 1.5]) and np.allclose(linear.at(3), [2, 4, 7])
    assert np.allclose(linear.at(-5), 0) and np.allclose(linear.at(99), [2, 4, 8])
    step = channel("scale", [0, 1], [[1, 1, 1], [2, 2, 2]], "STEP")
    assert step.at(0.999)[0] == 1 and step.at(1.0)[0] == 2 and step.at(-1)[0] == 1


def test_cubic_spline_reproduces_a_cubic():
    """With a cubic's own derivatives as tangents the spline is that cubic, for any key spacing."""
    times = np.array([0.0, 0.5, 2.0])
    f, df = (lambda t: t**3 - 2 * t + 1), (lambda t: 3 * t**2 - 2)
    keys = [[[df(t)] * 3, [f(t)] * 3, [df(t)] * 3] for t in times]
    spline = channel("translation", times, keys, "CUBICSPLINE")
    for t in (0.1, 0.4, 0.7, 1.9):
        assert np.allclose(spline.at(t), f(t), atol=1e-5)
    assert np.allclose(spline.at(-1), f(0)) and np.allclose(spline.at(9), f(2))


def test_slerp_is_a_rotation_at_constant_speed_along_the_shorter_arc():
    a, b = np.array(turn([0, 0, 1], 10)), np.array(turn([0, 0, 1], 110))
    for s in (0, 0.25, 0.5, 1):
        assert np.allclose(slerp(a, b, s), turn([0, 0, 1], 10 + 100 * s))
        assert np.allclose(slerp(a, -b, s), turn([0, 0, 1], 10 + 100 * s))  # the same rotation
    near = np.array(turn([0, 0, 1], 10.000001))
    assert np.allclose(np.linalg.norm(slerp(a, near, 0.5)), 1)
    assert np.allclose(slerp(a, np.zeros(4), 0.0), a)  # a damaged quaternion stays finite


def test_cubic_rotations_have_unit_length():
    keys = [[[0] * 4, turn([1, 0, 0], 0), [0.5] * 4], [[0.5] * 4, turn([1, 0, 0], 170), [0] * 4]]
    rotation = channel("rotation", [0, 1], keys, "CUBICSPLINE")
    lengths = [np.linalg.norm(rotation.at(t)) for t in np.linspace(-0.5, 1.5, 9)]
    assert np.allclose(lengths, 1)


# ---- poses


def test_skinned_box_bends_as_computed_by_hand(tmp_path):
    asset = load_asset(saved(tmp_path, bent_box()))
    for t, angle in ((0.0, 0.0), (0.5, np.pi / 4), (1.0, np.pi / 2), (7.0, np.pi / 2)):
        rest = BOX.astype(float)
        rest[rest[:, 0] > 0, 0] += min(t, 1)  # the morph target
        c, s = np.cos(angle), np.sin(angle)
        turned = rest - [0, 1, 0]
        turned = turned @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T + [0, 1, 0]
        share = np.repeat([0, 0.5, 1], 4)[:, None]
        assert np.allclose(vertices(asset, t), (1 - share) * rest + share * turned, atol=1e-6)
    top = vertices(asset, 1.0)[8:]
    assert np.allclose(top[:, 0], -1)  # the lid lies in the plane x = -1 now


def test_a_skinned_mesh_ignores_its_own_node_but_follows_the_joints_parents(tmp_path):
    still = load_asset(saved(tmp_path, bent_box()))
    moved = load_asset(saved(tmp_path, bent_box({"translation": [0, 0, 5], "scale": [2, 2, 2]})))
    assert np.allclose(vertices(moved, 0.3), vertices(still, 0.3) * 2 + [0, 0, 5])


def test_morph_weights_come_from_clip_then_node_then_mesh(tmp_path):
    def width(b):
        return np.ptp(vertices(load_asset(saved(tmp_path, b)), 0.0)[:, 0])

    assert np.isclose(width(bent_box(clips=False)), 1.25)
    b = bent_box(clips=False)
    b.json["nodes"][3]["weights"] = [0.5]
    assert np.isclose(width(b), 1.5)
    b.add_clip((3, "weights", [0, 1], [[0.75], [1.0]]))
    assert np.isclose(width(b), 1.75)


def test_two_morph_targets_with_cubic_weights(tmp_path):
    b = bent_box(clips=False)
    primitive = b.json["meshes"][0]["primitives"][0]
    taller = np.zeros_like(BOX)
    taller[:, 1] = BOX[:, 1]
    primitive["targets"].append({"POSITION": b.add_array(taller)})
    b.json["meshes"][0]["weights"] = [0, 0]
    zero = [[0.0], [0.0]]
    keys = [zero, [[0.0], [1.0]], zero, zero, [[1.0], [0.0]], zero]  # in, value, out per key
    b.add_clip((3, "weights", [0, 1], keys, "CUBICSPLINE"))
    asset = load_asset(saved(tmp_path, b))
    spread = [np.ptp(vertices(asset, t), axis=0)[:2] for t in (0, 0.5, 1)]
    assert np.allclose(spread, [[1, 4], [1.5, 3], [2, 2]])


def test_channel_defaults_matrix_nodes_and_hierarchy(tmp_path):
    b = Builder()
    mesh = b.add("meshes", primitives=[{"attributes": {"POSITION": b.add_array(np.eye(3))}}])
    matrix = compose(np.array([1.0, 2, 3]), np.array(turn([0, 1, 0], 90)), np.ones(3))
    b.add("nodes", matrix=matrix.T.reshape(-1).tolist(), children=[1])
    b.add("nodes", translation=[0, 0, 4], scale=[2, 2, 2], mesh=mesh)
    b.add_clip((1, "rotation", [0, 1], [turn([1, 0, 0], 0), turn([1, 0, 0], 180)]))
    asset = load_asset(saved(tmp_path, b))
    child = compose(np.array([0, 0, 4.0]), np.array(turn([1, 0, 0], 90)), np.full(3, 2.0))
    expected = (matrix @ child @ np.c_[np.eye(3), np.ones(3)].T).T[:, :3]
    assert np.allclose(vertices(asset, 0.5), expected)  # translation and scale stay the node's


def test_several_skins_meshes_and_scenes(tmp_path):
    b = bent_box()
    second = b.add("skins", joints=[2, 1])  # the other order, no bind matrices: identity
    mesh = b.add("meshes", primitives=b.json["meshes"][0]["primitives"], weights=[0])
    b.add("nodes", mesh=mesh, skin=second)
    b.add("scenes", nodes=[4])
    asset = load_asset(saved(tmp_path, b))
    assert asset.members(0) == (0, 1, 3, 2) and asset.members(1) == (4,)
    pose = pose_at(asset, asset.clips[0], 1.0)
    out, _ = posed_vertices(asset, 4, asset.meshes[1].primitives[0], pose)
    quarter = compose(np.array([0, 1.0, 0]), np.array(turn([0, 0, 1], 90)), np.ones(3))
    assert np.allclose(out[:4], BOX[:4] @ quarter[:3, :3].T + quarter[:3, 3])
    assert np.allclose(out[8:], BOX[8:])


def test_normals_stay_perpendicular_under_uneven_scale_and_mirroring(tmp_path):
    b = Builder()
    corners = np.array([[0, 0, 0], [1, 0, 1], [0, 1, 1]], "f4")
    normal = np.cross(corners[1], corners[2])
    attributes = {"POSITION": b.add_array(corners), "NORMAL": b.add_array([normal] * 3)}
    mesh = b.add("meshes", primitives=[{"attributes": attributes}])
    b.add("nodes", mesh=mesh, scale=[-3, 1, 0.5], rotation=turn([1, 2, 3], 50))
    asset = load_asset(saved(tmp_path, b))
    p, n = posed_vertices(asset, 0, asset.meshes[0].primitives[0], pose_at(asset, None, 0))
    assert np.allclose(n @ (p[1] - p[0]), 0) and np.allclose(np.linalg.norm(n, axis=1), 1)
    across = np.cross(p[1] - p[0], p[2] - p[0])
    assert (n @ across < 0).all()  # a mirrored shape turns its corners round, not its outside


def test_eight_influences_and_unnormalised_weights(tmp_path):
    b = bent_box()
    attributes = b.json["meshes"][0]["primitives"][0]["attributes"]
    attributes["JOINTS_1"] = b.add_array(np.ones((12, 4)), "u2")
    attributes["WEIGHTS_1"] = b.add_array(np.tile([3.0, 0, 0, 0], (12, 1)))
    asset = load_asset(saved(tmp_path, b))
    primitive = asset.meshes[0].primitives[0]
    assert primitive.joints.shape == (12, 8) and np.allclose(primitive.influences.sum(1), 1)
    assert np.isclose(primitive.influences[0, 4], 0.75)  # 3 of 1 + 3


# ---- arrays


def accessor(b, number):
    return Accessors(Document("x", None, b.document(), [b.data]))


def test_sparse_strided_and_normalised_accessors():
    b = Builder()
    view = b.add_view(np.arange(24, dtype="u2").tobytes(), byteStride=8)  # 6 rows, 3 used of 4
    strided = b.add("accessors", bufferView=view, count=5, type="VEC3", componentType=5123,
                    byteOffset=2)  # fmt: skip
    signed = b.add_array([[-128, 127, 0]], "i1", normalized=True)
    unsigned = b.add_array([[0, 255, 51]], "u1", normalized=True)
    spots = b.add_view(np.array([1, 3], "u1").tobytes())
    values = b.add_view(np.array([[1, 2], [3, 4]], "f4").tobytes())
    sparse = {"count": 2, "indices": {"bufferView": spots, "componentType": 5121},
              "values": {"bufferView": values}}  # fmt: skip
    over_zeros = b.add("accessors", count=4, type="VEC2", componentType=5126, sparse=sparse)
    read = accessor(b, 0)
    rows = np.arange(24).reshape(6, 4)[:5, 1:]
    assert np.array_equal(read.floats(strided, (3,)), rows)
    assert np.array_equal(read.integers(strided, 3), rows)
    assert np.allclose(read.floats(signed, (3,)), [[-1, 1, 0]])
    assert np.allclose(read.floats(unsigned, (3,)), [[0, 1, 0.2]])
    assert np.allclose(read.floats(over_zeros, (2,)), [[0, 0], [1, 2], [0, 0], [3, 4]])
    with pytest.raises(MalformedGltf, match="components"):
        read.floats(over_zeros, (3,))


def test_strips_and_fans_are_the_same_surface_as_lists(tmp_path):
    def triangles(mode, order):
        b = Builder()
        primitive = {"attributes": {"POSITION": b.add_array(np.arange(15).reshape(5, 3))},
                     "mode": mode, "indices": b.add_array(order, "u1")}  # fmt: skip
        b.add("meshes", primitives=[primitive])
        b.add("nodes", mesh=0)
        return load_asset(saved(tmp_path, b)).meshes[0].primitives[0].triangles.tolist()

    assert triangles(5, [0, 1, 2, 3]) == triangles(4, [0, 1, 2, 1, 3, 2])
    assert triangles(6, [0, 1, 2, 3]) == triangles(4, [0, 1, 2, 0, 2, 3])


def test_texture_transform_follows_the_extension(tmp_path):
    """offset, then rotation, then scale, as the matrices of KHR_texture_transform multiply."""
    b = sheet(texture=png(np.zeros((1, 1, 3), np.uint8)))
    place = b.json["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]
    change = {"offset": [0.5, 0.25], "rotation": np.pi / 2, "scale": [2, 4]}
    place["extensions"] = {"KHR_texture_transform": change}
    uv = load_asset(saved(tmp_path, b)).meshes[0].primitives[0].colour_uv
    # (u, v) -> scaled (2u, 4v) -> turned: (x, y) -> (y, -x) -> moved
    assert np.allclose(uv, [[0.5 + 4, 0.25], [0.5 + 4, 0.25 - 2], [0.5, 0.25 - 2], [0.5, 0.25]])


def png(image):
    return cv2.imencode(".png", image)[1].tobytes()


def test_glb_gltf_and_external_buffers_are_the_same(tmp_path):
    b = bent_box()
    one = load_asset(saved(tmp_path, b))
    two = load_asset(saved(tmp_path, b.gltf(), "b.gltf"))
    (tmp_path / "data dir").mkdir()
    (tmp_path / "data dir" / "x.bin").write_bytes(b.data)
    three = load_asset(saved(tmp_path, b.gltf("data%20dir/x.bin"), "c.gltf"))
    for other in (two, three):
        assert np.array_equal(vertices(one, 0.4), vertices(other, 0.4))


# ---- untrusted files


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
