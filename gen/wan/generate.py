"""Text, or a pair of clips, -> a V x T grid of frames, through the two streams over Wan.

Text -> fixed-view clip (the model as it is) -> its first latent starts the freeze-time clip ->
the two-stream model fills the lattice between them.  Views are never compressed: of a freeze-time
clip every fourth frame is a view, so that two views are as far apart as two of its latents.

Shape legend: V views, T times, L latent times, F frames, H W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fourreal.console import Report
from fourreal.video_io import resize_frames
from gen.flow.rectified import keep_known, linear_sigmas
from gen.flow.samplers import SAMPLERS, CleanModel, guided, keyed_noise
from gen.flow.windows import Part, clip_parts, grid_parts, grow
from gen.generate import GenerateConfig, GeneratedGrid, check_clips, window_report
from gen.grid import VideoGrid
from gen.network.dit import Mode
from gen.wan.lattice import LatentCodec, covered_frames, latent_times
from gen.wan.params import TIME_STRIDE
from gen.wan.path import clean_from_velocity, timestep
from gen.wan.text import TextFeatures, in_mode
from gen.wan.two_stream import WanTwoStream

WINDOW = 21  # latents of a clip that Wan was trained on (81 frames)
OVERLAP = 4


# How Wan makes a grid, as the other values of `GenerateConfig` are the bundled model's. The mixer
# comes with the adapter, the time stride with the codec; the rate is that of Wan's own videos.
WAN = GenerateConfig(
    times=9, size=(480, 832), steps=30, grid_steps=30, shift=3.0, guidance=5.0, fps=16.0
)


@dataclass
class WanParts:
    """The three parts of a model, and how they share a device."""

    text: TextFeatures
    codec: LatentCodec
    two_stream: WanTwoStream
    device: torch.device
    offload: bool = False  # each part is on the device only while it works
    text_on_cpu: bool = False  # the text encoder works on the CPU

    def __post_init__(self) -> None:
        if not self.offload:
            parts: list[nn.Module] = [self.text.encoder, self.codec.vae, self.two_stream]
            for part in parts[self.text_on_cpu :]:
                part.to(self.device)

    @contextmanager
    def using(self, part: Any) -> Iterator[None]:
        """`part` is on the device inside (where it works at all)."""
        if not self.offload or (self.text_on_cpu and part is self.text.encoder):
            yield
            return
        part.to(self.device)
        try:
            yield
        finally:
            part.to("cpu")
            if self.device.type == "cuda":
                torch.cuda.empty_cache()


class WanGenerator:
    """Every method is a pure function of its arguments and seed."""

    def __init__(self, parts: WanParts):
        self.parts = parts
        self.two_stream = parts.two_stream.eval()

    def _noise(self, shape: tuple[int, ...], *key: int) -> Tensor:
        return keyed_noise(shape, *key).to(self.parts.device)

    def words(self, prompt: str) -> dict[str, Tensor]:
        """Text features of the row, of the column and of nothing, each [1, L, D]."""
        texts = [in_mode(prompt, Mode.DYNAMIC), in_mode(prompt, Mode.FREEZE_TIME), ""]
        with self.parts.using(self.parts.text.encoder):
            features = self.parts.text(texts).to(self.parts.device)
        return dict(zip(("row", "column", "none"), features.split(1), strict=True))

    @torch.no_grad()
    def clip(
        self, mode: Mode, latents: int, config: GenerateConfig, words: dict[str, Tensor],
        start_CHW: Tensor | None = None, report: Report | None = None,
    ) -> Tensor:  # fmt: skip
        """Latents [L, C, h, w] of a clip from text by the base model, the first one given or not.

        It grows on the CPU; one window at a time is on the device.
        """
        model, codec, device = self.two_stream.model, self.parts.codec, self.parts.device
        height, width = frame_size(config)
        size = height // codec.space, width // codec.space
        clip = torch.zeros(latents, model.params.channels, *size)
        known = torch.zeros(latents, dtype=torch.bool)
        if start_CHW is not None:
            clip[0], known[0] = start_CHW, True
        sigmas = linear_sigmas(config.steps, config.shift).to(device)
        text = words["row" if mode == Mode.DYNAMIC else "column"]
        name = "fixed-view clip" if mode == Mode.DYNAMIC else "freeze-time clip"
        parts = clip_parts(latents, WINDOW, OVERLAP)

        def sample(number: int, part: Part, clean: Tensor, known: Tensor) -> Tensor:
            def predict(words_: Tensor) -> CleanModel:
                def model_(x: Tensor, sigma: Tensor) -> Tensor:
                    x = keep_known(x, clean, known)
                    levels = timestep(sigma) * ~known
                    velocity = model(x, levels, words_).float()
                    return keep_known(
                        clean_from_velocity(x, velocity, sigma.reshape(1)), clean, known
                    )

                return model_

            x = self._noise(tuple(clean.shape), config.seed, int(mode), part[0].start)
            guide = guided(predict(text), predict(words["none"]), config.guidance, (0.0, 1.0))
            callback = window_report(report, name, number, len(parts))
            with self.parts.using(self.two_stream):
                return SAMPLERS[config.sampler](guide, x, sigmas, callback).cpu()

        return grow(clip, known, parts, sample, device)

    @torch.no_grad()
    def fill(
        self, lattice_VLCHW: Tensor, known_VL: Tensor, config: GenerateConfig,
        words: dict[str, Tensor], report: Report | None = None,
    ) -> Tensor:  # fmt: skip
        """Complete a lattice on the CPU; known latents come out unchanged."""
        device = self.parts.device
        sigmas = linear_sigmas(config.grid_steps, config.shift).to(device)
        parts = grid_parts(len(known_VL), known_VL.shape[1], WINDOW, OVERLAP)

        def sample(number: int, part: Part, clean: Tensor, known: Tensor) -> Tensor:
            def predict(x: Tensor, sigma: Tensor) -> Tensor:
                level = sigma.reshape(1)
                return self.two_stream.clean(
                    x, clean, known, level, words["row"], words["column"]
                ).float()

            x = self._noise(tuple(clean.shape), config.seed, 2, part[0].start, part[1].start)
            callback = window_report(report, "grid", number, len(parts))
            with self.parts.using(self.two_stream):
                return SAMPLERS[config.sampler](predict, x, sigmas, callback).cpu()

        return grow(lattice_VLCHW, known_VL, parts, sample, device)

    def _decode_grid(self, lattice: Tensor, times: int) -> Tensor:
        with self.parts.using(self.parts.codec.vae):
            return self.parts.codec.decode_grid(lattice, times)

    def from_prompt(
        self, prompt: str, config: GenerateConfig | None = None, report: Report | None = None
    ) -> GeneratedGrid:
        """Text -> clips -> grid."""
        config = config or WAN
        codec, words = self.parts.codec, self.words(prompt)
        latents = latent_times(config.times, codec.time_stride)
        apart = TIME_STRIDE // codec.time_stride  # frames of Wan's videos between two of a row
        row = self.clip(Mode.DYNAMIC, latents, config, words, report=report)
        column = self.clip(Mode.FREEZE_TIME, config.views, config, words, row[0], report)
        videos = LatentCodec(codec.vae)  # both are videos of Wan's own kind
        with self.parts.using(codec.vae):
            row_frames = videos.decode_clip(row, covered_frames(latents))[::apart][: config.times]
            views = videos.decode_clip(column, covered_frames(config.views))[::TIME_STRIDE]
            lattice, known = codec.encode_cross(row_frames, views)
        if codec.time_stride == TIME_STRIDE:
            lattice[0] = row  # as they were made, not decoded and encoded again
        config = replace(config, fps=config.fps / apart)
        return self._grid(lattice, known, row_frames, views, prompt, config, words, report)

    def complete_grid(
        self,
        row: NDArray[np.float32],
        column: NDArray[np.float32],
        prompt: str = "",
        config: GenerateConfig | None = None,
        report: Report | None = None,
    ) -> GeneratedGrid:
        """Fill the grid between a fixed-view clip [T,H,W,3] and a freeze-time clip [V,H,W,3].

        RGB in 0..1, resized to the configuration's size; both start with the same frame.
        """
        check_clips(row, column)
        config = replace(config or WAN, views=len(column), times=len(row))
        words = self.words(prompt)
        resized = (resize_frames(clip, *frame_size(config)) for clip in (row, column))
        clips = [torch.from_numpy(np.ascontiguousarray(c)) * 2 - 1 for c in resized]
        with self.parts.using(self.parts.codec.vae):
            lattice, known = self.parts.codec.encode_cross(*clips)
        return self._grid(lattice, known, clips[0], clips[1], prompt, config, words, report)

    def _grid(
        self, lattice: Tensor, known: Tensor, row: Tensor, column: Tensor, prompt: str,
        config: GenerateConfig, words: dict[str, Tensor], report: Report | None,
    ) -> GeneratedGrid:  # fmt: skip
        """Fill, decode, and keep the frames of row 0 and column 0 as they are."""
        lattice = self.fill(lattice, known, config, words, report)
        frames = self._decode_grid(lattice, len(row))
        frames[:, 0], frames[0] = column, row
        images = ((frames.clamp(-1, 1) + 1) / 2).numpy().astype(np.float32)
        grid = VideoGrid(images, fps=config.fps, prompt=prompt)
        return GeneratedGrid(grid, grid.row(0), grid.column(0))


def frame_size(config: GenerateConfig) -> tuple[int, int]:
    """(height, width) that Wan is to work at; its own where nothing is asked."""
    size = config.size or WAN.size
    assert size is not None
    return size
