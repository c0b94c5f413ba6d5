"""train_meta.json of Panoptic Sports as Dynamic 3D Gaussians ships it: OpenCV, w2c.

`w h`; per time t and camera c: `fn[t][c]` (below `ims/`), `k[t][c]` 3x3, `w2c[t][c]` 4x4,
`cam_id[t][c]`. Principal points are taken as they are (pixel centres at +0.5).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fourreal.cameras import scale_intrinsics
from fourreal.video_io import image_size
from gen.footage.calibration import takes_stored_pixels
from gen.footage.fields import array, intrinsics, need, number, read_object
from gen.footage.footage import Cell, Footage, footage_of_cells
from gen.footage.named_files import NamedFiles

FPS = 30.0


def read_train_meta(file: Path) -> Footage:
    """The footage of a train_meta.json; cameras of test_meta.json are held out and left alone.

    Raises:
        ValueError: not of this form.
    """
    data = read_object(file)
    tables = {name: need(data, name, list, file.name) for name in ("fn", "k", "w2c", "cam_id")}
    width, height = (number(data.get(n), f"'{n}' in {file.name}") for n in ("w", "h"))
    if not (width > 0 and height > 0):
        raise ValueError(f"'w' and 'h' in {file.name} must be above 0")
    folder = file.parent / "ims" if (file.parent / "ims").is_dir() else file.parent
    images = NamedFiles(folder)
    cells: list[Cell] = []
    missing: list[str] = []
    size = None
    for t, names in enumerate(tables["fn"]):
        lists: list[Any] = [
            tables[n][t] if t < len(tables[n]) else None for n in ("k", "w2c", "cam_id")
        ]
        if not isinstance(names, list) or not all(
            isinstance(x, list) and len(x) == len(names) for x in lists
        ):
            raise ValueError(f"time {t} of {file.name} has lists of different lengths")
        for c, name in enumerate(names):
            where = f"time {t}, entry {c} of {file.name}"
            path = images.find(name, f"'fn' at {where}")
            if path is None:
                missing.append(str(name))
                continue
            stored = takes_stored_pixels(path, (int(height), int(width)))
            size = size or image_size(path, not stored)
            K = intrinsics(lists[0][c], f"'k' at {where}")
            w2c = array(lists[1][c], (4, 4), f"'w2c' at {where}")
            view = f"{int(number(lists[2][c], f'cam_id at {where}')):04d}"
            K = scale_intrinsics(K, (int(height), int(width)), size)
            cells.append(Cell(view, float(t), path, K, w2c, stored=stored))
    if not cells and missing:
        raise ValueError(f"the image {missing[0][:80]} is missing{images.why_missing(missing[0])}")
    if not cells:
        raise ValueError(f"{file.name} lists no images")
    times = len(tables["fn"])
    footage = footage_of_cells("Panoptic train_meta.json", file, cells, max(times - 1, 1) / FPS)
    footage.notes += images.notes
    footage.miss(missing)
    return footage
