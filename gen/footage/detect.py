"""Which format a path holds, told by the file that marks it, and its reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fourreal.errors import UserError
from gen.footage.camera_files import named_cameras
from gen.footage.colmap import is_model
from gen.footage.easyvolcap import read_easyvolcap
from gen.footage.footage import Footage
from gen.footage.panoptic import read_train_meta
from gen.footage.photo_folder import (
    FOLDERS,
    deeper_images,
    find_photos,
    is_moving_rig,
    no_images,
)
from gen.footage.photos import camera_source, read_photos
from gen.footage.rig import (
    image_folders_in,
    read_image_folders,
    read_videos,
    rig_folders,
    rig_videos,
    videos_in,
)
from gen.footage.transforms import read_transforms
from gen.grid import VideoGrid
from gen.grid_file import MARKER

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
    "transforms_train.json, train_meta.json, intri.yml + extri.yml, or images/ with sparse/0, "
    "poses_bounds.npy or cameras.json"
)

STILLS = (".jpg", ".jpeg", ".heic", ".heif")


def is_marker(path: Path) -> bool:
    """Whether a path is the file that marks a data set, whose frames lie beside it."""
    return path.is_file() and path.name in dict(MARKERS)


def read_source(
    path: str | Path, tiles: tuple[int, int] | None = None, cameras: str = ""
) -> VideoGrid | Footage:
    """What a path holds: a grid of ours, read whole, or footage of which parts can be read.

    ``cameras``: what holds the cameras of photos or of a rig, '' to look beside them.

    Raises:
        UserError: nothing there, no format that is known, or one that is damaged.
    """
    p = Path(path)
    if not p.exists():
        raise UserError(f"no such grid: {p}; give a folder, an .npz or a tiled .mp4")
    if (p.is_file() and not is_marker(p)) or (p.is_dir() and _is_ours(p)):
        if cameras:
            raise UserError(f"--cameras goes with photos, clips and rigs; {p} is a grid")
        return VideoGrid.load(p, tiles)
    folder = p.parent if p.is_file() else p
    found = _reader(folder, p.name if p.is_file() else "", cameras)
    if found is None:
        raise UserError(unknown(p))
    reader, at = found
    if cameras and at != folder:
        raise UserError(f"--cameras goes with photos, clips and rigs; {at} has its own cameras")
    try:
        return reader(at)
    except ValueError as error:
        raise UserError(f"{at} cannot be used: {error}") from error
    except OSError as error:
        raise UserError(f"{at} cannot be read: {error.strerror or error}") from error


def check_format(path: Path, cameras: str = "") -> None:
    """Refuse a folder of no known format before anything hashes what may be a whole disk.

    Raises:
        UserError: the folder holds none of the formats.
    """
    if path.is_dir() and not _is_ours(path) and _reader(path, "", cameras) is None:
        raise UserError(unknown(path))


def source_paths(path: Path, cameras: str = "") -> list[Path]:
    """The files and folders that a path is read from, for a key.

    Raises:
        UserError: nothing at ``cameras``.
    """
    named = [named_cameras(cameras)] if cameras else []
    if is_marker(path):
        return [path.parent, *named]
    if path.is_dir() and not _is_ours(path) and _several_times(path, "", cameras) is None:
        photos, source = find_photos(path), camera_source(path, cameras)
        if photos is not None and source is not None:
            return [photos.root, source[0]]
    return [path, *named]


def is_known(folder: Path) -> bool:
    """Whether a folder is a grid of ours or footage of several views."""
    return _is_ours(folder) or _reader(folder, "") is not None


def unknown(folder: Path) -> str:
    """Why a folder is no grid, and what it may be used for."""
    photos = find_photos(folder)
    if photos is not None:
        return (
            f"{folder} holds {len(photos.files)} images and no cameras of them: photos of a still "
            f"scene are used by `videos --freeze-time {folder}`, or name their cameras with "
            "--cameras"
        )
    if is_model(folder):
        return (
            f"{folder} is a COLMAP model without its photos; name the folder that holds images/ "
            "and the model, or the photos with --cameras"
        )
    if (folder / "dataset.json").is_file() and (folder / "camera").is_dir():
        return (
            f"{folder} is footage of one camera that moves while the scene does (the layout of "
            "Nerfies, HyperNeRF and DyCheck): there is no frozen moment in it"
        )
    if line := _one_camera(folder):
        return line
    inner = [d for d in sorted(folder.iterdir()) if d.is_dir() and len(videos_in(d)) > 1]
    if len(inner) == 1:
        return f"the videos of {folder} lie deeper: name {inner[0]}"
    said = no_images(folder, "grid")
    if "export" in said or deeper_images(folder) is not None:
        return said
    return f"{folder} holds nothing that can be read as a grid; expected {LISTING}"


def _one_camera(folder: Path) -> str:
    """What to say of a folder with a single view and what was passed over beside it."""
    for found in (rig_videos(folder), rig_folders(folder)):
        if len(found.taken) == 1:
            path = found.taken[0]
            passed = f" ({'; '.join(found.notes)})" if found.notes else ""
            return (
                f"{folder} holds one camera ({path.stem}), and a grid needs at least 2{passed}; a "
                f"clip of a frozen moment is used by `videos --freeze-time {path}`"
            )
    return ""


def _is_ours(folder: Path) -> bool:
    """Whether a folder is a grid of ours, or a run that holds one."""
    marked = any(f.exists() for f in (folder / MARKER, folder / "grid" / MARKER))
    return marked or any(folder.glob("v[0-9]*/t*.png"))


def _reader(folder: Path, named: str, cameras: str = "") -> tuple[Source, Path] | None:
    """The reader of a folder and what it reads; None for a grid of ours, or nothing known."""
    if not named and _is_ours(folder):
        return None
    found = _several_times(folder, named, cameras)
    if found is not None:
        return found
    if find_photos(folder) is not None and (cameras or camera_source(folder) is not None):
        return lambda at: read_photos(at, cameras), folder
    return None


def _live_photos(folder: Path) -> bool:
    """Whether the videos of a folder are the moving halves of photos of the same names."""
    photos = {f.stem.casefold() for f in folder.iterdir() if f.suffix.lower() in STILLS}
    return {f.stem.casefold() for f in videos_in(folder)} <= photos


def _several_times(folder: Path, named: str, cameras: str) -> tuple[Source, Path] | None:
    """The reader of a folder of views over time and what it reads; None for other folders."""
    for marker, reader in MARKERS:
        if (folder / marker).is_file() and named in ("", marker):
            return reader, folder / marker
    if len(videos_in(folder)) > 1 and not _live_photos(folder):
        return lambda at: read_videos(at, cameras), folder
    rows = [d for d in image_folders_in(folder) if d.name.lower() not in FOLDERS]
    if len(rows) > 1 and not is_moving_rig(folder):
        return lambda at: read_image_folders(at, cameras), folder
    return None
