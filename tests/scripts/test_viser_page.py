"""The viser page in headless Chromium: what the browser draws is what our rasterizer draws."""

import numpy as np
import pytest

from scripts.tools.browser import Browser
from scripts.tools.viser_page import NO_TOAST, canvas, until
from tests.chromium import PATIENCE, need_chromium
from tests.viewer.toy_scene import psnr, toy_scene
from viewer.viser.app import ViserApp
from viewer.viser.capture import draw, shot_of

_FREE = slice(80, 420)  # columns between the page's axes and its control panel


@pytest.fixture(scope="module", autouse=True)
def chromium():
    need_chromium("the viser page is not looked at")


def in_both_backgrounds(app, client, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Our picture of what the client sees, and where the scene hides the background."""
    pictures = []
    for grey in (0.0, 1.0):
        app.scene.background[:] = grey
        pictures.append(draw(app, shot_of(app, client), height))
    return pictures[0], np.abs(pictures[1] - pictures[0]).max(-1) < 0.02


@pytest.mark.slow
def test_the_page_shows_our_picture_at_two_times():
    app = ViserApp(toy_scene(1500), port=18830)
    app.playing.value = app.show_frusta.value = False
    try:
        with Browser(800, 360) as browser:
            browser.call("Page.navigate", url=app.url)
            until(lambda: bool(app.server.get_clients()), PATIENCE, "nobody connected")
            (client,) = app.server.get_clients().values()
            browser.evaluate(NO_TOAST, timeout=PATIENCE)
            app.go_to(client, 1)
            shown = {}
            for t in (0.0, 1.0):
                app.time.value = t

                def is_ours(t=t) -> bool:
                    shown[t] = canvas(browser, PATIENCE)[:, _FREE]
                    want, solid = in_both_backgrounds(app, client, shown[t].shape[0])
                    want, solid = want[:, _FREE], solid[:, _FREE]
                    assert solid.mean() > 0.2 and want[solid].std() > 0.1
                    return psnr(shown[t][solid], want[solid]) > 30

                until(is_ours, PATIENCE, f"at time {t} the page shows something else")
            assert np.abs(shown[0.0] - shown[1.0]).mean() > 0.01
    finally:
        app.stop()
