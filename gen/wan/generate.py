"""Text, or a pair of clips, -> a V x T grid of frames, through the two streams over Wan.

Text -> fixed-view clip (the model as it is) -> its first latent starts the freeze-time clip ->
the two-stream model fills the lattice between them.  Views are never compressed: of a freeze-time
clip every fourth frame is a view, so that two views are as far apart as two of its latents.

Shape legend: V views, T times, L latent times, F frames, H W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fourreal.errors import UserError
from gen.flow.rectified import keep_known, linear_sigmas
from gen.flow.samplers import SAMPLERS, guided, keyed_noise
from gen.flow.windows import windows
from gen.generate import Report, window_callback
from gen.grid import MAX_CELLS, VideoGrid
from gen.network.dit import Mode
from gen.sync.streams import Output
from gen.wan.lattice import LatentCodec, TimeStride, covered_frames, latent_times
from gen.wan.params import TIME_STRIDE
from gen.wan.path import clean_from_velocity, timestep
from gen.wan.text import TextFeatures, in_mode
from gen.wan.two_stream import WanTwoStream

WINDOW = 21  # latents of a clip that Wan was trained on (81 frames)
OVERLAP = 4


@dataclass(frozen=True)
class WanConfig:
    """How a grid is made; `guidance` acts on what is made from text alone."""

    views: int = 8
    times: int = 9
    height: int = 480
    width: int = 832
    steps: int = 30
    grid_steps: int = 30
    sampler: str = "euler"
    shift: float = 3.0  # moves the noise levels of the steps towards noise
    guidance: float = 5.0
    time_stride: TimeStride = TIME_STRIDE
    output: Output = "mean"
    seed: int = 0
    fps: float = 16.0  # of Wan's own videos

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise UserError(f"unknown sampler {self.sampler!r}; choose from {', '.join(SAMPLERS)}")
        if self.views < 1 or self.times < 1 or self.views * self.times > MAX_CELLS:
            raise UserError(
                f"a grid of {self.views} views x {self.times} times is not possible; at most "
                f"{MAX_CELLS} cells are"
            )
        if self.steps < 1 or self.grid_steps < 1:
            raise UserError("the number of steps must be at least 1")


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
        self, mode: Mode, latents: int, config: WanConfig, words: dict[str, Tensor],
        start_CHW: Tensor | None = None, report: Report | None = None,
    ) -> Tensor:  # fmt: skip
        """Latents [L, C, h, w] of a clip from text by the base model, the first one given or not.

        It grows on the CPU; one window at a time is on the device.
        """
        model, codec, device = self.two_stream.model, self.parts.codec, self.parts.device
        size = config.height // codec.space, config.width // codec.space
        clip = torch.zeros(latents, model.params.channels, *size)
        done = torch.zeros(latents, dtype=torch.bool)
        if start_CHW is not None:
            clip[0], done[0] = start_CHW, True
        sigmas = linear_sigmas(config.steps, config.shift).to(device)
        text = words["row" if mode == Mode.DYNAMIC else "column"]
        name = "fixed-view clip" if mode == Mode.DYNAMIC else "freeze-time clip"
        spans = windows(latents, WINDOW, OVERLAP)
        for number, span in enumerate(spans):
            part = slice(span.start, span.stop)
            clean, known = clip[None, part].to(device), done[None, part].to(device)

            def predict(words_: Tensor, clean: Tensor = clean, known: Tensor = known):
                def model_(x: Tensor, sigma: Tensor) -> Tensor:
                    x = keep_known(x, clean, known)
                    levels = timestep(sigma) * ~known
                    velocity = model(x, levels, words_).float()
                    return keep_known(
                        clean_from_velocity(x, velocity, sigma.reshape(1)), clean, known
                    )

                return model_

            x = self._noise(tuple(clean.shape), config.seed, int(mode), span.start)
            with self.parts.using(self.two_stream):
                clip[part] = SAMPLERS[config.sampler](
                    guided(predict(text), predict(words["none"]), config.guidance, (0.0, 1.0)),
                    x, sigmas, window_callback(report, name, number, len(spans)),
                )[0].cpu()  # fmt: skip
            done[part] = True
        return clip

    @torch.no_grad()
    def fill(
        self, lattice_VLCHW: Tensor, known_VL: Tensor, config: WanConfig, words: dict[str, Tensor],
        report: Report | None = None,
    ) -> Tensor:  # fmt: skip
        """Complete a lattice on the CPU; known latents come out unchanged."""
        cells, done = lattice_VLCHW.clone(), known_VL.clone()
        device = self.parts.device
        sigmas = linear_sigmas(config.grid_steps, config.shift).to(device)
        tiles = [
            (v, t)
            for v in windows(cells.shape[0], WINDOW, OVERLAP)
            for t in windows(cells.shape[1], WINDOW, OVERLAP)
        ]
        self.two_stream.output = config.output
        for number, (vs, ts) in enumerate(tiles):
            rows, cols = slice(vs.start, vs.stop), slice(ts.start, ts.stop)
            clean, known = cells[None, rows, cols].to(device), done[None, rows, cols].to(device)
            if bool(known.all()):
                continue

            def predict(
                x: Tensor, sigma: Tensor, clean: Tensor = clean, known: Tensor = known
            ) -> Tensor:
                sigma_B = sigma.reshape(1)
                return self.two_stream.clean(
                    x, clean, known, sigma_B, words["row"], words["column"]
                ).float()

            x = self._noise(tuple(clean.shape), config.seed, 2, vs.start, ts.start)
            with self.parts.using(self.two_stream):
                out = SAMPLERS[config.sampler](
                    predict, x, sigmas, window_callback(report, "grid", number, len(tiles))
                )[0].cpu()
            cells[rows, cols] = keep_known(out, cells[rows, cols], done[rows, cols])
            done[rows, cols] = True
        return cells

    def _decode_grid(self, lattice: Tensor, times: int) -> Tensor:
        with self.parts.using(self.parts.codec.vae):
            return self.parts.codec.decode_grid(lattice, times)

    def from_prompt(
        self, prompt: str, config: WanConfig, report: Report | None = None
    ) -> VideoGrid:
        """Text -> clips -> grid."""
        codec, words = self.parts.codec, self.words(prompt)
        latents = latent_times(config.times, config.time_stride)
        apart = TIME_STRIDE // config.time_stride  # frames of Wan's videos between two of a row
        row = self.clip(Mode.DYNAMIC, latents, config, words, report=report)
        column = self.clip(Mode.FREEZE_TIME, config.views, config, words, row[0], report)
        videos = LatentCodec(codec.vae)  # both are videos of Wan's own kind
        with self.parts.using(codec.vae):
            row_frames = videos.decode_clip(row, covered_frames(latents))[::apart][: config.times]
            views = videos.decode_clip(column, covered_frames(config.views))[::TIME_STRIDE]
            lattice, known = codec.encode_cross(row_frames, views)
        if config.time_stride == TIME_STRIDE:
            lattice[0] = row  # as they were made, not decoded and encoded again
        return self._grid(
            lattice, known, row_frames, views, prompt, config, config.fps / apart, words, report
        )

    def complete(
        self,
        row: NDArray[np.float32],
        column: NDArray[np.float32],
        prompt: str,
        config: WanConfig,
        report: Report | None = None,
    ) -> VideoGrid:
        """Fill the grid between a fixed-view clip [T,H,W,3] and a freeze-time clip [V,H,W,3].

        RGB in 0..1, of the configuration's size; both start with the same frame.
        """
        words = self.words(prompt)
        clips = [torch.from_numpy(np.ascontiguousarray(c)) * 2 - 1 for c in (row, column)]
        with self.parts.using(self.parts.codec.vae):
            lattice, known = self.parts.codec.encode_cross(*clips)
        return self._grid(
            lattice, known, clips[0], clips[1], prompt, config, config.fps, words, report
        )

    def _grid(
        self, lattice: Tensor, known: Tensor, row: Tensor, column: Tensor, prompt: str,
        config: WanConfig, fps: float, words: dict[str, Tensor], report: Report | None,
    ) -> VideoGrid:  # fmt: skip
        """Fill, decode, and keep the frames of row 0 and column 0 as they are."""
        lattice = self.fill(lattice, known, config, words, report)
        frames = self._decode_grid(lattice, len(row))
        frames[:, 0], frames[0] = column, row
        images = ((frames.clamp(-1, 1) + 1) / 2).numpy().astype(np.float32)
        return VideoGrid(images, fps=fps, prompt=prompt)
