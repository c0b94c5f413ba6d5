"""The pixels of an image file, by the library that reads its format best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pi_heif
from numpy.typing import NDArray

from fourreal.errors import UserError
from fourreal.image_facts import ImageFacts, opened, unreadable

BITS, SAMPLES = 258, 339  # tags of TIFF: bits of each channel; 3: numbers with a point
Pixels = NDArray[np.uint8] | NDArray[np.uint16]


def pixels(path: Path, facts: ImageFacts) -> Pixels:
    """An image as it is stored: uint8 or uint16 of full range, [H, W] grey, [H, W, 2] with alpha,
    [H, W, 3] RGB or [H, W, 4] with alpha.

    Raises:
        UserError: damaged, cut off, or of a kind that is not read.
    """
    try:
        if facts.format == "HEIF":
            return _heic(path)
        if facts.format == "TIFF":
            return _tiff(path)
        if facts.format == "AVIF":
            return _by_pillow(path)
    except UserError:
        raise
    except Exception:  # of libraries; each has its own
        raise unreadable(path) from None
    return _by_opencv(path, facts.format in ("JPEG", "MPO"))


def _heic(path: Path) -> Pixels:
    found = pi_heif.open_heif(path, convert_hdr_to_8bit=False)
    return np.array(found[found.primary_index])


def _tiff(path: Path) -> Pixels:
    with opened(path) as image:
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        bits, point = max(tags.get(BITS, (1,))), 3 in tags.get(SAMPLES, (1,))
    if bits > 16 or point:
        what = "numbers with a decimal point" if point else f"numbers of {bits} bits"
        raise UserError(f"{path} holds {what}: export it as PNG, JPEG or TIFF of 8 or 16 bits")
    return _by_pillow(path) if bits <= 8 else _by_opencv(path, False)


def _by_pillow(path: Path) -> Pixels:
    with opened(path) as image:
        clear = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
        return np.array(image.convert("RGBA" if clear else "RGB"))


def _by_opencv(path: Path, photo: bool) -> Pixels:
    data = path.read_bytes()
    flags = cv2.IMREAD_COLOR if photo else cv2.IMREAD_UNCHANGED
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        image = None
    if image is None or image.dtype not in (np.uint8, np.uint16) or (photo and _torn(data)):
        raise unreadable(path)
    if image.ndim == 3 and image.shape[-1] > 2:
        image = np.concatenate([image[..., 2::-1], image[..., 3:]], -1)
    return image  # type: ignore[return-value]


def _torn(jpeg: bytes) -> bool:
    """Whether a JPEG is damaged inside, which OpenCV shows as grey or smeared below that place."""
    decoder: Any = av.CodecContext.create("mjpeg", "r")
    decoder.options = {"err_detect": "explode"}
    try:
        decoder.decode(av.Packet(jpeg))
        decoder.decode(None)
    except av.error.InvalidDataError:
        return True
    except (av.FFmpegError, ValueError):  # a kind of JPEG that it does not read
        return False
    return False
