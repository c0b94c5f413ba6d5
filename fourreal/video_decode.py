"""What a video file holds, and its frames as a person sees them.

Rotation tags, pixels that are not square, interlacing, alpha, high dynamic range and uneven frame
rates are dealt with here, so that everything else gets upright 8-bit RGB at an even rate. Files
are opened by content: nothing that names other files or addresses (playlists) is followed.
"""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from fourreal.console import warn

# Containers of a single recording; demuxers that open other files are not among them.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,gif,apng,mxf,nut,"
    "h264,hevc,ivf"
)
MAX_PIXELS = 2**27
HDR = {"smpte2084": "PQ", "arib-std-b67": "HLG"}
# Light of 203 cd/m2 (diffuse white of HDR television) becomes white; highlights are compressed.
TONE_MAP = (
    "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709,tonemap=tonemap=mobius:desat=0,"
    "zscale=t=bt709:m=bt709:r=pc"
)
ALPHA = re.compile(r"^(yuva|rgba|argb|bgra|abgr|gbrap|ya\d|pal8)")
DEPTH = re.compile(r"p?(9|10|12|14|16)(le|be)?$")


@dataclass(frozen=True)
class VideoFacts:
    """A video file: size as it is shown, frames at an even rate, and what had to be done for it.

    ``count`` may be off by a frame or two; ``alpha`` says that pixels can be transparent.
    """

    path: Path
    height: int
    width: int
    fps: float
    count: int
    stream: int
    filters: str
    alpha: bool
    notes: tuple[str, ...]


def probe(path: str | Path) -> VideoFacts:
    """Look into a video file without decoding it.

    Raises:
        ValueError: not a video, or one that cannot be shown faithfully here.
    """
    p = Path(path)
    if not p.is_file():
        raise ValueError("not a file")
    text = _ffmpeg(["-hide_banner", *opened(p)])
    lines = [x for x in text.splitlines() if re.search(r"Stream #0:\d+.*: Video: ", x)]
    lines = [x for x in lines if "(attached pic)" not in x]
    size = re.search(r"[ ,](\d{1,6})x(\d{1,6})[ ,]", lines[0]) if lines else None
    if not lines or size is None:
        raise ValueError("not a readable video (is the file complete and a video?)")
    line = lines[0]
    width, height = int(size[1]), int(size[2])
    if not 0 < width * height <= MAX_PIXELS:
        raise ValueError(f"frames of {height}x{width} are more than {MAX_PIXELS >> 20} megapixels")
    stream = int(re.findall(r"Stream #0:(\d+)", line)[0])
    rate, base = _number(line, r"([\d.]+k?) fps"), _number(line, r"([\d.]+k?) tbr")
    fps = rate or base or 8.0
    form = re.search(r": Video: [^,]*(?:\([^)]*\))?[^,]*, (\w+)(?:\(([^)]*)\))?", line)
    pixels, colours = (form[1], form[2] or "") if form else ("", "")
    filters: list[str] = []
    notes: list[str] = []
    if "top first" in colours or "bottom first" in colours:
        filters.append("yadif")
        notes.append("interlaced: deinterlaced")
    transfer = next((name for name in HDR if name in colours), None)
    if transfer:
        if not _has_filters("zscale", "tonemap"):
            raise ValueError(
                f"high dynamic range ({HDR[transfer]}) needs an ffmpeg with zscale; "
                "record or export in SDR"
            )
        filters.append(TONE_MAP)
        notes.append(f"high dynamic range ({HDR[transfer]}): mapped to SDR")
    elif DEPTH.search(pixels) and not pixels.startswith(("yuvj", "nv")):
        notes.append(f"{DEPTH.search(pixels)[1]} bit: rounded to 8")  # type: ignore[index]
    if pixels.startswith("gray"):
        notes.append("grey")
    if rate and base and abs(rate - base) > 0.01 * base:
        filters.append(f"fps={rate:g}")
        notes.append(f"uneven frame rate: resampled to {rate:g} fps")
    shape = re.search(r"SAR (\d+):(\d+)", line)
    if shape and int(shape[1]) != int(shape[2]) and int(shape[1]) and int(shape[2]):
        width = max(1, round(width * int(shape[1]) / int(shape[2])))
        notes.append("pixels were not square: stretched to square ones")
    turn = re.search(r"rotation of (-?[\d.]+) degrees", text)
    if turn and round(float(turn[1]) / 90) % 4:
        if round(float(turn[1]) / 90) % 2:
            width, height = height, width
        notes.append(f"turned upright ({round(float(turn[1])) % 360} degrees in its tag)")
    alpha = bool(ALPHA.match(pixels))
    if alpha:
        notes.append("transparent pixels: laid over white")
    count = _count(p, stream)
    if not count:
        raise ValueError("not a readable video: it holds no whole frame (is the file complete?)")
    return VideoFacts(p, height, width, fps, count, stream, ",".join(filters), alpha, tuple(notes))


def frames(facts: VideoFacts) -> Iterator[NDArray[np.uint8]]:
    """Decode all frames, one at a time: uint8 [H, W, 3].

    Raises:
        ValueError: the file breaks off, or cannot be decoded.
    """
    channels = 4 if facts.alpha else 3
    scale = f"scale={facts.width}:{facts.height}:flags=bicubic,setsar=1"
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", *opened(facts.path),
        "-map", f"0:{facts.stream}", "-vf", f"{facts.filters},{scale}".lstrip(","),
        "-f", "rawvideo", "-pix_fmt", "rgba" if facts.alpha else "rgb24", "-",
    ]  # fmt: skip
    size = facts.height * facts.width * channels
    done = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            while len(data := process.stdout.read(size)) == size:
                done += 1
                frame = np.frombuffer(data, np.uint8).reshape(facts.height, facts.width, channels)
                yield over_white(frame) if facts.alpha else frame
        finally:
            process.kill()
    if not done:
        raise ValueError("the video holds no frames that can be decoded")
    if done < 0.9 * facts.count - 2:
        raise ValueError(
            f"the video breaks off: {done} of {facts.count} frames can be decoded; copy it again"
        )


def over_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colours and alpha [..., 4] -> colours over white [..., 3]."""
    alpha = rgba[..., 3:].astype(np.uint16)
    out = (rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return out.astype(np.uint8)


def pick_frames(
    facts: VideoFacts,
    wanted: NDArray[np.integer] | list[int],
    height: int,
    width: int,
    change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
) -> NDArray[np.uint8]:
    """The frames of increasing indices ``wanted`` at a size, uint8 [n, height, width, 3].

    Only they are held in memory. Area filtering down, cubic up; ``change`` is applied before.

    Raises:
        ValueError: the file breaks off, or cannot be decoded.
    """
    index = [int(k) for k in wanted]
    out = np.empty((len(index), height, width, 3), np.uint8)
    filled = 0
    decoded = frames(facts)
    for k, frame in enumerate(decoded):
        if filled < len(index) and k == index[filled]:
            out[filled] = resized(frame if change is None else change(frame), height, width)
            filled += 1
        if filled == len(index):
            decoded.close()  # type: ignore[attr-defined]
            return out
    if not filled:
        raise ValueError(f"the video ends before frame {index[0]}")
    warn(f"{facts.path.name} ends {len(index) - filled} frame(s) early; its last one is repeated")
    out[filled:] = out[filled - 1]
    return out


def resized(frame: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """One frame [H, W, 3] at another size: area filtering down, cubic up."""
    H, W = frame.shape[:2]
    if (H, W) == (height, width):
        return frame
    method = cv2.INTER_AREA if height * width < H * W else cv2.INTER_CUBIC
    return cv2.resize(frame, (width, height), interpolation=method)  # type: ignore[return-value]


def opened(path: Path) -> list[str]:
    """Arguments that open a file and nothing that it may point to."""
    safe = ["-protocol_whitelist", "file", "-format_whitelist", CONTAINERS]
    return [*safe, "-max_pixels", str(MAX_PIXELS), "-i", f"file:{path}"]


def _count(path: Path, stream: int) -> int:
    """Number of packets of a stream: its frames, without decoding them.

    Raises:
        ValueError: the file is shorter than it says.
    """
    copied = ["-map", f"0:{stream}", "-c", "copy", "-f", "null", "-"]
    text = _ffmpeg(["-hide_banner", *opened(path), *copied])
    found = re.findall(r"frame=\s*(\d+)", text)
    count = int(found[-1]) if found else 0
    if re.search(r"partial file|ended prematurely|Truncat", text):
        raise ValueError(f"the video breaks off after {count} frames; copy it again")
    return count


def _ffmpeg(arguments: list[str]) -> str:
    """What ffmpeg says."""
    try:
        result = subprocess.run(
            [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", *arguments],
            capture_output=True,
            timeout=120,
        )
    except subprocess.TimeoutExpired:
        raise ValueError("it cannot be read within two minutes") from None
    return result.stderr.decode("utf-8", "replace")


@functools.cache
def _has_filters(*names: str) -> bool:
    listed = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-filters"], capture_output=True
    ).stdout.decode("utf-8", "replace")
    return all(re.search(rf"^ \S+ {name} ", listed, re.MULTILINE) for name in names)


def _number(text: str, pattern: str) -> float | None:
    found = re.search(pattern, text)
    if not found:
        return None
    return float(found[1][:-1]) * 1000 if found[1].endswith("k") else float(found[1])
