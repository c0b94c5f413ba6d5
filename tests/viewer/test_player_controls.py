"""The player's keys and mouse, its progress and size line, and its order of blending in motion."""

import base64
import re

import cv2
import numpy as np
import pytest

from recon.render import render_scene
from scripts.tools.browser import Browser
from tests.chromium import need_chromium
from tests.viewer.toy_scene import psnr, toy_scene
from viewer.page.html import write_player
from viewer.page.payload import decode, encode
from viewer.player_scene import PlayerScene

_KEYS = {
    "Space": " ", "ArrowLeft": "", "ArrowRight": "", "ArrowUp": "", "ArrowDown": "", "Home": "",
    "End": "", "Equal": "+", "Minus": "-", "Slash": "?", "Escape": "Escape",
}  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    need_chromium("the player's controls are not tested")
    path = tmp_path_factory.mktemp("player") / "index.html"
    write_player(toy_scene(), path, title="toy")
    with Browser(320, 180) as opened:
        opened.open(path, "pause&t=0")
        opened.player_ready()
        yield opened
        assert opened.console == [] and opened.evaluate("player.errors") == []


@pytest.fixture(autouse=True)
def at_the_start(browser):
    browser.evaluate(
        "player.release(), player.pause(), player.tour(false), player.setView(0, true),"
        " player.set({mode: 0, speed: 1, loop: 'pingpong', fill: true}),"
        " player.seek(0).then(() => 0)"
    )


def press(browser: Browser, code: str, hold: bool = False) -> None:
    text = _KEYS.get(code, code.removeprefix("Key").removeprefix("Digit").lower())
    key = {"code": code, "key": text or code}
    browser.call("Input.dispatchKeyEvent", type="keyDown", **key)
    if hold:  # until the camera has been moved by a few frames
        browser.evaluate(
            "new Promise((done) => { let n = 0; const tick = () => ++n > 4 ? done(0) :"
            " requestAnimationFrame(tick); tick(); })"
        )
    browser.call("Input.dispatchKeyEvent", type="keyUp", **key)


def drag(browser: Browser, button: str = "left", modifiers: int = 0) -> None:
    buttons = {"left": 1, "right": 2}[button]
    for kind, x in (("mousePressed", 120), ("mouseMoved", 150), ("mouseReleased", 150)):
        browser.call(
            "Input.dispatchMouseEvent",
            **{"type": kind, "x": x, "y": 80, "button": button, "buttons": buttons},
            modifiers=modifiers,
            clickCount=1,
        )


def goal(browser: Browser) -> dict:
    return browser.evaluate("player.camera.copy(player.camera.goal)")


def test_every_key_of_the_legend_does_what_it_says(browser):
    state = browser.evaluate
    for code, expression, want in (
        ("ArrowRight", "player.time.toFixed(3)", "0.333"),
        ("End", "player.time", 1),
        ("ArrowLeft", "player.time.toFixed(3)", "0.667"),
        ("Home", "player.time", 0),
        ("ArrowUp", "player.speed", 2),
        ("ArrowDown", "player.speed", 1),
        ("KeyL", "player.loop", "loop"),
        ("KeyL", "player.loop", "once"),
        ("KeyM", "player.renderer.mode", 1),
        ("KeyM", "player.renderer.mode", 2),
        ("Digit3", "player.camera.goal.position[0] === player.camera.views[2].position[0]", True),
        ("KeyT", "player.touring", True),
        ("KeyR", "[player.touring, player.renderer.mode]", [False, 0]),
        ("KeyH", "document.body.classList.contains('bare')", True),
        ("KeyH", "document.body.classList.contains('bare')", False),
        ("Slash", "document.getElementById('legend').hidden", False),
        ("Escape", "document.getElementById('legend').hidden", True),
        ("Space", "player.playing", True),
        ("Space", "player.playing", False),
    ):
        press(browser, code)
        assert state(expression) == want, code
    zoom = goal(browser)["zoom"]
    press(browser, "Equal")
    assert goal(browser)["zoom"] > zoom
    legend = state("document.getElementById('legend').textContent")
    assert all(word in legend for word in ("play / pause", "fly", "this list", "drag", "wheel"))


def test_flying_panning_and_looking_around(browser):
    start = goal(browser)
    press(browser, "KeyW", hold=True)
    ahead = np.subtract(goal(browser)["position"], start["position"])
    assert np.dot(ahead, start["axes"][2]) > 0.9 * np.linalg.norm(ahead) > 0
    press(browser, "KeyD", hold=True)
    assert np.dot(np.subtract(goal(browser)["position"], start["position"]), start["axes"][0]) > 0
    browser.evaluate("player.setView(0, true).then(() => 0)")
    drag(browser, "right")
    panned = goal(browser)
    np.testing.assert_allclose(panned["axes"], start["axes"], atol=1e-12)
    step = np.subtract(panned["position"], start["position"])
    assert np.dot(step, start["axes"][0]) < -0.05 and abs(np.dot(step, start["axes"][2])) < 1e-6
    browser.evaluate("player.setView(0, true).then(() => 0)")
    drag(browser, modifiers=1)  # alt
    looked = goal(browser)
    np.testing.assert_allclose(looked["position"], start["position"], atol=1e-12)
    assert np.abs(np.subtract(looked["axes"], start["axes"])).max() > 0.02


def test_size_line_and_progress(browser):
    facts = browser.evaluate("document.getElementById('facts').textContent")
    assert re.fullmatch(r"1.\d{3} points · \d+ moving · 4 times · 3 views · \d+ kB", facts), facts
    steps = browser.evaluate(
        "(async () => { const seen = []; player.on('progress', (v, what) => seen.push([v, what]));"
        " const text = document.getElementById('payload').textContent.trim();"
        " await player.load(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);"
        " return seen; })()"
    )
    values = [value for value, _ in steps]
    assert values == sorted(values) and 0 < values[0] < values[-1] < 1 and len(values) > 4
    assert {label for _, label in steps} == {"Unpacking", "Decoding"}


def test_in_motion_points_are_sorted_by_the_worker_and_pictures_are_right(browser):
    """Time plays and the camera tours: every order is back to front for the moment it was asked
    for, and pictures drawn with the last order that has come are those of our rasterizer."""
    scene = toy_scene()
    payload = decode(encode(PlayerScene.from_scene(scene)))  # points in the page's order
    assert browser.evaluate("player.worker instanceof Worker")
    orders, pictures = browser.evaluate(
        "(async () => { const p = player, r = p.renderer, orders = [], pictures = [];"
        " const setOrder = r.setOrder, draw = r.draw;"
        " r.setOrder = (o) => { orders.push([p.requested, [...o]]); setOrder.call(r, o); };"
        " r.draw = (view, moment) => { draw.call(r, view, moment); pictures.push([p.time, view.w2c,"
        " view.focal, view.centre, p.canvas.width, p.canvas.height, p.canvas.toDataURL()]); };"
        " p.set({fill: false, speed: 0.5}); p.tour(true); p.play();"
        " while (pictures.length < 12 || orders.length < 6)"
        "   await new Promise((next) => setTimeout(next, 30));"
        " p.pause(); p.tour(false); delete r.setOrder; delete r.draw;"
        " return [orders.slice(0, 6), pictures.slice(4, 12)]; })()"
    )
    moments = set()
    for state, order in orders:
        time, *w2c = (float(x) for x in re.split("[ ,]", state))
        row = np.array(w2c[8:12])
        depth = payload.at(time)[0] @ row[:3] + row[3]
        assert len(order) > 1500 and np.diff(depth[order]).max() < 1e-5
        moments.add(time)
    assert len(moments) > 3  # it moved
    for time, w2c, focal, centre, width, height, url in pictures[::3]:
        png = np.frombuffer(base64.b64decode(url.split(",")[1]), np.uint8)
        got = cv2.imdecode(png, cv2.IMREAD_COLOR)[..., ::-1] / 255.0
        K = np.array([[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1]])
        pose = np.reshape(w2c, (4, 4))
        want = render_scene(scene, time, pose, K, (height, width), 0.0).rgb.clamp(0, 1).numpy()
        assert want.std() > 0.08 and psnr(got, want) > 32
