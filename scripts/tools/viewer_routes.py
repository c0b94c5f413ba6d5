"""Ways of looking at a scene, each driven as a user would: what comes out as a picture.

Every route takes a ``Shot`` (one scene, one time, one camera) and gives a ``View``; one that
cannot be taken on this machine raises ``NoRoute`` with the reason.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourreal.cameras import Camera
from fourreal.video_io import read_clip
from recon.gaussians import Gaussians
from recon.ply import read_ply
from recon.raster.rasterize import rasterize
from scripts.tools.browser import Browser
from scripts.tools.nerfstudio_routes import ns_render, ns_viewer
from scripts.tools.viewer_shot import NoRoute, Picture, Shot, View, free_port, run_program, words
from scripts.tools.viser_page import canvas, until
from viewer.export.ply import write_sequence
from viewer.export.video import write_camera_video
from viewer.nerfstudio_plugin.space import Similarity
from viewer.page.html import write_player
from viewer.page.payload import read_fr4d, write_fr4d
from viewer.viser.app import ViserApp


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
    app = ViserApp(shot.scene, shot.grid, port=free_port())
    app.playing.value = app.show_frusta.value = False
    app.time.value = shot.t
    try:
        enlarged = -(-640 // width)  # viser renders in the shape of its page
        with Browser(enlarged * width, enlarged * height) as browser:
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
    """SuperSplat's own page of such a file (splat-transform, .html) in headless Chromium."""
    height, width = shot.size
    # The page's camera keeps upright, so the scene is turned: the camera becomes the world.
    turn, centre = shot.w2c[:3, :3], np.linalg.inv(shot.w2c)[:3, 3]
    upright = Similarity(turn, -turn @ centre, 1.0).scene(shot.scene)
    write_sequence(upright, shot.work / "upright", frames=3)
    depth = float(np.median(upright.means.cpu().numpy()[:, 2]))
    initial = {
        "position": [0.0, 0.0, 0.0],
        "target": [0.0, 0.0, depth],  # the page turns PLY files half round z
        "fov": float(np.degrees(2 * np.arctan(max(height, width) / 2 / shot.K[0, 0]))),
    }
    settings = {
        "version": 2,
        "tonemapping": "none",
        "highPrecisionRendering": True,
        "background": {"color": shot.scene.background.tolist()},
        "postEffectSettings": {
            "sharpness": {"enabled": False, "amount": 0},
            "bloom": {"enabled": False, "intensity": 1, "blurLevel": 2},
            "grading": dict.fromkeys(("brightness", "contrast", "saturation"), 1)
            | {"enabled": False, "tint": [1, 1, 1]},
            "vignette": {"enabled": False, "intensity": 0, "inner": 0, "outer": 1, "curvature": 1},
            "fringing": {"enabled": False, "intensity": 0},
        },
        "animTracks": [],
        "cameras": [{"initial": initial}],
        "annotations": [],
        "startMode": "default",
    }
    (shot.work / "settings.json").write_text(json.dumps(settings))
    page = shot.work / "frame.html"
    source = shot.work / "upright" / "frame0002.ply"
    _convert(shot, source, page, "-g", "cpu", "-E", str(shot.work / "settings.json"))
    with Browser(width, height) as browser:
        browser.open(f"{page.resolve().as_uri()}?webgl&noui&noanim")
        before = np.zeros(0)

        def settled() -> bool:  # a picture that is no single colour and stays as it is
            nonlocal before
            now = browser.screenshot()
            same = now.shape == before.shape and np.array_equal(now, before)
            before = now
            return bool(same and now.std() > 8)

        try:
            until(settled, shot.patience, "SuperSplat's page shows nothing")
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {browser.console[-1:]}") from None
    return View(before / 255.0, megabytes=_megabytes(page))


def payload(shot: Shot) -> View:
    """The .fr4d file, read back by our own reader and drawn by our rasterizer."""
    path = shot.work / "scene.fr4d"
    write_fr4d(shot.scene, path)
    scene = read_fr4d(path)
    means, radii, opacities, colors = scene.at(shot.t, shot.w2c)
    rgb = _rasterized(shot, means, radii, opacities, colors, scene.stretch, scene.rotations)
    return View(rgb, megabytes=_megabytes(path))


def video(shot: Shot) -> View:
    """An exported video whose camera stands still, at the frame of the middle time."""
    path = shot.work / "video.mp4"
    write_camera_video(shot.scene, path, np.repeat(shot.w2c[None], 4, 0), frames=4)
    frames, _ = read_clip(path)
    return View(frames[1], megabytes=_megabytes(path))


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
    gaussians = Gaussians(means, radii, opacities, colors, stretch, rotations)
    camera = Camera(shot.w2c, shot.K, shot.size)
    drawn = rasterize(gaussians, camera, shot.scene.background.to(means))
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
    run_program([*words(shot.splat_transform), "-w", *options, str(source), str(target)], shot)


def _quaternion(turn: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.roll(Rotation.from_matrix(turn).as_quat(), 1)


def _megabytes(path: Path) -> float:
    return path.stat().st_size / 1e6


def found_programs() -> tuple[str, str | None]:
    """splat-transform ("" if absent) and the prefix of nerfstudio's commands (None if absent)."""
    node = os.environ.get("SPLAT_TRANSFORM") or shutil.which("splat-transform") or ""
    beside = Path(sys.executable).with_name("ns-render").exists()
    return node, "" if beside or shutil.which("ns-render") else None
