"""EasyVolcap (and EasyMocap): `images/CAM/T.jpg`, `intri.yml`, `extri.yml`; OpenCV, w2c.

`names`: cameras; `K_CAM` 3x3, `D_CAM` or `dist_CAM` (k1 k2 p1 p2 k3), `H_CAM W_CAM` in intri.yml;
`Rot_CAM` 3x3 or `R_CAM` (rotation vector), `T_CAM` in extri.yml. The files are OpenCV's YAML, read
by OpenCV itself, which makes nothing but numbers and texts of it.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fourreal.cameras import scale_intrinsics
from gen.footage.fields import MAX_TEXT, array, inside, intrinsics
from gen.footage.footage import Footage
from gen.footage.lens import Lens, lens_or_none
from gen.footage.views import ImagesView, images_in

FPS = 30.0


def read_easyvolcap(folder: Path) -> Footage:
    """The footage of a folder with intri.yml and extri.yml.

    Raises:
        ValueError: not of this form.
    """
    intri, extri = _open(folder / "intri.yml"), _open(folder / "extri.yml")
    names = _names(intri)
    views: list[ImagesView] = []
    files = {}
    for name in names:
        at = inside(folder, f"images/{name}", f"camera {name} of intri.yml")
        files[name] = images_in(at) if at.is_dir() else []
    left_out = [n for n in names if not files[n]]
    names = [n for n in names if files[n]]
    if not names:
        raise ValueError("images/ holds no folder of the cameras that intri.yml names")
    stamps = sorted({f.stem for n in names for f in files[n]})
    known = np.zeros((len(names), len(stamps)), bool)
    K, w2c, lenses = [], [], []
    for v, name in enumerate(names):
        by_stem = {f.stem: f for f in files[name]}
        view = ImagesView(name, tuple(by_stem.get(s) for s in stamps))
        views.append(view)
        known[v] = [s in by_stem for s in stamps]
        k, lens = _intrinsics(intri, name, view.size)
        K.append(k)
        lenses.append(lens)
        w2c.append(_extrinsics(extri, name))
    notes = [f"without images, left out: {' '.join(left_out)}"] if left_out else []
    seconds = np.arange(len(stamps)) / FPS
    return Footage(
        "EasyVolcap", folder, views, known, seconds, np.stack(K), np.stack(w2c), lenses, notes
    )


def _open(file: Path) -> cv2.FileStorage:
    if not file.is_file():
        raise ValueError(f"{file.name} is missing")
    if file.stat().st_size > MAX_TEXT:
        raise ValueError(f"{file.name} is larger than {MAX_TEXT >> 20} MB")
    text = file.read_bytes()
    if not text.lstrip().startswith(b"%YAML"):
        raise ValueError(f"{file.name} does not start with %YAML:1.0, as OpenCV writes it")
    try:
        storage = cv2.FileStorage(
            text.decode("utf-8"), cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY
        )
    except (cv2.error, SystemError, UnicodeDecodeError) as error:
        raise ValueError(f"{file.name} is not OpenCV's YAML") from error
    if not storage.isOpened():
        raise ValueError(f"{file.name} is not OpenCV's YAML")
    return storage


def _names(intri: cv2.FileStorage) -> list[str]:
    node = intri.getNode("names")
    if not node.isSeq() or node.size() == 0:
        raise ValueError("intri.yml has no list 'names'")
    entries = [node.at(k) for k in range(node.size())]
    texts = [e.string() if e.isString() else str(int(e.real())) for e in entries]
    return sorted(set(texts) - {"none", ""})


def _matrix(storage: cv2.FileStorage, key: str) -> NDArray | None:
    try:
        found = storage.getNode(key).mat()
    except (cv2.error, SystemError):
        raise ValueError(f"'{key}' is no matrix") from None
    return None if found is None or not found.size else np.asarray(found, np.float64)


def _intrinsics(
    intri: cv2.FileStorage, name: str, size: tuple[int, int]
) -> tuple[NDArray[np.float64], Lens | None]:
    found = _matrix(intri, f"K_{name}")
    if found is None:
        raise ValueError(f"intri.yml has no 'K_{name}'")
    K = intrinsics(found, f"'K_{name}' in intri.yml")
    shown = tuple(int(intri.getNode(f"{n}_{name}").real()) for n in "HW")
    if shown[0] > 0 and shown[1] > 0:
        if abs(shown[1] * size[0] / (shown[0] * size[1]) - 1) > 0.01:
            raise ValueError(
                f"intri.yml says {shown[0]}x{shown[1]} pixels for camera {name}, its images are "
                f"{size[0]}x{size[1]}"
            )
        K = scale_intrinsics(K, (shown[0], shown[1]), size)
    distortion = _matrix(intri, f"D_{name}")
    if distortion is None:
        distortion = _matrix(intri, f"dist_{name}")
    if distortion is None:
        return K, None
    values = array(distortion.ravel(), (-1,), f"'D_{name}' in intri.yml")
    return K, lens_or_none(K, values.tolist(), size)


def _extrinsics(extri: cv2.FileStorage, name: str) -> NDArray[np.float64]:
    """World-to-camera [4, 4]."""
    out = np.eye(4)
    rotation, turn = _matrix(extri, f"Rot_{name}"), _matrix(extri, f"R_{name}")
    shift = _matrix(extri, f"T_{name}")
    if shift is None or (rotation is None and turn is None):
        raise ValueError(f"extri.yml has no 'Rot_{name}' (or 'R_{name}') and 'T_{name}'")
    if rotation is None:
        assert turn is not None
        rotation = cv2.Rodrigues(array(turn.ravel(), (3,), f"'R_{name}' in extri.yml"))[0]
    out[:3, :3] = array(rotation, (3, 3), f"'Rot_{name}' in extri.yml")
    out[:3, 3] = array(shift.ravel(), (3,), f"'T_{name}' in extri.yml")
    return out
