"""Write a scene in every format, look at it in a program that reads it, compare, make the table.

    FOURREAL_NODE=DIR python -m scripts.tools.compare_formats outputs/fox \\
        --json docs/benchmarks/formats.json --out docs/images/formats.webp --page docs/VIEWERS.md

Two times, one camera between two input cameras, view compensation off; error is PSNR against our
rasterizer. The table stands between two marks in the page. Without a run the table is made from
the file.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tyro.conf import Positional

from fourreal.atomic import atomic_file
from fourreal.console import say, warn
from fourreal.errors import UserError
from fourreal.image_metrics import psnr
from fourreal.script import run_script
from pipeline.scene_file import scene_path
from recon.scene import Scene4D
from scripts.evaluate.result_file import ResultFile
from scripts.tools.format_routes import FORMATS, Format, Job
from scripts.tools.make_gallery import caption
from viewer.camera_paths import camera_path
from viewer.player_scene import PlayerScene

START, END = "<!-- formats: python -m scripts.tools.compare_formats -->", "<!-- end of formats -->"
TITLE = "One scene in every format"
NOTE = (
    "PSNR in dB against our rasterizer at two times (a: a stored one, b: between two), from a "
    "camera of its own, as shown by the program named in docs/VIEWERS.md; megabytes of the whole "
    "scene, of all its stored times where a file holds one moment. three.js draws a Gaussian to "
    "two sigma only and sorts into slices, which is its own difference, not the file's."
)
_COLUMNS = 4


@dataclass
class Args:
    """What to write and where the results go."""

    run: Positional[Path | None] = None
    """Run folder, or a scene file; none: only the table, from the result file."""
    json: Path = Path("docs/benchmarks/formats.json")
    """Result file; finished rows are kept."""
    out: Path | None = None
    """Sheet of pictures (.webp or .png)."""
    page: Path | None = None
    """Page whose table is replaced."""
    name: str = "fox_grid"
    """Name of the scene in the result file."""
    only: tuple[str, ...] = ()
    """Only these formats."""
    height: int = 144
    """Of the pictures, pixels."""


def main(args: Args) -> None:
    """Write, look, compare; then sheet and table."""
    if args.run is not None:
        with tempfile.TemporaryDirectory() as work:
            _compare(args, job_of(args, Path(work)))
    if args.page is not None:
        put_table(args.page, json.loads(args.json.read_text()), args.name)


def job_of(args: Args, work: Path) -> Job:
    """The scene and a camera that every program can have: square pixels, a middle."""
    assert args.run is not None
    scene = Scene4D.load(scene_path(args.run))
    w2c = scene.w2c.double().numpy()
    camera = camera_path("orbit", w2c, scene.means.numpy(), 12)[1]
    height, width = args.height, round(args.height * scene.size[1] / scene.size[0])
    K = scene.K[len(w2c) // 2].double().numpy() * (height / scene.size[0])
    K[1, 1], K[2, 2] = K[0, 0], 1
    K[:2, 2] = width / 2, height / 2
    player = PlayerScene.from_scene(scene, fps=8)
    return Job(scene, player, np.asarray(camera), K, (height, width), work)


def _compare(args: Args, job: Job) -> None:
    times = _two_times(job.player)
    results = ResultFile(args.json, TITLE)
    results.note(NOTE)
    tiles = [_tile(job.ours(times[1]), "our rasterizer")]
    for form in FORMATS:
        if args.only and form.name not in args.only:
            continue
        try:
            files = form.write(job)
            shown = [form.show(job, t) for t in times]
        except UserError as reason:
            warn(f"{form.name} is left out: {reason}")
            continue
        values = [float(psnr(job.ours(t), rgb)) for t, rgb in zip(times, shown, strict=True)]
        size = sum(file.stat().st_size for file in files) / 1e6
        row = {"megabytes": round(size, 3), "files": len(files)}
        row |= {f"psnr_{k}": round(v, 1) for k, v in zip("ab", values, strict=True)}
        results.add(args.name, key_of(form), row)
        say(f"{key_of(form)}: {row}")
        who = form.tried.split(",")[0].split(" (")[0]
        tiles.append(_tile(shown[1], f"{form.name} in {who}  {values[1]:.1f} dB"))
    if args.out is not None:
        _write_sheet(tiles, args.out)
        say(f"wrote {args.out}")


def key_of(form: Format) -> str:
    """Name of a row in the result file."""
    return form.name if "our page" not in form.files else f"{form.name}_on_our_page"


def _two_times(player: PlayerScene) -> tuple[float, float]:
    """A stored time, and one half-way between two."""
    times = player.times.astype(float)
    k = len(times) // 3
    after = min(2 * k + 1, len(times) - 1)
    return float(times[k]), float(times[2 * k] + times[after]) / 2


def table(data: dict, scene: str) -> str:
    """The table of VIEWERS.md from a result file."""
    rows = data["results"][scene]
    lines = [
        "| `--format` | files | plays | read or played here by | says it reads it (not tried) "
        "| MB | error, dB |",
        "|---|---|---|---|---|---|---|",
    ]
    for form in FORMATS:
        row = rows.get(key_of(form))
        if row is None:
            continue
        size = f"{row['megabytes']:.2f}"
        if row["files"] > 1:
            size += f" ({row['files']} files)"
        moves = "yes" if form.moving else "one moment a file"
        files = form.files if "the same" in form.files else f"`{form.files}`"
        lines.append(
            f"| `{form.name}` | {files} | {moves} | {form.tried} | {form.untried} | {size} "
            f"| {row['psnr_a']:.1f}, {row['psnr_b']:.1f} |"
        )
    return "\n".join(lines)


def put_table(page: Path, data: dict, scene: str) -> None:
    """Replace the table between the marks of ``page``. Raises UserError without the marks."""
    text = page.read_text()
    if START not in text or END not in text:
        raise UserError(f"{page} has no place for the table ({START} … {END})")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    new = f"{before}{START}\n{table(data, scene)}\n{END}{after}"
    with atomic_file(page) as temporary:
        temporary.write_text(new)


def _tile(rgb: np.ndarray, text: str) -> np.ndarray:
    pixels = (255 * rgb.clip(0, 1) + 0.5).astype(np.uint8)
    return np.vstack([pixels, caption(pixels.shape[1], [text])])


def _write_sheet(tiles: list[np.ndarray], path: Path) -> None:
    from PIL import Image

    tiles = [*tiles, *[np.full_like(tiles[0], 13)] * (-len(tiles) % _COLUMNS)]
    rows = [np.hstack(tiles[k : k + _COLUMNS]) for k in range(0, len(tiles), _COLUMNS)]
    with atomic_file(path) as temporary:
        Image.fromarray(np.vstack(rows)).save(temporary, quality=88)


if __name__ == "__main__":
    sys.exit(run_script(main, Args, __doc__))
