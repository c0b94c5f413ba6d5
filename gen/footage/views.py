"""Where the frames of one view lie: a video, or one image per time. Nothing is read before it is
asked for, and only at the size that is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fourreal import video_decode
from fourreal.errors import UserError
from fourreal.image_facts import image_facts
from fourreal.video_decode import resized
from fourreal.video_facts import VIDEO_SUFFIXES, VideoFacts, probe
from fourreal.video_io import (
    IMAGE_KINDS,
    IMAGE_SUFFIXES,
    image_size,
    read_image,
    small_image,
    to_uint8,
)
from gen.footage.lens import Lens
from gen.footage.not_views import Chosen, choose

SEQUENCE_FPS = 8.0
SAME_SHAPE = 0.01  # how much two shapes may differ that are resized to one


class View(Protocol):
    """The frames of one viewpoint over time."""

    @property
    def name(self) -> str:
        """What the view is called."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of its frames."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What has to be done to its frames."""
        ...

    def read(
        self, times: list[int], height: int, width: int, lens: Lens | None = None
    ) -> NDArray[np.uint8]:
        """Frames of increasing indices, uint8 [n, height, width, 3], undistorted before resizing.

        Raises:
            ValueError, UserError: a frame cannot be read.
        """
        ...

    def thumbnails(self, times: int, height: int, width: int) -> NDArray[np.uint8]:
        """The first frames, at most ``times``, roughly and quickly: uint8 [n, height, width, 3].

        Raises:
            ValueError, UserError: a frame cannot be read.
        """
        ...


@dataclass(frozen=True)
class VideoView:
    """A view that is a video file; ``title``: its name, if not that of the file."""

    facts: VideoFacts
    title: str = ""

    @property
    def name(self) -> str:
        return self.title or self.facts.path.stem

    @property
    def stamps(self) -> NDArray[Any]:
        """When each frame is shown, in frames of the average rate."""
        facts = self.facts
        return facts.seconds * facts.fps if facts.uneven else np.arange(facts.count)

    @property
    def size(self) -> tuple[int, int]:
        return self.facts.height, self.facts.width

    @property
    def notes(self) -> tuple[str, ...]:
        return self.facts.notes

    def read(
        self, times: list[int], height: int, width: int, lens: Lens | None = None
    ) -> NDArray[np.uint8]:
        change = None if lens is None else lens.undistort
        return video_decode.pick_frames(self.facts, times, height, width, change)

    def thumbnails(self, times: int, height: int, width: int) -> NDArray[np.uint8]:
        return video_decode.small_frames(self.facts, times, height, width)

    def quick(self, times: list[int], height: int, width: int) -> NDArray[np.uint8]:
        """Frames of increasing indices, roughly: resized by ffmpeg, so that what is handed on is
        small however large and long the video is. Raises ValueError."""
        small = replace(self.facts, height=height, width=width)
        return video_decode.pick_frames(small, times, height, width)


@dataclass(frozen=True)
class ImagesView:
    """A view that is one image per time (None: no image of that time).

    ``stored``: its pixels are taken as they are stored, whatever an orientation tag says.
    """

    name: str
    files: tuple[Path | None, ...]
    stored: bool = False

    @cached_property
    def size(self) -> tuple[int, int]:
        return image_size(next(f for f in self.files if f is not None), not self.stored)

    @property
    def notes(self) -> tuple[str, ...]:
        facts = image_facts(next(f for f in self.files if f is not None))
        told = []
        if self.stored and facts.upright_size != facts.size:
            told.append("orientation tags are left aside: the cameras are of the pixels as stored")
        if facts.colours is not None:
            told.append(facts.colours[0])
        if facts.pictures > 1:
            told.append(f"{facts.pictures} pictures in a file: the main one is used")
        return tuple(told)

    def read(
        self, times: list[int], height: int, width: int, lens: Lens | None = None
    ) -> NDArray[np.uint8]:
        out = np.zeros((len(times), height, width, 3), np.uint8)
        first = self.size
        for k, t in enumerate(times):
            file = self.files[t]
            if file is None:
                continue
            image = to_uint8(read_image(file, not self.stored))
            h, w = image.shape[:2]
            if (h, w) != first:
                if abs(w * first[0] / (h * first[1]) - 1) >= SAME_SHAPE:
                    raise ValueError(
                        f"{file.name} differs in size from the first image of {self.name}"
                    )
                image = resized(image, *first)
            out[k] = resized(image if lens is None else lens.undistort(image), height, width)
        return out

    def thumbnails(self, times: int, height: int, width: int) -> NDArray[np.uint8]:
        files = [f for f in self.files if f is not None][:times]
        return np.stack([small_image(f, height, width, not self.stored) for f in files])


@dataclass(frozen=True)
class TimedView:
    """A view of which frame ``frames[t]`` is shown at time t; -1: there is none."""

    view: View
    frames: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.view.name

    @property
    def size(self) -> tuple[int, int]:
        return self.view.size

    @property
    def notes(self) -> tuple[str, ...]:
        return self.view.notes

    def read(
        self, times: list[int], height: int, width: int, lens: Lens | None = None
    ) -> NDArray[np.uint8]:
        index = np.array([self.frames[t] for t in times])
        out = np.zeros((len(times), height, width, 3), np.uint8)
        wanted, back = np.unique(index[index >= 0], return_inverse=True)
        if len(wanted):
            out[index >= 0] = self.view.read(wanted.tolist(), height, width, lens)[back]
        return out

    def thumbnails(self, times: int, height: int, width: int) -> NDArray[np.uint8]:
        index = [k for k in self.frames[:times] if k >= 0]
        return self.view.thumbnails(max(index, default=-1) + 1, height, width)[index]


def open_clip(path: str | Path, what: str = "clip") -> tuple[View, int, float]:
    """A video file or a folder of images in name order -> view, number of frames, fps.

    Raises:
        UserError: missing or unreadable.
    """
    p = Path(path)
    if not p.exists():
        raise UserError(f"no such {what}: {p}")
    if p.is_file():
        try:
            facts = probe(p)
        except ValueError as error:
            raise UserError(f"cannot read the {what} {p}: {error}") from error
        return VideoView(facts), facts.count, facts.fps
    files = images_in(p)
    if not files:
        raise UserError(f"the {what} folder {p} holds no images ({IMAGE_KINDS})")
    for file in files:
        if image_size(file) != image_size(files[0]):
            raise UserError(f"{file} differs in size from {files[0].name}; make all images equal")
    return ImagesView(p.name, tuple(files)), len(files), SEQUENCE_FPS


def images_in(folder: Path) -> list[Path]:
    """The images of a folder in name order, without masks and the like beside them."""
    return choose_images(folder).taken


def choose_images(folder: Path) -> Chosen:
    """The images of a folder, and what of it is passed over."""
    found = [f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES]
    return choose(found, IMAGE_SUFFIXES)


def is_video(path: Path) -> bool:
    """Whether a file is called as videos are."""
    if path.suffix.lower() not in VIDEO_SUFFIXES or not path.is_file():
        return False
    if path.suffix.lower() != ".ts":
        return True
    with path.open("rb") as file:  # a program in TypeScript is none
        return file.read(1) == b"G"
