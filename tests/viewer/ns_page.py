"""Pages made with viser (ours, nerfstudio's) in headless Chromium: their picture, a Time slider."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable

import cv2
import numpy as np

from gen.cameras import intrinsics_from_fov, look_at
from recon.render import render_scene
from recon.scene import Scene4D
from tests.viewer.toy_scene import psnr
from viewer.browser import Browser
from viewer.nerfstudio_plugin.space import start_view

_COMPARED_WIDTH = 256  # the viewer sends 512 pixels as JPEG and stretches them to the canvas


def open_page(browser: Browser, url: str, patience: float) -> None:
    """Load the page and wait until its controls are there; hide the cameras."""
    browser.call("Page.navigate", url=url)
    script = (
        "(() => { const b = [...document.querySelectorAll('button')].find("
        "e => e.textContent.includes('Hide Train Cams')); if (b) b.click(); return !!b; })()"
    )
    until(lambda: browser.evaluate(script, timeout=patience), patience, "no controls on the page")


def set_time(browser: Browser, value: float, patience: float) -> None:
    """Type a value beside the Time slider."""
    browser.evaluate(
        "(() => { const label = [...document.querySelectorAll('label')].find("
        "e => e.textContent.trim() === 'Time'); let row = label;"
        " while (!row.querySelector('input:not([type=hidden])')) row = row.parentElement;"
        " const input = row.querySelector('input:not([type=hidden])');"
        " input.focus(); input.select();"
        f" document.execCommand('insertText', false, '{value}'); input.blur(); }})()",
        timeout=patience,
    )


def canvas(browser: Browser, patience: float) -> np.ndarray:
    """What the page shows where it draws the scene, RGB [H,W,3] in 0..1."""
    # Of the canvases on the page the one that is drawn with WebGL is the smallest.
    script = (
        "(() => { const boxes = [...document.querySelectorAll('canvas')]"
        ".map(c => c.getBoundingClientRect()).filter(b => b.width > 100 && b.height > 100)"
        ".sort((a, b) => a.width * a.height - b.width * b.height);"
        " return boxes.length ? [boxes[0].x, boxes[0].y, boxes[0].width, boxes[0].height] : null;"
        " })()"
    )
    box: list[float] = []

    def there() -> bool:
        box[:] = browser.evaluate(script, timeout=patience) or []
        return bool(box)

    until(there, patience, "no canvas on the page")
    x, y, width, height = (round(v) for v in box)
    shot = browser.call("Page.captureScreenshot", timeout_s=patience, format="png")["data"]
    page = cv2.imdecode(np.frombuffer(base64.b64decode(shot), np.uint8), cv2.IMREAD_COLOR)
    return page[y : y + height, x : x + width, ::-1] / 255.0


def expected(scene: Scene4D, t: float, size: tuple[int, int]) -> np.ndarray:
    """Our rasterizer's picture of a scene in nerfstudio's world from where the viewer starts."""
    height, width = size
    position, fov_y = start_view(scene)
    fov_x = np.degrees(2 * np.arctan(np.tan(fov_y / 2) * width / height))
    w2c = look_at(position, np.zeros(3), up=(0.0, 0.0, 1.0))
    K = intrinsics_from_fov(fov_x, height, width)
    return render_scene(scene, t, w2c, K, size, compensation=0.0).rgb.clamp(0, 1).numpy()


def likeness(shown: np.ndarray, want: np.ndarray) -> float:
    """PSNR of two pictures after shrinking both, but for the corner with the page's axes."""
    size = (_COMPARED_WIDTH, round(_COMPARED_WIDTH * want.shape[0] / want.shape[1]))
    small = [cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in (shown, want)]
    return psnr(*(p[:, _COMPARED_WIDTH // 4 :] for p in small))


def until(condition: Callable[[], bool], patience: float, reason: str) -> None:
    """Wait for a condition; AssertionError with the reason after ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, reason
        time.sleep(0.5)
