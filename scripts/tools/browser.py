"""A headless Chromium driven over the DevTools protocol: enough to open and question a page.

Used by the tests of the player and by ``scripts/tools/screenshot_player.py``; viewing needs none of
this. Needs an installed Chromium or Chrome and the ``websockets`` package (viser brings it).
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fourreal.errors import UserError

_PATIENCE = 150.0  # seconds: a scene of 100 000 points in software, on a busy machine
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--no-first-run",
    "--hide-scrollbars",
    "--mute-audio",
)


def find_chromium() -> str | None:
    """Path of Chromium or Chrome: ``$CHROMIUM``, else the usual names on PATH; None if absent."""
    named = os.environ.get("CHROMIUM")
    if named:
        return named if Path(named).is_file() else None
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


_SOFTWARE = (  # WebGL with the same pixels on every machine
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)


class Browser:
    """One page in a headless Chromium. Use as a context manager.

    width, height are CSS pixels and ``scale`` device pixels per CSS pixel; ``touch`` makes the
    page believe in a phone; ``gpu`` leaves WebGL to the machine's own graphics. Raises UserError
    when no Chromium is found or it does not start.
    ``console`` collects console errors and uncaught exceptions of the page.
    """

    def __init__(
        self,
        width: int = 960,
        height: int = 540,
        scale: float = 1.0,
        touch: bool = False,
        gpu: bool = False,
    ) -> None:
        from websockets.sync.client import connect

        program = find_chromium()
        if program is None:
            raise UserError("no Chromium or Chrome found; install one or set CHROMIUM=/path/to/it")
        self.console: list[str] = []
        self._profile = tempfile.mkdtemp(prefix="player-chromium-")
        graphics = ("--ignore-gpu-blocklist",) if gpu else _SOFTWARE
        command = [program, *_FLAGS, *graphics, f"--user-data-dir={self._profile}"]
        self._process = subprocess.Popen(
            [*command, "--remote-debugging-port=0", f"--window-size={width},{height}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._count = 0
        try:
            port, path = self._address()
            self._socket = connect(
                f"ws://127.0.0.1:{port}{path}", max_size=None, open_timeout=_PATIENCE
            )
            self._session: str | None = None
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
            self._session = attached["sessionId"]
            self.call("Runtime.enable")
            self.call("Page.enable")
            self.call(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=height,
                deviceScaleFactor=scale,
                mobile=touch,
            )
            if touch:
                self.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=5)
        except BaseException:
            self.close()
            raise

    @property
    def process_id(self) -> int:
        """Of the browser; its other processes are that one's children."""
        return self._process.pid

    def open(self, page: str | Path, fragment: str = "") -> None:
        """Load a local HTML file (or a URL) and wait until the document is there.

        Raises UserError when there is no such file or the address cannot be opened.
        """
        text = str(page)
        local = "://" not in text and not text.startswith("about:")
        if local and not Path(text).is_file():
            raise UserError(f"no such page: {text}; give the index.html of a run")
        url = Path(text).resolve().as_uri() if local else text
        gone = self.call("Page.navigate", url=url + (f"#{fragment}" if fragment else ""))
        if gone.get("errorText"):
            raise UserError(f"cannot open {url}: {gone['errorText']}")
        deadline = time.monotonic() + _PATIENCE
        while self.evaluate("document.readyState") != "complete":
            if time.monotonic() > deadline:
                raise TimeoutError(f"{url} did not load within {_PATIENCE:.0f} s")
            time.sleep(0.02)

    def evaluate(self, expression: str, timeout: float = _PATIENCE) -> Any:
        """The value of a JavaScript expression (promises are awaited); RuntimeError if it throws.

        Only values that JSON can hold come back.
        """
        answer = self.call(
            "Runtime.evaluate",
            timeout_s=timeout,
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            reason = details.get("exception", {}).get("description", details["text"])
            raise RuntimeError(f"in the page: {reason}")
        return answer["result"].get("value")

    def screenshot(self) -> NDArray[np.uint8]:
        """The page as RGB [H, W, 3] uint8, device pixels."""
        return _png(self.call("Page.captureScreenshot", format="png")["data"])

    def player_ready(self) -> None:
        """Wait until ``window.player`` shows its scene; UserError with the page's reason if not."""
        reason = self.evaluate(
            "window.player ? player.ready.then(() => '', (error) => error.message)"
            " : 'there is no player in it'"
        )
        if reason:
            raise UserError(f"the page shows no scene: {reason}")

    def player_pixels(
        self, time_01: float, w2c: NDArray, K: NDArray, size: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """What the player draws at a time from a camera, RGB uint8 of ``size`` (height, width)."""
        camera = f"{np.asarray(w2c).tolist()}, {np.asarray(K).tolist()}, {list(size)}"
        url = self.evaluate(
            f"(async () => {{ const p = window.player; p.pause(); p.seek({time_01});"
            f" p.setCamera({camera}); return await p.capture(); }})()"
        )
        return _png(url.split(",", 1)[1])

    def call(self, method: str, timeout_s: float = _PATIENCE, **parameters: Any) -> dict[str, Any]:
        """Send one protocol command and return its result; RuntimeError if it is refused."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        deadline = time.monotonic() + timeout_s
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{method}: no answer within {timeout_s:.0f} s")
            event = json.loads(self._socket.recv(timeout=left))
            if event.get("id") == self._count:
                if "error" in event:
                    raise RuntimeError(f"{method}: {event['error'].get('message')}")
                return event["result"]
            self._note(event)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.console.append(details.get("exception", {}).get("description", details["text"]))
        elif event.get("method") == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.console.append(" ".join(str(a.get("value", "")) for a in params["args"]))

    def _address(self) -> tuple[str, str]:
        """Port and path that Chromium wrote down when it began to listen."""
        note = Path(self._profile, "DevToolsActivePort")
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise UserError(f"Chromium ended at once with code {self._process.returncode}")
            lines = note.read_text().split() if note.exists() else []
            if len(lines) == 2:
                return lines[0], lines[1]
            time.sleep(0.05)
        raise UserError(f"Chromium did not start within {_PATIENCE:.0f} s")

    def close(self) -> None:
        """End the browser and remove its profile."""
        if hasattr(self, "_socket"):
            self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _png(text: str) -> NDArray[np.uint8]:
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise RuntimeError("the browser sent a picture that cannot be read")
    return np.ascontiguousarray(picture[..., ::-1], dtype=np.uint8)
