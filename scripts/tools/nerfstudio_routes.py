"""The two nerfstudio ways of looking at a scene: ``ns-render`` and the page of ``ns-viewer``."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from recon.render import render_scene
from scripts.tools.browser import Browser
from scripts.tools.viewer_shot import NoRoute, Picture, Shot, View, free_port, run_program, words
from scripts.tools.viser_page import canvas, open_page, set_time, until
from viewer.nerfstudio_plugin.export import write_nerfstudio
from viewer.nerfstudio_plugin.space import nerfstudio_space, opengl_c2w, start_camera

_LIKE = 256  # pixels: ns-viewer sends 512 as JPEG and stretches them to its page
_SHARP = 10**-2.9  # mean squared error below which the page is taken to be done


def ns_render(shot: Shot) -> View:
    """nerfstudio's ``ns-render camera-path`` on the exported folder."""
    config = _nerfstudio_folder(shot)
    space = nerfstudio_space(shot.scene)
    c2w = opengl_c2w(_moved_camera(shot.w2c, space)[None])[0]
    height, width = shot.size
    frame = {
        "camera_to_world": [*c2w.ravel().tolist(), 0, 0, 0, 1],
        "fov": float(np.degrees(2 * np.arctan(height / 2 / shot.K[1, 1]))),
        "aspect": width / height,
        "render_time": shot.t,
    }
    path = {
        "camera_type": "perspective",
        "render_height": height,
        "render_width": width,
        "fps": 1,
        "seconds": 1,
        "camera_path": [frame],
    }
    (shot.work / "path.json").write_text(json.dumps(path))
    command = _nerfstudio_command(shot, "ns-render")
    command += ["camera-path", "--load-config", config, "--output-path", shot.work / "ns.mp4"]
    command += ["--camera-path-filename", shot.work / "path.json"]
    command += ["--output-format", "images", "--image-format", "png"]
    run_program([str(word) for word in command], shot)
    (picture,) = sorted((shot.work / "ns").glob("*.png"))
    return View(_read(picture))


def ns_viewer(shot: Shot) -> View:
    """nerfstudio's ``ns-viewer`` page in headless Chromium, from where it starts."""
    config, port = _nerfstudio_folder(shot), free_port()
    command = _nerfstudio_command(shot, "ns-viewer")
    command += ["--load-config", str(config), "--viewer.websocket-port", str(port)]
    command += ["--viewer.max-num-display-images", "0"]  # input cameras would lie over the picture
    url = f"http://127.0.0.1:{port}"
    moved = nerfstudio_space(shot.scene).scene(shot.scene)
    with (shot.work / "ns-viewer.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=shot.work)
        try:
            until(lambda: _answers(url, process), shot.patience, "ns-viewer does not answer")
            with Browser(760, 420) as browser:
                open_page(browser, url, shot.patience)
                set_time(browser, shot.t, shot.patience)
                best: View | None = None
                deadline = time.monotonic() + shot.patience
                while best is None or (_error(best) > _SHARP and time.monotonic() < deadline):
                    shown = canvas(browser, shot.patience)
                    camera = start_camera(moved, shown.shape[:2])
                    want = render_scene(moved, shot.t, *camera, shown.shape[:2], 0.0).rgb
                    view = View(*_small(shown, want.clamp(0, 1).numpy()))
                    # It draws coarsely while somebody moves something: the sharpest counts.
                    best = view if best is None or _error(view) < _error(best) else best
                    time.sleep(1)
        finally:
            process.terminate()
            process.wait(30)
    return best


def _error(view: View) -> float:
    assert view.want is not None
    return float(((view.rgb - view.want) ** 2).mean())


def _nerfstudio_folder(shot: Shot) -> Path:
    folder = shot.work / "nerfstudio"
    if not folder.exists():
        return write_nerfstudio(shot.scene, shot.grid, folder)
    return folder / "config.yml"


def _nerfstudio_command(shot: Shot, name: str) -> list[Any]:
    if shot.nerfstudio is None:
        raise NoRoute("nerfstudio is not installed")
    return [*words(shot.nerfstudio), name]


def _answers(url: str, process: subprocess.Popen) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"ns-viewer ended with code {process.returncode}")
    try:
        return bool(urllib.request.urlopen(url, timeout=5).status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def _moved_camera(w2c: NDArray[np.float64], space: Any) -> NDArray[np.float64]:
    """A world-to-camera matrix of the scene's world as one of nerfstudio's."""
    out = w2c.copy()
    out[:3, :3] = w2c[:3, :3] @ space.rotation.T
    out[:3, 3] = space.scale * (w2c[:3, 3] - out[:3, :3] @ space.translation)
    return out


def _small(*pictures: Picture) -> list[Picture]:
    height, width = pictures[0].shape[:2]
    size = (_LIKE, round(_LIKE * height / width))
    return [cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in pictures]


def _read(path: Path) -> Picture:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise RuntimeError(f"{path} is no picture")
    return picture[..., ::-1] / 255.0
