"""The viser viewer on 127.0.0.1: it answers, follows its controls, and stops."""

import time
import urllib.request
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from fourreal.video_io import read_clip
from gen.grid import VideoGrid
from recon.config import FitConfig
from recon.fit import stage
from recon.fit.scene_fit import JointFit
from recon.render import render_cells, render_scene
from tests.viewer.toy_scene import psnr, toy_scene, uncommon_scene
from viewer.viser import splats as viser_splats
from viewer.viser.app import ViserApp, follows_camera
from viewer.viser.capture import draw, film, send_screenshot, shot_of
from viewer.viser.live import LiveView
from viewer.viser.look import moving_points, pick, traces
from viewer.viser.splats import SplatNode, Splats, as_arguments


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
    app.shape.value = "points"
    dots = app._gaussians(1.0, None, 0.0)
    assert np.ptp(dots.radii) == 0 and (dots.opacities == 1).all()
    app.shape.value = "Gaussians"


class Client:
    """A browser that stands in an input camera of the scene and takes downloads."""

    def __init__(self, app, view):
        w2c = app.w2c[view]
        turn = Rotation.from_matrix(w2c[:3, :3].T).as_quat()
        height, width = app.scene.size
        self.camera = SimpleNamespace(
            wxyz=np.roll(turn, 1),
            position=-w2c[:3, :3].T @ w2c[:3, 3] * app.unit,
            fov=float(2 * np.arctan(height / 2 / float(app.scene.K[view, 1, 1]))),
            aspect=width / height,
        )
        self.downloads = {}

    def send_file_download(self, filename, content):
        self.downloads[filename] = content


def test_screenshot_is_the_picture_of_the_rasterizer(app):
    app.playing.value = False
    app.time.value = 1 / 3
    client = Client(app, 1)
    send_screenshot(app, client)
    png = cv2.imdecode(np.frombuffer(client.downloads["fourreal.png"], np.uint8), 1)[..., ::-1]
    assert png.shape == (720, 960, 3)
    K = app.scene.K[1].numpy() * np.array([[30.0], [30.0], [1.0]])
    want = render_scene(app.scene, 1 / 3, app.scene.w2c[1], K, (720, 960), 0.0).rgb.numpy()
    assert want.std() > 0.1 and psnr(png / 255, want.clip(0, 1)) > 40


@pytest.mark.parametrize("kind", ["shaped", "turning", "literal", "sheen"])
def test_shapes_and_offsets_in_camera_axes_are_drawn(app, kind):
    old, scene = app.scene, uncommon_scene(kind, 300, size=(24, 32))
    app.set_scene(scene)
    app.time.value = 0.7
    got = draw(app, shot_of(app, Client(app, 0)), 24)
    want = render_scene(scene, 0.7, scene.w2c[0], scene.K[0], compensation=0.0).rgb
    assert psnr(got, want.clamp(0, 1).numpy()) > 45
    assert follows_camera(scene, 0.0) == (kind in ("literal", "sheen")) and follows_camera(
        scene, 0.5
    )
    if kind == "shaped":
        _, covariances, *_ = as_arguments(app._gaussians(0.7, None, 0.0))
        axes = np.sqrt(np.linalg.eigvalsh(covariances.astype(float))) / app.unit
        want_axes = torch.exp(scene.log_scales[:, None] + scene.log_stretch).sort(1).values
        visible = scene.at(0.7).opacities >= 1 / 255
        np.testing.assert_allclose(axes, want_axes[visible], rtol=2e-3)
    app.set_scene(old)


def test_recording_becomes_a_video_of_what_was_seen(app, tmp_path):
    client = Client(app, 0)
    app.recorder.toggle(True)
    shots = app.recorder.shots
    for t in (0.0, 0.5, 1.0):
        app.time.value = t
        shots.append(shot_of(app, client))
    app.recorder.toggle(False)  # nobody is connected: nothing is sent
    assert app.recorder.shots is None and [s.time for s in shots] == [0.0, 0.5, 1.0]
    path = tmp_path / "a.mp4"
    path.write_bytes(film(app, shots, height=96))
    frames, _ = read_clip(path)
    assert frames.shape == (3, 96, 128, 3) and np.abs(frames[0] - frames[2]).mean() > 0.01


def test_a_clicked_point_gets_its_path(app):
    scene = app.scene
    app.time.value = 0.0
    (ball,) = moving_points(scene, 1)
    path = traces(scene, np.array([ball]))[0]
    for t, place in zip(scene.times, path, strict=True):
        np.testing.assert_allclose(place, scene.at(float(t)).means[ball], atol=1e-5)
    eye = np.array([path[0][0], path[0][1] - 5, path[0][2]])  # straight above the ball
    hit = pick(scene, 0.0, eye, path[0] - eye)
    assert np.linalg.norm(scene.means[hit].numpy() - path[0]) < 0.75
    assert pick(scene, 0.0, eye, eye - path[0]) is None
    ray = SimpleNamespace(ray_origin=eye * app.unit, ray_direction=path[0] - eye)
    app.traces.clicked(ray)
    assert app.traces.points == [hit]
    app.traces.show(moving_points(scene, 10))
    assert len(app.traces.points) == 11
    app.traces.clear()
    assert app.traces.points == []


def test_compensation_moves_the_gaussians(app):
    scene = toy_scene(300, size=(24, 32))
    scene.view_offsets = torch.full_like(scene.view_offsets, 0.01)
    old = app.scene
    app.set_scene(scene)
    plain = app._gaussians(0.0, app.w2c[0], 0.0).centers
    shifted = app._gaussians(0.0, app.w2c[0], 1.0).centers
    np.testing.assert_allclose(shifted - plain, 0.01 * app.unit, rtol=0.01)
    app.set_scene(old)


def test_live_view_replaces_the_scene(tmp_path):
    live = LiveView(port=18790)
    first, later = toy_scene(200, size=(24, 32)), toy_scene(260, size=(24, 32))
    live.show(first, None)
    app = live.app
    try:
        live.show(later, None)
        assert live.app is app and app.url.endswith(str(app.server.get_port()))
        until(lambda: app._drawn is not None and app._drawn[1][0] == 1)
        assert len(app._gaussians(0.0, None, 0.0).centers) == 260
    finally:
        app.stop()


def test_after_the_run_the_finished_scene_is_shown(tmp_path, monkeypatch, capsys):
    scene = toy_scene(200, size=(24, 32))
    scene.save(tmp_path / "scene.safetensors")
    VideoGrid(frames=render_cells(scene)).save(tmp_path / "grid")
    held = []
    monkeypatch.setattr("viewer.viser.live.wait_for_interrupt", held.append)
    live = LiveView(port=18800)
    live.hold(tmp_path)
    try:
        assert held == [live.app] and len(live.app.scene) == len(scene)
        assert live.app.url in capsys.readouterr().out
    finally:
        live.app.stop()


def test_a_fit_hands_out_the_scene_as_it_stands(monkeypatch):
    monkeypatch.setattr(stage, "_SHOW_EVERY", 0.0)
    scene = toy_scene(200, size=(24, 32))
    frames = torch.from_numpy(render_cells(scene))
    scene.colors = scene.colors * 0.5
    running = JointFit(scene, frames, FitConfig())
    seen = []
    running.run([(0, 0), (1, 0)], 3, "test", on_step=stage.now_and_then(running, seen.append))
    assert len(seen) == 3 and all(len(s) == len(scene) for s in seen)
    assert (seen[0].colors != seen[2].colors).any()
    assert stage.now_and_then(running, None) is None


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
