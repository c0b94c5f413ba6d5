"""Assets in the world of the cameras, without drawing: placement, cameras, tracks, names."""

import json
from pathlib import Path

import numpy as np
import pytest

from fourreal import cameras
from fourreal.errors import UserError
from gen.data.assets.bake import Placement, bake, zup
from gen.data.assets.batch import (
    Chance,
    caption,
    choose_clips,
    find_assets,
    is_done,
    scene_name,
    words,
)
from gen.data.assets.cameras import Circle, circle_cameras, directions, intrinsics
from gen.data.assets.check import track_distance
from gen.data.assets.grid import AssetShot, clip_times
from gen.data.assets.tracks import SurfacePoints, follow, sample_surface, visible_from
from gen.data.gltf.asset import load_asset
from tests.gen.data.tiny_gltf import Builder, bent_box, turn

TIMES = np.array([0.0, 0.4, 1.0])


def asset_of(tmp_path, builder, name="box.glb"):
    (tmp_path / name).write_bytes(builder.glb())
    return load_asset(tmp_path / name)


def baked_box(tmp_path, root=None, **options):
    asset = asset_of(tmp_path, bent_box(root))
    return bake(asset, asset.clips[0], TIMES, **options)


def test_the_whole_motion_is_centred_in_the_unit_sphere(tmp_path):
    baked = baked_box(tmp_path, {"translation": [40, -7, 3], "scale": [13, 13, 13]})
    p = baked.parts[0].positions
    assert np.isclose(np.linalg.norm(p, axis=-1).max(), 1, atol=1e-5)
    assert np.allclose(p.min((0, 1)) + p.max((0, 1)), 0, atol=1e-5)
    assert np.array_equal(zup(np.array([[1, 2, 3]])), [[1, -3, 2]])  # up is z, the front is -y


def test_moving_the_root_moves_everything_rigidly(tmp_path):
    """A root rotation and translation carry the tracks along: exactly R x + t at every time."""
    at = Placement((0.0, 0.0, 0.0), 1.0)
    q, shift = turn([1, 2, 3], 77), np.array([3.0, -1.0, 2.0])
    still = baked_box(tmp_path, placement=at)
    moved = baked_box(tmp_path, {"rotation": q, "translation": shift.tolist()}, placement=at)
    a = sample_surface(still, 500, np.random.default_rng(5))
    b = sample_surface(moved, 500, np.random.default_rng(5))
    x, y, z, w = q
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    to_zup = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    R = to_zup @ (np.eye(3) + 2 * w * skew + 2 * skew @ skew) @ to_zup.T
    assert np.allclose(b.xyz, a.xyz @ R.T + to_zup @ shift, atol=1e-5)
    assert np.allclose(b.normals, a.normals @ R.T, atol=1e-5)
    assert not np.allclose(a.xyz[0], a.xyz[2], atol=0.1)  # and the clip itself moves them


def test_sampled_points_lie_on_the_surface_evenly(tmp_path):
    b = Builder()
    big = np.array([[0, 0, 0], [3, 0, 0], [0, 3, 0], [9, 0, 0], [10, 0, 0], [9, 1, 0]], "f4")
    mesh = b.add("meshes", primitives=[{"attributes": {"POSITION": b.add_array(big)}}])
    b.add("nodes", mesh=mesh)
    asset = asset_of(tmp_path, b)
    baked = bake(asset, None, np.zeros(1), placement=Placement((0.0, 0.0, 0.0), 1.0))
    points = sample_surface(baked, 4000, np.random.default_rng(0))
    x, _, z = points.xyz[0].T
    assert np.allclose(points.xyz[0][:, 1], 0) and (z >= -1e-5).all()
    assert abs((x > 5).mean() - 0.1) < 0.02  # areas 4.5 and 0.5
    assert abs(x[x < 5].mean() - 1) < 0.05  # the centroid: even inside a triangle too
    assert track_distance(baked, points.xyz[:, :200]).max() < 1e-5


def test_cameras_stand_on_the_circle_and_see_everything(tmp_path):
    baked = baked_box(tmp_path)
    circle = Circle(azimuth=20, arc=60, elevation=15, margin=0.1)
    K = intrinsics(circle, 90, 160)
    w2c = circle_cameras(circle, baked.points(), K, 90, 160, 7, 2)
    centres = cameras.camera_centres(w2c)
    distance = np.linalg.norm(centres, axis=1)
    assert np.allclose(distance, distance[0]) and np.allclose(w2c[:, :2, 3], 0, atol=1e-9)
    height = np.degrees(np.arcsin(centres[:, 2] / distance))
    assert np.allclose(height, [15] * 7 + [19, 11])
    angle = np.degrees(np.arctan2(centres[:, 1], centres[:, 0]))
    assert np.allclose(angle[:7], np.arange(-100, -30, 10))  # the front, -90 degrees, plus 20 +- 30
    assert np.allclose((angle[7:] + 100) % 10, 5)
    spread = 0
    for camera in w2c:
        uv, z = cameras.project(cameras.transform(camera, baked.points()), K)
        assert (z > 0).all()
        spread = max(spread, (np.abs(uv - [80, 45]) / [80, 45]).max())
    assert 0.899 < spread < 0.901  # as close as the margin allows
    around = directions(Circle(arc=360), 8)
    assert len(np.unique(around.round(6), axis=0)) == 8  # a full circle repeats no view


def test_frame_times_leave_out_the_loops_end(tmp_path):
    clip = asset_of(tmp_path, bent_box()).clips[0]
    assert np.allclose(clip_times(clip, AssetShot(times=4)), [0, 0.25, 0.5, 0.75])
    some = clip_times(clip, AssetShot(times=4, heldout_times=1, seconds=0.5))
    assert np.allclose(some, [0, 0.125, 0.25, 0.375, 0.1875])


def test_visibility_follows_the_depth_map():
    """A point is visible up to its own surface and not behind another one, or outside."""
    K = np.array([[50.0, 0, 20], [0, 50, 10], [0, 0, 1]])
    depth = np.full((20, 40), 5.0, np.float32)
    depth[:, :10] = 2.0
    ray = np.array([[-0.3, 0, 1], [-0.3, 0, 1], [0.2, 0, 1], [0.2, 0, 1], [0.9, 0, 1]])
    xyz = (ray * np.array([[2.0], [5], [5], [6], [5]]))[None].astype("f4")
    normals = np.tile(np.array([0, 0, -1.0], "f4"), (1, 5, 1))
    points = SurfacePoints(xyz, normals)
    visible = visible_from(points, 0, depth, np.eye(4), K)
    assert visible.tolist() == [True, False, True, False, False]
    tracks = follow(points, visible[None, None], np.eye(4)[None], K, 3)
    assert tracks["visible"][0, 0].tolist() == [True, True, False]
    assert np.allclose(tracks["xyz"][0, :2], xyz[0][[0, 2]])  # those that are seen come first
    uv, z = cameras.project(tracks["xyz"][0], K)
    assert np.allclose(tracks["uv"][0, 0], uv, atol=1e-4) and np.allclose(tracks["z"][0, 0], z)


@pytest.mark.parametrize("facing", [1, -1])
def test_a_slanted_surface_does_not_hide_itself(facing):
    """Points of a plane seen at 84 degrees, whose depth changes by 0.2 across a pixel."""
    K = np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])
    normal = np.array([0, -np.sin(np.radians(84)), -np.cos(np.radians(84))])
    height = normal @ np.array([0, 0, 4.0])

    def on_plane(uv):
        ray = cameras.unproject(uv, np.ones(len(uv)), K)
        return ray * (height / (ray @ normal))[:, None]

    z = on_plane(cameras.pixel_grid(48, 64).reshape(-1, 2))[:, 2]
    depth = np.where(z > 0, z, np.inf).reshape(48, 64).astype("f4")
    xyz = on_plane(np.random.default_rng(1).uniform([4, 4], [60, 44], (400, 2)))
    xyz = xyz[(xyz[:, 2] > 1) & (xyz[:, 2] < 12)][None].astype("f4")
    normals = np.broadcast_to(facing * normal, xyz.shape).astype("f4")
    assert xyz.shape[1] > 100
    assert visible_from(SurfacePoints(xyz, normals), 0, depth, np.eye(4), K).mean() > 0.99


def test_clip_choice_names_and_captions(tmp_path):
    b = bent_box()
    b.add_clip((2, "translation", [0.5], [[0, 1, 0]]), name="Rig|Still")
    b.add_clip((2, "translation", [0, 2], [[0, 1, 0], [0, 2, 0]]), name="Rig|RunFast")
    b.add_clip((2, "translation", [0, 2], [[0, 1, 0], [0, 1, 0]]), name="Rig|Idle")
    asset = asset_of(tmp_path, b, "myBox.glb")
    names = [[c.name for c in choose_clips(asset, w)] for w in ("first", "all", "run", "idle")]
    moving = ["Rig|Bend_Over", "Rig|RunFast"]
    assert names == [moving[:1], moving, moving[1:], ["Rig|Idle"]]
    with pytest.raises(UserError, match="no clip like 'fly'; it has Rig|Bend_Over"):
        choose_clips(asset, "fly")
    with pytest.raises(UserError, match="no animation"):
        choose_clips(asset_of(tmp_path, bent_box(clips=False)), "all")
    clip = asset.clips[0]
    assert words("Rig|RunFast_2") == "run fast 2"
    assert caption(tmp_path / "myBox.glb", clip) == "my box, bend over"
    (tmp_path / "myBox.txt").write_text("a box that bends\nsecond line")
    assert caption(tmp_path / "myBox.glb", clip) == "a box that bends"
    assert scene_name(Path("a b/../x.glb"), clip) == "a-b_x_Bend-Over"
    assert find_assets(tmp_path) == [tmp_path / "box.glb", tmp_path / "myBox.glb"]
    with pytest.raises(UserError, match="no .glb"):
        find_assets(tmp_path / "nowhere")


def test_chance_depends_on_seed_and_name_only():
    shot = AssetShot()
    a, again = (Chance(1, True, True).apply(shot, "x") for _ in range(2))
    others = [Chance(2, True, True).apply(shot, "x"), Chance(1, True, True).apply(shot, "y")]
    assert a == again and all(o.circle.azimuth != a.circle.azimuth for o in others)
    assert a.background != (1, 1, 1) and len({o.background for o in [a, *others]}) == 3
    fixed = Chance(1, False, False).apply(shot, "x")
    assert (fixed.circle, fixed.background) == (shot.circle, shot.background)


def test_foreign_folders_are_refused(tmp_path):
    assert not is_done(tmp_path / "new", "k")
    (tmp_path / "scene").mkdir()
    assert not is_done(tmp_path / "scene", "k")
    (tmp_path / "scene" / "meta.json").write_text(json.dumps({"key": "k"}))
    assert is_done(tmp_path / "scene", "k") and not is_done(tmp_path / "scene", "other")
    (tmp_path / "scene" / "meta.json").write_text("[]")
    with pytest.raises(UserError, match="other files"):
        is_done(tmp_path / "scene", "k")


def test_nothing_to_draw_is_a_user_error(tmp_path):
    b = Builder()
    b.add("nodes")
    with pytest.raises(UserError, match="no triangles"):
        bake(asset_of(tmp_path, b), None, np.zeros(1))
    with pytest.raises(UserError, match="no usable extent"):
        baked_box(tmp_path, {"scale": [0, 0, 0]})
    with pytest.raises(UserError, match="no usable extent"):
        baked_box(tmp_path, {"scale": [1e300, 1e300, 1e300]})
