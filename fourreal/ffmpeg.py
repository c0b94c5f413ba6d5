"""The program ffmpeg: where it is, what it can do, how a file is opened with it."""

from __future__ import annotations

import functools
import re
import subprocess
from pathlib import Path

import imageio_ffmpeg

from fourreal.errors import UserError

# Containers of a single recording; demuxers that open other files are not among them.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,gif,apng,mxf,nut,"
    "h264,hevc,ivf,m4v,obu,av1,vc1,vvc,h263,dv,rm,yuv4mpegpipe,mjpeg,jpeg_pipe,wtv,gxf"
)
MAX_PIXELS = 2**27


def program() -> str:
    """The path of ffmpeg.

    Raises:
        UserError: there is none.
    """
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise no_ffmpeg("none is installed") from error


def no_ffmpeg(why: str) -> UserError:
    """What to say when it cannot be started."""
    return UserError(
        f"videos need the program ffmpeg ({why}): pip install --force-reinstall imageio-ffmpeg "
        "brings one, or set IMAGEIO_FFMPEG_EXE to yours"
    )


def opened(path: Path) -> list[str]:
    """Arguments that open a file and nothing that it may point to."""
    safe = ["-protocol_whitelist", "file", "-format_whitelist", CONTAINERS]
    return [*safe, "-max_pixels", str(MAX_PIXELS), "-i", f"file:{path}"]


def has_filters(*names: str) -> bool:
    """Whether ffmpeg was built with these filters."""
    return all(re.search(rf"^ \S+ {name} ", _listed("-filters"), re.MULTILINE) for name in names)


def has_decoder(name: str) -> bool:
    """Whether ffmpeg was built with this decoder."""
    return bool(re.search(rf"^ \S+ {name} ", _listed("-decoders"), re.MULTILINE))


@functools.cache
def _listed(what: str) -> str:
    command = [program(), "-v", "error", what]
    try:
        return subprocess.run(command, capture_output=True).stdout.decode("utf-8", "replace")
    except OSError as error:
        raise no_ffmpeg(f"{command[0]}: {error.strerror}") from error
