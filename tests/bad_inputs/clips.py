"""Clips that cannot be read, or do not belong together."""

from pathlib import Path

import numpy as np

from fourreal.video_io import write_image, write_video
from tests.bad_inputs.case import BadInput
from tests.bad_inputs.grids import cut, png_of, void

TITLE = "Clips"


def clip(name: str, seed: int = 0, count: int = 4, size: tuple[int, int] = (48, 64)) -> None:
    """A clip of one noise picture that moves a little; another seed is another scene."""
    rough = np.random.default_rng(seed).random((6, 8, 3), np.float32)
    wide = rough.repeat(size[0] // 6, 0).repeat(size[1] // 8, 1)
    write_video(name, np.stack([np.roll(wide, k, 1) for k in range(count)]), 8)


def clips(*names_seeds: tuple[str, int]) -> None:
    for name, seed in names_seeds:
        clip(name, seed)


def short_row() -> None:
    clip("b.mp4")
    clip("a.mp4", count=1)


def other_shape() -> None:
    clip("b.mp4")
    clip("a.mp4", size=(96, 64))


def cut_clip() -> None:
    clip("b.mp4")
    cut("b.mp4", 0.3)


def images(*sizes: tuple[int, int]) -> None:
    Path("images").mkdir()
    for k, size in enumerate(sizes):
        write_image(f"images/{k}.png", np.full((*size, 3), 0.5, np.float32))


def huge_image() -> None:
    Path("images").mkdir()
    Path("images/0.png").write_bytes(png_of(100_000, 100_000))


def playlist() -> None:
    """A text that ffmpeg would take as a list of other files to open."""
    clip("secret.mp4")
    Path("b.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")


FREEZE = "videos --freeze-time b.mp4"
PAIR = "videos --fixed-view a.mp4 --freeze-time b.mp4"
CASES = [
    BadInput("no such clip", "videos --freeze-time missing.mp4", r"no such file"),
    BadInput("text for a clip", FREEZE, r"cannot read", lambda: void("b.mp4")),
    BadInput("an empty file", FREEZE, r"cannot read", lambda: Path("b.mp4").touch()),
    BadInput("a clip cut off", FREEZE, r"cannot read", cut_clip),
    BadInput("a playlist of other files", FREEZE, r"cannot read", playlist),
    BadInput("a freeze-time clip of one frame", FREEZE, r"at least 2 views",
             lambda: clip("b.mp4", count=1)),
    BadInput("a fixed-view clip of one frame", PAIR, r"at least 2 times", short_row),
    BadInput("clips of different scenes", PAIR, r"different scenes",
             lambda: clips(("a.mp4", 1), ("b.mp4", 2))),
    BadInput("clips of different shapes", PAIR, r"different shapes", other_shape),
    BadInput("a folder without images", "videos --freeze-time images", r"holds no",
             lambda: Path("images").mkdir()),
    BadInput("images of different sizes", "videos --freeze-time images", r"differs in size",
             lambda: images((32, 48), (32, 40))),
    BadInput("an image that claims 10^10 pixels", "videos --freeze-time images",
             r"100000x100000", huge_image),
]  # fmt: skip
