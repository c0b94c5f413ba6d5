"""Properties of the procedural world: determinism, geometry, tracks, framing."""

import dataclasses
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from fourreal import cameras
from fourreal.errors import UserError
from gen.data.world.grid import make_grid
from gen.data.world.motion import camera_path, intrinsics, object_poses
from gen.data.world.procedural import render
from gen.data.world.scene import (
    CAMERA_MOVES,
    HALF_HEIGHT,
    MOTIONS,
    SHAPES,
    Attributes,
    ObjectAttributes,
    attributes_of,
)
from gen.data.world.scene_sampling import sample_scenes
from gen.data.world.shapes import INTERSECT, LOCAL_BOX
from gen.data.world.tracks import track_points

H, W = 40, 64
ROOT = Path(__file__).resolve().parents[3]


def scenes_of(n=6, seed=0, **constraints):
    return sample_scenes(n, torch.Generator().manual_seed(seed), **constraints)


def test_scenes_are_a_function_of_the_seed():
    a, b, c = scenes_of(8), scenes_of(8), scenes_of(8, seed=1)
    for f in dataclasses.fields(a):
        assert torch.equal(getattr(a, f.name), getattr(b, f.name)), f.name
    assert not torch.equal(a.rgb, c.rgb)
    u, t = torch.linspace(0, 1, 2), torch.linspace(0, 1, 3)
    assert torch.equal(render(a, u, t, H, W).rgb, render(b, u, t, H, W).rgb)


def test_rows_columns_and_cells_equal_the_grid():
    scenes = scenes_of(3, seed=2)
    u, t = torch.linspace(0, 1, 4), torch.linspace(0, 1, 5)
    grid = render(scenes, u, t, H, W, want_depth=True)
    assert grid.rgb.shape == (3, 4, 5, H, W, 3) and grid.depth.shape == (3, 4, 5, H, W)
    assert grid.rgb.min() >= 0 and grid.rgb.max() <= 1
    row = render(scenes, u[2:3], t, H, W, want_depth=True)
    column = render(scenes, u, t[3:4], H, W)
    cell = render(scenes[1], u[2:3], t[3:4], H, W)
    torch.testing.assert_close(row.rgb, grid.rgb[:, 2:3], atol=1e-4, rtol=0)
    torch.testing.assert_close(row.depth, grid.depth[:, 2:3], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(column.rgb, grid.rgb[:, :, 3:4], atol=1e-4, rtol=0)
    torch.testing.assert_close(cell.rgb[0], grid.rgb[1, 2:3, 3:4], atol=1e-4, rtol=0)


def test_supersampling_smooths_and_leaves_depth_alone():
    scenes = scenes_of(2, seed=3)
    zero = torch.zeros(1)
    coarse = render(scenes, zero, zero, H, W, want_depth=True)
    fine = render(scenes, zero, zero, H, W, want_depth=True, samples=2)
    assert torch.equal(coarse.depth, fine.depth)
    assert (coarse.rgb - fine.rgb).abs().mean() < 0.05
    double = render(scenes, zero, zero, 2 * H, 2 * W).rgb[:, 0, 0].permute(0, 3, 1, 2)
    pooled = torch.nn.functional.avg_pool2d(double, 2).permute(0, 2, 3, 1)
    torch.testing.assert_close(pooled, fine.rgb[:, 0, 0], atol=1e-5, rtol=0)


def test_cameras_follow_opencv():
    scenes = scenes_of(20, seed=4)
    w2c = camera_path(scenes, torch.linspace(0, 1, 5).expand(20, -1)).double()
    R = w2c[..., :3, :3]
    eye3 = torch.eye(3, dtype=torch.float64).expand_as(R)
    torch.testing.assert_close(R @ R.mT, eye3, atol=1e-5, rtol=0)
    assert (torch.linalg.det(R) > 0.99).all()
    K = intrinsics(H, W).numpy().astype(np.float64)
    target = scenes.target[:, None].double().numpy()

    def pixel(point):
        cam = np.einsum("nvij,nvj->nvi", R.numpy(), np.broadcast_to(point, (20, 5, 3)))
        return cameras.project(cam + w2c[..., :3, 3].numpy(), K)

    uv, z = pixel(target)
    np.testing.assert_allclose(uv, np.broadcast_to([W / 2, H / 2], uv.shape), atol=1e-3)
    assert (z > 3).all()
    assert (pixel(target + [0, 0, 0.5])[0][..., 1] < uv[..., 1]).all()  # up is up
    assert (pixel(target + [0.5, 0, 0])[0][..., 0] > uv[..., 0]).all()  # +x is right
    assert (pixel(target + [0, 0.5, 0])[1] > z).all()  # +y is away


def test_camera_moves_do_what_they_say():
    for move in CAMERA_MOVES:
        scene = scenes_of(1, seed=5, camera_move=move)
        w2c = camera_path(scene, torch.tensor([[0.0, 1.0]]))[0].double().numpy()
        a, b = cameras.camera_centres(w2c)
        right = w2c[0, 0, :3]
        sideways = float((b - a) @ right)
        distance = np.linalg.norm(np.stack([a, b]) - scene.target[0].numpy(), axis=-1)
        told = {
            "arc_left": sideways < -1,
            "arc_right": sideways > 1,
            "rise": b[2] > a[2] + 1,
            "dolly_in": distance[1] < 0.85 * distance[0],
            "dolly_out": distance[1] > 1.15 * distance[0],
        }
        assert told[move], move


def test_depth_unprojects_onto_the_surfaces():
    shapes = torch.arange(len(SHAPES))
    scenes = sample_scenes(len(SHAPES), torch.Generator().manual_seed(6), count=1, motions="still")
    scenes.shape[:, 0] = shapes
    out = render(scenes, torch.zeros(1), torch.zeros(1), H, W, want_depth=True)
    poses = object_poses(scenes, torch.zeros(len(SHAPES), 1))
    ys, xs = np.mgrid[:H, :W] + 0.5
    pixels = np.stack([xs, ys], -1)
    for i, shape in enumerate(SHAPES):
        z = out.depth[i, 0, 0].double().numpy()
        w2c = out.w2c[i, 0].double().numpy()
        seen = np.isfinite(z)
        cam = cameras.unproject(pixels[seen], z[seen], out.K[i, 0].double().numpy())
        world = cameras.transform(np.linalg.inv(w2c), cam)
        on_floor = np.abs(world[:, 2]) < 1e-3
        assert on_floor.mean() > 0.3
        centre = poses.centre[i, 0, 0].numpy()
        R, s = poses.rotation[i, 0, 0].numpy(), float(poses.scale[i, 0, 0])
        local = (world[~on_floor] - centre) @ R / s
        assert (np.abs(local) <= np.array(LOCAL_BOX[i]) + 2e-2).all(), shape
        if shape == "sphere":
            np.testing.assert_allclose(np.linalg.norm(local, axis=1), 0.5, atol=2e-3)
        if shape == "cube":
            np.testing.assert_allclose(np.abs(local).max(1), LOCAL_BOX[i][0], atol=2e-3)


@pytest.mark.parametrize("index", range(len(SHAPES)), ids=SHAPES)
def test_hits_lie_on_the_ray_with_unit_normals_towards_it(index):
    g = torch.Generator().manual_seed(7)
    o = torch.nn.functional.normalize(torch.randn(3000, 3, generator=g), dim=-1) * 3
    d = (torch.rand(3000, 3, generator=g) - 0.5) - o
    t, *normal = INTERSECT[index](tuple(o.T), tuple(d.T))
    n = torch.stack(normal, -1)
    hit = t.isfinite()
    assert 0.1 < hit.float().mean() < 0.95
    torch.testing.assert_close(n[hit].norm(dim=-1), torch.ones(int(hit.sum())), atol=2e-2, rtol=0)
    assert ((n * d).sum(-1)[hit] < 2e-2).float().mean() > 0.995
    # A ray that starts just outside the hit point goes straight back out.
    p = o + t.where(hit, 0)[:, None] * d
    back = INTERSECT[index](tuple((p + 1e-2 * n)[hit].T), tuple(n[hit].T))[0]
    convex = SHAPES[index] != "torus"
    assert back.isinf().float().mean() > (0.99 if convex else 0.5)


def test_colours_agree_between_views():
    """Unproject view 0, project into view 1 at the same time: same depth, same colour."""
    scenes = scenes_of(4, seed=8, camera_move="arc_left")
    out = render(scenes, torch.tensor([0.4, 0.5]), torch.zeros(1), 144, 256, want_depth=True)
    ys, xs = np.mgrid[:144, :256] + 0.5
    for i in range(4):
        K = out.K[i].double().numpy()
        w2c = out.w2c[i].double().numpy()
        z = out.depth[i, 0, 0].double().numpy()
        seen = z < 8
        cam = cameras.unproject(np.stack([xs, ys], -1)[seen], z[seen], K[0])
        other = cameras.transform(w2c[1] @ np.linalg.inv(w2c[0]), cam)
        uv, z1 = cameras.project(other, K[1])
        px = np.floor(uv).astype(int)
        inside = (px >= 0).all(-1) & (px[:, 0] < 256) & (px[:, 1] < 144)
        px, z1 = px[inside], z1[inside]
        there = out.depth[i, 1, 0].numpy()[px[:, 1], px[:, 0]]
        visible = np.abs(there - z1) < 0.03 * z1
        assert visible.mean() > 0.85
        here = out.rgb[i, 0, 0].numpy()[seen][inside][visible]
        error = np.abs(here - out.rgb[i, 1, 0].numpy()[px[:, 1], px[:, 0]][visible])
        assert np.median(error) < 0.02 and error.mean() < 0.05


def test_tracks_lie_on_surfaces_and_move_with_them():
    scenes = scenes_of(6, seed=9)
    u, t = torch.linspace(0, 1, 3), torch.linspace(0, 1, 4)
    tracks = track_points(scenes, u, t, H, W, 200, torch.Generator().manual_seed(0))
    out = render(scenes, u, t, 6 * H, 6 * W, want_depth=True)
    assert tracks.visible[:, 0, 0].float().mean() > 0.98
    cam = torch.einsum("nvij,ntpj->nvtpi", out.w2c[..., :3, :3], tracks.xyz)
    cam = cam + out.w2c[:, :, None, None, :3, 3]
    torch.testing.assert_close(cam[..., 2], tracks.z, atol=1e-4, rtol=1e-4)
    px = (tracks.uv * 6).long()
    px[..., 0].clamp_(0, 6 * W - 1)
    px[..., 1].clamp_(0, 6 * H - 1)
    n, v, s = torch.meshgrid(torch.arange(6), torch.arange(3), torch.arange(4), indexing="ij")
    z = out.depth[n[..., None], v[..., None], s[..., None], px[..., 1], px[..., 0]]
    error = (z - tracks.z).abs()[tracks.visible]
    assert error.median() < 0.01 and (error < 0.06).float().mean() > 0.97
    hidden = ~tracks.visible & (tracks.uv > 0).all(-1) & (tracks.uv[..., 0] < W - 1)
    hidden &= tracks.uv[..., 1] < H - 1
    assert (z - tracks.z)[hidden].median() < 0  # something nearer is in front of them
    floor = tracks.surface == -1
    assert (tracks.xyz[..., 2].amax(1)[floor].abs() < 1e-4).all()
    still = (tracks.xyz - tracks.xyz[:, :1]).norm(dim=-1).amax(1)
    assert (still[floor] == 0).all() and still[~floor].max() > 0.2


def test_every_motion_is_large_and_stillness_is_still():
    times = torch.linspace(0, 1, 8)
    for motion in MOTIONS:
        scenes = scenes_of(4, seed=10, count=1, motions=motion)
        assert all(attributes_of(scenes, i).objects[0].motion == motion for i in range(4))
        poses = object_poses(scenes, times.expand(4, -1))
        travel = (poses.centre[:, :, 0] - poses.centre[:, :1, 0]).norm(dim=-1).amax(1)
        turn = (poses.rotation[:, :, 0] - poses.rotation[:, :1, 0]).flatten(-2).norm(dim=-1)
        zoom = (poses.scale[:, :, 0] / poses.scale[:, :1, 0]).log().abs().amax(1)
        size = torch.maximum(torch.maximum(travel, turn.amax(1)), zoom)
        assert (size < 1e-6).all() if motion == "still" else (size > 0.5).all(), motion
        rgb = render(scenes, torch.zeros(1), times, H, W).rgb[:, 0]
        change = (rgb - rgb[:, :1]).abs().amax((1, 2, 3, 4))
        assert (change == 0).all() if motion == "still" else (change > 0.1).all(), motion


def test_objects_stay_in_frame_stand_on_the_floor_and_keep_their_order():
    n = 400
    scenes = scenes_of(n, seed=11)
    w2c = camera_path(scenes, torch.linspace(0, 1, 3).expand(n, -1))
    poses = object_poses(scenes, torch.linspace(0, 1, 9).expand(n, -1))
    present = torch.arange(2) < scenes.count[:, None]
    cam = torch.einsum("nvij,ntoj->nvtoi", w2c[..., :3, :3], poses.centre)
    cam = cam + w2c[:, :, None, None, :3, 3]
    uv = cam[..., :2] / cam[..., 2:] * intrinsics(H, W)[0, 0] + torch.tensor([W / 2, H / 2])
    half = torch.tensor(HALF_HEIGHT)[scenes.shape]
    reach = half[:, None, None] * poses.scale[:, None] * intrinsics(H, W)[0, 0] / cam[..., 2]
    over = torch.stack([-uv[..., 0], uv[..., 0] - W, -uv[..., 1], uv[..., 1] - H], -1)
    over = (over + reach[..., None]).amax((1, 2, 4))[present]
    assert over.max() < 3 and (over > 0.5).float().mean() < 0.05
    bottom = (poses.centre[..., 2] - half[:, None] * poses.scale).amin(1)
    assert bottom.min() > -1e-4
    beside = (scenes.relation == 1)[:, None]
    first = uv[:, :, 0, :, 0]
    assert (first[..., 1] - first[..., 0] > 8)[beside.expand(-1, 3)].all()
    tall = 2 * reach[:, :, 0, 0][(scenes.count == 1) & (scenes.motion[:, 0] != 3)]
    assert 12 < tall.median() < 24


def test_attributes_fix_the_scene():
    wanted = Attributes(
        (ObjectAttributes("sphere", "red", "bounce"), ObjectAttributes("cube", "blue", "still")),
        relation="beside",
        floor="checkered",
        sky="sunset",
        camera_move="arc_right",
    )
    scenes = sample_scenes(
        3, torch.Generator().manual_seed(0), objects=wanted.objects, relation=wanted.relation,
        floor=wanted.floor, sky=wanted.sky, camera_move=wanted.camera_move,
    )  # fmt: skip
    assert [attributes_of(scenes, i) for i in range(3)] == [wanted] * 3
    free = sample_scenes(50, torch.Generator().manual_seed(0), floor=("plain", "grassy"), count=2)
    assert {attributes_of(free, i).floor for i in range(50)} == {"plain", "grassy"}
    for bad in (
        {"floor": "lava"},
        {"count": 3},
        {"objects": ()},
        {"objects": (ObjectAttributes("cube", "red", "roll_left"),)},
    ):
        with pytest.raises(ValueError):
            sample_scenes(1, torch.Generator(), **bad)
    with pytest.raises(ValueError, match="colour"):
        ObjectAttributes(colour="beige")
    with pytest.raises(ValueError, match="times"):
        render(scenes, torch.zeros(1), torch.zeros(2, 2), H, W)


def test_make_grid_is_a_complete_video_grid():
    grid, depth, tracks = make_grid(3, V=3, T=4, size=(24, 40), points=50)
    again, _, _ = make_grid(3, V=3, T=4, size=(24, 40), points=50)
    assert grid.complete and (grid.V, grid.T, grid.height, grid.width) == (3, 4, 24, 40)
    assert np.array_equal(grid.frames, again.frames) and grid.prompt == again.prompt
    assert depth.shape == (3, 4, 24, 40) and tracks["uv"].shape == (3, 4, 50, 2)
    uv, z = cameras.project(cameras.transform(grid.w2c[1], tracks["xyz"][2]), grid.K[1])
    np.testing.assert_allclose(uv, tracks["uv"][1, 2], atol=1e-3)
    np.testing.assert_allclose(z, tracks["z"][1, 2], atol=1e-4)


def test_render_script_writes_the_evaluation_layout(tmp_path):
    path = ROOT / "scripts/render_procedural.py"
    script = runpy.run_path(str(path))
    config = script["Config"](tmp_path, n=1, size="24x40", views=3, times=4, points=64)
    script["main"](config)
    folder = tmp_path / "scene000"
    cells = np.load(folder / "grid_24x40.npz")
    info = json.loads((folder / "cameras.json").read_text())
    assert cells["rgb"].shape == (5, len(info["frame_times"]), 24, 40, 3)
    assert cells["rgb"].dtype == np.uint8 and cells["depth_u16"].dtype == np.uint16
    assert info["input_views"] == [0, 1, 2] and info["heldout_views"] == [3, 4]
    assert info["input_times"] == [0, 1, 2, 3] and len(info["heldout_times"]) >= 1
    assert np.array(info["w2c"]).shape == (5, 4, 4) and np.array(info["K"]).shape == (3, 3)
    tracks = np.load(folder / "tracks.npz")
    assert tracks["uv"].shape == (5, len(info["frame_times"]), 64, 2)
    assert "prompt" in json.loads((folder / "meta.json").read_text())
    with pytest.raises(UserError, match="--size"):
        script["Config"](tmp_path, size="big")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_renders_the_same():
    scenes = scenes_of(4, seed=12)
    u, t = torch.linspace(0, 1, 2), torch.linspace(0, 1, 3)
    here = render(scenes, u, t, H, W, samples=2).rgb
    there = render(scenes.to("cuda"), u, t, H, W, samples=2).rgb.cpu()
    assert (here - there).abs().mean() < 1e-3
