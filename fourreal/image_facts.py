"""What the header of an image file says, as Pillow tells it, whatever the file is called: its size
as stored, how it is held upright, and what its numbers mean as colours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from fourreal.errors import UserError
from fourreal.ffmpeg import MAX_PIXELS

ORIENTATION = 0x0112  # of EXIF
ON_ITS_SIDE = (5, 6, 7, 8)
SAME_COLOURS = 4  # of 255: profiles that move colours by less are sRGB by another name
PICTURES = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF")
Colours = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


@dataclass(frozen=True)
class ImageFacts:
    """An image file.

    Attributes:
        size: (height, width) as stored. format: Pillow's name of the format.
        orientation: EXIF's, 1 (upright) to 8. profile: the ICC profile of its colours, or b"".
    """

    size: tuple[int, int]
    format: str
    orientation: int
    profile: bytes

    @property
    def upright_size(self) -> tuple[int, int]:
        """(height, width) as it is shown."""
        return self.size[::-1] if self.orientation in ON_ITS_SIDE else self.size

    @property
    def colours(self) -> tuple[str, Colours] | None:
        """The name of the colour space, and what brings uint8 [H, W, 3] of it to sRGB; None where
        they are sRGB, or said to be nothing else."""
        return _to_srgb(self.profile) if self.profile else None


def image_facts(path: str | Path) -> ImageFacts:
    """The header of an image.

    Raises:
        UserError: missing, not an image, or of more than ``MAX_PIXELS``.
    """
    p = Path(path)
    if not p.is_file():
        raise UserError(f"no such image: {p}")
    usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # our own bound follows
    try:
        with Image.open(p) as image:
            width, height = image.size
            # of a PNG without a tag at its head all pixels would be decoded to look for one
            tagged = image.format != "PNG" or "exif" in image.info
            orientation = image.getexif().get(ORIENTATION, 1) if tagged else 1
            # a profile is of the numbers as stored: those of CMYK and grey are converted by codecs
            coloured = image.mode in ("RGB", "RGBA", "P")
            profile = image.info.get("icc_profile") if coloured else None
            found = ImageFacts((height, width), image.format or "", orientation, profile or b"")
    except Exception:
        raise unreadable(p) from None
    finally:
        Image.MAX_IMAGE_PIXELS = usual
    if width * height > MAX_PIXELS:
        raise UserError(f"{p} is {height}x{width}, more than {MAX_PIXELS >> 20} megapixels")
    return found


def unreadable(path: Path) -> UserError:
    """What to say of a file that is no image that can be read, and what to do about it."""
    try:
        with path.open("rb") as handle:
            head = handle.read(12)
    except OSError:
        head = b""
    what = "use PNG or JPEG"
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"hevc", b"avif"):
        what = "it is HEIC or AVIF, whatever its name says: export it as JPEG"
    elif not head:
        what = "it is empty: copy it again, or take it away"
    elif head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"BM")) or head[8:12] == b"WEBP":
        what = "it is damaged or cut off: copy it again, or take it away"
    return UserError(f"cannot read the image {path}; {what}")


def upright(image: NDArray, orientation: int) -> NDArray:
    """Pixels [H, W, ...] as stored -> as they are shown under an orientation of EXIF."""
    if orientation in ON_ITS_SIDE:
        image = image.swapaxes(0, 1)
    # 2, 3, 7, 6 are mirrored along rows then, 3, 4, 7, 8 along columns
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image


@lru_cache(maxsize=16)
def _to_srgb(profile: bytes) -> tuple[str, Colours] | None:
    """See ``ImageFacts.colours``; a profile that cannot be used counts as sRGB."""
    try:
        own = ImageCms.ImageCmsProfile(BytesIO(profile))
        if own.profile.xcolor_space.strip() != "RGB":
            return None
        transform = ImageCms.buildTransform(
            own, ImageCms.createProfile("sRGB"), "RGB", "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )  # fmt: skip
        name = ImageCms.getProfileDescription(own).strip() or "an ICC profile"
    except (ImageCms.PyCMSError, OSError, TypeError, AttributeError):
        return None

    def convert(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        changed = ImageCms.applyTransform(Image.fromarray(np.ascontiguousarray(image)), transform)
        assert changed is not None  # None is for changes in place
        return np.asarray(changed)

    levels = np.array([0, 51, 102, 153, 204, 255], np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    off = np.abs(convert(cube).astype(int) - cube).max()
    return None if off <= SAME_COLOURS else (name[:60], convert)
