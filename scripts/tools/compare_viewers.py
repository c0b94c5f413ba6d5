"""Put every way of looking at a scene side by side: one scene, one time, one camera.

    python -m scripts.tools.compare_viewers outputs/NAME --out sheet.png --json viewers.json

Each picture is compared with that of our rasterizer (view compensation off). What a machine lacks
is left out and named: Chromium, splat-transform (``--splat-transform`` or SPLAT_TRANSFORM),
nerfstudio (``--nerfstudio``; "" when ns-render is on PATH).
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tyro.conf import Positional

from fourreal.console import say, warn
from fourreal.errors import UserError
from fourreal.image_metrics import psnr
from fourreal.script import run_script
from gen.grid import VideoGrid
from pipeline.scene_file import scene_path
from recon.scene import Scene4D
from scripts.evaluate.result_file import ResultFile
from scripts.tools.make_gallery import caption
from scripts.tools.viewer_routes import ROUTES, found_programs
from scripts.tools.viewer_shot import NoRoute, Shot, View
from scripts.tools.viewer_sizes import viser_html_megabytes
from viewer.camera_paths import camera_path

_COLUMNS = 4
_GAP = 4
_PAPER = (13, 17, 22)
TITLE = "Viewers against our rasterizer"
NOTE = (
    "PSNR in dB against our rasterizer at the same time and camera, view compensation off. "
    "player_as_shown enlarges what is finer than the input so that surfaces stay closed; the spz "
    "file, the SuperSplat page and the video are lossy; ns_viewer starts at a camera of its own "
    "and sends 512 JPEG pixels, so both pictures are shrunk to 256. megabytes: the file to share."
)


@dataclass
class Args:
    """What to compare and where to write it."""

    run: Positional[Path]
    """Run folder, or a scene file."""
    out: Path | None = None
    """Contact sheet (.png, .webp or .jpg)."""
    json: Path | None = None
    """Result file; finished rows are kept."""
    name: str = ""
    """Name of the scene in the result file; by default the folder's."""
    routes: tuple[str, ...] = tuple(ROUTES)
    """Which ways to try."""
    splat_transform: str = ""
    """Command of @playcanvas/splat-transform; by default SPLAT_TRANSFORM or what is on PATH."""
    nerfstudio: str | None = None
    """What goes before ns-render and ns-viewer; by default nothing, if they are installed."""
    width: int = 256
    """Of one picture of the sheet, in pixels."""
    pictures: Path | None = None
    """Folder of the single pictures; with --json, what is in both is not done again."""
    patience: float = 300.0
    """Seconds until a page or a program is given up."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.routes if name not in ROUTES]
        if unknown:
            raise UserError(f"no route {unknown[0]}; choose from {', '.join(ROUTES)}")
        if self.width < 96 or self.patience <= 0:
            raise UserError("--width of at least 96 and --patience above 0 expected")
        if self.out and self.out.suffix not in (".png", ".webp", ".jpg"):
            raise UserError(f"{self.out}: choose .png, .webp or .jpg")


def shot_of(args: Args, work: Path) -> Shot:
    """The scene at its middle time from between two input cameras."""
    path = scene_path(args.run)
    scene = Scene4D.load(path)
    grid = path.parent / "grid"
    points, w2c = scene.means.numpy(), scene.w2c.double().numpy()
    middle = len(w2c) // 2
    camera = camera_path("orbit", w2c, points, 12)[1]
    height, width = scene.size
    K = scene.K[middle].double().numpy().copy()
    K[1, 1] = K[0, 0]  # what viser, nerfstudio and SuperSplat can say: square pixels,
    K[:2, 2] = width / 2, height / 2  # the principal point in the middle
    known = found_programs()
    return Shot(
        scene=scene,
        grid=VideoGrid.load(grid) if (grid / "grid.json").exists() else None,
        t=float(scene.times[0] + scene.times[-1]) / 2,
        w2c=np.asarray(camera, np.float64),
        K=K,
        size=(height, width),
        work=work,
        splat_transform=args.splat_transform or known[0],
        nerfstudio=known[1] if args.nerfstudio is None else args.nerfstudio,
        patience=args.patience,
    )


def sheet(reference: NDArray, views: dict[str, tuple[View, float]], width: int) -> NDArray:
    """All pictures with their names and figures, uint8 RGB; a camera of its own brings its
    reference along."""
    cells = [tile(reference, "our rasterizer", width)]
    cells += [
        tile(view.rgb, f"{name}  {value:.1f} dB", width)
        for name, (view, value) in views.items()
        if view.want is None
    ]
    for name, (view, value) in views.items():
        if view.want is not None:
            cells.append(tile(view.want, f"our rasterizer, from {name}'s start", width))
            cells.append(tile(view.rgb, f"{name}  {value:.1f} dB", width))
    tall = max(len(cell) for cell in cells)
    cells = [np.vstack([c, np.full((tall - len(c), width, 3), _PAPER, np.uint8)]) for c in cells]
    cells += [np.full_like(cells[0], _PAPER)] * (-len(cells) % _COLUMNS)
    gap = np.full((tall, _GAP, 3), _PAPER, np.uint8)
    rows = []
    for k in range(0, len(cells), _COLUMNS):
        rows.append(np.hstack([p for cell in cells[k : k + _COLUMNS] for p in (cell, gap)]))
    return np.vstack(rows)


def tile(rgb: NDArray, text: str, width: int) -> NDArray:
    """One picture, ``width`` pixels wide, above its caption."""
    height = round(width * rgb.shape[0] / rgb.shape[1])
    small = cv2.resize(rgb.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return np.vstack([(255 * small.clip(0, 1) + 0.5).astype(np.uint8), caption(width, [text])])


def store(folder: Path | None, route: str, view: View) -> None:
    """Keep a route's picture, and what it should be where that is its own, in ``folder``."""
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, rgb in ((f"{route}.want.png", view.want), (f"{route}.png", view.rgb)):
        if rgb is not None:
            write_picture((255 * rgb.clip(0, 1) + 0.5).astype(np.uint8), folder / name)


def stored(folder: Path | None, route: str) -> View | None:
    """What ``store`` kept; None if it is not there."""
    if folder is None or not (folder / f"{route}.png").exists():
        return None
    want = folder / f"{route}.want.png"
    return View(load(folder / f"{route}.png"), load(want) if want.exists() else None)


def load(path: Path) -> NDArray:
    """A picture as RGB in 0..1."""
    picture = cv2.imread(str(path))
    if picture is None:
        raise UserError(f"{path} is no picture; delete it")
    return picture[..., ::-1] / 255.0


def write_picture(picture: NDArray, out: Path) -> None:
    """Write an RGB picture; UserError where that is impossible."""
    quality = [cv2.IMWRITE_WEBP_QUALITY, 88] if out.suffix == ".webp" else []
    if not cv2.imwrite(str(out), np.ascontiguousarray(picture[..., ::-1]), quality):
        raise UserError(f"cannot write {out}; does its folder exist?")


def main(args: Args) -> None:
    """Take every route, compare, write the sheet and the figures."""
    with tempfile.TemporaryDirectory(prefix="viewers-") as work:
        shot = shot_of(args, Path(work))
        name = args.name or scene_path(args.run).resolve().parent.name
        results = ResultFile(args.json, TITLE, order=list(ROUTES))
        results.note(NOTE)
        reference = shot.reference()
        views: dict[str, tuple[View, float]] = {}
        for route in args.routes:
            done = stored(args.pictures, route) if results.done(name, route) else None
            if done:
                views[route] = done, float(results.variants(name)[route]["psnr"] or 0)
                continue
            try:
                view = ROUTES[route](shot)
            except (NoRoute, UserError) as reason:
                warn(f"{route} is left out: {reason}")
                if not results.done(name, route):
                    results.add(name, route, {"psnr": None})
                    results.note(f"{name}, {route}: {reason}")
                continue
            value = psnr(view.rgb, reference if view.want is None else view.want)
            views[route] = view, value
            metrics: dict[str, float | None] = {"psnr": round(value, 2)}
            if view.megabytes:
                metrics["megabytes"] = round(view.megabytes, 3)
            store(args.pictures, route, view)
            results.add(name, route, metrics)
            size = f", {view.megabytes:.2f} MB" if view.megabytes else ""
            say(f"{route:20} {value:6.2f} dB{size}")
        ours = results.variants(name).get("player", {}).get("megabytes")
        if ours and not results.done(name, "viser_html"):
            record_sizes(shot, results, name, float(ours))
        if args.out:
            write_picture(sheet(reference, views, args.width), args.out)
            say(f"wrote {args.out}")


def record_sizes(shot: Shot, results: ResultFile, name: str, ours: float) -> None:
    """viser's own HTML file of the scene beside ours."""
    try:
        theirs = viser_html_megabytes(shot.scene)
    except NotImplementedError as reason:
        warn(f"the size of viser's HTML file is left out: {reason}")
        return
    results.add(name, "viser_html", {"megabytes": round(theirs, 3)})
    say(f"our page {ours:.2f} MB, viser's own {theirs:.2f} MB: {100 * ours / theirs:.0f} %")


if __name__ == "__main__":
    sys.exit(run_script(main, Args, __doc__))
