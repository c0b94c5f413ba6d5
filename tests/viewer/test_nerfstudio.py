"""A scene in real nerfstudio commands, on whatever device there is (lane .ci/run-nerfstudio)."""

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
import trimesh

from gen.grid import VideoGrid
from pipeline.export import Export, export
from recon.ply import SH_C0
from recon.render import render_cells, render_scene
from scripts.tools import viser_page
from scripts.tools.browser import Browser
from tests.chromium import PATIENCE
from tests.viewer import ns_page
from tests.viewer.listening import listening_addresses
from tests.viewer.ns_command import declare_missing_operators
from tests.viewer.toy_scene import psnr, toy_scene, uncommon_scene
from viewer.nerfstudio_plugin.space import nerfstudio_space

COMMAND = Path(__file__).with_name("ns_command.py")


@pytest.fixture(scope="module", autouse=True)
def nerfstudio():
    if find_spec("nerfstudio") is None:
        if os.environ.get("FOURREAL_LANE") == "nerfstudio":
            pytest.fail("this lane needs nerfstudio (pip install -e '.[nerfstudio]')")
        pytest.skip("nerfstudio is not installed (its own lane: .ci/run-nerfstudio)")
    declare_missing_operators()


@pytest.fixture(scope="module")
def scene():
    return toy_scene(1500)


@pytest.fixture(scope="module")
def run(scene, tmp_path_factory) -> Path:
    """A run folder with an exported scene."""
    folder = tmp_path_factory.mktemp("run")
    scene.save(folder / "scene.safetensors")
    VideoGrid(frames=render_cells(scene)).save(folder / "grid")
    export(Export(str(folder), format="nerfstudio"))
    return folder


@pytest.fixture
def ns(tmp_path, monkeypatch):
    """Runs a nerfstudio command in this process, in a folder of its own, with ffmpeg on PATH."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)

    def call(name: str, *arguments: object) -> None:
        (command,) = entry_points(group="console_scripts", name=name)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        command.load()()

    return call


def image(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert picture is not None, path
    return picture[..., ::-1] / 255.0


def drawn(scene, v: int, t: float) -> np.ndarray:
    rgb = render_scene(scene, t, scene.w2c[v], scene.K[v], compensation=0.0).rgb
    return rgb.clamp(0, 1).numpy()


def test_render_dataset_is_our_picture_of_every_cell(ns, run, scene):
    config = run / "nerfstudio" / "config.yml"
    ns("ns-render", "dataset", "--load-config", config, "--output-path", "out",
       "--image-format", "png", "--rendered-output-names", "rgb", "depth")  # fmt: skip
    shown = sorted(Path("out/test/rgb").rglob("*.png"))
    assert len(shown) == len(scene.w2c) * len(scene.times)
    for v, k in ((0, 0), (1, 2), (2, 3)):
        want = drawn(scene, v, float(scene.times[k]))
        got = image(Path(f"out/test/rgb/v{v:02d}/t{k:03d}.png"))
        assert want.std() > 0.1 and psnr(got, want) > 40
        assert image(Path(f"out/test/depth/v{v:02d}/t{k:03d}.png")).std() > 0.02


def test_render_interpolate_goes_through_the_views(ns, run, scene):
    config = run / "nerfstudio" / "config.yml"
    ns("ns-render", "interpolate", "--load-config", config, "--pose-source", "train",
       "--interpolation-steps", 4, "--output-format", "images", "--image-format", "png",
       "--output-path", "path.mp4")  # fmt: skip
    frames = sorted(Path("path").glob("*.png"))
    assert len(frames) == 4 * (len(scene.w2c) - 1)
    assert psnr(image(frames[0]), drawn(scene, 0, 0.0)) > 35
    assert psnr(image(frames[-1]), drawn(scene, len(scene.w2c) - 1, 0.0)) > 35


def camera_path(run: Path, scene, v: int, times: list[float]) -> dict:
    data = json.loads((run / "nerfstudio" / "data.json").read_text())
    height, width = scene.size
    fov = float(np.degrees(2 * np.arctan(height / 2 / float(scene.K[v, 1, 1]))))
    pose = sum(data["cameras"][v]["camera_to_world"], []) + [0, 0, 0, 1]
    one = {"camera_to_world": pose, "fov": fov, "aspect": width / height}
    return {
        "camera_type": "perspective", "render_height": height, "render_width": width, "fps": 4,
        "seconds": 1, "camera_path": [one | {"render_time": t} for t in times],
    }  # fmt: skip


def test_render_camera_path_moves_in_time_even_from_a_moved_folder(ns, run, scene, tmp_path):
    Path("path.json").write_text(json.dumps(camera_path(run, scene, 1, [0.0, 0.5, 1.0])))
    moved = tmp_path / "elsewhere" / "nerfstudio"
    moved.parent.mkdir()
    (run / "nerfstudio").rename(moved)
    try:
        ns("ns-render", "camera-path", "--load-config", moved / "config.yml",
           "--camera-path-filename", "path.json", "--output-format", "images",
           "--image-format", "png", "--output-path", "frames.mp4")  # fmt: skip
    finally:
        moved.rename(run / "nerfstudio")
    frames = sorted(Path("frames").glob("*.png"))
    for t, path in zip((0.0, 0.5, 1.0), frames, strict=True):
        assert psnr(image(path), drawn(scene, 1, t)) > 35
    assert psnr(image(frames[0]), image(frames[2])) < 25


def test_export_gaussian_splat_is_the_canonical_moment(ns, run, scene):
    config = run / "nerfstudio" / "config.yml"
    ns("ns-export", "gaussian-splat", "--load-config", config, "--output-dir", "gs")
    data = trimesh.load("gs/splat.ply").metadata["_ply_raw"]["vertex"]["data"]
    moved = nerfstudio_space(scene).scene(scene)
    want = moved.at(float(scene.times[scene.canonical_time]))
    xyz = np.stack([np.ravel(data[c]) for c in "xyz"], -1)
    np.testing.assert_allclose(xyz, want.means, atol=1e-5)
    rgb = np.stack([np.ravel(data[f"f_dc_{c}"]) for c in range(3)], -1) * SH_C0 + 0.5
    np.testing.assert_allclose(rgb, want.colors, atol=1e-4)
    np.testing.assert_allclose(np.exp(np.ravel(data["scale_1"])), want.scales, rtol=1e-4)


def test_eval_scores_every_known_cell(ns, run, scene):
    ns("ns-eval", "--load-config", run / "nerfstudio" / "config.yml", "--output-path", "eval.json",
       "--render-output-path", "pictures")  # fmt: skip
    results = json.loads(Path("eval.json").read_text())["results"]
    cells = render_cells(scene)  # what the grid of the run was made of; the view offsets are 0
    files = sorted(Path("pictures").glob("*img*"))
    assert len(files) == cells.shape[0] * cells.shape[1]
    given, shown = np.hsplit(image(files[0]), 2)
    assert psnr(given, cells[0, 0]) > 30 and psnr(shown, cells[0, 0]) > 30
    assert results["psnr"] > 45 and results["ssim"] > 0.99 and results["psnr_std"] >= 0


@pytest.mark.parametrize("kind", ["shaped", "literal"])
def test_shapes_and_offsets_in_camera_axes_are_drawn_and_exported(ns, tmp_path, kind):
    scene = uncommon_scene(kind, 500, size=(36, 64))
    scene.save(tmp_path / "scene.safetensors")
    export(Export(str(tmp_path), "nerfstudio"))
    config = tmp_path / "nerfstudio" / "config.yml"
    ns("ns-render", "dataset", "--load-config", config, "--output-path", "out",
       "--image-format", "png", "--rendered-output-names", "rgb")  # fmt: skip
    got = image(Path("out/test/rgb/v00/t003.png"))
    assert psnr(got, drawn(scene, 0, 1.0)) > 40
    if kind == "shaped":
        ns("ns-export", "gaussian-splat", "--load-config", config, "--output-dir", "gs")
        data = trimesh.load("gs/splat.ply").metadata["_ply_raw"]["vertex"]["data"]
        moved = nerfstudio_space(scene).scene(scene)
        for axis in range(3):
            want = moved.log_scales + moved.log_stretch[:, axis]
            np.testing.assert_allclose(np.ravel(data[f"scale_{axis}"]), want, atol=1e-4)


def test_other_addresses_are_listened_on_only_when_told_and_announced(run, monkeypatch, capsys):
    from nerfstudio.configs.base_config import ViewerConfig

    from viewer.nerfstudio_plugin.config import exported

    folder = str(run / "nerfstudio")
    for told, host in (([], "127.0.0.1"), (["--viewer.websocket-host", "0.0.0.0"], "0.0.0.0")):
        monkeypatch.setattr(sys, "argv", ["ns-viewer", *told])
        config = exported(folder)
        config.viewer = ViewerConfig(websocket_host="0.0.0.0")  # what ns-viewer does by default
        assert config.viewer.websocket_host == host
        warned = capsys.readouterr().err.count("listening on 0.0.0.0: the viewer can be reached")
        assert warned == len(told) // 2


def test_viewer_in_a_browser_follows_the_time_slider(run, scene, tmp_path):
    """A real ns-viewer process: its picture is ours, and changes with time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path / "log.txt").open("wb")
    process = subprocess.Popen(
        [sys.executable, str(COMMAND), "ns-viewer",
         "--load-config", str(run / "nerfstudio" / "config.yml"),
         "--viewer.websocket-port", str(port), "--viewer.max-num-display-images", "0"],
        stdout=log, stderr=subprocess.STDOUT, cwd=tmp_path,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, (tmp_path / "log.txt").read_text()[-2000:]
        try:
            return urllib.request.urlopen(url, timeout=5).status == 200
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False

    moved = nerfstudio_space(scene).scene(scene)
    try:
        viser_page.until(answers, PATIENCE, "ns-viewer does not answer")
        assert listening_addresses(port) == {"127.0.0.1"}
        with Browser(760, 420) as browser:
            viser_page.open_page(browser, url, PATIENCE)
            pictures = []
            for t in (0.0, 0.9):
                if t:
                    viser_page.set_time(browser, t, PATIENCE)
                shown = [viser_page.canvas(browser, PATIENCE)]

                def is_ours(t=t, shown=shown) -> bool:
                    shown[0] = viser_page.canvas(browser, PATIENCE)
                    want = ns_page.expected(moved, t, shown[0].shape[:2])
                    assert want.std() > 0.05
                    return ns_page.likeness(shown[0], want) > 27

                viser_page.until(is_ours, PATIENCE, f"at time {t} the page shows something else")
                pictures.append(shown[0])
            assert ns_page.likeness(*pictures) < 25  # the ball moved
    finally:
        process.terminate()
        process.wait(20)
        log.close()
