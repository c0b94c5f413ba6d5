"""Captioned video folders as training clips (the paper's pre-training data, Sec. 3.1).

    DIR/a.mp4   DIR/a.txt            a video and its caption
    DIR/b/*.png DIR/b.txt            a folder of images is a video too
    DIR/c.jpg   DIR/c.txt            a still image is a clip of one frame
or, instead of the .txt files,
    DIR/captions.jsonl               {"file": "a.mp4", "caption": "..."} a line

One folder is one group: arbitrary motion (`Mode.DYNAMIC`) or static scenes (`Mode.FREEZE_TIME`).
Only lengths are read at the start; frames are decoded when a batch wants them.  An item is drawn
by a random temporal stride, start and crop, resized with area filtering.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

# A broken file is named by our own warning; the decoder's messages do not name it.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from fourreal.errors import UserError
from fourreal.video_io import IMAGE_SUFFIXES
from gen.data.batches import Clip, randint, seeded
from gen.dist import warn
from gen.network.dit import Mode
from gen.network.text import split_words

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
CAPTIONS = "captions.jsonl"
MAX_STRIDE = 4
SMALLEST_CROP = 0.8  # of the largest window of the right shape
TRIES = 50


@dataclass(frozen=True)
class Entry:
    """One captioned file (or folder of images) and its number of frames."""

    path: Path
    caption: str
    length: int


def _list_text_files(folder: Path) -> tuple[list[tuple[Path, str]], list[str]]:
    """(file, caption) pairs of a folder with .txt files, and what is wrong with the others."""
    found: list[tuple[Path, str]] = []
    problems: list[str] = []
    described: set[Path] = set()
    for text in sorted(folder.rglob("*.txt")):
        names = [text.with_suffix(s) for s in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES)]
        media = next((p for p in names if p.is_file()), None)
        if media is None and text.with_suffix("").is_dir():
            media = text.with_suffix("")
        if media is None:
            continue
        described.add(media)
        try:
            found.append((media, text.read_text(encoding="utf-8").strip()))
        except (OSError, UnicodeDecodeError):
            problems.append(f"{text.relative_to(folder)} (not UTF-8 text)")
    for path in sorted(folder.rglob("*")):
        is_media = path.suffix.lower() in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES) and path.is_file()
        if is_media and not described.intersection([path, *path.parents]):
            problems.append(f"{path.relative_to(folder)} (no {path.with_suffix('.txt').name})")
    return found, problems


def _list_jsonl(folder: Path) -> tuple[list[tuple[Path, str]], list[str]]:
    """(file, caption) pairs of `captions.jsonl`, and what is wrong with its other lines."""
    found: list[tuple[Path, str]] = []
    problems: list[str] = []
    with (folder / CAPTIONS).open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                path, text = folder / entry["file"], entry["caption"]
                if not isinstance(text, str):
                    raise TypeError
            except (ValueError, KeyError, TypeError):
                problems.append(f'line {number} of {CAPTIONS} (want {{"file", "caption"}})')
                continue
            if path.exists():
                found.append((path, text.strip()))
            else:
                problems.append(f"{entry['file']} (missing)")
    return found, problems


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)


def _length(path: Path) -> int:
    """Number of frames by the file's header; 0 when it is not readable."""
    if path.is_dir():
        return len(_images(path))
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return 1 if cv2.haveImageReader(str(path)) else 0
    video = cv2.VideoCapture(str(path))
    try:
        return max(0, int(video.get(cv2.CAP_PROP_FRAME_COUNT))) if video.isOpened() else 0
    finally:
        video.release()


def list_entries(folder: Path) -> tuple[list[Entry], list[str]]:
    """The usable entries of a folder in name order, and one phrase for each unusable one."""
    pairs, problems = (_list_jsonl if (folder / CAPTIONS).is_file() else _list_text_files)(folder)
    pairs.sort()
    with ThreadPoolExecutor(8) as threads:
        lengths = list(threads.map(_length, [path for path, _ in pairs]))
    entries = []
    for (path, text), length in zip(pairs, lengths, strict=True):
        if length < 1:
            problems.append(f"{path.relative_to(folder)} (unreadable)")
        elif not text:
            problems.append(f"{path.relative_to(folder)} (empty caption)")
        else:
            entries.append(Entry(path, text, length))
    return entries, problems


def crop_window(
    height: int, width: int, out_height: int, out_width: int, g: Generator
) -> tuple[slice, slice]:
    """A random window of the shape out_height : out_width inside height x width pixels."""
    scale = min(height / out_height, width / out_width)
    scale *= SMALLEST_CROP + (1 - SMALLEST_CROP) * float(torch.rand((), generator=g))
    h, w = max(1, round(out_height * scale)), max(1, round(out_width * scale))
    top, left = randint(height - h + 1, g), randint(width - w + 1, g)
    return slice(top, top + h), slice(left, left + w)


def resize_uint8(frame: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """[H, W, 3] at another size: area filtering down, cubic up."""
    shrinks = height * width < frame.shape[0] * frame.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(frame, (width, height), interpolation=method)  # type: ignore[return-value]


def _decode(entry: Entry, wanted: range) -> Iterable[NDArray[np.uint8]]:
    """Frames [H, W, 3] (blue, green, red) at increasing places; ValueError when one is missing."""
    if entry.path.is_dir() or entry.path.suffix.lower() in IMAGE_SUFFIXES:
        files = _images(entry.path) if entry.path.is_dir() else [entry.path]
        for i in wanted:
            image = cv2.imread(str(files[i]), cv2.IMREAD_COLOR)
            if image is None:
                raise ValueError(f"{files[i].name} is not readable")
            yield image  # type: ignore[misc]
        return
    video = cv2.VideoCapture(str(entry.path))
    try:
        if wanted.start:
            video.set(cv2.CAP_PROP_POS_FRAMES, wanted.start)
        for i in range(wanted.start, wanted[-1] + 1):
            if not video.grab():
                raise ValueError(f"it ends before frame {i}")
            if i in wanted:
                yield video.retrieve()[1]  # type: ignore[misc]
    finally:
        video.release()


class VideoFolder:
    """Clips of `frames` frames from a captioned folder; frames = 1: any of its frames and images.

    Raises UserError when nothing in the folder is usable.
    """

    def __init__(
        self,
        folder: Path,
        mode: Mode,
        frames: int,
        height: int,
        width: int,
        seed: int,
        max_stride: int = MAX_STRIDE,
    ):
        if not folder.is_dir():
            raise UserError(f"no such folder of videos: {folder}")
        self.folder, self.mode, self.frames = folder, mode, frames
        self.size, self.seed, self.max_stride = (height, width), seed, max_stride
        entries, problems = list_entries(folder)
        self.captions = [e.caption for e in entries]
        self.entries = [e for e in entries if e.length >= frames]
        problems += [
            f"{e.path.relative_to(folder)} (only {e.length} frames)"
            for e in entries
            if 1 < e.length < frames
        ]
        if problems:
            shown = ", ".join(problems[:20]) + (", ..." if len(problems) > 20 else "")
            warn(f"{folder}: {len(problems)} unusable files are skipped: {shown}")
        if not self.entries:
            images = " (still images are used where a batch has single pictures)" if entries else ""
            raise UserError(
                f"{folder} holds no usable captioned clip of at least {frames} frames{images}; put "
                f"NAME.txt beside NAME.mp4, or write {CAPTIONS}"
            )
        self._bad: set[Path] = set()

    def word_counts(self) -> Counter[str]:
        """How often each word occurs in the captions."""
        return Counter(word for text in self.captions for word in split_words(text))

    def prepare(self, step: int) -> None:
        """Nothing to do: frames are decoded when asked for."""

    def item(self, step: int, number: int) -> Clip:
        """A random clip by (seed, step, number); a file that turns out broken is named once and
        another one taken (the same one whenever this item is drawn)."""
        g = seeded(self.seed, step, number, 21)
        for _ in range(TRIES):
            entry = self.entries[randint(len(self.entries), g)]
            try:
                frames = self._read(entry, g)
            except (ValueError, cv2.error) as error:
                if entry.path not in self._bad:
                    self._bad.add(entry.path)
                    warn(f"{entry.path} is skipped: {error}")
                continue
            return Clip(torch.from_numpy(frames), entry.caption, self.mode, True)
        raise UserError(f"{TRIES} files of {self.folder} in a row could not be read; check them")

    def _read(self, entry: Entry, g: Generator) -> NDArray[np.uint8]:
        n = self.frames
        most = self.max_stride if n == 1 else min(self.max_stride, (entry.length - 1) // (n - 1))
        stride = 1 + randint(most, g)
        start = randint(entry.length - (n - 1) * stride, g)
        crop_seed = randint(2**62, g)
        frames = []
        for frame in _decode(entry, range(start, start + (n - 1) * stride + 1, stride)):
            h, w = frame.shape[:2]
            window = crop_window(h, w, *self.size, seeded(crop_seed))
            frames.append(resize_uint8(frame[window], *self.size)[..., ::-1])
        return np.stack(frames)
