"""Ways of looking at a scene, each driven as a user would: what comes out as a picture.

Every route takes a ``Shot`` (one scene, one time, one camera) and gives a ``View``; one that
cannot be taken on this machine raises ``NoRoute`` with the reason.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import imageio_ffmpeg
import numpy as np
import torch
from numpy.typing import NDArray

from gen.grid import VideoGrid
from gen.video_io import read_clip
from recon.ply import read_ply
from recon.rasterize import rasterize
from recon.render import render_scene
from recon.scene import Scene4D
from viewer.browser import Browser
from viewer.html import write_player
from viewer.nerfstudio_plugin.export import write_nerfstudio
from viewer.nerfstudio_plugin.space import nerfstudio_space, opengl_c2w, start_camera
from viewer.payload import read_4dgs, write_4dgs
from viewer.ply import write_sequence
from viewer.video import write_camera_video
from viewer.viser_app import ViserApp
from viewer.viser_page import canvas, open_page, set_time, until

Picture = NDArray[np.floating]
_LIKE = 256  # pixels: ns-viewer sends 512 as JPEG and stretches them to its page


class NoRoute(Exception):
    """This machine lacks what the route needs; the message says what."""


@dataclass
class Shot:
    """What to look at: a scene at time ``t`` in 0..1 from w2c [4,4] with K [3,3], size (height,
    width); ``grid`` the input frames if there are any; ``work`` a folder for files; programs, ""
    where there are none; ``patience`` in seconds for pages and processes."""

    scene: Scene4D
    grid: VideoGrid | None
    t: float
    w2c: NDArray[np.float64]
    K: NDArray[np.float64]
    size: tuple[int, int]
    work: Path
    splat_transform: str = ""
    nerfstudio: str | None = None
    patience: float = 300.0

    def reference(self) -> Picture:
        """Our rasterizer's picture [H,W,3], view compensation off."""
        drawn = render_scene(self.scene, self.t, self.w2c, self.K, self.size, 0.0)
        return drawn.rgb.clamp(0, 1).cpu().numpy()


@dataclass
class View:
    """RGB [H,W,3] in 0..1 as a route shows it; ``want``: what it should be if its camera or size
    is its own; ``megabytes`` of the file that is shared."""

    rgb: Picture
    want: Picture | None = None
    megabytes: float | None = None


def player(shot: Shot, fill: bool = False) -> View:
    """index.html in headless Chromium; ``fill`` keeps surfaces closed, as the page does."""
    page = shot.work / "index.html"
    written = write_player(shot.scene, page)
    with Browser(shot.size[1], shot.size[0]) as browser:
        browser.open(page, "pause&bare")
        browser.player_ready()
        browser.evaluate(f"player.set({{fill: {str(fill).lower()}}}), 0")
        rgb = browser.player_pixels(shot.t, shot.w2c, shot.K, shot.size)
        if browser.console:
            raise RuntimeError(f"the page says: {browser.console[0]}")
    return View(rgb / 255.0, megabytes=written / 1e6)


def player_as_shown(shot: Shot) -> View:
    """The same with the page's own settings."""
    return player(shot, fill=True)


def viser(shot: Shot) -> View:
    """The viser page in headless Chromium: what the browser draws, without the controls."""
    height, width = shot.size
    app = ViserApp(shot.scene, shot.grid, port=_free_port())
    app.playing.value = app.show_frusta.value = False
    app.time.value = shot.t
    try:
        with Browser(max(640, width), max(480, height)) as browser:
            browser.call("Page.navigate", url=app.url)
            until(lambda: bool(app.server.get_clients()), shot.patience, "nobody connected")
            (client,) = app.server.get_clients().values()
            canvas(browser, shot.patience)
            to_world = np.linalg.inv(shot.w2c)
            until(lambda: app._drawn is not None, shot.patience, "nothing was sent")
            best = None
            for _ in range(3):  # the first pictures may precede the sorted Gaussians
                best = client.get_render(
                    height,
                    width,
                    wxyz=_quaternion(to_world[:3, :3]),
                    position=to_world[:3, 3] * app.unit,
                    fov=float(2 * np.arctan(height / 2 / shot.K[1, 1])),
                    transport_format="png",
                    timeout=shot.patience,
                )
                browser.evaluate("new Promise((done) => setTimeout(done, 1000))", shot.patience)
    finally:
        app.stop()
    rgba = np.asarray(best, np.float64) / 255
    background = shot.scene.background.cpu().numpy()
    return View(rgba[..., :3] * rgba[..., 3:] + background * (1 - rgba[..., 3:]))


def ply(shot: Shot) -> View:
    """The .ply sequence at three times; its middle file read back and drawn by our rasterizer."""
    return View(_drawn_ply(shot, _middle_ply(shot)), megabytes=_megabytes(_middle_ply(shot)))


def splat_transform_ply(shot: Shot) -> View:
    """The same file after PlayCanvas' splat-transform read and wrote it."""
    return _converted(shot, "again.ply")


def splat_transform_spz(shot: Shot) -> View:
    """The same file as .spz and back."""
    return _converted(shot, "frame.spz")


def supersplat(shot: Shot) -> View:
    """SuperSplat's own page of that file (splat-transform, .html) in headless Chromium."""
    height, width = shot.size
    to_world = np.linalg.inv(shot.w2c)
    turned = np.array([-1.0, -1.0, 1.0])  # the page turns PLY files half round z
    focal = shot.K[0, 0]
    initial = {
        "position": (turned * to_world[:3, 3]).tolist(),
        "target": (turned * (to_world[:3, 3] + to_world[:3, 2])).tolist(),
        "fov": float(np.degrees(2 * np.arctan(max(height, width) / 2 / focal))),
    }
    settings = {
        "version": 2,
        "tonemapping": "none",
        "highPrecisionRendering": True,
        "background": {"color": shot.scene.background.tolist()},
        "animTracks": [],
        "cameras": [{"initial": initial}],
        "annotations": [],
        "startMode": "default",
    }
    (shot.work / "settings.json").write_text(json.dumps(settings))
    page = shot.work / "frame.html"
    _convert(shot, _middle_ply(shot), page, "-g", "cpu", "-E", str(shot.work / "settings.json"))
    with Browser(width, height) as browser:
        browser.open(f"{page.resolve().as_uri()}?webgl&noui&noanim")
        before = np.zeros(0)

        def settled() -> bool:  # a picture that is no single colour and stays as it is
            nonlocal before
            now = browser.screenshot()
            same = now.shape == before.shape and np.array_equal(now, before)
            before = now
            return bool(same and now.std() > 8)

        until(settled, shot.patience, "SuperSplat's page shows nothing")
    return View(before / 255.0, megabytes=_megabytes(page))


def payload(shot: Shot) -> View:
    """The .4dgs file, read back by our own reader and drawn by our rasterizer."""
    path = shot.work / "scene.4dgs"
    write_4dgs(shot.scene, path)
    scene = read_4dgs(path)
    means, radii, opacities, colors = scene.at(shot.t, shot.w2c)
    rgb = _rasterized(shot, means, radii, opacities, colors, scene.stretch, scene.rotations)
    return View(rgb, megabytes=_megabytes(path))


def video(shot: Shot) -> View:
    """An exported video whose camera stands still, at the frame of the middle time."""
    path = shot.work / "video.mp4"
    write_camera_video(shot.scene, path, np.repeat(shot.w2c[None], 4, 0), frames=4)
    frames, _ = read_clip(path)
    return View(frames[1], megabytes=_megabytes(path))


def ns_render(shot: Shot) -> View:
    """nerfstudio's ``ns-render camera-path`` on the exported folder."""
    config = _nerfstudio_folder(shot)
    space = nerfstudio_space(shot.scene)
    moved = space.scene(shot.scene.keep(torch.arange(1)))
    # The shot's camera in nerfstudio's world, as any camera of the scene would get there.
    moved.w2c[:1] = torch.as_tensor(_moved_camera(shot.w2c, space)).to(moved.w2c)
    c2w = opengl_c2w(moved.w2c[:1].double().numpy())[0]
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
    _run([str(word) for word in command], shot)
    (picture,) = sorted((shot.work / "ns").glob("*.png"))
    return View(_read(picture))


def ns_viewer(shot: Shot) -> View:
    """nerfstudio's ``ns-viewer`` page in headless Chromium, from where it starts."""
    config, port = _nerfstudio_folder(shot), _free_port()
    command = _nerfstudio_command(shot, "ns-viewer")
    command += ["--load-config", str(config), "--viewer.websocket-port", str(port)]
    url = f"http://127.0.0.1:{port}"
    moved = nerfstudio_space(shot.scene).scene(shot.scene)
    with (shot.work / "ns-viewer.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=shot.work)
        try:
            until(lambda: _answers(url, process), shot.patience, "ns-viewer does not answer")
            with Browser(760, 420) as browser:
                open_page(browser, url, shot.patience)
                set_time(browser, shot.t, shot.patience)
                found: list[View] = []

                def is_sharp() -> bool:  # it draws coarsely first; the best of the last is kept
                    shown = canvas(browser, shot.patience)
                    camera = start_camera(moved, shown.shape[:2])
                    want = render_scene(moved, shot.t, *camera, shown.shape[:2], 0.0).rgb
                    found.append(View(*_small(shown, want.clamp(0, 1).numpy())))
                    return len(found) >= 6

                until(is_sharp, shot.patience, "ns-viewer draws nothing")
        finally:
            process.terminate()
            process.wait(30)
    return min(found, key=lambda view: float(((view.rgb - view.want) ** 2).mean()))


ROUTES: dict[str, Callable[[Shot], View]] = {
    "player": player,
    "player_as_shown": player_as_shown,
    "viser": viser,
    "ns_render": ns_render,
    "ns_viewer": ns_viewer,
    "ply": ply,
    "splat_transform_ply": splat_transform_ply,
    "splat_transform_spz": splat_transform_spz,
    "supersplat": supersplat,
    "payload": payload,
    "video": video,
}


def _middle_ply(shot: Shot) -> Path:
    folder = shot.work / "ply"
    if not folder.exists():
        write_sequence(shot.scene, folder, frames=3)
    return folder / "frame0002.ply"


def _drawn_ply(shot: Shot, path: Path) -> Picture:
    values = read_ply(path)
    radii, stretch = np.exp(values["log_scales"]), None
    if "log_axes" in values:
        stretch = np.exp(values["log_axes"] - values["log_scales"][:, None])
    opacities = 1 / (1 + np.exp(-values["opacity_logits"]))
    colors = values["colors"].clip(0, 1)
    rest = (stretch, values.get("rotations"))
    return _rasterized(shot, values["means"], radii, opacities, colors, *rest)


def _rasterized(shot: Shot, *values: NDArray | None) -> Picture:
    """Our picture of means, radii, opacities, colours, stretch and rotations."""
    tensors = [None if v is None else torch.as_tensor(np.array(v, np.float32)) for v in values]
    means, radii, opacities, colors, stretch, rotations = tensors
    assert means is not None and radii is not None
    assert opacities is not None and colors is not None
    camera, K = torch.as_tensor(shot.w2c).to(means), torch.as_tensor(shot.K).to(means)
    height, width = shot.size
    drawn = rasterize(
        *(means, radii, opacities, colors, camera, K, width, height),
        shot.scene.background.to(means),
        stretch=stretch,
        rotations=rotations,
    )
    return drawn.rgb.clamp(0, 1).numpy()


def _converted(shot: Shot, name: str) -> View:
    target, back = shot.work / name, shot.work / name
    _convert(shot, _middle_ply(shot), target)
    if target.suffix != ".ply":
        back = shot.work / f"{name}.ply"
        _convert(shot, target, back)
    return View(_drawn_ply(shot, back), megabytes=_megabytes(target))


def _convert(shot: Shot, source: Path, target: Path, *options: str) -> None:
    if not shot.splat_transform:
        raise NoRoute("splat-transform is not installed")
    program = shlex.split(shot.splat_transform)
    _run([*program, "-w", *options, str(source), str(target)], shot)


def _nerfstudio_folder(shot: Shot) -> Path:
    folder = shot.work / "nerfstudio"
    if not folder.exists():
        return write_nerfstudio(shot.scene, shot.grid, folder)
    return folder / "config.yml"


def _nerfstudio_command(shot: Shot, name: str) -> list[Any]:
    if shot.nerfstudio is None:
        raise NoRoute("nerfstudio is not installed")
    return [*shlex.split(shot.nerfstudio), name]


def _run(command: list[str], shot: Shot) -> None:
    """Run a program with ffmpeg on PATH; RuntimeError with its last words if it fails."""
    tools = shot.work / "bin"
    if not tools.exists():
        tools.mkdir()
        (tools / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=shot.patience, cwd=shot.work,
        env={**os.environ, "PATH": path},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {(done.stdout + done.stderr)[-500:]}")


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


def _quaternion(turn: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial.transform import Rotation

    return np.roll(Rotation.from_matrix(turn).as_quat(), 1)


def _read(path: Path) -> Picture:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise RuntimeError(f"{path} is no picture")
    return picture[..., ::-1] / 255.0


def _megabytes(path: Path) -> float:
    return path.stat().st_size / 1e6


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def found_programs() -> tuple[str, str | None]:
    """splat-transform ("" if absent) and the prefix of nerfstudio's commands (None if absent)."""
    node = os.environ.get("SPLAT_TRANSFORM") or shutil.which("splat-transform") or ""
    beside = Path(sys.executable).with_name("ns-render").exists()
    return node, "" if beside or shutil.which("ns-render") else None
