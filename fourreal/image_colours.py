"""What brings the numbers of a photograph to sRGB: an ICC profile, or the code points of H.273 that
HEIC and AVIF carry; high dynamic range is mapped as that of clips is."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from fourreal import ffmpeg
from fourreal.errors import UserError

SAME_COLOURS = 4  # of 255: profiles that move colours by less are sRGB by another name
# frames [H, W, 3] in 0..1 -> the same in sRGB
Colours = Callable[[NDArray[np.float32]], NDArray[np.float32]]

HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics, ITU-T H.273
# Light of 203 cd/m2 (diffuse white of HDR television) becomes white; highlights are compressed.
TONE_MAP = (
    "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709,tonemap=tonemap=mobius:desat=0,"
    "zscale=t=bt709:m=bt709:r=pc"
)
# Wide spaces of colours that are not HDR: of H.273 the primaries, and what they are called.
WIDE_COLOURS = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
ORDINARY_TRANSFERS = (1, 6, 13, 14, 15)
# Linear light of those primaries (the white is that of daylight in all) to that of sRGB.
_BT2020 = ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187))
_P3 = ((1.2249, -0.2247, 0.0), (-0.0420, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979))
_TO_SRGB = {9: _BT2020, 11: _P3, 12: _P3}


def no_tone_map(transfer: str) -> str:
    """What to say where the ffmpeg at hand cannot map high dynamic range."""
    return f"high dynamic range ({transfer}) needs an ffmpeg with zscale; record or export in SDR"


@lru_cache(maxsize=16)
def of_profile(profile: bytes) -> tuple[str, Colours] | None:
    """The name of an ICC profile's colour space, and what brings it to sRGB; None where it is sRGB
    or cannot be used."""
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

    def convert(image: NDArray[np.float32]) -> NDArray[np.float32]:
        rounded = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
        changed = ImageCms.applyTransform(Image.fromarray(np.ascontiguousarray(rounded)), transform)
        assert changed is not None  # None is for changes in place
        return np.asarray(changed).astype(np.float32) / np.float32(255)

    levels = np.linspace(0, 1, 6, dtype=np.float32)
    cube = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    off = 255 * np.abs(convert(cube) - cube).max()
    return None if off <= SAME_COLOURS else (f"colours of {name[:60]}: brought to sRGB", convert)


def of_codes(primaries: int, transfer: int) -> tuple[str, Colours] | None:
    """The same for code points of H.273; None where they mean sRGB, or are not known."""
    if transfer in HDR:
        name = HDR[transfer]
        said = f"high dynamic range ({name}): mapped to SDR"
        return said, lambda image: _tone_mapped(image, primaries, transfer)
    if primaries in _TO_SRGB and transfer in ORDINARY_TRANSFERS:
        matrix = np.array(_TO_SRGB[primaries], np.float32)
        said = f"colours of {WIDE_COLOURS[primaries]}: brought to sRGB"
        return said, lambda image: _encoded(_linear(image) @ matrix.T)
    return None


def _linear(image: NDArray[np.float32]) -> NDArray[np.float32]:
    low = image / np.float32(12.92)
    return np.where(image > 0.04045, ((image + 0.055) / np.float32(1.055)) ** 2.4, low)


def _encoded(light: NDArray[np.float32]) -> NDArray[np.float32]:
    light = np.clip(light, 0, 1)
    return np.where(light > 0.0031308, 1.055 * light ** np.float32(1 / 2.4) - 0.055, 12.92 * light)


def _tone_mapped(image: NDArray[np.float32], primaries: int, transfer: int) -> NDArray[np.float32]:
    """A picture of high dynamic range in that of screens.

    Raises:
        UserError: the ffmpeg at hand cannot do that.
    """
    if not ffmpeg.has_filters("zscale", "tonemap"):
        raise UserError(no_tone_map(HDR[transfer]))
    height, width = image.shape[:2]
    meant = "bt2020" if primaries not in (1, 12) else ("bt709", "smpte432")[primaries == 12]
    curve = {16: "smpte2084", 18: "arib-std-b67"}[transfer]
    told = f"setparams=color_primaries={meant}:color_trc={curve}:colorspace=gbr:range=pc"
    command = [
        ffmpeg.program(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb48le",
        "-s", f"{width}x{height}", "-i", "-", "-vf", f"format=gbrp16le,{told},{TONE_MAP}",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-",
    ]  # fmt: skip
    data = (np.clip(image, 0, 1) * 65535 + 0.5).astype("<u2").tobytes()
    out = subprocess.run(command, input=data, capture_output=True).stdout
    if len(out) != height * width * 3:
        raise UserError(no_tone_map(HDR[transfer]))
    return np.frombuffer(out, np.uint8).reshape(height, width, 3) / np.float32(255)
