"""What the header of an image file says, as Pillow tells it, whatever the file is called: its size
as stored, how it is held upright, and what its numbers mean as colours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pi_heif
from numpy.typing import NDArray
from PIL import Image

from fourreal.errors import UserError
from fourreal.ffmpeg import MAX_PIXELS
from fourreal.file_heads import what_else
from fourreal.image_colours import Colours, of_codes, of_profile

ORIENTATION = 0x0112  # of EXIF
ON_ITS_SIDE = (5, 6, 7, 8)
UPRIGHT = ("HEIF", "TIFF")  # what decodes these obeys their tags
pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)


@dataclass(frozen=True)
class ImageFacts:
    """An image file.

    Attributes:
        size: (height, width) as stored. format: Pillow's name of the format.
        orientation: EXIF's, 1 (upright) to 8. profile: the ICC profile of its colours, or b"".
        codes: primaries and transfer of its colours, as H.273 numbers them; 2 is unknown.
        pictures: how many the file holds, of which the main one counts.
    """

    size: tuple[int, int]
    format: str
    orientation: int
    profile: bytes
    codes: tuple[int, int] = (2, 2)
    pictures: int = 1

    @property
    def upright_size(self) -> tuple[int, int]:
        """(height, width) as it is shown."""
        return self.size[::-1] if self.orientation in ON_ITS_SIDE else self.size

    @property
    def colours(self) -> tuple[str, Colours] | None:
        """What is done to bring the colours to sRGB, in words, and what does it; None where they
        are sRGB, or said to be nothing else."""
        coded = of_codes(*self.codes)
        return of_profile(self.profile) if self.profile and coded is None else coded


def opened(path: Path) -> Any:
    """An image file, opened by Pillow. Raises whatever the format's reader does."""
    with path.open("rb") as handle:
        head = handle.read(64)
    # the container of AVIF is that of HEIC, whose reader would take it
    brands = head[8 : int.from_bytes(head[:4], "big")] if head[4:8] == b"ftyp" else b""
    return Image.open(path, formats=("AVIF",) if b"avif" in brands else None)


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
        with opened(p) as image:
            width, height = image.size
            kind = image.format or ""
            # of a PNG without a tag at its head all pixels would be decoded to look for one
            tagged = kind not in UPRIGHT and (kind != "PNG" or "exif" in image.info)
            orientation = image.getexif().get(ORIENTATION, 1) if tagged else 1
            # a profile is of the numbers as stored: those of CMYK and grey are converted by codecs
            coloured = image.mode in ("RGB", "RGBA", "P")
            profile = image.info.get("icc_profile") if coloured else None
            several = image.n_frames if kind in ("HEIF", "TIFF") else 1
            codes = _codes(_heif(p) if kind == "AVIF" else image.info)
            found = ImageFacts((height, width), kind, orientation, profile or b"", codes, several)
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
            head = handle.read(512)
    except OSError:
        head = b""
    what = what_else(head, "picture") or "use PNG or JPEG"
    pictures = (b"\xff\xd8\xff", b"\x89PNG", b"BM")
    if not head:
        what = "it is empty: copy it again, or take it away"
    elif head.startswith(pictures) or head[8:12] == b"WEBP" or head[4:8] == b"ftyp":
        what = "it is damaged or cut off: copy it again, or take it away"
    elif head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        what = (
            "it is a TIFF that is damaged, or of a kind that is not read (RGB or grey of 8 or 16 "
            "bits are): export it again"
        )
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


def _heif(path: Path) -> dict[str, Any]:
    """What the container of a HEIC or AVIF file says of its main picture."""
    found = pi_heif.open_heif(path)
    return found[found.primary_index].info  # type: ignore[no-any-return]


def _codes(info: dict[str, Any]) -> tuple[int, int]:
    """Primaries and transfer of colours as H.273 numbers them; (2, 2) where nothing is said."""
    told = info.get("nclx_profile") or {}
    return told.get("color_primaries", 2), told.get("transfer_characteristics", 2)
