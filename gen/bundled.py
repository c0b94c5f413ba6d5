"""Text, or a pair of clips, -> a V x T grid of frames, by our own model (`gen.network`).

Text -> fixed-view clip (dynamic mode) -> its first frame starts the freeze-time clip -> the
two-stream model fills the grid with row 0 and column 0 given; what is longer than the model's
window grows by windows that overlap, along time and then along view (paper 3.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourreal.console import Report
from fourreal.errors import UserError
from fourreal.video_io import resize_frames
from gen.completion.blend import Blend, load_blend
from gen.completion.model import Completer, has_completion, load_completion
from gen.flow.rectified import keep_known, linear_sigmas
from gen.flow.samplers import SAMPLERS, CleanModel, guided, keyed_noise
from gen.flow.windows import Part, clip_parts, frame_index, grid_parts, grow
from gen.generate import GenerateConfig, GeneratedGrid, check_clips, window_report
from gen.grid import VideoGrid
from gen.limits import Work, clips_at_once
from gen.network.around import Given, clip_model
from gen.network.base import CLIP, PICTURE, BaseModel, description, load_base, read_config
from gen.network.dit import Mode
from gen.network.runtime import Runtime
from gen.network.text import Tokenizer
from gen.still import hold_still
from gen.sync.mixer_file import load_two_stream, of_a_copying_network
from gen.sync.mixers import SyncParams, layers_without
from gen.sync.names import MixerName
from gen.sync.two_stream import TwoStream
from gen.words import check_words, read


def _to_model(frames: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames, np.float32)) * 2 - 1


def _to_images(x: Tensor) -> NDArray[np.float32]:
    return ((x.clamp(-1, 1) + 1) / 2).cpu().numpy().astype(np.float32)


def _grid_model(
    two_stream: TwoStream, given: Given, index_V: Tensor, index_T: Tensor, text: Tensor,
    mask: Tensor,
) -> CleanModel:  # fmt: skip
    """The 4D model as a sampler wants it, around one window's given cells."""

    def model(x: Tensor, sigma: Tensor) -> Tensor:
        x = keep_known(x, given.clean, given.known)
        return two_stream(x, given.known, sigma.reshape(1), text, mask, index_V, index_T)

    return model


class GridGenerator:
    """A base model with its mixers; every method is a pure function of its arguments and seed."""

    def __init__(
        self,
        base: BaseModel,
        folder: Path | None = None,
        runtime: Runtime | None = None,
        pictures: BaseModel | None = None,
        clips: BaseModel | None = None,
    ):
        """`folder`: where trained mixers are looked for; `runtime` None: run `base` as it is;
        instead of `base`, `pictures` makes the first frame of a text, `clips` what follows it and,
        with mixers that were trained on it, grids."""

        def prepared(network: BaseModel) -> BaseModel:
            return network.eval() if runtime is None else runtime.prepare(network)

        self.base = prepared(base)
        self.pictures = self.base if pictures is None else prepared(pictures)
        self.clips = self.base if clips is None else prepared(clips)
        self.folder = folder
        self.max_memory_gb = None if runtime is None else runtime.max_memory_gb

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames."""
        return self.base.params.frame_size

    def two_stream(self, config: GenerateConfig) -> TwoStream:
        """The 4D model with the asked mixer; UserError when its trained weights are missing."""
        network = self._of_grids(config.mixer)
        if config.untrained_sync or config.mixer == "none":
            layers = layers_without(network.params.depth, config.drop_sync)
            sync = SyncParams(config.mixer, layers=layers)
            model = TwoStream(network.dit, sync, config.output).to(network.device).eval()
        elif self.folder is None:
            raise UserError("no trained mixer at hand; use an untrained one (untrained_sync)")
        else:
            model, _ = load_two_stream(
                network, self.folder, config.mixer, config.output, config.drop_sync
            )
        return model

    def _of_grids(self, mixer: MixerName) -> BaseModel:
        """The network that a mixer of the folder was trained on; without one, or for none, that of
        the default mixer."""
        if self.folder is None:
            return self.base
        there = mixer if (self.folder / f"{mixer}.json").is_file() else GenerateConfig.mixer
        return self.clips if of_a_copying_network(self.folder, there) else self.base

    def blended(self, made_1VTHWC: Tensor, clean_1VTHWC: Tensor, known_1VT: Tensor) -> Tensor:
        """A window's cells mixed with what completion says of them (`gen.completion.blend`), as
        far as the weights folder has what that takes and row 0 and column 0 are known."""
        known = known_1VT[0]
        if self._mixing is None or not (bool(known[0].all()) and bool(known[:, 0].all())):
            return made_1VTHWC
        blend, completer = self._mixing
        clean = clean_1VTHWC[0].cpu()
        guess = completer.guess(clean[0], clean[:, 0])
        out = blend.grid(made_1VTHWC[0].cpu(), guess, known.cpu())
        return out[None].to(made_1VTHWC.device)

    @cached_property
    def _mixing(self) -> tuple[Blend, Completer] | None:
        """The blend and the completion network of the weights folder, if it has both."""
        if self.folder is None or not has_completion(self.folder):
            return None
        blend = load_blend(self.folder)
        return None if blend is None else (blend, load_completion(self.folder))

    def noise(self, shape: tuple[int, ...], *key: int) -> Tensor:
        """Unit noise that depends on `key` alone, on the model's device."""
        return keyed_noise(shape, *key).to(self.base.device)

    def encode(
        self, prompts: Sequence[str], network: BaseModel | None = None
    ) -> tuple[Tensor, Tensor]:
        """Features [B, L, D] and mask [B, L] of prompts, read in the network's own words."""
        network = network or self.base
        known = network.tokenizer.words
        return network.encode_text([read(prompt, known).text for prompt in prompts])

    @torch.no_grad()
    def clip(
        self,
        prompt: str,
        mode: Mode,
        length: int,
        config: GenerateConfig,
        start: Tensor | None = None,
        report: Report | None = None,
    ) -> Tensor:
        """A clip [F, H, W, 3] in [-1, 1] of `length` frames, the first from `start` [K, ...].

        It grows on the CPU; one window at a time is on the model's device. A single frame made
        from text is the work of the network for pictures, what goes on from given frames that of
        the network for clips.
        """
        h, w = self.size
        known_count = 0 if start is None else len(start)
        network = self.clips
        if known_count == 0:
            network = self.pictures if length == 1 else self.base
        clip, known = torch.zeros(length, h, w, 3), torch.zeros(length, dtype=torch.bool)
        if start is not None:
            clip[:known_count], known[:known_count] = start.cpu(), True
        text, mask = self.encode([prompt, ""], network)
        sigmas = linear_sigmas(config.steps, config.shift).to(network.device)
        name = "fixed-view clip" if mode == Mode.DYNAMIC else "freeze-time clip"
        name = "first frame" if length == 1 else name
        parts = clip_parts(length)

        def sample(number: int, part: Part, clean: Tensor, known: Tensor) -> Tensor:
            given, index = Given(clean, known), frame_index(clean.shape[1]).to(network.device)
            # Guidance sharpens what only the words say: everything at the start of a clip, the
            # motion of a row; what a column shows is said better by its first frame.
            scale = 1.0
            if number == 0 and known_count == 0:
                scale = config.guidance
            elif mode == Mode.DYNAMIC and number == 0:
                scale = config.motion_guidance
            model = guided(
                clip_model(network, given, index, mode, text[:1], mask[:1]),
                clip_model(network, given, index, mode, text[1:], mask[1:]),
                scale,
                config.guidance_interval,
            )
            x = self.noise(tuple(clean.shape), config.seed, int(mode), part[0].start)
            callback = window_report(report, name, number, len(parts))
            return SAMPLERS[config.sampler](model, x, sigmas, callback)

        return grow(clip, known, parts, sample, network.device).clamp(-1, 1)

    def row_of(self, prompt: str, config: GenerateConfig, report: Report | None = None) -> Tensor:
        """The fixed-view clip [T, H, W, 3] in [-1, 1] of a prompt."""
        start = None
        if config.picture_first:
            start = self.clip(prompt, Mode.DYNAMIC, 1, config, report=report)
        row = self.clip(prompt, Mode.DYNAMIC, config.times, config, start, report)
        return hold_still(row) if config.still else row

    @torch.no_grad()
    def fill(
        self,
        cells_VTHWC: Tensor,
        known_VT: Tensor,
        prompt: str,
        config: GenerateConfig,
        report: Report | None = None,
        model: TwoStream | None = None,
    ) -> Tensor:
        """Complete a grid in [-1, 1], window by window; known cells come out unchanged.

        model: the 4D model to use instead of the one that `config` asks for.
        """
        model = model or self.two_stream(config)
        network = self.clips if model.dit is self.clips.dit else self.base
        text, mask = self.encode([prompt], network)
        sigmas = linear_sigmas(config.grid_steps, config.shift).to(network.device)
        parts = grid_parts(len(known_VT), known_VT.shape[1])
        first = known_VT[parts[0]]
        self._bound_memory(model, len(first), first.shape[1], config.mixer)

        def sample(number: int, part: Part, clean: Tensor, known: Tensor) -> Tensor:
            index = [frame_index(n).to(network.device) for n in known.shape[1:]]
            predict = _grid_model(model, Given(clean, known), index[0], index[1], text, mask)
            x = self.noise(tuple(clean.shape), config.seed, 2, part[0].start, part[1].start)
            callback = window_report(report, "grid", number, len(parts))
            made = SAMPLERS[config.sampler](predict, x, sigmas, callback).clamp(-1, 1)
            return self.blended(made, clean, known) if config.blend else made

        return grow(cells_VTHWC, known_VT, parts, sample, network.device)

    def _bound_memory(self, model: TwoStream, views: int, times: int, mixer: MixerName) -> None:
        """Let so many clips go through the model at once as the memory bound allows."""
        dtype = model.dit.block_dtype or torch.float32
        work = Work(model.dit.params, views, times, *self.size, dtype.itemsize)
        held = {self.base, self.pictures, self.clips, model.mixer}
        parameters = sum(p.numel() for module in held for p in module.parameters())
        model.clips_at_once = clips_at_once(work, parameters, mixer, self.max_memory_gb)

    def _checked(self, config: GenerateConfig | None) -> GenerateConfig:
        """The configuration; UserError when it asks for frames that the model does not make."""
        config = config or GenerateConfig()
        if config.size not in (None, self.size):
            raise UserError(f"this model makes frames of {self.size}, not of {config.size}")
        return config

    def from_prompt(
        self, prompt: str, config: GenerateConfig | None = None, report: Report | None = None
    ) -> GeneratedGrid:
        """Text -> clips -> grid.  UserError when the model knows no word of the prompt."""
        config = self._checked(config)
        check_words(prompt, self.base.tokenizer.words)
        row = self.row_of(prompt, config, report)
        column = self.clip(prompt, Mode.FREEZE_TIME, config.views, config, row[:1], report)
        return self._complete(row, column, prompt, config, report)

    def complete_grid(
        self,
        row: NDArray[np.float32],
        column: NDArray[np.float32],
        prompt: str = "",
        config: GenerateConfig | None = None,
        report: Report | None = None,
    ) -> GeneratedGrid:
        """Fill the grid between a fixed-view clip [T,H,W,3] and a freeze-time clip [V,H,W,3].

        The clips (RGB in 0..1) are resized to the model's size; both start with the same frame,
        and the row's is the one that is kept.
        """
        config = self._checked(config)
        check_clips(row, column)
        config = replace(config, views=len(column), times=len(row))
        resized = [_to_model(resize_frames(clip, *self.size)) for clip in (row, column)]
        return self._complete(resized[0], resized[1], prompt, config, report)

    def _complete(
        self, row: Tensor, column: Tensor, prompt: str, config: GenerateConfig,
        report: Report | None,
    ) -> GeneratedGrid:  # fmt: skip
        h, w = self.size
        cells = torch.zeros(config.views, config.times, h, w, 3)
        known = torch.zeros(config.views, config.times, dtype=torch.bool)
        cells[:, 0], cells[0] = column.cpu(), row.cpu()
        known[:, 0] = known[0] = True
        if config.views > 1 and config.times > 1:
            cells = self.fill(cells, known, prompt, config, report)
        grid = VideoGrid(frames=_to_images(cells), fps=config.fps, prompt=prompt)
        return GeneratedGrid(grid, grid.row(0), grid.column(0))


def weights_folder(path: str | Path = "") -> Path:
    """The given weights folder, or the one in the package; UserError when it holds no weights."""
    folder = Path(path) if str(path) else Path(str(resources.files("gen"))) / "weights"
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no weights (config.json is missing)")
    return folder


def load_bundled(folder: Path | None = None, runtime: Runtime | None = None) -> GridGenerator:
    """The generator with the package's weights, or those of another weights folder."""
    folder = weights_folder(folder or "")
    base, _ = load_base(folder)
    own = {n: load_base(folder, n)[0] for n in (PICTURE, CLIP) if description(folder, n).is_file()}
    for name, network in own.items():
        if network.params.frame_size != base.params.frame_size:
            raise UserError(f"{folder}: base and {name} make frames of different sizes")
    return GridGenerator(base, folder, runtime or Runtime(), own.get(PICTURE), own.get(CLIP))


def check_prompt(prompt: str, folder: Path) -> None:
    """Refuse a prompt without a known word (UserError), say what is taken for what and what is
    ignored; loads nothing."""
    check_words(prompt, Tokenizer(read_config(folder)["vocabulary"]).words)
