"""Pictures and videos of what a viser client sees, drawn by our own rasterizer.

The browser's own read-back differs between viser versions and needs a visible tab; this does not.
"""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fourreal.console import warn
from fourreal.video_io import to_uint8, write_video
from viewer.viser.look import picture, splats_at
from viewer.viser.shown import Shown, client_w2c

_HEIGHT = 720
_FPS = 16
_LONGEST = 60 * _FPS  # frames; a forgotten recording ends after a minute


class Shot(NamedTuple):
    """A moment to draw: time, world-to-camera in viser's units, vertical field of view, aspect."""

    time: float
    w2c: NDArray[np.float64]
    fov_y: float
    aspect: float


def shot_of(app: Shown, client: Any) -> Shot:
    """What ``client`` sees now."""
    camera = client.camera
    return Shot(float(app.time.value), client_w2c(client), float(camera.fov), float(camera.aspect))


def draw(app: Shown, shot: Shot, height: int = _HEIGHT) -> NDArray[np.float32]:
    """RGB [height,W,3] of a shot in the present look; W follows the shot's aspect and is even."""
    strength = float(app.compensation.value)
    camera = shot.w2c.copy()
    camera[:3, 3] /= app.unit
    splats = splats_at(app.scene, shot.time, app.look(), app.unit, app.distance, camera, strength)
    width = 2 * max(1, round(height * shot.aspect / 2))
    background = app.scene.background.cpu().numpy()
    return picture(splats, shot.w2c, shot.fov_y, (height, width), background)


def send_screenshot(app: Shown, client: Any) -> None:
    """Let the browser download what it shows as a PNG."""
    rgb = to_uint8(draw(app, shot_of(app, client)))
    _, data = cv2.imencode(".png", rgb[..., ::-1])
    client.send_file_download("fourreal.png", data.tobytes())


class Recorder:
    """Notes time and camera while a recording runs; draws and sends the video afterwards."""

    def __init__(self, app: Shown) -> None:
        self._app = app
        self.shots: list[Shot] | None = None
        self._next = 0.0

    def toggle(self, on: bool) -> None:
        """Start a recording, or end it and send the mp4 to the browser that connected last."""
        shots, self.shots = self.shots, [] if on else None
        if on or not shots:
            return
        clients = self._app.server.get_clients()
        if clients:
            client = clients[max(clients)]
            threading.Thread(target=self._send, args=(shots, client), daemon=True).start()

    def note(self, now: float) -> None:
        """Called at every tick (seconds): keep what is seen, at the video's frame rate."""
        if self.shots is None or now < self._next:
            return
        clients = self._app.server.get_clients()
        if not clients:
            return
        self._next = max(self._next + 1 / _FPS, now)
        self.shots.append(shot_of(self._app, clients[max(clients)]))
        if len(self.shots) >= _LONGEST:
            warn("the recording reached one minute and ends")
            self._app.record.value = False

    def _send(self, shots: list[Shot], client: Any) -> None:
        client.send_file_download("fourreal.mp4", film(self._app, shots))


def film(app: Shown, shots: list[Shot], height: int = _HEIGHT) -> bytes:
    """The shots as an mp4, all in the aspect of the first."""
    even = 2 * (height // 2)
    frames = [draw(app, shot._replace(aspect=shots[0].aspect), even) for shot in shots]
    with tempfile.TemporaryDirectory() as work:
        path = Path(work, "video.mp4")
        write_video(path, np.stack(frames), _FPS)
        return path.read_bytes()
