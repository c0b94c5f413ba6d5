"""EasyVolcap (and EasyMocap): `images/CAM/T.jpg` or `videos/CAM.mp4`, `intri.yml`, `extri.yml`;
OpenCV, w2c.

`names`: cameras; `K_CAM` 3x3, `D_CAM` or `dist_CAM` (k1 k2 p1 p2 k3), `H_CAM W_CAM` in intri.yml;
`Rot_CAM` 3x3 or `R_CAM` (rotation vector), `T_CAM` in extri.yml. The files are OpenCV's YAML, read
by OpenCV itself, which makes nothing but numbers and texts of it. Names without quotes would be
numbers to it (octal ones: 010 is 8, and 08 stops it), so they are put in quotes before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fourreal.cameras import scale_intrinsics
from fourreal.natural_order import natural_key
from fourreal.video_facts import VIDEO_SUFFIXES, probe
from gen.footage.calibration import takes_stored_pixels
from gen.footage.fields import MAX_TEXT, array, inside, intrinsics
from gen.footage.footage import Footage
from gen.footage.lens import Lens, lens_or_none
from gen.footage.rig_times import timed_views
from gen.footage.views import ImagesView, VideoView, View, images_in

FPS = 30.0


@dataclass(frozen=True)
class Found:
    """The frames of a camera: images by the name of their time, or a video."""

    images: dict[str, Path]
    video: Path | None = None


def read_easyvolcap(folder: Path) -> Footage:
    """The footage of a folder with intri.yml and extri.yml.

    Raises:
        ValueError: not of this form.
    """
    intri, extri = _open(folder / "intri.yml"), _open(folder / "extri.yml")
    listed = _names(intri)
    found = {name: _frames(folder, name) for name in listed}
    left_out = [n for n in listed if found[n] is None]
    kept = {n: f for n, f in found.items() if f is not None}
    if not kept:
        raise ValueError(
            "images/ holds no folder of the cameras that intri.yml names, and videos/ no video: "
            f"{' '.join(listed)[:80]}"
        )
    views, known, seconds, notes = _views(kept)
    K, w2c, lenses = [], [], []
    for v, view in enumerate(views):
        size = _size(intri, view.name)
        if isinstance(view, ImagesView):
            first = next(f for f in view.files if f is not None)
            view = views[v] = replace(view, stored=takes_stored_pixels(first, size))
        k, lens = _intrinsics(intri, view.name, size, view.size)
        K.append(k)
        lenses.append(lens)
        w2c.append(_extrinsics(extri, view.name))
    if left_out:
        notes.append(f"without images, left out: {' '.join(left_out)}")
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
            _quoted(text.decode("utf-8")), cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY
        )
    except (cv2.error, SystemError, UnicodeDecodeError) as error:
        raise ValueError(f"{file.name} is not OpenCV's YAML") from error
    if not storage.isOpened():
        raise ValueError(f"{file.name} is not OpenCV's YAML")
    return storage


def _quoted(text: str) -> str:
    """The text with the entries of the list `names` in quotes, as a block or in brackets."""

    def block(found: re.Match[str]) -> str:
        return found[1] + re.sub(
            r"(?m)^(\s*-[ \t]*)([^\s\"'].*?)([ \t\r]*)$", r'\1"\2"\3', found[2]
        )

    def brackets(found: re.Match[str]) -> str:
        return found[1] + re.sub(r"([\w.-]+)(?=\s*[,\]])", r'"\1"', found[2])

    text = re.sub(r"(?m)(^names:[ \t\r]*\n)((?:[ \t]*-.*(?:\n|\Z))+)", block, text, count=1)
    return re.sub(r"(?m)(^names:[ \t]*\[)([^\"'\]]*\])", brackets, text, count=1)


def _names(intri: cv2.FileStorage) -> list[str]:
    """The cameras: those of `names`, spelt as in the keys `K_CAM`."""
    node = intri.getNode("names")
    if not node.isSeq() or node.size() == 0:
        raise ValueError("intri.yml has no list 'names'")
    entries = [node.at(k) for k in range(node.size())]
    keys = [k[2:] for k in intri.root().keys() if k.startswith("K_")]
    texts = []
    for entry in entries:
        value = 0.0 if entry.isString() else entry.real()
        if not np.isfinite(value):
            raise ValueError("a name in 'names' of intri.yml is no text")
        text = entry.string() if entry.isString() else str(int(value))
        spelt = [k for k in keys if _same(k, text)]
        texts.append(text if text in keys or len(spelt) != 1 else spelt[0])
    return sorted(set(texts) - {"none", ""}, key=natural_key)


def _frames(folder: Path, name: str) -> Found | None:
    """The images (`images/CAM/`) or the video (`videos/CAM.mp4`) of a camera; None for neither."""
    where = f"camera {name} of intri.yml"
    at = inside(folder, f"images/{name}", where)
    if not at.is_dir() and (folder / "images").is_dir():
        same = [d for d in (folder / "images").iterdir() if d.is_dir() and _same(d.name, name)]
        at = same[0] if len(same) == 1 else at
    if at.is_dir() and (files := images_in(at)):
        return Found({f.stem: f for f in files})
    for place in ("videos", "images"):
        top = folder / place
        files = sorted(top.iterdir()) if top.is_dir() else []
        for file in files:
            if file.suffix.lower() in VIDEO_SUFFIXES and _same(file.stem, name):
                return Found({}, file)
    return None


def _same(called: str, name: str) -> bool:
    """Whether a file or folder is that of a camera, leading zeros and case aside."""
    if called.casefold() == name.casefold():
        return True
    digits = all(re.fullmatch(r"[0-9]{1,15}", n) for n in (called, name))
    return digits and int(called) == int(name)


def _views(
    kept: dict[str, Found],
) -> tuple[list[View], NDArray[np.bool_], NDArray[np.float64], list[str]]:
    """The views, which cells [V, T] there are, seconds [T], and what to say."""
    videos = {n: f.video for n, f in kept.items() if f.video is not None}
    if not videos:
        stamps = sorted({s for f in kept.values() for s in f.images}, key=natural_key)
        known = np.array([[s in f.images for s in stamps] for f in kept.values()])
        views: list[View] = [
            ImagesView(n, tuple(f.images.get(s) for s in stamps)) for n, f in kept.items()
        ]
        return views, known, np.arange(len(stamps)) / FPS, []
    if len(videos) < len(kept):
        raise ValueError("some cameras have images and some videos: bring them to one of the two")
    opened = []
    for name, video in videos.items():
        try:
            opened.append(VideoView(probe(video), name))
        except ValueError as error:
            raise ValueError(f"{video.name}: {error}") from error
    return timed_views(opened)


def _matrix(storage: cv2.FileStorage, key: str) -> NDArray | None:
    try:
        found = storage.getNode(key).mat()
    except (cv2.error, SystemError):
        raise ValueError(f"'{key}' is no matrix") from None
    return None if found is None or not found.size else np.asarray(found, np.float64)


def _size(intri: cv2.FileStorage, name: str) -> tuple[int, int] | None:
    """(height, width) that the calibration is for; None when it is not said."""
    sides = [intri.getNode(f"{n}_{name}").real() for n in "HW"]
    if not all(np.isfinite(s) and 1 <= s < 1e6 for s in sides):
        return None
    return int(sides[0]), int(sides[1])


def _intrinsics(
    intri: cv2.FileStorage, name: str, shown: tuple[int, int] | None, size: tuple[int, int]
) -> tuple[NDArray[np.float64], Lens | None]:
    found = _matrix(intri, f"K_{name}")
    if found is None:
        raise ValueError(f"intri.yml has no 'K_{name}'")
    K = intrinsics(found, f"'K_{name}' in intri.yml")
    if shown is not None:
        if abs(shown[1] * size[0] / (shown[0] * size[1]) - 1) > 0.01:
            raise ValueError(
                f"intri.yml says {shown[0]}x{shown[1]} pixels for camera {name}, its images are "
                f"{size[0]}x{size[1]}"
            )
        K = scale_intrinsics(K, shown, size)
    elif not (0 <= K[0, 2] <= size[1] and 0 <= K[1, 2] <= size[0]):
        raise ValueError(
            f"the principal point of 'K_{name}' ({K[0, 2]:g}, {K[1, 2]:g}) lies outside of its "
            f"images ({size[0]}x{size[1]}): write 'H_{name}' and 'W_{name}' of the calibration"
        )
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
