"""Reading and writing clips and images: frames are float32 RGB in 0..1, [F, H, W, 3]."""

from __future__ import annotations

import errno
import signal
import subprocess
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fourreal import ffmpeg, video_decode
from fourreal.atomic import atomic_file
from fourreal.errors import UserError
from fourreal.image_facts import ON_ITS_SIDE, image_facts, opened, unreadable
from fourreal.image_facts import upright as turned
from fourreal.image_pixels import pixels
from fourreal.natural_order import natural_key
from fourreal.video_facts import probe

# The earlier counts where files of one name differ in it.
IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".webp", ".jfif", ".heic", ".heif", ".hif", ".avif"),
    *(".tif", ".tiff"),
)
IMAGE_KINDS = "PNG, JPEG, WebP, BMP, HEIC, AVIF, TIFF"
# How colours are written, and said in the file, so that every player shows them alike.
BT709 = (
    "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,"
    "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709"
)
MAX_CLIP_BYTES = 6 * 2**30
_SILENT = 0  # cv::utils::logging::LOG_LEVEL_SILENT
# what is wrong with a file is said in our line (the name of OpenCV 4, then that of 5)
(cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel)(_SILENT)


def to_uint8(frames: NDArray[np.floating] | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Round frames in 0..1 to 8 bit (uint8 input is returned as it is)."""
    if frames.dtype == np.uint8:
        return frames  # type: ignore[return-value]
    return (np.clip(frames, 0, 1) * 255 + 0.5).astype(np.uint8)


def to_float(frames: NDArray[np.floating] | NDArray[np.uint8]) -> NDArray[np.float32]:
    """8-bit frames in 0..1 (float32 input is returned as it is)."""
    if frames.dtype == np.uint8:
        return frames.astype(np.float32) / np.float32(255)
    return frames.astype(np.float32, copy=False)


def resize_frames(frames: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Resize frames [..., H, W, 3]: area filtering when shrinking, cubic when enlarging."""
    H, W = frames.shape[-3:-1]
    if (H, W) == (height, width):
        return frames
    method = cv2.INTER_AREA if height * width < H * W else cv2.INTER_CUBIC
    flat = frames.reshape(-1, H, W, 3)
    out = np.stack([cv2.resize(f, (width, height), interpolation=method) for f in flat])
    return np.clip(out, 0, 1).astype(np.float32).reshape(*frames.shape[:-3], height, width, 3)


def image_size(path: str | Path, upright: bool = True) -> tuple[int, int]:
    """(height, width) of an image from its header alone: as it is shown, or as it is stored.

    Raises:
        UserError: missing, not an image, or of more than ``MAX_PIXELS``.
    """
    facts = image_facts(path)
    return facts.upright_size if upright else facts.size


def read_image(path: str | Path, upright: bool = True) -> NDArray[np.float32]:
    """Read one image as sRGB in 0..1 [H, W, 3]: grey is repeated, transparent parts become white,
    16 bits keep their precision, an orientation tag is obeyed unless ``upright`` is false, colours
    of another space (Display P3, Adobe RGB) are brought to sRGB.

    Raises:
        UserError: missing, unreadable or too large.
    """
    p = Path(path)
    facts = image_facts(p)
    image = pixels(p, facts)
    if upright:
        image = turned(image, facts.orientation)
    if image.ndim == 2:
        image = image[..., None]
    full = np.float32(65535 if image.dtype == np.uint16 else 255)
    alpha = image.shape[-1] in (2, 4)
    colours = image[..., :-1] if alpha else image
    out = colours.astype(np.float32) / full
    if out.shape[-1] == 1:
        out = out.repeat(3, -1)
    if facts.colours is not None:
        out = facts.colours[1](out)
    if alpha:
        seen = image[..., -1:].astype(np.float32) / full
        out = out * seen + (1 - seen)
    return np.ascontiguousarray(out)


def small_image(
    path: str | Path, height: int, width: int, upright: bool = True
) -> NDArray[np.uint8]:
    """One image as uint8 RGB [height, width, 3], roughly: photographs are decoded at a fraction,
    and colours are taken as they are.

    Raises:
        UserError: missing, unreadable or too large.
    """
    p = Path(path)
    facts = image_facts(p)
    orientation = facts.orientation if upright else 1
    sideways = orientation in ON_ITS_SIDE
    try:
        with opened(p) as image:
            stored = (height, width) if sideways else (width, height)
            image.draft("RGB", stored)
            if image.mode.startswith("I"):  # more than 8 bits, which Pillow would cut off
                image = Image.fromarray(to_uint8(read_image(p, False)))
            small = image.convert("RGB").resize(stored, Image.Resampling.BOX)
    except UserError:
        raise
    except Exception:
        raise unreadable(p) from None
    return np.ascontiguousarray(turned(np.asarray(small), orientation))


def write_image(path: str | Path, image: NDArray) -> None:
    """Write an image [H, W, 3] in 0..1 (or uint8); the suffix chooses the format."""
    p = Path(path)
    ok, data = cv2.imencode(p.suffix, cv2.cvtColor(to_uint8(np.asarray(image)), cv2.COLOR_RGB2BGR))
    if not ok:
        raise ValueError(f"write_image: cannot encode {p.name}")
    p.write_bytes(data.tobytes())


def read_clip(path: str | Path, what: str = "clip") -> tuple[NDArray[np.float32], float]:
    """Read a video file or a folder of images in name order -> frames [F, H, W, 3], fps.

    Raises:
        UserError: missing, unreadable, frames of different sizes.
    """
    p = Path(path)
    if not p.exists():
        raise UserError(f"no such {what}: {p}")
    if p.is_file():
        try:
            frames, fps, _ = read_video(p)
        except ValueError as error:
            raise UserError(f"cannot read the {what} {p}: {error}") from error
        return frames, fps
    images = [f for f in p.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES]
    images.sort(key=lambda f: natural_key(f.name))
    if not images:
        raise UserError(f"the {what} folder {p} holds no images ({IMAGE_KINDS})")
    loaded = [read_image(f) for f in images]
    for f, image in zip(images, loaded, strict=True):
        if image.shape != loaded[0].shape:
            raise UserError(f"{f} differs in size from {images[0].name}; make all images equal")
    return np.stack(loaded), 8.0


def read_video(path: str | Path) -> tuple[NDArray[np.float32], float, str]:
    """Decode a whole video -> frames [F, H, W, 3], fps, the container's comment.

    Raises:
        ValueError: not a video, broken off, or too large to hold in memory.
    """
    facts = probe(path)
    limit = MAX_CLIP_BYTES // (facts.width * facts.height * 12)
    shown: list[NDArray[np.uint8]] = []
    for frame in video_decode.frames(facts):
        shown.append(frame)
        if len(shown) > limit:
            raise ValueError(
                f"more than {limit} frames of {facts.height}x{facts.width} do not fit in memory; "
                "cut the clip first"
            )
    return to_float(np.stack(shown)), facts.fps, facts.comment


def write_video(path: str | Path, frames: NDArray, fps: float, comment: str = "") -> None:
    """Write frames [F, H, W, 3] as H.264 mp4, atomically; odd sizes gain one edge pixel.

    Raises:
        OSError: the encoder could not write the whole file (a full disk).
    """
    data = to_uint8(np.asarray(frames))
    H, W = data.shape[1:3]
    if H % 2 or W % 2:
        data = np.pad(data, ((0, 0), (0, H % 2), (0, W % 2), (0, 0)), mode="edge")
    size = f"{data.shape[2]}x{data.shape[1]}"
    with atomic_file(path) as temporary:
        command = [
            ffmpeg.program(), "-y", "-v", "error",
            "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", f"{max(fps, 0.1)}", "-i", "-",
            "-vf", BT709, "-c:v", "libx264", "-crf", "12", "-movflags", "+faststart",
            "-metadata", f"comment={comment}", str(temporary),
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command, input=np.ascontiguousarray(data).data.cast("B"), capture_output=True
            )
        except FileNotFoundError as error:
            raise ffmpeg.no_ffmpeg(f"{command[0]}: {error.strerror}") from error
        if done.returncode:
            said = "".join(done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:])
            too_long = getattr(signal, "SIGXFSZ", 0)  # a bound on file sizes was met
            full = "No space left" in said or done.returncode == -too_long
            raise OSError(
                errno.ENOSPC if full else errno.EIO,
                f"ffmpeg could not write it ({said})",
                str(path),
            )
