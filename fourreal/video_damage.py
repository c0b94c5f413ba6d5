"""Which frames of a damaged video are whole: not those that cannot be decoded, nor those that are
predicted from them, up to the next key frame."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from fourreal.console import warn

# What decoders complain of in streams of cameras that are whole.
HARMLESS = re.compile(r"mmco|co located|reference frames|frame num|SEI|stamp|[DP]TS", re.IGNORECASE)
LEAST = 0.3  # of the frames have to be whole


@dataclass(frozen=True, eq=False)
class Damage:
    """The frames of a damaged video: [count] whether each is whole, and ffmpeg's filter (over time
    stamps as they are in the file) that lets through those that are."""

    whole: NDArray[np.bool_]
    filter: str

    def nearest(self, index: list[int]) -> list[int]:
        """The whole frames nearest to some, counted among the whole ones."""
        at = np.flatnonzero(self.whole)
        return [int(np.abs(at - k).argmin()) for k in index]


def damage_of(path: Path, stream: int, count: int) -> Damage | None:
    """Decode a video that was complained of and tell what is damaged, saying so once; None where
    nothing is, or frames have no time stamps of their own.

    Args:
        stream: number of the stream. count: frames that a player shows.

    Raises:
        ValueError: too few of the frames are whole.
    """
    return _damage(path, stream, count, path.stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _damage(path: Path, stream: int, count: int, written: int) -> Damage | None:
    stamps, whole, base = _decoded(path, stream)
    shown = np.argsort(stamps)[-count:]
    if len(stamps) < count or len(set(stamps)) < len(stamps) or whole[shown].all():
        return None
    seconds, good = stamps[shown] * base, whole[shown]
    if good.mean() < LEAST:
        raise ValueError(
            f"the video is damaged: only {int(good.sum())} of {count} frames can be decoded whole; "
            "copy it again"
        )
    gap = float(np.diff(seconds).min()) / 2 if count > 1 else 1.0
    edges = np.flatnonzero(np.diff(np.concatenate([[True], good, [True]]).astype(int)))
    parts = [
        (seconds[a] - gap, seconds[b - 1] + gap)
        for a, b in zip(edges[::2], edges[1::2], strict=True)
    ]
    at = ", ".join(f"{a - seconds[0]:.1f} to {b - seconds[0]:.1f} s" for a, b in parts[:4])
    warn(
        f"{path.name} is damaged ({at}): {count - int(good.sum())} of {count} frames, for which "
        "the nearest whole ones stand in; copy it again if you can"
    )
    bad = "+".join(f"between(t,{a:.6f},{b:.6f})" for a, b in parts)
    return Damage(good, f"select='not({bad})'")


def _decoded(path: Path, stream: int) -> tuple[NDArray[np.float64], NDArray[np.bool_], float]:
    """Time stamps of all packets from the first key frame on, in the file's order, whether each is
    whole, and the length of their unit in seconds."""
    stamps: list[float] = []
    keys: list[bool] = []
    damaged: set[float] = set()
    usual = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with (
            av.logging.Capture() as said,  # not every decoder marks what it cannot decode
            av.open(f"file:{path}", metadata_errors="replace") as container,
        ):
            film: Any = container.streams[stream]
            film.codec_context.thread_count = 1
            base = float(film.time_base)
            for packet in container.demux(film):
                before = len(said)
                if packet.size and packet.pts is not None and (packet.is_keyframe or keys):
                    stamps.append(packet.pts)
                    keys.append(packet.is_keyframe)
                try:
                    damaged |= {f.pts for f in packet.decode() if f.is_corrupt}
                except av.FFmpegError:
                    damaged.add(packet.pts)
                if any(HARMLESS.search(message) is None for _, _, message in said[before:]):
                    damaged.add(packet.pts)
    finally:
        av.logging.set_level(usual)
    whole = np.ones(len(stamps), bool)
    lost = False
    for k, (stamp, key) in enumerate(zip(stamps, keys, strict=True)):
        lost = stamp in damaged or (lost and not key)
        whole[k] = not lost
    return np.array(stamps), whole, base
