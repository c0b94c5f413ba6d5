"""The player on a phone (emulated): device pixels, everything within reach, fingers."""

import time

import numpy as np
import pytest

from scripts.tools.browser import Browser
from tests.chromium import PATIENCE, need_chromium
from tests.viewer.toy_scene import toy_scene
from viewer.page.html import write_player

PORTRAIT, LANDSCAPE = (390, 844), (844, 390)
_SMALLEST = 36  # CSS pixels of a button under a finger


@pytest.fixture(scope="module")
def phone(tmp_path_factory):
    need_chromium("the player is not tried as on a phone")
    path = tmp_path_factory.mktemp("phone") / "index.html"
    title = "a red ball bouncing beside a blue post on a chequered floor in the afternoon"
    write_player(toy_scene(views=8), path, title=title)
    with Browser(*PORTRAIT, touch=True) as opened:
        opened.open(path, "pause&t=0")
        opened.player_ready()
        yield opened


def hold(phone: Browser, size: tuple[int, int], scale: int = 1) -> None:
    """Turn the phone, give it ``scale`` pixels per CSS pixel, wait until the page has followed."""
    phone.call(
        "Emulation.setDeviceMetricsOverride",
        width=size[0],
        height=size[1],
        deviceScaleFactor=scale,
        mobile=True,
    )
    deadline = time.monotonic() + PATIENCE
    want = [scale * s for s in size]
    while phone.evaluate("[player.canvas.width, player.canvas.height]") != want:
        assert time.monotonic() < deadline, phone.evaluate("player.canvas.width")
        time.sleep(0.1)


def boxes(phone: Browser, selector: str) -> dict[str, list[float]]:
    """Left, top, right, bottom in CSS pixels of what is visible, by id or text."""
    return phone.evaluate(
        f"Object.fromEntries([...document.querySelectorAll('{selector}')].map((e) => [e.id ||"
        " e.textContent, e.getBoundingClientRect()]).filter(([, b]) => b.width && b.height)"
        ".map(([name, b]) => [name, [b.left, b.top, b.right, b.bottom]]))"
    )


@pytest.mark.slow
@pytest.mark.parametrize(("size", "scale"), [(PORTRAIT, 3), (LANDSCAPE, 2)])
def test_canvas_has_the_devices_pixels_and_controls_are_inside_and_apart(phone, size, scale):
    hold(phone, size, scale)
    assert phone.evaluate("devicePixelRatio") == scale
    parts = boxes(phone, "#head, #corner, #bar")
    buttons = boxes(phone, "#corner button, #clock button, #tour, #time, #now")
    assert set(parts) == {"head", "corner", "bar"} and {"play", "speed", "loop"} <= set(buttons)
    for name, (left, top, right, bottom) in {**parts, **buttons}.items():
        assert left >= 0 and top >= 0 and right <= size[0] and bottom <= size[1], name
    for name, (left, top, right, bottom) in buttons.items():
        if name not in ("now", "time"):
            assert min(right - left, bottom - top) >= _SMALLEST, name
    head, corner = parts["head"], parts["corner"]
    assert head[2] <= corner[0] or head[1] >= corner[3]  # beside or below
    assert head[3] < parts["bar"][1]
    assert buttons["time"][2] - buttons["time"][0] > 90  # enough to scrub with
    picture = phone.screenshot()
    assert picture.shape == (scale * size[1], scale * size[0], 3)
    assert picture[picture.shape[0] // 3 : -picture.shape[0] // 3].std() > 15  # not black
    phone.evaluate("document.getElementById('help').click()")
    (left, top, right, bottom) = boxes(phone, "#legend")["legend"]
    assert left >= 0 and top >= 0 and right <= size[0] and bottom <= parts["bar"][1]
    assert "two fingers" in phone.evaluate("document.getElementById('legend').innerText")
    phone.evaluate("document.getElementById('help').click()")


LIFTED = """
if (window.lifted === undefined)
  for (const type of ["pointerup", "pointercancel"]) addEventListener(type, () => window.lifted++);
window.lifted = 0"""


def touch(phone: Browser, *moments: list[tuple[float, float]]) -> None:
    """Fingers that go down at the first moment, move through the others, and leave.

    Returns when the page has seen all of them leave: a browser delivers moves late, frame by frame.
    """
    phone.evaluate(LIFTED)
    for k, fingers in enumerate(moments):
        points = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(fingers)]
        kind = "touchMove" if k else "touchStart"
        phone.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)
    phone.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    deadline = time.monotonic() + PATIENCE
    while phone.evaluate("window.lifted") < len(moments[0]):
        assert time.monotonic() < deadline, "the page did not see the fingers leave"
        time.sleep(0.02)


def goal(phone: Browser) -> dict:
    return phone.evaluate("player.camera.copy(player.camera.goal)")


@pytest.mark.slow
def test_one_finger_turns_two_move_and_zoom(phone):
    hold(phone, PORTRAIT)
    phone.evaluate("player.setView(3, true).then(() => 0)")
    start, target = goal(phone), phone.evaluate("player.camera.target()")
    touch(phone, [(100, 400)], [(160, 400)], [(220, 420)])
    turned = goal(phone)
    assert np.abs(np.subtract(turned["axes"], start["axes"])).max() > 0.05
    np.testing.assert_allclose(phone.evaluate("player.camera.target()"), target, atol=1e-6)
    touch(phone, [(100, 400), (200, 400)], [(130, 430), (230, 430)], [(160, 460), (260, 460)])
    moved = goal(phone)
    np.testing.assert_allclose(moved["axes"], turned["axes"], atol=1e-9)
    assert np.isclose(moved["distance"], turned["distance"], rtol=0.02)
    assert np.linalg.norm(np.subtract(moved["position"], turned["position"])) > 0.1
    touch(phone, [(150, 400), (240, 400)], [(120, 400), (270, 400)], [(90, 400), (300, 400)])
    assert goal(phone)["distance"] < 0.6 * moved["distance"]


@pytest.mark.slow
def test_a_tap_on_a_button_and_a_double_tap_on_the_scene(phone):
    hold(phone, PORTRAIT)
    phone.evaluate("player.setView(3, true).then(() => 0)")
    left, top, right, bottom = boxes(phone, "#play")["play"]
    deadline = time.monotonic() + PATIENCE
    while not phone.evaluate("player.playing"):
        assert time.monotonic() < deadline, "the play button heard no finger"
        # a busy browser may take a tap for a long press
        touch(phone, [((left + right) / 2, (top + bottom) / 2)])
        time.sleep(1.0)
    phone.evaluate("player.pause(), player.seek(0).then(() => 0)")
    before = phone.evaluate("player.camera.target()")
    for _ in range(2):  # faster than the round trips of a busy machine: sent without waiting
        touch(phone, [(150, 470)])
    phone.evaluate(
        "player.controls.actions.focus(150, 470).then(() => player.settled()).then(() => 0)"
    )
    assert np.linalg.norm(np.subtract(phone.evaluate("player.camera.target()"), before)) > 0.05
    assert phone.console == [] and phone.evaluate("player.errors") == []


@pytest.mark.slow
def test_the_finger_that_leaves_last_does_not_turn(phone):
    hold(phone, PORTRAIT)
    phone.evaluate("player.setView(3, true).then(() => 0)")
    start = goal(phone)
    phone.evaluate(LIFTED)

    def send(kind: str, *points: tuple[int, int, int]) -> None:
        given = [{"x": x, "y": y, "id": n} for n, x, y in points]
        phone.call("Input.dispatchTouchEvent", type=kind, touchPoints=given)

    send("touchStart", (0, 100, 400), (1, 200, 400))
    send("touchEnd", (0, 100, 400))  # the one that leaves
    send("touchMove", (1, 260, 420))
    send("touchEnd")
    deadline = time.monotonic() + PATIENCE
    while phone.evaluate("window.lifted") < 2:
        assert time.monotonic() < deadline, "the page did not see the fingers leave"
        time.sleep(0.02)
    np.testing.assert_allclose(goal(phone)["axes"], start["axes"], atol=1e-9)
    touch(phone, [(100, 400)], [(160, 400)])  # a new gesture turns again
    assert np.abs(np.subtract(goal(phone)["axes"], start["axes"])).max() > 0.05
