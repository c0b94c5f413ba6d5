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
from fourreal.ffmpeg import MAX_PIXELS
from fourreal.natural_order import natural_key
from fourreal.video_facts import probe

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
MAX_CLIP_BYTES = 6 * 2**30


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
    p = Path(path)
    if not p.is_file():
        raise UserError(f"no such image: {p}")
    usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # our own bound follows
    try:
        with Image.open(p) as image:
            width, height = image.size
            photo = image.format in ("JPEG", "MPO")
            turned = photo and image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    except Exception:
        raise UserError(f"cannot read the image {p}; {_what_instead(p)}") from None
    finally:
        Image.MAX_IMAGE_PIXELS = usual
    if width * height > MAX_PIXELS:
        raise UserError(f"{p} is {height}x{width}, more than {MAX_PIXELS >> 20} megapixels")
    return (width, height) if turned and upright else (height, width)


def _what_instead(path: Path) -> str:
    """What to do about a file that is no image that can be read."""
    try:
        with path.open("rb") as handle:
            head = handle.read(12)
    except OSError:
        head = b""
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"hevc", b"avif"):
        return "it is HEIC or AVIF, whatever its name says: export it as JPEG"
    return "use PNG or JPEG"


def read_image(path: str | Path, upright: bool = True) -> NDArray[np.float32]:
    """Read one image as RGB in 0..1 [H, W, 3]: grey is repeated, transparent parts become white,
    16 bits keep their precision, a photo's orientation tag is obeyed unless ``upright`` is false.

    Raises:
        UserError: missing, unreadable or too large.
    """
    p = Path(path)
    image_size(p)
    # only the plain reading obeys the orientation tag of a photograph
    photo = p.suffix.lower() in (".jpg", ".jpeg")
    flags = cv2.IMREAD_COLOR if photo else cv2.IMREAD_UNCHANGED
    if photo and not upright:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(p.read_bytes(), np.uint8), flags)
    except cv2.error:
        image = None
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise UserError(f"cannot read the image {p}; use PNG or JPEG")
    if image.ndim == 2:
        image = image[..., None].repeat(3, -1)
    full = np.float32(65535 if image.dtype == np.uint16 else 255)
    out = image[..., 2::-1].astype(np.float32) / full
    if image.shape[-1] == 4:
        alpha = image[..., 3:].astype(np.float32) / full
        out = out * alpha + (1 - alpha)
    return np.ascontiguousarray(out)


def small_image(path: str | Path, height: int, width: int) -> NDArray[np.uint8]:
    """One image as uint8 RGB [height, width, 3], roughly: photographs are decoded at a fraction.

    Raises:
        UserError: missing, unreadable or too large.
    """
    image_size(path)
    try:
        with Image.open(path) as image:
            image.draft("RGB", (width, height))
            small = image.convert("RGB").resize((width, height), Image.Resampling.BOX)
    except Exception:
        raise UserError(f"cannot read the image {path}; use PNG or JPEG") from None
    return np.asarray(small)


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
        raise UserError(f"the {what} folder {p} holds no {', '.join(IMAGE_SUFFIXES)} images")
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
            "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "12", "-movflags", "+faststart",
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
