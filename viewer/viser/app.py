"""The live viewer: a scene in the browser through viser, with its cameras and a clock.

Works with viser 0.2.7 and >= 1.1 (``viewer.viser.splats``). One thread advances the clock and
sends what changed; the callbacks of the controls only note what is wanted.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import cv2
import numpy as np
import viser
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourreal.cameras import camera_centres
from fourreal.console import say
from fourreal.video_io import to_uint8
from gen.grid import VideoGrid
from recon.scene import Scene4D
from viewer.camera_paths import scene_centre
from viewer.viser.capture import Recorder, send_screenshot
from viewer.viser.look import COLOURINGS, SHAPES, Look, splats_at
from viewer.viser.shown import client_w2c
from viewer.viser.splats import SplatNode, Splats
from viewer.viser.traces import Traces

_DEPTH = 3.0  # the scene is scaled so that its centre is this far away: what viser's controls like
_TICK = 1 / 20


class ViserApp:
    """The scene on a running server; ``stop`` ends it.

    grid gives the pictures in the camera frusta. ``host`` and ``port`` as in ``serve``.
    """

    def __init__(
        self, scene: Scene4D, grid: VideoGrid | None = None, host: str = "127.0.0.1",
        port: int = 8080,
    ) -> None:  # fmt: skip
        self.scene = scene
        self.w2c = scene.w2c.cpu().numpy().astype(np.float64)
        middle = len(self.w2c) // 2
        self.focus = scene_centre(self.w2c[middle], scene.means.cpu().numpy())
        away = np.linalg.norm(self.focus - camera_centres(self.w2c)[middle])
        self.distance = max(float(away), 1e-9)
        self.unit = _DEPTH / self.distance

        self.server: Any = viser.ViserServer(host=host, port=port, verbose=False)
        self.server.scene.set_up_direction(tuple(-self.w2c[:, 1, :3].mean(0)))
        self.server.gui.configure_theme(dark_mode=True)
        self.splats = SplatNode(self.server, "/scene")
        self.inside: int | None = None  # the input view that a client stands in
        self.frusta = self._add_frusta(grid)
        self._add_time_and_look()
        self._add_cameras()
        self.traces = Traces(self)
        self.recorder = Recorder(self)
        self._add_capture()
        self.server.on_client_connect(lambda client: self.go_to(client, middle, step_back=0.35))
        self._drawn: Any = None
        self._scenes = 0  # how many scenes were shown: a new one is drawn even if nothing else is
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="viser-clock", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where to look."""
        return f"http://{self.server.get_host()}:{self.server.get_port()}"

    def stop(self) -> None:
        """End the clock and the server."""
        self._ended.set()
        self._thread.join(5)
        self.server.stop()

    def set_scene(self, scene: Scene4D) -> None:
        """Show another state of the same scene (same views and times), while it is fitted."""
        self.scene = scene
        self._scenes += 1

    def go_to(self, client: Any, view: int, step_back: float = 0.0) -> None:
        """Put a client's camera where input camera ``view`` is, or behind it.

        ``step_back`` is a share of the distance to the scene. Without it the camera stands in the
        frustum, whose picture would hide the scene: that frustum disappears.
        """
        self.inside = None if step_back else view
        self._toggle_frusta()
        to_world = np.linalg.inv(self.w2c[view])
        up = tuple(float(x) for x in -to_world[:3, 1])
        distance = float(np.linalg.norm(self.focus - to_world[:3, 3]))
        ahead = to_world[:3, 2] * distance * self.unit
        eye = to_world[:3, 3] * self.unit - step_back * ahead
        aim = eye + (1 + step_back) * ahead
        height = self.scene.size[0]
        with client.atomic():
            client.camera.up_direction = up
            client.camera.position = tuple(float(x) for x in eye)
            client.camera.look_at = tuple(float(x) for x in aim)
            client.camera.fov = float(2 * np.arctan(height / 2 / float(self.scene.K[view, 1, 1])))

    def _add_frusta(self, grid: VideoGrid | None) -> list[Any]:
        """A frustum per input camera, with its picture at the first time where there is one."""
        height, width = self.scene.size
        frusta = []
        for v, w2c in enumerate(self.w2c):
            to_world = np.linalg.inv(w2c)
            turn = Rotation.from_matrix(to_world[:3, :3]).as_quat()
            image = None
            if grid is not None and v < grid.V:
                small = (160, max(1, round(160 * grid.height / grid.width)))
                image = cv2.resize(to_uint8(grid.frames[v, 0]), small, interpolation=cv2.INTER_AREA)
            frustum = self.server.scene.add_camera_frustum(
                f"/cameras/{v + 1:02d}",
                fov=float(2 * np.arctan(height / 2 / float(self.scene.K[v, 1, 1]))),
                aspect=width / height,
                scale=0.08,
                color=(255, 180, 84),
                image=image,
                wxyz=tuple(float(x) for x in np.roll(turn, 1)),
                position=tuple(float(x) for x in to_world[:3, 3] * self.unit),
            )
            frustum.on_click(lambda event, v=v: self.go_to(event.client, v))
            frusta.append(frustum)
        return frusta

    def _add_time_and_look(self) -> None:
        gui, times = self.server.gui, self.scene.times
        first, last = float(times[0]), float(times[-1])
        moves = len(times) > 1
        with gui.add_folder("Time"):
            self.time = gui.add_slider("Time", first, max(last, first + 1e-3), 0.001, first)
            self.playing = gui.add_checkbox("Play", moves)
            self.fps = gui.add_slider("Frames a second", 0.5, 30.0, 0.5, 8.0)
            self.back_and_forth = gui.add_checkbox("Back and forth", True)
        for handle in (self.time, self.playing, self.fps, self.back_and_forth):
            handle.disabled = not moves
        with gui.add_folder("Look"):
            self.colouring = gui.add_dropdown("Colouring", COLOURINGS, initial_value="colour")
            self.shape = gui.add_dropdown("Draw as", SHAPES, initial_value="Gaussians")
            self.threshold = gui.add_slider("Hide opacity below", 0.0, 1.0, 0.01, 0.0)
            self.size = gui.add_slider("Point size", 0.1, 2.0, 0.05, 1.0)
            has_offsets = bool((self.scene.view_offsets != 0).any())
            self.compensation = gui.add_slider("View compensation", 0.0, 1.0, 0.05, 0.0)
            self.compensation.visible = has_offsets
        self.direction = 1.0

    def _add_cameras(self) -> None:
        gui = self.server.gui
        with gui.add_folder("Cameras"):
            self.show_frusta = gui.add_checkbox("Show cameras", True)
            names = tuple(str(v + 1) for v in range(len(self.w2c)))
            self.view = gui.add_dropdown("Input view", names, initial_value=names[0])
            go = gui.add_button("Go to view")
            go.on_click(lambda event: self.go_to(event.client, int(self.view.value) - 1))
        self.show_frusta.on_update(lambda _: self._toggle_frusta())

    def _add_capture(self) -> None:
        gui = self.server.gui
        with gui.add_folder("Capture"):
            shot = gui.add_button("Screenshot")
            shot.on_click(lambda event: send_screenshot(self, event.client))
            self.record = gui.add_checkbox(
                "Record video", False, hint="records time and camera; the mp4 comes when unchecked"
            )
        self.record.on_update(lambda _: self.recorder.toggle(self.record.value))

    def _toggle_frusta(self) -> None:
        for v, frustum in enumerate(self.frusta):
            frustum.visible = self.show_frusta.value and v != self.inside

    def _run(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(_TICK):
            now = time.monotonic()
            # With nobody watching, the clock stands still and nothing is sent.
            if self.playing.value and len(self.scene.times) > 1 and self.server.get_clients():
                self._advance(now - last)
            last = now
            self._draw()
            self.recorder.note(now)

    def _advance(self, seconds: float) -> None:
        stamps = self.scene.times
        first, last = float(stamps[0]), float(stamps[-1])
        t = self.time.value + self.direction * seconds * self.fps.value * (last - first) / (
            len(stamps) - 1
        )
        if not first <= t <= last:
            if self.back_and_forth.value:
                self.direction = -1.0 if t > last else 1.0
                t = min(max(t, first), last)
            else:
                self.direction, t = 1.0, first
        self.time.value = float(t)

    def look(self) -> Look:
        """What the controls say now."""
        return Look(
            self.colouring.value,
            self.shape.value,
            float(self.threshold.value),
            float(self.size.value),
        )

    def _draw(self) -> None:
        """Send the Gaussians if scene, time, look or (where it matters) the camera changed."""
        t = float(self.time.value)
        if not self.splats.in_place:  # one node a stored time: stay on those
            t = float(self.scene.times[int((self.scene.times - t).abs().argmin())])
        strength = float(self.compensation.value)
        camera = self._client_camera() if follows_camera(self.scene, strength) else None
        seen_from = None if camera is None else camera.tobytes()
        look = (self._scenes, self.look(), strength)
        state = (t, look, seen_from)
        if state == self._drawn:
            return
        if self._drawn is not None and self._drawn[1] != look:
            self.splats.forget()
        self.splats.show((t, seen_from), lambda: self._gaussians(t, camera, strength))
        self._drawn = state

    def _client_camera(self) -> NDArray[np.float64] | None:
        """World-to-camera of the browser that connected last, in the scene's own units."""
        clients = self.server.get_clients()
        if not clients:
            return None
        out = client_w2c(clients[max(clients)])
        out[:3, 3] /= self.unit
        return out.round(4)

    def _gaussians(self, t: float, camera: NDArray | None, strength: float) -> Splats:
        look = self.look()
        return splats_at(self.scene, t, look, self.unit, self.distance, camera, strength)


def follows_camera(scene: Scene4D, compensation: float) -> bool:
    """Whether what is drawn depends on where it is seen from."""
    literal = scene.offset_frame == "literal" and bool((scene.node_offsets != 0).any())
    return bool(compensation) or literal or scene.sheen is not None


def serve(
    scene: Scene4D, grid: VideoGrid | None = None, host: str = "127.0.0.1", port: int = 8080
) -> None:
    """Show ``scene`` in the browser until Ctrl-C; ``grid`` gives the pictures in the cameras.

    Listens on 127.0.0.1 only unless told otherwise; a port in use is replaced by the next free.
    """
    app = ViserApp(scene, grid, host, port)
    say(f"viewer: {app.url} (Ctrl-C ends it)")
    wait_for_interrupt(app)


def wait_for_interrupt(app: ViserApp) -> None:
    """Keep ``app`` running until Ctrl-C, then stop it."""
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        say("viewer ended")
    finally:
        app.stop()
