"""Take a picture of a player page in headless Chromium.

    python -m scripts.tools.screenshot_player outputs/NAME/index.html picture.png --time 0.5

``--orbit 20 -10`` then turns the camera by degrees around the subject; ``--phone`` shows the page
as a phone does; ``--bare`` hides the controls.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
from tyro.conf import Positional, arg

from fourreal.errors import UserError
from fourreal.script import run_script
from scripts.tools.browser import Browser


@dataclass
class Args:
    """What to photograph."""

    page: Positional[Path]
    """index.html of a run, or any player page."""
    out: Positional[Path]
    """PNG to write."""
    time: float = 0.0
    """Time in 0..1."""
    view: int = 0
    """Input view, from 0."""
    orbit: tuple[float, float] = (0.0, 0.0)
    """Degrees to turn around the subject: right, up."""
    dolly: float = 1.0
    """Factor on the distance to the subject."""
    size: tuple[int, int] = (960, 540)
    """Page width and height in CSS pixels."""
    scale: float = 1.0
    """Device pixels per CSS pixel."""
    phone: Annotated[bool, arg(help="Portrait phone (390 x 844, touch).")] = False
    bare: bool = False
    """Without title and controls."""
    legend: bool = False
    """With the legend open."""
    mode: int = 0
    """0 colour, 1 depth, 2 motion."""

    def __post_init__(self) -> None:
        if not self.page.is_file():
            raise UserError(f"no such page: {self.page}; give the index.html of a run")
        if self.out.suffix not in (".png", ".jpg", ".webp") or not self.out.parent.is_dir():
            raise UserError(f"{self.out}: choose a .png, .jpg or .webp in a folder that exists")
        if not 0 <= self.time <= 1 or self.view < 0 or self.mode not in (0, 1, 2):
            raise UserError("--time in 0..1, --view from 0 and --mode 0, 1 or 2 expected")
        if not (min(self.size) >= 16 and 0 < self.scale <= 8 and self.dolly > 0):
            raise UserError("--size of at least 16, --scale in 0..8 and --dolly above 0 expected")


def main(args: Args) -> None:
    """Open, settle, turn, write."""
    width, height = (390, 844) if args.phone else args.size
    options = f"pause&t={args.time}&view={args.view}&mode={args.mode}"
    with Browser(width, height, args.scale, touch=args.phone) as browser:
        browser.open(args.page, options + ("&bare" if args.bare else ""))
        browser.player_ready()
        yaw, pitch = (math.radians(a) for a in args.orbit)
        if yaw or pitch or args.dolly != 1:
            browser.evaluate(
                f"player.camera.orbit({yaw}, {pitch}), player.camera.dolly({args.dolly}),"
                " (player.camera.shown = player.camera.copy(player.camera.goal)), 0"
            )
        if args.legend:
            browser.evaluate("document.getElementById('legend').hidden = false, 0")
        browser.evaluate(
            "player.settled().then(() => new Promise((done) => setTimeout(done, 900)))"
            ".then(() => player.settled())"
        )
        picture = browser.screenshot()
        for problem in browser.console:
            print(f"page: {problem}", file=sys.stderr)
    if not cv2.imwrite(str(args.out), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise UserError(f"cannot write {args.out}")
    print(f"wrote {args.out}: {picture.shape[1]} x {picture.shape[0]}")


if __name__ == "__main__":
    sys.exit(run_script(main, Args, __doc__))
