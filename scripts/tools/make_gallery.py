"""Make the README's animated picture from finished runs.

    python -m scripts.tools.make_gallery outputs/a-red-ball outputs/fox --out \\
        docs/images/gallery.webp

One row a run, three pictures that loop together: time moves (seen by the first input camera), the
viewpoint moves through the input cameras and back, both move. The file is kept below ``--limit``
bytes by lowering the quality, then the size.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tyro.conf import Positional

from fourreal.atomic import atomic_file
from fourreal.cameras import scale_intrinsics
from fourreal.console import progress
from fourreal.errors import UserError
from fourreal.script import run_script
from pipeline.scene_file import scene_path
from recon.render import render_scene
from recon.scene import Scene4D
from viewer.camera_paths import along_cameras

Frames = NDArray[np.uint8]
COLUMNS = ("time", "viewpoint", "both")
_QUALITIES = (82, 70, 58, 46)
_SHRINK = 0.85  # of the width, when no quality is small enough
_SMALLEST = 96
_INK, _PAPER = (225, 229, 235), (13, 17, 22)
_GAP, _CAPTION = 4, 22


@dataclass
class Args:
    """What to show and how."""

    runs: Positional[tuple[Path, ...]]
    """Run folders, or scene files."""
    out: Path = Path("docs/images/gallery.webp")
    """.webp, .gif or .png (animated)."""
    width: int = 256
    """Of one picture, in pixels."""
    frames: int = 32
    """Of the loop."""
    fps: float = 12.0
    """Frames a second."""
    captions: tuple[str, ...] = ()
    """A line under each row, for example the prompt or the credit of a clip."""
    limit: int = 1_000_000
    """Largest file, in bytes."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise UserError("name at least one run folder")
        if self.captions and len(self.captions) != len(self.runs):
            raise UserError(f"{len(self.captions)} captions for {len(self.runs)} runs")
        if self.out.suffix not in (".webp", ".gif", ".png"):
            raise UserError(f"{self.out}: choose .webp, .gif or .png")
        if self.width < _SMALLEST or not 2 <= self.frames <= 240 or self.fps <= 0:
            raise UserError(f"--width >= {_SMALLEST}, --frames in 2..240 and --fps > 0 expected")


def row(scene: Scene4D, frames: int, width: int) -> Frames:
    """The three looping pictures of a scene side by side: uint8 [frames, H, W, 3]."""
    height, given = scene.size
    size = (round(width * height / given), width)
    middle = len(scene.K) // 2
    K = scale_intrinsics(scene.K[middle].double().numpy(), scene.size, size)
    first, last = float(scene.times[0]), float(scene.times[-1])
    swing = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frames) / frames)  # there and back
    times = first + (last - first) * swing
    path = along_cameras(scene.w2c.numpy(), (len(scene.w2c) - 1) * swing)
    still = path[0]
    out = []
    for k in progress(range(frames), "drawing"):
        cells = ((times[k], still), (first, path[k]), (times[k], path[k]))
        drawn = [render_scene(scene, t, w2c, K, size, 0.0).rgb.clamp(0, 1) for t, w2c in cells]
        pictures = [(255 * rgb.numpy() + 0.5).astype(np.uint8) for rgb in drawn]
        gap = np.full((size[0], _GAP, 3), _PAPER, np.uint8)
        out.append(np.hstack([pictures[0], gap, pictures[1], gap, pictures[2]]))
    return np.stack(out)


def caption(width: int, texts: Sequence[str]) -> Frames:
    """A strip [_CAPTION, width, 3] with ``texts`` evenly along it."""
    strip = np.full((_CAPTION, width, 3), _PAPER, np.uint8)
    room = width // max(len(texts), 1)
    for k, text in enumerate(texts):
        scale = 0.42
        while scale > 0.2 and cv2.getTextSize(text, 0, scale, 1)[0][0] > room - 8:
            scale -= 0.02
        place = (k * room + 4, _CAPTION - 7)
        cv2.putText(strip, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, _INK, 1, cv2.LINE_AA)
    return strip


def sheet(rows: Sequence[Frames], captions: Sequence[str]) -> Frames:
    """All rows under one another, with what moves above and the captions below each."""
    width = rows[0].shape[2]
    out = []
    for k in range(len(rows[0])):
        parts = [caption(width, COLUMNS)]
        for n, one in enumerate(rows):
            parts.append(one[k])
            if captions and captions[n]:
                parts.append(caption(width, [captions[n]]))
        out.append(np.vstack(parts))
    return np.stack(out)


def encode(frames: Frames, suffix: str, fps: float, quality: int) -> bytes:
    """The animation as a file's bytes; ``quality`` 0..100 (gif and png: number of colours)."""
    images = [Image.fromarray(f) for f in frames]
    options: dict[str, object] = {"loop": 0, "duration": round(1000 / fps), "save_all": True}
    if suffix == ".webp":
        options |= {"quality": quality, "method": 6}
    else:
        images = [image.quantize(max(16, 2 * quality)) for image in images]
    stream = io.BytesIO()
    images[0].save(stream, suffix[1:], append_images=images[1:], **options)
    return stream.getvalue()


def main(args: Args) -> None:
    """Draw, encode as well as the limit allows, write."""
    scenes = [Scene4D.load(scene_path(run)) for run in args.runs]
    if len({s.size[0] / s.size[1] for s in scenes}) > 1:
        raise UserError("the runs have pictures of different shapes; make one gallery each")
    width = args.width
    while width >= _SMALLEST:
        frames = sheet([row(s, args.frames, width) for s in scenes], args.captions)
        for quality in _QUALITIES:
            data = encode(frames, args.out.suffix, args.fps, quality)
            if len(data) <= args.limit:
                with atomic_file(args.out) as temporary:
                    temporary.write_bytes(data)
                print(f"wrote {args.out}: {frames.shape[2]} x {frames.shape[1]}, {len(frames)} "
                      f"frames, {len(data) / 1e3:.0f} kB, quality {quality}")  # fmt: skip
                return
        width = int(width * _SHRINK)
    raise UserError(f"not below {args.limit} bytes; use fewer --frames or a larger --limit")


if __name__ == "__main__":
    sys.exit(run_script(main, Args, __doc__))
