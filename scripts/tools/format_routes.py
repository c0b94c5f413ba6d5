"""Every format that a scene is exported to, written and shown by a program that reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fourdgs.keyframe_delta_file as sequence
import numpy as np
import torch
from numpy.typing import NDArray

from fourreal.cameras import Camera
from recon.gaussians import Gaussians
from recon.raster.rasterize import rasterize
from recon.render import render_scene
from recon.scene import Scene4D
from scripts.tools.browser import Browser
from scripts.tools.js_players import shown_by
from viewer.export.moments import SH_C0, Moment, seconds
from viewer.export.open_4dgs import write_open_4dgs
from viewer.export.per_moment import write_all, write_moment
from viewer.export.splatv import write_splatv
from viewer.export.usd import write_usd
from viewer.page.html import render_page, write_player
from viewer.page.payload import write_fr4d
from viewer.player_scene import PlayerScene

Picture = NDArray[np.floating]


@dataclass(frozen=True)
class Format:
    """A row of the table: name of `--format`, what is written, whether it moves, who read or
    played it here, who else says that they do (not tried), and the two steps to find out."""

    name: str
    files: str
    moving: bool
    tried: str
    untried: str
    write: Callable[[Job], list[Path]]
    show: Callable[[Job, float], Picture]


@dataclass
class Job:
    """A scene, the camera of the pictures (w2c [4,4], K [3,3], size) and a folder for files."""

    scene: Scene4D
    player: PlayerScene
    w2c: NDArray[np.float64]
    K: NDArray[np.float64]
    size: tuple[int, int]
    work: Path

    def ours(self, t: float) -> Picture:
        """Our rasterizer's picture, view compensation off."""
        drawn = render_scene(self.scene, t, self.w2c, self.K, self.size, 0.0)
        return drawn.rgb.clamp(0, 1).numpy()

    def drawn(self, m: Moment) -> Picture:
        """Our rasterizer's picture of what another program read, in our axes."""

        def tensor(values: object) -> torch.Tensor:
            return torch.as_tensor(np.array(values, np.float32))

        radii = np.exp(m.log_axes)
        gaussians = Gaussians(
            *(tensor(m.means), tensor(radii[:, 0]), tensor(m.opacities), tensor(m.colors)),
            *(tensor(radii / radii[:, :1]), tensor(m.rotations)),
        )
        camera = Camera(self.w2c, self.K, self.size)
        rgb = rasterize(gaussians, camera, tensor(self.player.background)).rgb
        return rgb.clamp(0, 1).numpy()

    def played(self, program: str, file: Path, t: float) -> Picture:
        """What a JavaScript player shows of ``file``."""
        rgb = shown_by(program, file, self.w2c, self.K, self.size, t, self.player.background)
        return rgb / 255.0

    def moment(self, suffix: str, t: float) -> Path:
        """A file of one moment."""
        file = self.work / f"at{t:.3f}{suffix}"
        write_moment(self.player, file, suffix, t)
        return file

    def sequence(self, suffix: str) -> list[Path]:
        """One file per stored time."""
        folder = self.work / suffix[1:]
        return [folder / name for name in write_all(self.player, folder, suffix)]


def _page(job: Job) -> list[Path]:
    write_player(job.player, job.work / "index.html")
    return [job.work / "index.html"]


def _on_page(job: Job, t: float, file: Path | None = None) -> Picture:
    """Our page in headless Chromium; ``file`` is loaded into it."""
    with Browser(job.size[1], job.size[0]) as browser:
        if file is None:
            browser.open(job.work / "index.html", "pause&bare")
        else:
            page = job.work / f"page-of-{file.name}.html"
            page.write_text(render_page(file.read_bytes()))
            browser.open(page, "pause&bare")
        browser.player_ready()
        browser.evaluate("player.set({fill: false}), 0")
        return browser.player_pixels(t, job.w2c, job.K, job.size) / 255.0


def _payload(job: Job) -> list[Path]:
    write_fr4d(job.player, job.work / "scene.fr4d")
    return [job.work / "scene.fr4d"]


def _container(job: Job) -> list[Path]:
    write_open_4dgs(job.player, job.work / "scene.4dgs")
    return [job.work / "scene.4dgs"]


def _by_fourdgs(job: Job, t: float) -> Picture:
    decoded = sequence.decode_streamed((job.work / "scene.4dgs").read_bytes())
    at = sequence.render_at(decoded, float(seconds(job.player, np.array([t]))[0]) + 1e-9)
    turns = np.roll(at["rotations"], 1, axis=1)
    moment = Moment(at["centers"], np.log(at["scales"]), turns, at["opacity"], at["rgb"])
    return job.drawn(moment.upright())


def _usd(job: Job) -> list[Path]:
    write_usd(job.player, job.work / "scene.usdc")
    return [job.work / "scene.usdc"]


def _by_usd_core(job: Job, t: float) -> Picture:
    from pxr import Usd, UsdVol

    stage = Usd.Stage.Open(str(job.work / "scene.usdc"))
    splats = UsdVol.ParticleField3DGaussianSplat(stage.GetPrimAtPath("/Scene/Gaussians"))
    first, last = stage.GetStartTimeCode(), stage.GetEndTimeCode()
    code = first + t * (last - first)
    coefficients = splats.GetRadianceSphericalHarmonicsCoefficientsAttr().Get(code)
    moment = Moment(
        np.array(splats.GetPositionsAttr().Get(code)),
        np.log(np.array(splats.GetScalesAttr().Get(code))),
        np.roll(np.array(splats.GetOrientationsAttr().Get(code)), 1, axis=1),
        np.array(splats.GetOpacitiesAttr().Get(code)),
        np.array(coefficients) * SH_C0 + 0.5,
    )
    return job.drawn(moment.upright())


def _splatv(job: Job) -> list[Path]:
    write_splatv(job.player, job.work / "scene.splatv")
    return [job.work / "scene.splatv"]


FORMATS = (
    Format(
        "html", "index.html", True, "Chromium 156", "every browser with WebGL2",
        _page, _on_page,
    ),
    Format(
        "fourreal", "scene.fr4d", True, "our page in Chromium", "",
        _payload, lambda job, t: _on_page(job, t, job.work / "scene.fr4d"),
    ),
    Format(
        "4dgs", "scene.4dgs", True, "fourdgs 0.6.0 (reader and validator)",
        "programs with its SDKs (Rust, TypeScript, Dart, Swift)", _container, _by_fourdgs,
    ),
    Format(
        "4dgs", "the same on our page", True, "our page in Chromium", "",
        _container, lambda job, t: _on_page(job, t, job.work / "scene.4dgs"),
    ),
    Format(
        "usd", "scene.usdc", True, "usd-core 26.11",
        "usdview and other Hydra viewers of OpenUSD 26.03 and later", _usd, _by_usd_core,
    ),
    Format(
        "glb", "glb/frame0001.glb …", False, "three.js 0.187",
        "Babylon.js, PlayCanvas, Cesium", lambda job: job.sequence(".glb"),
        lambda job, t: job.played("three", job.moment(".glb", t), t),
    ),
    Format(
        "spz", "spz/frame0001.spz …", False, "Spark 2.2, splat-transform 2.7",
        "PlayCanvas, Scaniverse", lambda job: job.sequence(".spz"),
        lambda job, t: job.played("spark", job.moment(".spz", t), t),
    ),
    Format(
        "sog", "sog/frame0001.sog …", False, "Spark 2.2, splat-transform 2.7",
        "SuperSplat, PlayCanvas", lambda job: job.sequence(".sog"),
        lambda job, t: job.played("spark", job.moment(".sog", t), t),
    ),
    Format(
        "splatv", "scene.splatv", True, "gsplat.js 1.2.9", "splaTV",
        _splatv, lambda job, t: job.played("gsplat", job.work / "scene.splatv", t),
    ),
    Format(
        "ply-sequence", "ply/frame0001.ply …", False, "Spark 2.2, splat-transform 2.7",
        "SuperSplat (plays the folder), Brush (plays the zip), Blender and Unity importers",
        lambda job: job.sequence(".ply"),
        lambda job, t: job.played("spark", job.moment(".ply", t), t),
    ),
)  # fmt: skip
