"""The player in a real browser: its pixels against our rasterizer, seek, play, damage."""

import base64
import time

import numpy as np
import pytest
import torch

from fourreal.cameras import look_at
from recon.render import render_scene
from scripts.tools.browser import Browser
from tests.chromium import need_chromium
from tests.viewer.test_payload import PAYLOAD, damaged
from tests.viewer.toy_scene import TARGET, psnr, toy_scene, uncommon_scene
from viewer.page.html import render_page, write_player
from viewer.page.payload import encode
from viewer.player_scene import PlayerScene


@pytest.fixture(scope="module", autouse=True)
def chromium():
    need_chromium("the player's pixels are not tested")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("player") / "index.html"
    write_player(toy_scene(), path, title="toy", fps=8)
    return path


@pytest.fixture(scope="module")
def browser(page):
    with Browser(480, 270) as opened:
        opened.open(page, "pause&t=0")
        opened.player_ready()
        yield opened


@pytest.fixture
def elsewhere(browser, page):
    """The same browser for another page; afterwards it shows the toy scene again."""
    yield browser
    browser.open("about:blank")
    browser.console.clear()
    browser.open(page, "pause&t=0")
    browser.player_ready()


def rendered(scene, t, w2c, K, size=None) -> np.ndarray:
    return render_scene(scene, t, w2c, K, size, compensation=0.0).rgb.clamp(0, 1).numpy()


@pytest.mark.parametrize(("t", "v"), [(0.0, 0), (0.5, 1), (1.0, 2)])
def test_pixels_equal_our_rasterizer_at_input_views(browser, t, v):
    scene = toy_scene()
    got = browser.player_pixels(t, scene.w2c[v].numpy(), scene.K[v].numpy(), scene.size) / 255
    want = rendered(scene, t, scene.w2c[v], scene.K[v])
    assert want.std() > 0.1
    assert psnr(got, want) > 45


def test_pixels_equal_our_rasterizer_from_a_new_viewpoint(browser):
    scene = toy_scene()
    w2c = look_at(TARGET + [1.4, -1.2, -2.9], TARGET)
    K = scene.K[0].numpy() * np.array([[1.1], [1.2], [1.0]])
    browser.evaluate("player.set({fill: false}), 0")  # plain image formation, closer or not
    got = browser.player_pixels(0.37, w2c, K, (90, 120)) / 255
    browser.evaluate("player.set({fill: true}), 0")
    want = rendered(scene, 0.37, w2c, torch.as_tensor(K), (90, 120))
    assert psnr(got, want) > 45


def test_closer_than_the_input_the_surface_stays_closed(browser):
    scene = toy_scene()
    K = scene.K[1].numpy() * np.array([[4.0], [4.0], [1.0]])
    size = (4 * scene.size[0], 4 * scene.size[1])
    fine = browser.player_pixels(0.0, scene.w2c[1].numpy(), K, size).astype(np.float32) / 255
    shrunk = fine.reshape(scene.size[0], 4, scene.size[1], 4, 3).mean((1, 3))
    assert psnr(shrunk, rendered(scene, 0.0, scene.w2c[1], scene.K[1])) > 30


def test_seek_and_mode_change_the_picture(browser):
    scene = toy_scene()
    camera = scene.w2c[0].numpy(), scene.K[0].numpy(), scene.size
    first, later = browser.player_pixels(0, *camera), browser.player_pixels(0.8, *camera)
    assert np.abs(first.astype(int) - later).mean() > 1
    browser.evaluate("player.set({mode: 1}), 0")
    depth = browser.player_pixels(0.8, *camera)
    browser.evaluate("player.set({mode: 0}), 0")
    assert np.abs(depth.astype(int) - later).mean() > 10


def test_step_goes_through_the_stored_times(browser):
    browser.evaluate("player.seek(0.0).then(() => 0)")
    times = [browser.evaluate("player.step(1).then(() => player.time)") for _ in range(4)]
    np.testing.assert_allclose(times, [1 / 3, 2 / 3, 1, 0], atol=1e-6)
    back = browser.evaluate("player.step(-1).then(() => player.time)")
    assert abs(back - 1) < 1e-6


def test_play_advances_time_and_pause_stops_it(browser):
    browser.evaluate("player.release(), player.seek(0).then(() => 0)")
    browser.evaluate("player.set({speed: 0.25}), player.play()")
    deadline = time.monotonic() + 20
    while browser.evaluate("player.time") < 0.05:
        assert time.monotonic() < deadline, "time stands still"
    browser.evaluate("player.pause()")
    stopped = browser.evaluate("player.time")
    time.sleep(0.2)
    assert browser.evaluate("player.time") == stopped


def test_loop_back_and_forth_and_once(browser):
    """The clock's rule at the end of time, one long step of 0.3 of the scene at a time."""
    run = (
        "(() => { const p = player; p.pause(); p.set({loop: 'NAME', speed: 1}); p.playing = true;"
        " p.direction = 1; p.time = 0.9; const out = [];"
        " for (let k = 0; k < 4; k++) { p.advance(0.3 * p.duration); out.push(p.time); }"
        " const still = p.playing; p.pause(); return [...out, still ? 1 : 0]; })()"
    )
    want = {
        "loop": [0.2, 0.5, 0.8, 0.1, 1],
        "pingpong": [0.8, 0.5, 0.2, 0.1, 1],
        "once": [1, 1, 1, 1, 0],
    }
    for name, times in want.items():
        got = browser.evaluate(run.replace("NAME", name))
        np.testing.assert_allclose(got, times, atol=1e-6)
    browser.evaluate("player.set({loop: 'pingpong'}), player.seek(0).then(() => 0)")


@pytest.mark.slow
def test_buttons_keys_and_mouse(browser):
    browser.evaluate("player.release(), player.setView(0, true).then(() => 0)")
    browser.evaluate("document.getElementById('play').click()")
    assert browser.evaluate("player.playing")
    key = {"code": "Space", "key": " ", "windowsVirtualKeyCode": 32}
    browser.call("Input.dispatchKeyEvent", type="keyDown", **key)
    browser.call("Input.dispatchKeyEvent", type="keyUp", **key)
    assert not browser.evaluate("player.playing")
    before = browser.evaluate("player.camera.goal.position")
    for kind, x in (("mousePressed", 100), ("mouseMoved", 160), ("mouseReleased", 160)):
        browser.call(
            "Input.dispatchMouseEvent",
            **{"type": kind, "x": x, "y": 100, "button": "left", "buttons": 1, "clickCount": 1},
        )
    after = browser.evaluate("player.camera.goal.position")
    assert np.linalg.norm(np.subtract(after, before)) > 0.05
    browser.call("Input.dispatchMouseEvent", type="mouseWheel", x=90, y=90, deltaX=0, deltaY=200)
    browser.evaluate("player.settled().then(() => 0)")
    assert browser.evaluate("player.camera.goal.distance") > 2.7
    browser.evaluate("document.querySelectorAll('#views button')[2].click()")
    goal = browser.evaluate("player.camera.goal.position")
    np.testing.assert_allclose(goal, browser.evaluate("player.camera.views[2].position"))


def test_pinch_brings_the_scene_nearer(browser):
    browser.evaluate("player.release(), player.setView(0, true).then(() => 0)")
    before = browser.evaluate("player.camera.goal.distance")
    for kind, gap in (("touchStart", 30), ("touchMove", 60), ("touchMove", 90)):
        points = [{"x": 240 - gap, "y": 80, "id": 0}, {"x": 240 + gap, "y": 80, "id": 1}]
        browser.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)
    browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert browser.evaluate("player.camera.goal.distance") < 0.6 * before


def test_double_click_puts_the_point_in_the_middle(browser):
    browser.evaluate("player.release(), player.setView(1, true), player.seek(0).then(() => 0)")
    point = browser.evaluate(
        "(async () => { const c = player.canvas;"
        " await player.focus(c.clientWidth * 0.3, c.clientHeight * 0.6);"
        " return player.camera.target(); })()"
    )
    distance = np.abs(toy_scene().means.numpy() - point).max(1).min()
    assert distance < 4e-3  # one of the points


def test_no_errors_on_the_page(browser):
    assert browser.console == []
    assert browser.evaluate("player.errors") == []


def test_bare_page_is_the_scene_and_not_black(browser):
    browser.evaluate("player.setView(1, true).then(() => 0)")
    picture = browser.screenshot()
    assert picture.shape == (270, 480, 3)
    assert picture.std() > 20


def load(browser, payload: bytes) -> None:
    """Show a payload as if its file had been dropped on the page."""
    raw = base64.b64encode(payload).decode()
    browser.evaluate(
        f"player.load(Uint8Array.from(atob('{raw}'), (c) => c.charCodeAt(0)).buffer).then(() => 0)"
    )


@pytest.mark.parametrize("kind", ["shaped", "turning", "literal", "curved", "sheen"])
def test_shapes_offsets_in_camera_axes_and_curves_are_drawn(elsewhere, kind):
    scene = uncommon_scene(kind)
    load(elsewhere, encode(PlayerScene.from_scene(scene)))
    camera = scene.w2c[0].numpy(), scene.K[0].numpy(), scene.size
    got = elsewhere.player_pixels(0.7, *camera) / 255
    want = rendered(scene, 0.7, scene.w2c[0], scene.K[0])
    assert psnr(got, want) > 38
    if kind in ("curved", "turning", "sheen"):
        scene.node_slopes = scene.node_turns = scene.sheen = scene.sheen_from = None
        without = rendered(scene, 0.7, scene.w2c[0], scene.K[0])
        assert psnr(got, want) > psnr(without, want) + 5
    assert elsewhere.evaluate("player.errors") == []


def test_a_whole_clip_can_be_sought_to_its_end_and_played(tmp_path, elsewhere):
    scene = toy_scene(900, times=30)
    write_player(scene, tmp_path / "clip.html", fps=30)
    elsewhere.open(tmp_path / "clip.html", "pause&t=0")
    elsewhere.player_ready()
    for t in (0.9, 0.1, 0.5):
        camera = scene.w2c[1].numpy(), scene.K[1].numpy(), scene.size
        got = elsewhere.player_pixels(t, *camera) / 255
        assert psnr(got, rendered(scene, t, scene.w2c[1], scene.K[1])) > 45
    assert elsewhere.evaluate("player.info.ready") == 30
    elsewhere.evaluate("player.set({speed: 4, loop: 'once'}), player.seek(0), player.play()")
    deadline = time.monotonic() + 30
    while elsewhere.evaluate("player.time") < 1:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_damaged_payload_gives_a_message(tmp_path, elsewhere):
    payload = encode(PlayerScene.from_scene(toy_scene(300)))
    path = tmp_path / "damaged.html"
    path.write_text(render_page(payload[: len(payload) // 2], "damaged"))
    elsewhere.open(path, "pause")
    reason = elsewhere.evaluate("player.ready.then(() => 'shown', (error) => error.message)")
    assert "amaged" in reason
    assert elsewhere.evaluate("document.getElementById('failure').hidden") is False
    load(elsewhere, payload)
    assert elsewhere.evaluate("player.info.points") > 250
    assert elsewhere.evaluate("document.getElementById('failure').hidden") is True


def test_every_damage_gives_one_line_and_the_scene_before_stays(elsewhere):
    points = elsewhere.evaluate("player.info.points")
    for kind, payload in damaged(PAYLOAD).items():
        raw = base64.b64encode(payload).decode()
        reason = elsewhere.evaluate(
            f"player.load(Uint8Array.from(atob('{raw}'), (c) => c.charCodeAt(0)).buffer)"
            ".then(() => 'shown', (error) => error.message)"
        )
        assert "\n" not in reason and len(reason) < 100, (kind, reason)
        assert "amaged" in reason or "not a 4D scene" in reason, (kind, reason)
        shown = elsewhere.evaluate("document.getElementById('failure').textContent")
        assert shown == reason
    elsewhere.evaluate("document.getElementById('failure').click()")
    assert elsewhere.evaluate("document.getElementById('failure').hidden")
    assert elsewhere.evaluate("player.settled().then(() => player.info.points)") == points


def test_without_webgl_there_is_a_message(page, elsewhere):
    script = elsewhere.call(
        "Page.addScriptToEvaluateOnNewDocument",
        source="HTMLCanvasElement.prototype.getContext = () => null;",
    )
    elsewhere.open("about:blank")
    elsewhere.open(page)
    reason = elsewhere.evaluate("player.ready.then(() => 'shown', (error) => error.message)")
    elsewhere.call("Page.removeScriptToEvaluateOnNewDocument", **script)
    assert "WebGL2" in reason
    assert "WebGL2" in elsewhere.evaluate("document.getElementById('failure').textContent")
