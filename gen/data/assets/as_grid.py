"""A file of one animated asset as footage: a grid of frames with its exact cameras."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fourreal.console import warn
from fourreal.errors import UserError
from gen.data.assets.batch import SUFFIXES, caption, choose_clips
from gen.data.assets.cameras import Circle
from gen.data.assets.context import open_context
from gen.data.assets.grid import AssetShot, asset_truth
from gen.data.gltf.asset import load_asset
from gen.grid import VideoGrid

BESIDE = (".bin", ".png", ".jpg", ".jpeg", ".webp", ".txt")  # what a .gltf is made of besides


@dataclass(frozen=True)
class AssetRequest:
    """How an asset is filmed.

    Attributes:
        views, times: of the grid. clip: part of the name of its animation, or "first".
        arc: degrees between the first and the last view; 360: a ring.
        size: (height, width).
    """

    views: int = 8
    times: int = 8
    clip: str = "first"
    arc: float = 70.0
    size: tuple[int, int] = (144, 256)


def is_asset(path: Path) -> bool:
    """Whether a file is called as assets are: .glb, .gltf."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def asset_files(path: Path) -> list[Path]:
    """The files that an asset may be read from."""
    caption_file = [p for p in [path.with_suffix(".txt")] if p.is_file()]
    if path.suffix.lower() == ".glb":
        return [path, *caption_file]
    return [path, *sorted(p for p in path.parent.rglob("*") if p.suffix.lower() in BESIDE)]


def describe_asset(path: Path) -> list[str]:
    """What an asset holds, one line each.

    Raises:
        UserError: damaged.
    """
    asset = load_asset(path)
    lasting = [c for c in asset.clips if c.seconds > 0]
    lines = [f"{path}: asset with {len(lasting)} animation(s); `grid {path}` films one"]
    for clip in lasting[:12]:
        still = "" if clip.moves else ", nothing moves"
        lines.append(f"  --clip '{clip.name}': {clip.seconds:.2f} s{still}")
    if len(lasting) > 12:
        lines.append(f"  and {len(lasting) - 12} more")
    return lines + [f"  {note}" for note in asset.notes]


def asset_grid(path: Path, ask: AssetRequest) -> VideoGrid:
    """Film one animation of an asset before white: a complete grid with given cameras.

    Cameras stand on an arc or a ring around it, all at one height, and see its whole motion.

    Raises:
        UserError: damaged, without such an animation, or nothing can be rendered here.
    """
    try:
        circle = Circle(arc=ask.arc)
    except ValueError as error:
        raise UserError(f"--arc {ask.arc:g}: choose degrees above 0, up to 360 (a ring)") from error
    asset = load_asset(path)
    for note in asset.notes:
        warn(f"{path.name}: {note}")
    clip = choose_clips(asset, ask.clip)[0]
    shot = AssetShot(
        size=ask.size, views=ask.views, times=ask.times, circle=circle, points=64
    )  # fmt: skip
    context = open_context()
    try:
        truth, _, seconds = asset_truth(context, asset, clip, shot, caption(path, clip))
    finally:
        context.release()
    step = float(seconds[1] - seconds[0])
    return VideoGrid(
        truth.rgb,
        times=truth.times,
        K=truth.K,
        w2c=truth.w2c,
        fps=min(max(1 / max(step, 1e-6), 1.0), 120.0),
        prompt=truth.prompt,
    )
