"""Measure how many frames a second the player draws while time plays and the camera moves.

    python -m scripts.tools.player_rate # 100 000 points, software WebGL
    python -m scripts.tools.player_rate outputs/NAME/index.html --gpu # a page of yours, on the GPU

On a busy machine the processor time a frame says more than the frames a second.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from tyro.conf import Positional, arg

from fourreal.errors import UserError
from fourreal.script import run_script
from recon.scene import Scene4D
from scripts.evaluate.result_file import hardware_line
from scripts.tools.browser import Browser
from scripts.tools.raster_scene import layered_scene
from viewer.page.html import write_player

_TIMES = 8


@dataclass
class Args:
    """What to play, how large and how long."""

    page: Positional[Path | None] = None
    """A player page; by default one with ``points`` points is made."""
    points: int = 100_000
    """Points of that page: three surfaces in front of one another, a third of them moving."""
    size: tuple[int, int] = (960, 540)
    """Canvas width and height in pixels."""
    seconds: float = 20.0
    """How long to count frames."""
    gpu: Annotated[bool, arg(help="Draw with the machine's GPU, not in software.")] = False

    def __post_init__(self) -> None:
        if self.page is not None and not self.page.is_file():
            raise UserError(f"no such page: {self.page}; give the index.html of a run")
        if self.points < 100 or min(self.size) < 16 or self.seconds <= 0:
            raise UserError("--points >= 100, --size of at least 16 and --seconds > 0 expected")


def moving_scene(points: int, size: tuple[int, int]) -> Scene4D:
    """About ``points`` Gaussians, the nearest surface of three swaying in ``_TIMES`` steps."""
    width, height = size
    parts = layered_scene(height, width, points)
    n = len(parts["means"])
    nodes = torch.zeros(_TIMES, 2, 3)
    nodes[:, 1, 0] = 0.1 * torch.sin(torch.linspace(0, torch.pi, _TIMES))
    return Scene4D(
        means=parts["means"],
        log_scales=parts["scales"].log(),
        opacity_logits=torch.logit(parts["opacities"]),
        colors=parts["colors"],
        times=torch.linspace(0, 1, _TIMES),
        node_offsets=nodes,
        node_index=(parts["means"][:, 2:] < 1.3).long(),
        node_weights=torch.ones(n, 1),
        view_offsets=torch.zeros(1, n, 3),
        K=parts["K"][None],
        w2c=parts["w2c"][None],
        size=(height, width),
    )


def processor_seconds(root: int) -> float:
    """Processor time of a process and all that it started (Linux; 0 elsewhere)."""
    children: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has ended
            continue
        pid = int(entry.parent.name)
        children.setdefault(int(fields[1]), []).append(pid)
        used[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    total, waiting = 0.0, [root]
    while waiting:
        pid = waiting.pop()
        total += used.get(pid, 0.0)
        waiting += children.get(pid, [])
    return total


def main(args: Args) -> None:
    """Play, count, print."""
    with tempfile.TemporaryDirectory() as work:
        page = args.page
        if page is None:
            page = Path(work, "index.html")
            write_player(moving_scene(args.points, args.size), page)
        with Browser(*args.size, gpu=args.gpu) as browser:
            browser.open(page, "pause&bare")
            browser.player_ready()
            browser.evaluate(
                "window.drawn = 0, (() => { const r = player.renderer, draw = r.draw;"
                " r.draw = (...a) => { draw.apply(r, a); r.gl.finish(); window.drawn++; }; })(),"
                " player.tour(true), player.play(), 0"
            )
            start, before = time.monotonic(), processor_seconds(browser.process_id)
            time.sleep(args.seconds)
            frames = browser.evaluate("window.drawn")
            seconds = time.monotonic() - start
            cost = processor_seconds(browser.process_id) - before
            points, canvas, renderer = browser.evaluate(
                "(() => { const { gl } = player.renderer;"
                " const about = gl.getExtension('WEBGL_debug_renderer_info');"
                " return [player.info.points, [player.canvas.width, player.canvas.height],"
                " gl.getParameter(about ? about.UNMASKED_RENDERER_WEBGL : gl.RENDERER)]; })()"
            )
    print(f"{points} points, canvas at last {canvas[0]} x {canvas[1]} (coarser when too slow)")
    each = cost / max(frames, 1)
    print(f"{frames / seconds:.2f} frames a second, {each:.2f} s of processor a frame")
    print(f"{renderer}; {hardware_line()}")


if __name__ == "__main__":
    sys.exit(run_script(main, Args, __doc__))
