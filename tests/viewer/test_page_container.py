"""Open .4dgs containers on the page: ours and other people's, and damaged ones."""

import base64
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given

from scripts.tools.browser import Browser
from tests.chromium import need_chromium
from tests.fuzz.damage import bounded, damaged
from tests.viewer.formats.pictures import drawn
from tests.viewer.toy_scene import psnr, toy_scene, uncommon_scene
from viewer.export.moments import moment_at
from viewer.export.open_4dgs import encode_open_4dgs
from viewer.export.ply import write_sequence
from viewer.page.html import write_player
from viewer.player_scene import PlayerScene
from viewer.read.open_4dgs import decode_open_4dgs


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    need_chromium("the page is not looked at")
    page = tmp_path_factory.mktemp("page") / "index.html"
    write_player(toy_scene(200), page, "before")
    with Browser(320, 180) as opened:
        opened.open(page, "pause")
        opened.player_ready()
        yield opened


def load(browser: Browser, data: bytes) -> str:
    """Give the page a file, as if it was dropped; what it says against it."""
    text = base64.b64encode(data).decode()
    return browser.evaluate(
        f"player.load(Uint8Array.from(atob('{text}'), (c) => c.charCodeAt(0)).buffer)"
        ".then(() => '', (error) => error.message)"
    )


def shows(browser: Browser, player: PlayerScene, scene, t: float) -> float:
    """PSNR of the page against our rasterizer's picture of what Python read of the same file."""
    w2c, K = scene.w2c[1].numpy(), scene.K[1].numpy()
    browser.evaluate("player.set({fill: false}), 0")
    got = browser.player_pixels(t, w2c, K, scene.size) / 255
    return psnr(got, drawn(moment_at(player, t), scene, w2c, K, player.background))


@pytest.mark.parametrize("kind", ["isotropic", "shaped", "turning"])
def test_our_container_looks_like_the_scene(browser, kind):
    scene = toy_scene() if kind == "isotropic" else uncommon_scene(kind)
    data = encode_open_4dgs(PlayerScene.from_scene(scene, prompt="a ball", fps=8))
    assert load(browser, data) == ""
    player = decode_open_4dgs(data)
    facts = browser.evaluate("[player.info.points, player.info.prompt, player.info.cameras.length]")
    assert facts == [len(player.means), "a ball", 3]
    assert browser.evaluate("player.duration") == pytest.approx(3 / 8)
    for t in (0.0, 0.4, 1.0):
        assert shows(browser, player, scene, t) > 42, t


def test_other_peoples_container_looks_as_python_reads_it(browser, tmp_path):
    scene = toy_scene(400, times=5)
    write_sequence(scene, tmp_path / "ply")
    words = [sys.executable, "-m", "fourdgs.cli", "convert", str(tmp_path / "ply")]
    done = subprocess.run([*words, "-o", str(tmp_path / "a.4dgs"), "--fps", "8"])
    assert done.returncode == 0
    data = (tmp_path / "a.4dgs").read_bytes()
    assert load(browser, data) == ""
    player = decode_open_4dgs(data)
    assert browser.evaluate("player.info.times") == pytest.approx(player.times.tolist(), abs=1e-4)
    w2c = np.reshape(browser.evaluate("player.info.cameras[0].w2c"), (4, 4))
    np.testing.assert_allclose(w2c, player.w2c[0], atol=0.02)
    for t in (0.0, 0.75):
        assert shows(browser, player, scene, t) > 38, t


def test_damaged_containers_are_refused_and_the_scene_before_stays(browser):
    sound = encode_open_4dgs(PlayerScene.from_scene(toy_scene(200), prompt="sound"))
    assert load(browser, sound) == ""
    broken = {
        "half": sound[: len(sound) // 2],
        "head": sound[:40],
        "empty": b"",
        "version": sound[:5] + b"2" + sound[6:],
        "model": sound.replace(b"keyframe-delta", b"keyframe-dolta"),
        "scheme": sound.replace(b"uniform-v1", b"uniform-v9"),
        "noise": sound[:1500] + bytes(b ^ 0x55 for b in sound[1500:]),
        "cameras": sound.replace(b'"w2c"', b'"w3c"'),
    }
    for name, data in broken.items():
        said = load(browser, data)
        assert said and "\n" not in said and len(said) < 200, (name, said)
        assert not said.startswith(("Cannot", "undefined", "TypeError")), (name, said)
    assert browser.evaluate("player.info.prompt") == "sound"
    browser.evaluate("player.errors.length = 0, 0")


@pytest.mark.slow
def test_no_damage_leads_to_anything_but_a_sentence(browser):
    sound = encode_open_4dgs(PlayerScene.from_scene(toy_scene(60), prompt="sound"))
    said = set()

    @bounded(80)
    @given(data=damaged(sound))
    def attack(data):
        said.add(load(browser, data))

    attack()
    ours = ("", "Damaged scene", "This ", "The scene is of version")
    assert all(text.startswith(ours[1:]) or not text for text in said), said
    assert len(said) > 5
    browser.evaluate("player.errors.length = 0, 0")


def test_zstd_is_read_or_named(browser):
    pytest.importorskip("zstandard")
    data = encode_open_4dgs(PlayerScene.from_scene(toy_scene(200)), codec="zstd")
    said = load(browser, data)
    known = browser.evaluate(
        "(() => { try { new DecompressionStream('zstd'); return true; }"
        " catch { return false; } })()"
    )
    assert said == "" if known else "zstd, which this browser cannot read" in said
    browser.evaluate("player.errors.length = 0, 0")
