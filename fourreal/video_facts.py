"""What a video file holds, as libav tells it: data, never printed text, whatever its tags say.

All packets are counted, a frame or two are decoded. What counts as a frame is what a player
shows: not what an edit list cuts away, nor pictures whose references were cut off. Files are
opened by content: nothing that names other files or addresses (playlists) is followed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from fourreal import ffmpeg
from fourreal.ffmpeg import CONTAINERS, MAX_PIXELS
from fourreal.image_colours import HDR, ORDINARY_TRANSFERS, TONE_MAP, WIDE_COLOURS, no_tone_map
from fourreal.other_files import NO_VIDEO, is_photo, why_no_video
from fourreal.special_video import refuse_special, refuse_without_base
from fourreal.whole_file import head_of, is_cut_off

# How such files are called; what a file is, its content says.
VIDEO_SUFFIXES = (
    *(".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mts", ".m2ts", ".ts", ".m2t", ".mpg"),
    *(".mpeg", ".mpe", ".m2v", ".m1v", ".mpv", ".vob", ".mod", ".tod", ".wmv", ".asf", ".flv"),
    *(".f4v", ".3gp", ".3g2", ".ogv", ".ogg", ".gif", ".apng", ".mxf", ".nut", ".qt", ".divx"),
    *(".h264", ".264", ".avc", ".h265", ".265", ".hevc", ".ivf", ".obu", ".dv", ".rm", ".rmvb"),
    *(".y4m", ".mjpeg", ".mjpg", ".mk3d", ".mj2", ".insv", ".360", ".lrv", ".lrf"),
)
SECONDS = 60.0  # a read that takes longer is given up
NARROWED = "zscale=p=bt709:t=bt709:m=bt709"
ORDINARY_MATRICES = (1, 5, 6, 9)
JPEGS = ("mjpeg", "mjpegb", "amv")  # their colours are BT.601's, always
WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # libav's own decoders leave it out
EVEN = 0.3  # of a frame: stamps nearer than this to an even rate are even


@dataclass(frozen=True)
class VideoFacts:
    """A video file: size as it is shown, its frames, and what has to be done for them.

    Attributes:
        height, width: upright, pixels square. fps: frames per second on average.
        count: frames that a player shows, each once.
        stream: number of the video stream in the file.
        interlaced: frames are two fields. filters: ffmpeg's, for each frame.
        alpha: pixels can be transparent. notes: what is done, one line each.
        comment: the file's tag of that name.
        uneven: [count] seconds of each frame from the first, where the rate is not even.
        decoder: the one that is needed, '' for the usual. turned: whether a tag that says how the
            camera was held is obeyed.
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
    interlaced: bool = False
    comment: str = ""
    uneven: tuple[float, ...] = field(default=(), repr=False)
    decoder: str = ""
    turned: bool = True

    @property
    def seconds(self) -> NDArray[np.float64]:
        """[count] time stamps from the first frame."""
        return np.array(self.uneven) if self.uneven else np.arange(self.count) / self.fps


@dataclass
class _Stream:
    """A video stream, its packets and its first frame."""

    stream: Any
    pts: list[int | None] = field(default_factory=list)
    key: list[bool] = field(default_factory=list)
    first: Any = None
    corrupt: bool = False  # the last packet is


def probe(path: str | Path) -> VideoFacts:
    """Look into a video file without decoding it.

    Raises:
        ValueError: not a video, or one that cannot be shown faithfully here.
    """
    p = Path(path)
    if not p.is_file():
        raise ValueError("not a file")
    if is_photo(p):
        raise ValueError(why_no_video(p))
    try:
        with _open(p) as container:
            return _facts(p, container)
    except (av.FFmpegError, UnicodeError) as error:
        raise ValueError(why_no_video(p)) from error


def _open(path: Path) -> Any:
    """The file and nothing that it may point to."""
    safe = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
    return av.open(f"file:{path}", options=safe, metadata_errors="replace", timeout=SECONDS)


def _facts(path: Path, container: Any) -> VideoFacts:
    film, others = _film(_read_packets(container))
    count, stamps = _shown(path, film)
    if not count or film.first is None:
        raise ValueError("not a readable video: it holds no whole frame (is the file complete?)")
    if film.corrupt or is_cut_off(path, container.format.name):
        raise ValueError(f"the video breaks off after {count} frames; copy it again")
    if container.format.name == "jpeg_pipe" and count == 1:
        raise ValueError(why_no_video(path))
    stream, first = film.stream, film.first
    refuse_special(first)
    refuse_without_base(head_of(path, container.format.name))
    width, height = stream.codec_context.width, stream.codec_context.height
    notes: list[str] = []
    if others:
        notes.append(
            f"{others + 1} video streams: number {stream.index}, {height}x{width}, is used"
        )
    interlaced = _interlaced(stream, first)
    if interlaced:
        notes.append("interlaced: deinterlaced")
    pixels = stream.codec_context.pix_fmt or first.format.name
    bits = max(c.bits for c in av.VideoFormat(pixels).components)
    filters, note = _colours(stream, first, bits)
    comment = container.metadata.get("comment", "")
    # grids of earlier versions did not say it either, and meant BT.601
    meant = "" if "fourreal_tiles" in comment else _meant_matrix(stream, first)
    if meant:
        filters = ",".join(f for f in (meant, filters) if f)
    notes += [note] if note else []
    if pixels.startswith("gray"):
        notes.append("grey")
    fps, uneven = _rate(stream, stamps, count)
    if uneven:
        notes.append(f"uneven frame rate, {fps:.4g} fps on average: every frame keeps its time")
    ratio = stream.sample_aspect_ratio
    if ratio and ratio > 0 and ratio != 1:
        width = max(1, round(width * ratio))
        notes.append("pixels were not square: stretched to square ones")
    sideways, turned, note = _held(first)
    if sideways:
        width, height = height, width
    notes += [note] if note else []
    alpha = pixels == "pal8" or any(c.is_alpha for c in av.VideoFormat(pixels).components)
    decoder = _alpha_decoder(stream)
    if decoder or (alpha and first.to_ndarray(format="rgba")[..., 3].min() < 255):
        notes.append("transparent pixels: laid over white")
    return VideoFacts(
        path, height, width, fps, count, stream.index, filters, alpha or bool(decoder),
        tuple(notes), interlaced, comment, uneven, decoder, turned,
    )  # fmt: skip


def _colours(stream: Any, first: Any, bits: int) -> tuple[str, str]:
    """ffmpeg's filters that bring the colours to those of ordinary screens, and what to say.

    Raises:
        ValueError: high dynamic range that cannot be mapped here.
    """
    transfer = _transfer(stream, first)
    if name := HDR.get(transfer):
        if not ffmpeg.has_filters("zscale", "tonemap"):
            raise ValueError(no_tone_map(name))
        return TONE_MAP, f"high dynamic range ({name}): mapped to SDR"
    wide = WIDE_COLOURS.get(int(stream.codec_context.color_primaries or 2))
    matrix = int(stream.codec_context.colorspace or 2)
    plain = transfer in ORDINARY_TRANSFERS and matrix in ORDINARY_MATRICES
    if wide and plain and ffmpeg.has_filters("zscale"):
        return NARROWED, f"colours of {wide}: brought to those of ordinary screens"
    return "", f"{bits} bit: rounded to 8" if bits > 8 else ""


def _meant_matrix(stream: Any, first: Any) -> str:
    """ffmpeg's filter that says what the colours of a video mean that does not say it: those of
    high definition are BT.709's, as all players take them; ffmpeg's own guess is BT.601."""
    if int(stream.codec_context.colorspace or 0) != 2 or stream.codec_context.name in JPEGS:
        return ""
    if first.format.is_rgb or not any(c.is_chroma for c in first.format.components):
        return ""
    if _transfer(stream, first) in HDR:
        return "setparams=colorspace=bt2020nc:color_primaries=bt2020"
    height, width = sorted((stream.codec_context.height, stream.codec_context.width))
    return "setparams=colorspace=bt709" if height >= 720 or width >= 1280 else ""


def _held(first: Any) -> tuple[bool, bool, str]:
    """How the camera was held, as the tag in the file says: whether height and width change places,
    whether the tag is obeyed (to a degree, quarters of a turn are), and what to say of it."""
    tags = [s for s in first.side_data if getattr(s.type, "name", "") == "DISPLAYMATRIX"]
    if not tags:
        return False, True, ""
    a, b, _, c, d = struct.unpack("=5i", bytes(tags[0])[:20])
    angle = round(first.rotation) % 360
    sideways = abs(b) > abs(a)
    if min(abs(a), abs(b)) > 0.02 * max(abs(a), abs(b)):
        return False, False, f"its tag says that it was turned by {angle} degrees: left aside"
    if a * d < b * c:
        return sideways, True, "mirrored, as its tag says" + (", and upright" if sideways else "")
    return sideways, True, f"turned upright ({angle} degrees in its tag)" if angle else ""


def _alpha_decoder(stream: Any) -> str:
    """The decoder that reads the transparency of a WebM, where the file has it; '' elsewhere."""
    if stream.metadata.get("alpha_mode") != "1":
        return ""
    name = WITH_ALPHA.get(stream.codec_context.name, "")
    return name if name and ffmpeg.has_decoder(name) else ""


def _read_packets(container: Any) -> list[_Stream]:
    """The streams that may be a film, with the packets of frames that are shown.

    Raises:
        ValueError: there is none.
    """
    pictures = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    films = [s for s in container.streams.video if not s.disposition & pictures]
    found = {s.index: _Stream(s) for s in films if s.codec_context is not None}  # None: no decoder
    for one in found.values():
        width, height = one.stream.codec_context.width, one.stream.codec_context.height
        if width * height > MAX_PIXELS:
            raise ValueError(
                f"frames of {height}x{width} are more than {MAX_PIXELS >> 20} megapixels"
            )
    if not found:
        sound = "it holds sound and no picture" if container.streams.audio else NO_VIDEO
        raise ValueError(sound)
    packets = container.demux([one.stream for one in found.values()])
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):  # what follows cannot be read
            break
        if not packet.size:
            continue
        if packet.has_sidedata("encryption_info"):
            raise ValueError(
                "it is encrypted (DRM), and nothing here has the key: export it without protection"
            )
        one = found[packet.stream_index]
        if one.first is None:
            one.first = next(iter(_decoded(packet)), None)
        one.corrupt = packet.is_corrupt
        hidden = one.stream.codec_context.name == "vp8" and not bytes(packet)[0] & 0x10
        if not (packet.is_discard or hidden):
            one.pts.append(packet.pts)
            one.key.append(packet.is_keyframe)
    for one in found.values():
        one.corrupt &= container.format.name != "mpegts"  # recordings end anywhere
        if one.first is None:
            one.first = next(iter(_decoded(None, one.stream)), None)
    return list(found.values())


def _decoded(packet: Any, stream: Any = None) -> list[Any]:
    """Frames of a packet, or those that are left in a stream's decoder; none if it is damaged."""
    try:
        return packet.decode() if stream is None else stream.codec_context.decode(None)
    except av.FFmpegError:
        return []


def _film(streams: list[_Stream]) -> tuple[_Stream, int]:
    """The stream that is the film, and how many others there are: not a still, and the largest."""
    usable = [s for s in streams if s.stream.codec_context.width and s.pts]
    if not usable:
        raise ValueError(NO_VIDEO)
    moving = [s for s in usable if len(s.pts) > 1] or usable
    size = [s.stream.codec_context.width * s.stream.codec_context.height for s in moving]
    return moving[int(np.argmax(size))], len(streams) - 1


def _shown(path: Path, film: _Stream) -> tuple[int, NDArray[np.float64] | None]:
    """How many frames are shown, and [count] their seconds where the file says."""
    doubtful = _doubtful(film)
    lost = _not_decoded(path, film, doubtful) if doubtful else set()
    kept = [p for k, p in enumerate(film.pts) if k not in lost]
    stamped = [p for p in kept if p is not None]
    if stamped and len(set(stamped)) < len(kept):  # packets of single fields, for example
        kept = _all_decoded(path, film)
        stamped = [p for p in kept if p is not None]
    if not stamped or len(set(stamped)) < len(kept):
        return len(kept), None
    seconds = np.sort(np.array(stamped, np.float64)) * float(film.stream.time_base)
    return len(kept), seconds - seconds[:1]


def _all_decoded(path: Path, film: _Stream) -> list[int | None]:
    """Stamps of all frames that decoding gives."""
    out: list[int | None] = []
    with _open(path) as container:
        stream = container.streams[film.stream.index]
        stream.thread_type = "AUTO"
        packets = container.demux(stream)
        while True:
            try:
                out += [f.pts for f in _decoded(next(packets))]
            except (StopIteration, av.FFmpegError):
                return out


def _doubtful(film: _Stream) -> list[int]:
    """Packets at the beginning that may not be decodable: those before the first key frame in
    the file, and those that are shown before it although they follow."""
    if True not in film.key:
        return []
    first = film.key.index(True)
    start = film.pts[first]
    early = list(range(first))
    for k in range(first + 1, len(film.pts)):
        if film.key[k]:
            break
        pts = film.pts[k]
        if start is not None and (pts is None or pts < start):
            early.append(k)
    return early


def _not_decoded(path: Path, film: _Stream, doubtful: list[int]) -> set[int]:
    """Which of the packets give no frame."""
    stamps = [p for p in film.pts if p is not None]
    if not stamps:
        return set(doubtful)
    zone = [film.pts[k] for k in (*doubtful, film.key.index(True))]
    end = max((p for p in zone if p is not None), default=stamps[0])
    seen: set[int | None] = set()
    with _open(path) as container:
        stream = container.streams[film.stream.index]
        packets = container.demux(stream)
        for _ in range(len(doubtful) + 250):
            try:
                frames = _decoded(next(packets))
            except (StopIteration, av.FFmpegError):
                break
            seen |= {f.pts for f in frames}
            if any(f.pts is not None and f.pts > end for f in frames):
                break
    return {k for k in doubtful if film.pts[k] is None or film.pts[k] not in seen}


def _rate(
    stream: Any, stamps: NDArray[np.float64] | None, count: int
) -> tuple[float, tuple[float, ...]]:
    """Frames per second, and the stamps if they are not even."""
    told = [stream.guessed_rate, stream.average_rate, stream.base_rate]
    rates = [float(r) for r in told if r and 0 < r < 10_000]
    if stamps is None or count < 2 or stamps[-1] <= 0:
        return (rates[0] if rates else 8.0), ()
    rates.append((count - 1) / float(stamps[-1]))
    off = [float(np.abs(stamps * r - np.arange(count)).max()) for r in rates]
    best = int(np.argmin(np.array(off) - [1e-3, 1e-3, 1e-3, 0][-len(off) :]))
    tick = float(stream.time_base or Fraction(0)) * rates[best]
    if off[best] <= max(EVEN, tick):
        return rates[best], ()
    return rates[-1], tuple(stamps.tolist())


def _interlaced(stream: Any, first: Any) -> bool:
    order = int(stream.codec_context.field_order or 0)  # AVFieldOrder: 0 unknown, 1 progressive
    return order > 1 or (order == 0 and bool(first.interlaced_frame))


def _transfer(stream: Any, first: Any) -> int:
    told = int(stream.codec_context.color_trc or 2)
    return told if told != 2 else int(getattr(first, "color_trc", None) or 2)
