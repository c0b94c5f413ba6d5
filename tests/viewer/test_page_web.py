"""The page on the web: loading by bytes, in an <iframe>, split in two, for ears and keys."""

import time

import numpy as np
import pytest
import torch

from fourreal.errors import UserError
from recon.render import render_scene
from run_pipeline import main
from scripts.tools.browser import Browser
from tests.chromium import PATIENCE, need_chromium
from tests.viewer.slow_server import slow_server
from tests.viewer.toy_scene import psnr, toy_scene
from viewer.page.html import read_player, write_player


@pytest.fixture(scope="module", autouse=True)
def chromium():
    need_chromium("the page is not looked at")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("site")
    write_player(noisy_scene(), made / "one.html", "a red ball", 8)
    write_player(noisy_scene(), made / "two.html", "a red ball", 8, split=True)
    return made


def noisy_scene():
    """A toy scene that does not compress to next to nothing."""
    scene = toy_scene(6000)
    noise = torch.manual_seed(0)
    scene.colors += 0.2 * torch.rand(scene.colors.shape, generator=noise) - 0.1
    scene.means += 0.02 * torch.rand(scene.means.shape, generator=noise)
    scene.log_scales += 0.5 * torch.rand(scene.log_scales.shape, generator=noise)
    return scene


@pytest.fixture(scope="module")
def window():
    with Browser(320, 180) as opened:
        yield opened


@pytest.fixture
def browser(window):
    window.open("about:blank")  # another address of the same page would not load it again
    window.console.clear()
    return window


def stages_while_loading(browser: Browser, url: str) -> list[tuple[str, float, float]]:
    """What the bar says, its value and how visible the poster is, until the scene is shown."""
    browser.call("Page.navigate", url=url)
    seen: list[tuple[str, float, float]] = []
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        now = browser.evaluate(
            "(() => { const $ = (id) => document.getElementById(id); const p = $('poster');"
            " return $('stage') && p && [$('stage').textContent, $('progress').value,"
            " p.complete && p.naturalWidth ? Number(getComputedStyle(p).opacity) : 0,"
            " Boolean(window.player?.info)]; })()"
        )
        if now and (not seen or seen[-1][:2] != tuple(now[:2])):
            seen.append((now[0], now[1], now[2]))
        if now and now[3]:
            browser.player_ready()
            return seen
    raise TimeoutError(f"no scene after {seen[-3:]}")


@pytest.mark.slow
@pytest.mark.parametrize("page", ["one.html", "two.html"])
def test_the_bar_counts_bytes_over_a_slow_line_and_the_poster_is_there_first(folder, browser, page):
    size = (folder / page.replace("html", "fr4d")).stat().st_size if page[0] == "t" else 0
    with slow_server(folder, 0.25, 1 << 12) as address:
        seen = stages_while_loading(browser, f"{address}/{page}")
    loading = [stage for stage in seen if stage[0].startswith("Loading ") and " of " in stage[0]]
    assert len(loading) >= 2, seen
    values = [value for _, value, _ in loading]
    assert values == sorted(values) and values[0] < 0.45 and values[-1] <= 0.51
    assert max(opacity for _, _, opacity in loading) > 0.9, "the poster was not shown"
    if size:
        assert loading[-1][0].endswith(f" of {size / 1e3:.0f} kB")
    assert browser.evaluate("document.getElementById('poster').className") == "done"


def test_both_forms_show_the_same_scene_and_are_read_back(folder, browser):
    scene = noisy_scene()
    for page in ("one.html", "two.html"):
        with slow_server(folder) as address:
            browser.open(f"{address}/{page}", "pause")
            browser.player_ready()
            for t in (0.0, 0.7):
                w2c, K = scene.w2c[1].numpy(), scene.K[1].numpy()
                got = browser.player_pixels(t, w2c, K, scene.size) / 255
                want = render_scene(scene, t, scene.w2c[1], scene.K[1], None, 0.0).rgb
                assert psnr(got, want.clamp(0, 1).numpy()) > 45
        assert read_player(folder / page).prompt == "a red ball"
    assert (folder / "two.html").stat().st_size < 130_000
    assert browser.evaluate("document.querySelector('meta[property=\"og:image\"]').content") == (
        "two.webp"
    )


def test_a_split_page_says_what_it_lacks(folder, browser, tmp_path):
    browser.open(folder / "two.html")  # no web server
    with pytest.raises(UserError, match="needs a web server, and the file two.fr4d beside it"):
        browser.player_ready()
    (tmp_path / "two.html").write_bytes((folder / "two.html").read_bytes())
    with slow_server(tmp_path) as address:
        browser.open(f"{address}/two.html")
        with pytest.raises(UserError, match=r"cannot be loaded \(404\)"):
            browser.player_ready()
    browser.console.clear()
    with pytest.raises(UserError, match="two.fr4d"):
        read_player(tmp_path / "two.html")


def test_in_an_iframe_it_shows_what_the_address_asks_for(folder, browser):
    with slow_server(folder) as address:
        state = "[document.body.className, player.playing, player.time, player.touring]"
        browser.open(f"{address}/one.html?bare&time=0.4")
        browser.player_ready()
        assert browser.evaluate(state) == ["bare", False, 0.4, False]
        visible = "[...document.querySelectorAll('header, footer, #corner')].filter((e) =>"
        assert browser.evaluate(f"{visible} getComputedStyle(e).display !== 'none').length") == 0
        browser.open(f"{address}/one.html?bare&autoplay&time=0.4")
        browser.player_ready()
        assert browser.evaluate("player.playing") is True
        browser.open(f"{address}/one.html?time=0.4", "t=0.9&pause")  # behind # wins
        browser.player_ready()
        assert browser.evaluate("[player.playing, player.time]") == [False, 0.9]


def test_in_an_iframe_the_wheel_is_the_outer_pages_until_clicked(folder, browser):
    browser.open(folder / "one.html", "bare&pause")
    browser.player_ready()
    distance = "player.camera.goal.distance"
    wheel = {"type": "mouseWheel", "x": 100, "y": 90, "deltaX": 0, "deltaY": 200}
    before = browser.evaluate(distance)
    browser.call("Input.dispatchMouseEvent", **wheel)
    assert browser.evaluate(distance) == before
    browser.evaluate("document.getElementById('canvas').focus()")
    browser.call("Input.dispatchMouseEvent", **wheel)
    assert browser.evaluate(distance) > before


def test_every_control_has_a_name_and_a_state_for_screen_readers(folder, browser):
    browser.open(folder / "one.html", "pause&t=0.5")
    browser.player_ready()
    browser.call("Accessibility.enable")
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    wanted = ("button", "slider", "application", "toolbar", "status", "heading")
    found = {
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored") and node["role"]["value"] in wanted
    }
    assert {name for role, name in found if role == "button"} == {
        "Shown: colour", "Full screen", "Keys and gestures", "Input view 1", "Input view 2",
        "Input view 3", "Tour", "Play", "Speed 0.5", "Loop: back and forth",
    }  # fmt: skip
    assert ("slider", "Time") in found and ("toolbar", "Time and views") in found
    assert any(role == "application" and name.startswith("a red ball") for role, name in found)
    said = browser.evaluate("document.getElementById('said').textContent")
    assert said.startswith("a red ball: 6") and "points" in said
    text = browser.evaluate("document.getElementById('time').getAttribute('aria-valuetext')")
    assert text == "0.19 seconds"


def press(browser: Browser, code: str, key: str, **more: object) -> None:
    for kind in ("keyDown", "keyUp"):
        text = {"text": key} if key == " " and kind == "keyDown" else {}
        browser.call("Input.dispatchKeyEvent", type=kind, code=code, key=key, **text, **more)


def test_keys_press_the_button_they_are_on_and_turn_the_scene(folder, browser):
    browser.open(folder / "one.html", "pause")
    browser.player_ready()
    browser.evaluate("document.getElementById('tour').focus()")
    press(browser, "Space", " ")
    assert browser.evaluate("[player.touring, player.playing]") == [True, False]
    assert browser.evaluate("document.getElementById('tour').getAttribute('aria-pressed')") == (
        "true"
    )
    browser.evaluate("player.tour(false), document.getElementById('canvas').focus()")
    before = browser.evaluate("player.camera.goal.position")
    press(browser, "ArrowLeft", "ArrowLeft", modifiers=8)
    after = browser.evaluate("player.camera.goal.position")
    assert np.abs(np.subtract(after, before)).max() > 0.05
    browser.evaluate("document.getElementById('help').focus()")
    press(browser, "Slash", "?", modifiers=8)
    legend = "[document.activeElement.id, document.getElementById('help').ariaExpanded]"
    assert browser.evaluate(legend) == ["legend", "true"]
    press(browser, "Escape", "Escape")
    assert browser.evaluate(legend) == ["help", "false"]


def test_the_command_splits(tmp_path, capsys):
    toy_scene(60, size=(24, 32)).save(tmp_path / "scene.safetensors")
    assert main(["export", str(tmp_path), "--format", "html", "--split"]) == 0
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"index.html", "index.fr4d", "index.webp", "scene.safetensors"}
    assert main(["inspect", str(tmp_path / "index.html")]) == 0
    assert "60 Gaussians" in capsys.readouterr().out
