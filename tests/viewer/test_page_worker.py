"""The page's worker, run by node, against ``Scene4D.at``: where points are, and their order."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from recon.motion.curve import spline_slopes
from recon.scene import Scene4D
from tests.viewer.toy_scene import toy_scene, uncommon_scene
from viewer.page import html
from viewer.page.payload import _point_order, write_fr4d
from viewer.player_scene import PlayerScene

PLAYER = Path(html.__file__).parent / "player"
HARNESS = Path(__file__).with_name("worker_harness.js")
TIMES = (0.0, 0.21, 1 / 3, 0.5, 0.87, 1.0)


@pytest.fixture(scope="module")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs node for the worker's tests (apt install nodejs)")
        pytest.skip("no node on this machine")
    return found


def scene_of(kind: str) -> Scene4D:
    if kind == "clip":
        scene = toy_scene(900, times=30)
        scene.times = torch.linspace(0, 1, 30) ** 1.2
    else:
        scene = (
            uncommon_scene(kind, 900) if kind in ("shaped", "literal", "sheen") else toy_scene(900)
        )
        scene.times = torch.tensor([0.0, 0.2, 0.5, 1.0])  # uneven
    if kind != "straight":
        scene.node_slopes = spline_slopes(scene.times, scene.node_offsets)
    return scene


KINDS = ["straight", "curved", "shaped", "literal", "clip", "sheen"]


def answers(node: str, payload: Path, request: list[dict], work: Path) -> list[dict]:
    (work / "request.json").write_text(json.dumps(request))
    words = [node, str(HARNESS), str(PLAYER), str(payload), str(work / "request.json")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", KINDS)
def test_points_are_where_the_scene_has_them(node, tmp_path, kind):
    scene = scene_of(kind)
    player = PlayerScene.from_scene(scene)
    write_fr4d(player, tmp_path / "scene.fr4d")
    order, moving = _point_order(player)
    asked = [(t, v) for t in TIMES for v in (0, 2)]
    request = [{"time": t, "w2c": player.w2c[v].ravel().tolist()} for t, v in asked]
    found = answers(node, tmp_path / "scene.fr4d", request, tmp_path)
    radius = np.exp(scene.log_scales.min().item())
    travelled = 0.0
    for (t, v), answer in zip(asked, found, strict=True):
        want = scene.at(t, scene.w2c[v], compensation=0.0).means.numpy()[order]
        points = np.array(answer["points"])
        assert np.abs(points - want).max() < 0.2 * radius, (t, v)  # a step of the payload is 1/8
        z = points @ player.w2c[v][2, :3] + player.w2c[v][2, 3]
        drawn = np.array(answer["order"])
        assert (np.diff(z[drawn]) < 1e-5).all() and (z[drawn] > 0).all()
        assert len(set(drawn.tolist())) == (z > 0.01).sum()
        travelled = max(travelled, float(np.abs(want - scene.means.numpy()[order]).max()))
    assert moving and travelled > 5 * radius
    # a whole clip is shown when its first times are there, a few times all at once
    assert found[0]["ready"] == ([8, 16, 24, 30] if kind == "clip" else [4])


@pytest.mark.parametrize("kind", KINDS)
def test_a_player_scene_has_them_at_the_same_places(kind):
    scene = scene_of(kind)
    player = PlayerScene.from_scene(scene)
    for t in TIMES:
        want = scene.at(t, scene.w2c[2], compensation=0.0)
        got = player.at(t, player.w2c[2])
        names = ("means", "scales", "opacities", "colors")
        for name, value in zip(names, got, strict=True):
            assert np.abs(value - getattr(want, name).numpy()).max() < 1e-5, (t, name)


def test_curves_differ_from_straight_lines_between_stamps_only():
    straight, curved = (scene_of(kind).at(t).means for kind in KINDS[:2] for t in (0.35,))
    assert (straight - curved).abs().max() > 0.02
    assert torch.equal(scene_of("straight").at(0.5).means, scene_of("curved").at(0.5).means)
