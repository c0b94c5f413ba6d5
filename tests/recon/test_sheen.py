"""Colours that change evenly with where one looks from: fitted, saved, and no farther than seen."""

from dataclasses import replace

import cv2
import numpy as np
import torch

from fourreal.image_metrics import psnr
from gen.grid import VideoGrid
from recon.config import FitConfig, preset
from recon.fit.scene_fit import JointFit
from recon.reconstruct import fit_scene
from recon.render import render_scene
from recon.scene import Scene4D
from recon.sheen import direction, factors, seen_from
from tests.recon.scenes import column_from_depth, tiny_scene
from tests.tracking.textured_room import at_angles, render_path


def with_sheen(scene: Scene4D) -> Scene4D:
    g = torch.Generator().manual_seed(3)
    slopes = 0.3 * torch.randn(len(scene), 3, 3, generator=g).clamp(-1, 1)
    return replace(
        scene,
        colors=0.6 * scene.colors,
        sheen=slopes.half().float(),
        sheen_from=seen_from(scene.means, scene.w2c),
    )


def test_directions_end_where_the_views_do():
    scene = tiny_scene(views=3)
    origin = seen_from(scene.means, scene.w2c)
    towards = torch.stack([direction(origin, w2c) for w2c in scene.w2c])
    assert torch.allclose(towards.mean(0), torch.zeros(3), atol=1e-6)
    assert torch.isclose(towards.norm(dim=1).max(), torch.tensor(1.0), atol=1e-5)
    aside = scene.w2c[0].clone()
    aside[0, 3] += 5.0
    assert torch.isclose(direction(origin, aside).norm(), torch.tensor(1.0), atol=1e-5)
    assert torch.equal(factors(torch.zeros(4, 3, 3), towards[0]), torch.ones(4, 3))


def test_a_scene_of_one_view_has_its_plain_colours_from_there():
    scene = tiny_scene(views=1)
    origin = seen_from(scene.means, scene.w2c)
    assert torch.isfinite(origin).all() and origin[6] == 0
    slopes = torch.ones(len(scene), 3, 3)
    assert torch.equal(factors(slopes, direction(origin, scene.w2c[0])), torch.ones(len(scene), 3))
    aside = scene.w2c[0].clone()
    aside[1, 3] += 0.5
    assert torch.isfinite(direction(origin, aside)).all()


def test_the_saved_scene_draws_what_the_fit_draws_and_less_without_a_camera(tmp_path):
    scene = with_sheen(tiny_scene(n=60, times=1, views=3))
    fit = JointFit(scene, torch.rand(3, 1, *scene.size, 3), FitConfig())
    fit.result().save(tmp_path / "scene.safetensors")
    again = Scene4D.load(tmp_path / "scene.safetensors")
    for v in range(3):
        with torch.no_grad():
            want = fit.render((v, 0)).rgb
        got = render_scene(again, 0.0, again.w2c[v], again.K[v]).rgb
        assert (got - want).abs().max() < 4e-3
    assert torch.equal(again.at(0.0).colors, again.colors)
    some = again.keep(torch.arange(7))
    assert some.sheen is not None and len(some.sheen) == 7


def test_shading_that_turns_with_the_camera_is_told_in_views_between():
    angles = np.linspace(-16, 16, 9)
    room = render_path(at_angles(angles), size=(48, 64))
    # the box gets brighter as the camera goes around, the wall bluer
    box = np.abs(room.depth - 3.0) < 0.75
    gain = 1 + 0.02 * angles[:, None, None, None] * np.where(box[..., None], 1.0, (-0.8, 0.0, 0.8))
    frames = (0.6 * room.frames * gain).clip(0, 1).astype(np.float32)
    shown, held = [0, 2, 4, 6, 8], [1, 3, 5, 7]
    K = np.broadcast_to(room.K, (5, 3, 3)).copy()
    column = column_from_depth(frames[shown], room.depth[shown].astype(np.float32), K,
                               room.w2c[shown], 2)  # fmt: skip
    grid = VideoGrid(frames[shown][:, None], K=K, w2c=room.w2c[shown])
    scores = []
    for sheen in (False, True):
        config = preset("debug")
        config.static_steps, config.sheen = 120, sheen
        scene, _ = fit_scene(grid, column, config)
        assert (scene.sheen is not None) == sheen
        drawn = [render_scene(scene, 0.0, room.w2c[v], room.K).rgb.clamp(0, 1) for v in held]
        # shading, not what so few pixels cannot tell
        pairs = [(cv2.blur(i.numpy(), (9, 9)), cv2.blur(frames[v], (9, 9)))
                 for i, v in zip(drawn, held, strict=True)]  # fmt: skip
        scores.append(np.mean([psnr(*pair) for pair in pairs]))
    assert scores[1] > scores[0] + 2.0, scores
