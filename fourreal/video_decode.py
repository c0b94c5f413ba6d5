"""The frames of a video as a person sees them, decoded by ffmpeg.

Rotation tags, pixels that are not square, interlacing, alpha and high dynamic range are dealt
with here, so that everything else gets upright 8-bit RGB, every frame once.
"""

from __future__ import annotations

import itertools
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import IO

import cv2
import numpy as np
from numpy.typing import NDArray

from fourreal import ffmpeg
from fourreal.console import warn
from fourreal.video_damage import damage_of
from fourreal.video_facts import VideoFacts

LISTED = 64  # so many frames are asked for by number; of more, all are taken from ffmpeg


def frames(facts: VideoFacts) -> Iterator[NDArray[np.uint8]]:
    """Decode all frames, one at a time: uint8 [H, W, 3].

    Raises:
        ValueError: the file breaks off, or cannot be decoded.
    """
    done = 0
    for frame in _decode(facts, ""):
        done += 1
        yield frame
    if not done:
        raise ValueError("the video holds no frames that can be decoded")
    if done < 0.9 * facts.count - 2:
        raise ValueError(
            f"the video breaks off: {done} of {facts.count} frames can be decoded; copy it again"
        )


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
    with tempfile.TemporaryFile() as complaints:
        filled = _fill(out, facts, index, "", change, complaints)
        complained = complaints.tell() > 0
    damage = damage_of(facts.path, facts.stream, facts.count) if complained else None
    if damage is not None:
        nearest = damage.nearest(index)
        whole = sorted(set(nearest))
        filled = _fill(out, facts, whole, damage.filter, change, None)
        if filled:
            out = out[[min(whole.index(k), filled - 1) for k in nearest]]
            filled = len(index)
    if not filled:
        raise ValueError(f"the video ends before frame {index[0]}")
    if filled < len(index):
        warn(
            f"{facts.path.name} ends {len(index) - filled} frame(s) early; its last one is repeated"
        )
        out[filled:] = out[filled - 1]
    return out


def _fill(
    out: NDArray[np.uint8],
    facts: VideoFacts,
    index: list[int],
    before: str,
    change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None,
    complaints: IO[bytes] | None,
) -> int:
    """Put the frames of increasing indices, of those that a filter ``before`` lets through, into
    ``out``, and what ffmpeg complains of into ``complaints``; how many there were."""
    chosen = _selection(index)
    numbers = iter(index) if chosen else iter(range(facts.count + 1))
    decoded = _decode(facts, chosen, before, complaints)
    filled = 0
    try:
        while filled < len(index):
            frame = next(decoded, None)
            if frame is None:
                break
            if next(numbers, -1) == index[filled]:
                changed = frame if change is None else change(frame)
                out[filled] = resized(changed, *out.shape[1:3])
                filled += 1
    finally:
        decoded.close()
    return filled


def small_frames(facts: VideoFacts, count: int, height: int, width: int) -> NDArray[np.uint8]:
    """The first frames, at most ``count``, as uint8 [n, height, width, 3], resized by ffmpeg.

    Raises:
        ValueError: none can be decoded.
    """
    small = replace(facts, height=height, width=width)
    decoded = _decode(small, f"select='lt(n,{count})'")
    try:
        out = list(itertools.islice(decoded, count))
    finally:
        decoded.close()
    if not out:
        raise ValueError("the video holds no frames that can be decoded")
    return np.stack(out)


def _selection(index: Sequence[int]) -> str:
    """ffmpeg's filter that lets through the frames of increasing indices; '' for all of them.

    What is not let through is neither converted nor copied here.
    """
    if not index:
        return ""
    steps = set(np.diff(index).tolist())
    if len(steps) == 1 and len(index) > 2:
        step, first, last = steps.pop(), index[0], index[-1]
        return f"select='between(n,{first},{last})*not(mod(n-{first},{step}))'"
    if len(index) > LISTED:
        return ""
    return f"select='{'+'.join(f'eq(n,{k})' for k in index)}'"


def _decode(
    facts: VideoFacts, selection: str, before: str = "", complaints: IO[bytes] | None = None
) -> Generator[NDArray[np.uint8], None, None]:
    """The frames that a filter lets through, uint8 [H, W, 3].

    ``before``: a filter over the time stamps in the file. ``complaints``: takes ffmpeg's.
    """
    channels = 4 if facts.alpha else 3
    steps = [
        before,
        "yadif" if facts.interlaced else "",
        selection,
        facts.filters,
        f"scale={facts.width}:{facts.height}:flags=bicubic,setsar=1",
    ]
    reading = ["-c:v", facts.decoder] if facts.decoder else []
    reading += [] if facts.turned else ["-noautorotate"]
    reading += ["-copyts"] if before else []
    command = [
        ffmpeg.program(), "-v", "error", "-nostdin", *reading, *ffmpeg.opened(facts.path),
        "-map", f"0:{facts.stream}", "-vf", ",".join(s for s in steps if s),
        "-fps_mode", "passthrough",
        "-f", "rawvideo", "-pix_fmt", "rgba" if facts.alpha else "rgb24", "-",
    ]  # fmt: skip
    size = facts.height * facts.width * channels
    with _started(command, complaints) as process:
        assert process.stdout is not None
        try:
            while len(data := process.stdout.read(size)) == size:
                frame = np.frombuffer(data, np.uint8).reshape(facts.height, facts.width, channels)
                yield over_white(frame) if facts.alpha else frame
        finally:
            process.kill()


def _started(command: list[str], complaints: IO[bytes] | None) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=complaints or subprocess.DEVNULL
        )
    except OSError as error:
        raise ffmpeg.no_ffmpeg(f"{command[0]}: {error.strerror}") from error


def over_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colours and alpha [..., 4] -> colours over white [..., 3]."""
    alpha = rgba[..., 3:].astype(np.uint16)
    out = (rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return out.astype(np.uint8)


def resized(frame: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """One frame [H, W, 3] at another size: area filtering down, cubic up."""
    H, W = frame.shape[:2]
    if (H, W) == (height, width):
        return frame
    method = cv2.INTER_AREA if height * width < H * W else cv2.INTER_CUBIC
    return cv2.resize(frame, (width, height), interpolation=method)  # type: ignore[return-value]
