"""glTF files: what animations, skins and morph targets mean."""

import numpy as np
import pytest

from gen.data.gltf.accessors import Accessors
from gen.data.gltf.animation import Channel, slerp
from gen.data.gltf.asset import load_asset
from gen.data.gltf.container import Document
from gen.data.gltf.fields import MalformedGltf
from gen.data.gltf.pose import compose, pose_at, posed_vertices
from tests.gen.data.tiny_gltf import BOX, Builder, bent_box, png, saved, sheet, turn, vertices


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


def test_glb_gltf_and_external_buffers_are_the_same(tmp_path):
    b = bent_box()
    one = load_asset(saved(tmp_path, b))
    two = load_asset(saved(tmp_path, b.gltf(), "b.gltf"))
    (tmp_path / "data dir").mkdir()
    (tmp_path / "data dir" / "x.bin").write_bytes(b.data)
    three = load_asset(saved(tmp_path, b.gltf("data%20dir/x.bin"), "c.gltf"))
    for other in (two, three):
        assert np.array_equal(vertices(one, 0.4), vertices(other, 0.4))
