"""Pages made with viser (ours, nerfstudio's) in headless Chromium: their picture, a Time slider.

Used by tests and by ``scripts/tools/compare_viewers.py``; viewing needs none of this.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from scripts.tools.browser import Browser

NO_TOAST = (  # "Software WebGL rendering detected" would lie over the picture
    "document.head.append(Object.assign(document.createElement('style'),"
    " {textContent: '[class*=Notification] { display: none !important }'})), 0"
)


def open_page(browser: Browser, url: str, patience: float) -> None:
    """Load nerfstudio's page and wait until its Time slider is there.

    ``patience`` here and below: seconds until TimeoutError.
    """
    browser.call("Page.navigate", url=url)
    script = "[...document.querySelectorAll('label')].some((e) => e.textContent.trim() === 'Time')"
    until(lambda: browser.evaluate(script, timeout=patience), patience, "no Time slider")


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


def canvas(browser: Browser, patience: float) -> NDArray[np.float64]:
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
    assert page is not None, "the browser sent a picture that cannot be read"
    return np.asarray(page[y : y + height, x : x + width, ::-1] / 255.0, np.float64)


def until(condition: Callable[[], bool], patience: float, reason: str, pause: float = 0.5) -> None:
    """Wait for a condition, asked every ``pause`` seconds; TimeoutError after ``patience``."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(reason)
        time.sleep(0.5)
