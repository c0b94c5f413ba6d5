"""Eq. 11 has one place: what the fit draws for a cell is what the saved scene draws for it."""

from dataclasses import replace

import pytest
import torch

from recon.config import FitConfig
from recon.fit.scene_fit import JointFit
from recon.gaussians import Gaussians
from recon.motion.offsets import FreeOffsets, MlpOffsets
from recon.place import Moment, Sight, literal_turn, place
from recon.render import render_scene
from recon.scene import Scene4D
from tests.recon.scenes import tiny_scene

BOUND = 0.6


def scene_of(kind: str, offset_frame: str, compensation: bool, anisotropic: bool) -> Scene4D:
    """A scene whose motion, and so its nodes, are as ``kind`` of the fit makes them."""
    scene = tiny_scene(n=60, times=4, views=3)
    turn = torch.matrix_exp(torch.tensor([[0, -0.2, 0.3], [0.2, 0, -0.1], [-0.3, 0.1, 0]]))
    scene.w2c[2, :3, :3] = turn
    scene.w2c[2, :3, 3] = torch.tensor([0.5, 0.1, 0.2])
    if kind == "mlp-points":
        n = len(scene)
        scene = replace(
            scene,
            node_offsets=torch.zeros(4, n, 3),
            node_index=torch.arange(n)[:, None],
            node_weights=torch.ones(n, 1),
        )
    scene.offset_frame = offset_frame
    scene.view_offsets = scene.view_offsets.half().float() * compensation  # as on disk
    if anisotropic:
        scene = scene.anisotropic()
        g = torch.Generator().manual_seed(4)
        scene.log_stretch = 0.5 * torch.randn(60, 3, generator=g)
        scene.rotations = torch.randn(60, 4, generator=g)
    return scene


def moving(kind: str, scene: Scene4D) -> FreeOffsets | MlpOffsets:
    g = torch.Generator().manual_seed(5)
    times, nodes = scene.node_offsets.shape[:2]
    if kind == "nodes":
        free = FreeOffsets(nodes, times, scene.canonical_time, BOUND)
        for t in range(times):
            free.set_time(t, 0.1 * torch.randn(nodes, 3, generator=g))
        return free
    positions = torch.randn(nodes, 3, generator=g)
    mlp = MlpOffsets(positions, scene.times, scene.canonical_time, BOUND, 16, 2, g)
    with torch.no_grad():
        mlp.layers[-1].weight.normal_(std=0.2, generator=g)
    return mlp


@pytest.mark.parametrize("kind", ["nodes", "mlp", "mlp-points"])
@pytest.mark.parametrize("offset_frame", ["rotated", "literal"])
@pytest.mark.parametrize("compensation", [False, True])
@pytest.mark.parametrize("anisotropic", [False, True])
def test_the_fit_draws_what_the_saved_scene_draws(
    tmp_path, kind, offset_frame, compensation, anisotropic
):
    scene = scene_of(kind, offset_frame, compensation, anisotropic)
    if anisotropic and offset_frame == "rotated":
        scene.node_turns = torch.zeros_like(scene.node_offsets)
    frames = torch.rand(3, 4, *scene.size, 3)
    fit = JointFit(scene, frames, FitConfig(), moving(kind, scene), shade=True, poses=True)
    g = torch.Generator().manual_seed(6)
    with torch.no_grad():
        fit.parameters.colors.mul_(0.7)  # within 0..1 with any brightness: the scene clamps
        for t in (1, 2, 3):
            change = 0.3 * torch.randn(60, generator=g).clamp(-1, 1)
            fit.parameters.shade[t].copy_((1 + change).half().float() - 1)
        fit.parameters.poses.normal_(std=0.02, generator=g)
        for turns in fit.parameters.turns[1:]:
            turns.copy_((0.4 * torch.randn(turns.shape, generator=g)).half())
    fit.result().save(tmp_path / "scene.safetensors")
    again = Scene4D.load(tmp_path / "scene.safetensors")
    assert (again.node_turns is not None) == bool(fit.parameters.turns)
    assert again.offset_frame == offset_frame and (again.view_offsets != 0).any() == compensation
    pictures = []
    for v in range(3):
        for t in range(4):
            with torch.no_grad():
                want = fit.render((v, t)).rgb
            got = render_scene(again, float(again.times[t]), again.w2c[v], again.K[v]).rgb
            assert (got - want).abs().max() < 4e-3, (v, t)  # some tensors are kept in 16 bits
            pictures.append(want)
    apart = [(a - b).abs().max() for a, b in zip(pictures, pictures[1:], strict=False)]
    assert min(apart) > 0.02  # every cell is a picture of its own


def test_everything_that_is_the_same_is_left_alone():
    scene = tiny_scene()
    canonical = scene.canonical()
    placed = place(canonical, Moment(), Sight())
    assert all(getattr(placed, n) is getattr(canonical, n) for n in ("means", "colors", "scales"))


def test_literal_offsets_are_those_of_the_camera_that_looks():
    """Eq. 11 as printed: R_i p + t_i + R_0 dp, whichever camera i looks."""
    w2c, home = (torch.linalg.qr(torch.randn(3, 3, generator=g)).Q for g in _generators(2))
    home4, w2c4 = torch.eye(4), torch.eye(4)
    home4[:3, :3], w2c4[:3, :3] = home, w2c
    points, moved = torch.randn(5, 3), torch.randn(5, 3)
    still = Gaussians(points, torch.ones(5), torch.ones(5), torch.ones(5, 3))
    placed = place(still, Moment(moved), Sight(literal_turn(w2c4, home4)))
    want = points @ w2c.T + moved @ home.T
    assert torch.allclose(placed.means @ w2c.T, want, atol=1e-5)


def _generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(k) for k in range(count)]
