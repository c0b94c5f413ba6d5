"""The viser viewer on 127.0.0.1: it answers, follows its controls, and stops."""

import time
import urllib.request

import numpy as np
import pytest

from gen.grid import VideoGrid
from recon.render import render_cells
from tests.viewer.toy_scene import toy_scene
from viewer import viser_splats
from viewer.viser_app import ViserApp
from viewer.viser_splats import SplatNode, Splats


@pytest.fixture(scope="module")
def app():
    scene = toy_scene(300, size=(24, 32))
    running = ViserApp(scene, VideoGrid(frames=render_cells(scene)), port=18765)
    yield running
    running.stop()


def until(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "did not happen within 10 s"
        time.sleep(0.02)


def test_listens_on_localhost_and_answers(app):
    assert app.url.startswith("http://127.0.0.1:") or app.url.startswith("http://localhost:")
    with urllib.request.urlopen(app.url, timeout=10) as answer:
        assert answer.status == 200 and b"<html" in answer.read().lower()


def test_a_camera_for_every_view(app):
    assert len(app.frusta) == len(app.scene.w2c)
    app.show_frusta.value = False
    until(lambda: not app.frusta[0].visible)


def test_time_and_look_reach_the_gaussians(app):
    app.playing.value = False
    app.time.value = 1.0
    until(lambda: app._drawn is not None and app._drawn[0] == 1.0)
    means = app._gaussians(1.0, None, 0.0).centers
    np.testing.assert_allclose(means, app.scene.at(1.0).means.numpy() * app.unit, rtol=1e-5)
    app.threshold.value = 0.8
    few = len(app._gaussians(1.0, None, 0.0).centers)
    assert 0 < few < len(means)
    app.threshold.value = 0.0
    plain = app._gaussians(1.0, None, 0.0).colors
    for name in ("motion", "depth"):
        app.colouring.value = name
        assert np.abs(app._gaussians(1.0, None, 0.0).colors - plain).max() > 0.1
    app.colouring.value = "colour"


def test_clock_turns_around_at_the_end(app):
    app.time.value, app.direction = 0.99, 1.0
    app._advance(0.5)
    assert app.time.value == 1.0 and app.direction == -1.0
    app._advance(0.1)
    assert app.time.value < 1.0


class OldViser:
    """Gaussians as viser 0.2.7 takes them: private method, nodes that cannot change."""

    class Handle:
        def __init__(self, centers):
            self.centers_given, self.visible, self.removed = centers, True, False

        def remove(self):
            self.removed = True

    def __init__(self):
        self.scene = self
        self.nodes: dict = {}

    def _add_gaussian_splats(self, name, centers, covariances, rgbs, opacities):
        assert covariances.shape == (len(centers), 3, 3) and opacities.shape == (len(centers), 1)
        assert name not in self.nodes, "a name used twice shows nothing in old viser"
        self.nodes[name] = self.Handle(centers)
        return self.nodes[name]


def test_old_viser_gets_one_node_a_moment(monkeypatch):
    monkeypatch.setattr(viser_splats, "_KEPT", 3)
    server = OldViser()
    node = SplatNode(server, "/scene")
    assert not node.in_place

    def at(x):
        return Splats(np.full((2, 3), x, "f4"), np.ones(2), np.zeros((2, 3)), np.ones(2))

    def shown():
        alive = [h for n, h in server.nodes.items() if "probe" not in n and not h.removed]
        return [h.centers_given[0, 0] for h in alive if h.visible], len(alive)

    for t in (0, 1, 2, 1, 0):
        node.show(t, lambda t=t: at(t))
        assert shown()[0] == [t]
    assert shown()[1] == 3
    node.show(9, lambda: at(9))
    assert shown() == ([9], 3)
    node.forget()
    assert shown() == ([], 0)
    node.show(1, lambda: at(5))
    assert shown() == ([5], 1)
