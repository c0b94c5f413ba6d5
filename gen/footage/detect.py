"""Which format a path holds, told by the file that marks it, and its reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fourreal.errors import UserError
from gen.footage.easyvolcap import read_easyvolcap
from gen.footage.footage import Footage
from gen.footage.panoptic import read_train_meta
from gen.footage.rig import image_folders_in, read_image_folders, read_videos, videos_in
from gen.footage.transforms import read_transforms
from gen.grid import MARKER, VideoGrid

Source = Callable[[Path], Footage]

# In this order: what is more particular comes first.
MARKERS: tuple[tuple[str, Source], ...] = (
    ("train_meta.json", read_train_meta),
    ("intri.yml", lambda file: read_easyvolcap(file.parent)),
    ("transforms.json", lambda file: read_transforms(file, "nerfstudio transforms.json")),
    ("transforms_train.json", lambda file: read_transforms(file, "D-NeRF transforms_train.json")),
)
LISTING = (
    "v00/t000.png … (ours), cam*.mp4, a folder of images per camera, transforms.json, "
    "transforms_train.json, train_meta.json, or intri.yml + extri.yml"
)


def is_marker(path: Path) -> bool:
    """Whether a path is the file that marks a data set, whose frames lie beside it."""
    return path.is_file() and path.name in dict(MARKERS)


def read_source(path: str | Path, tiles: tuple[int, int] | None = None) -> VideoGrid | Footage:
    """What a path holds: a grid of ours, read whole, or footage of which parts can be read.

    Raises:
        UserError: nothing there, no format that is known, or one that is damaged.
    """
    p = Path(path)
    if not p.exists():
        raise UserError(f"no such grid: {p}; give a folder, an .npz or a tiled .mp4")
    if p.is_file() and not is_marker(p):
        return VideoGrid.load(p, tiles)
    folder = p.parent if p.is_file() else p
    found = _reader(folder, p.name if p.is_file() else "")
    if found is None:
        return VideoGrid.load(p, tiles)
    reader, at = found
    try:
        return reader(at)
    except ValueError as error:
        raise UserError(f"{at} cannot be used: {error}") from error
    except OSError as error:
        raise UserError(f"{at} cannot be read: {error.strerror or error}") from error


def check_format(path: Path) -> None:
    """Refuse a folder of no known format before anything hashes what may be a whole disk.

    Raises:
        UserError: the folder holds none of the formats.
    """
    if path.is_dir() and not _is_ours(path) and _reader(path, "") is None:
        raise UserError(f"{path} holds nothing that can be read as a grid; expected {LISTING}")


def _is_ours(folder: Path) -> bool:
    """Whether a folder is a grid of ours, or a run that holds one."""
    marked = any(f.exists() for f in (folder / MARKER, folder / "grid" / MARKER))
    return marked or any(folder.glob("v[0-9]*/t*.png"))


def _reader(folder: Path, named: str) -> tuple[Source, Path] | None:
    """The reader of a folder and what it reads; None for a grid of ours, or nothing known."""
    if not named and _is_ours(folder):
        return None
    for marker, reader in MARKERS:
        if (folder / marker).is_file() and named in ("", marker):
            return reader, folder / marker
    if len(videos_in(folder)) > 1:
        return read_videos, folder
    if len(image_folders_in(folder)) > 1:
        return read_image_folders, folder
    return None
