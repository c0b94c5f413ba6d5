"""Text, or a pair of clips, -> a V x T grid of frames.

Text -> fixed-view clip (dynamic mode) -> its first frame starts the freeze-time clip -> the
two-stream model fills the grid with row 0 and column 0 given; what is longer than the model's
window grows by windows that overlap, along time and then along view (paper 3.3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gen.console import progress
from gen.dit import Mode
from gen.errors import UserError
from gen.flow import keep_known, linear_sigmas
from gen.grid import VideoGrid
from gen.model import BaseModel, load_base, read_config
from gen.sampling import SAMPLERS, CleanModel, guided
from gen.sync import MIXERS, MixerName, SyncParams
from gen.text import Tokenizer
from gen.two_stream import Output, TwoStream
from gen.video_io import resize_frames, write_video
from gen.weights_file import load_two_stream
from gen.windows import frame_index, windows

Report = Callable[[str, int, int], None]  # (what is made, step, steps)


@dataclass(frozen=True)
class GenerateConfig:
    """How a grid is made; `guidance` acts on what is made from text alone."""

    views: int = 8
    times: int = 8
    steps: int = 12
    grid_steps: int = 8
    sampler: str = "euler"
    shift: float = 2.0  # moves the noise levels of the steps towards noise
    picture_first: bool = True  # text -> first frame -> fixed-view clip, instead of at once
    guidance: float = 2.0
    motion_guidance: float = 3.0  # of a fixed-view clip whose first frame is given
    guidance_interval: tuple[float, float] = (0.1, 1.0)
    mixer: MixerName = "soft"
    untrained_sync: bool = False  # the training-free mixer instead of the trained one
    output: Output = "mean"
    seed: int = 0
    fps: float = 8.0

    def __post_init__(self) -> None:
        if self.mixer not in MIXERS:
            raise UserError(f"unknown mixer {self.mixer!r}; choose from {', '.join(MIXERS)}")
        if self.sampler not in SAMPLERS:
            raise UserError(f"unknown sampler {self.sampler!r}; choose from {', '.join(SAMPLERS)}")
        if self.views < 1 or self.times < 1 or self.views * self.times > 16_384:
            raise UserError(f"a grid of {self.views} views x {self.times} times is not possible")
        if self.steps < 1 or self.grid_steps < 1:
            raise UserError("the number of steps must be at least 1")


@dataclass
class GeneratedGrid:
    """The grid and the clips it was made from: fixed_view [T,H,W,3], freeze_time [V,H,W,3]."""

    grid: VideoGrid
    fixed_view: NDArray[np.float32]
    freeze_time: NDArray[np.float32]


def _to_model(frames: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames, np.float32)) * 2 - 1


def _to_images(x: Tensor) -> NDArray[np.float32]:
    return ((x.clamp(-1, 1) + 1) / 2).cpu().numpy().astype(np.float32)


class _Given(NamedTuple):
    """What is known: clean [1, ..., H, W, 3] where known [1, ...]."""

    clean: Tensor
    known: Tensor


def _grid_model(
    two_stream: TwoStream, given: _Given, index_V: Tensor, index_T: Tensor, text: Tensor,
    mask: Tensor,
) -> CleanModel:  # fmt: skip
    """The 4D model as a sampler wants it, around one window's given cells."""

    def model(x: Tensor, sigma: Tensor) -> Tensor:
        x = keep_known(x, given.clean, given.known)
        return two_stream(x, given.known, sigma.reshape(1), text, mask, index_V, index_T)

    return model


class GridGenerator:
    """A base model with its mixers; every method is a pure function of its arguments and seed."""

    def __init__(self, base: BaseModel, folder: Path | None = None):
        self.base = base.eval()
        self.folder = folder  # where trained mixers are looked for

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames."""
        return self.base.params.height, self.base.params.width_px

    def two_stream(self, config: GenerateConfig) -> TwoStream:
        """The 4D model with the asked mixer; UserError when its trained weights are missing."""
        untrained = config.untrained_sync or config.mixer == "none"
        if untrained:
            model = TwoStream(self.base.dit, SyncParams(config.mixer), config.output)
            return model.to(self.base.device).eval()
        if self.folder is None:
            raise UserError("no trained mixer at hand; use an untrained one (untrained_sync)")
        model, _ = load_two_stream(self.base, self.folder, config.mixer, config.output)
        return model

    def noise(self, shape: tuple[int, ...], *key: int) -> Tensor:
        """Unit noise that depends on `key` alone, made on the CPU for any device."""
        seed = 0
        for number in key:
            seed = (seed * 1_000_003 + number + 1) % (2**63 - 1)
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(shape, generator=generator).to(self.base.device)

    def _clip_model(
        self, given: _Given, index_F: Tensor, mode: Mode, text: Tensor, mask: Tensor
    ) -> CleanModel:
        """The base model as a sampler wants it, around one clip's given frames."""
        mode_B = torch.full((1,), int(mode), device=self.base.device)

        def model(x: Tensor, sigma: Tensor) -> Tensor:
            x = keep_known(x, given.clean, given.known)
            out = self.base.dit(x, given.known, sigma.reshape(1), mode_B, text, mask, index_F)
            return keep_known(out, given.clean, given.known)

        return model

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
        """A clip [F, H, W, 3] in [-1, 1] of `length` frames, the first from `start` [K, ...]."""
        base, (h, w) = self.base, self.size
        known_count = 0 if start is None else len(start)
        clip = torch.zeros(length, h, w, 3, device=base.device)
        done = torch.zeros(length, dtype=torch.bool, device=base.device)
        if start is not None:
            clip[:known_count], done[:known_count] = start.to(base.device), True
        text, mask = base.encode_text([prompt, ""])
        sigmas = linear_sigmas(config.steps, config.shift).to(base.device)
        name = "fixed-view clip" if mode == Mode.DYNAMIC else "freeze-time clip"
        name = "first frame" if length == 1 else name
        spans = windows(length)
        for number, span in enumerate(spans):
            part = slice(span.start, span.stop)
            if bool(done[part].all()):
                continue
            given = _Given(clip[None, part], done[None, part])
            index = frame_index(len(span)).to(base.device)
            # Guidance sharpens what only the words say: everything at the start of a clip, the
            # motion of a row; what a column shows is said better by its first frame.
            scale = 1.0
            if number == 0 and known_count == 0:
                scale = config.guidance
            elif mode == Mode.DYNAMIC and number == 0:
                scale = config.motion_guidance
            model = guided(
                self._clip_model(given, index, mode, text[:1], mask[:1]),
                self._clip_model(given, index, mode, text[1:], mask[1:]),
                scale,
                config.guidance_interval,
            )
            x = self.noise((1, len(span), h, w, 3), config.seed, int(mode), span.start)
            clip[part] = SAMPLERS[config.sampler](
                model, x, sigmas, _callback(report, name, number, len(spans))
            )[0]
            done[part] = True
        return clip.clamp(-1, 1)

    def row_of(self, prompt: str, config: GenerateConfig, report: Report | None = None) -> Tensor:
        """The fixed-view clip [T, H, W, 3] in [-1, 1] of a prompt."""
        start = None
        if config.picture_first:
            start = self.clip(prompt, Mode.DYNAMIC, 1, config, report=report)
        return self.clip(prompt, Mode.DYNAMIC, config.times, config, start, report)

    @torch.no_grad()
    def fill(
        self,
        cells_VTHWC: Tensor,
        known_VT: Tensor,
        prompt: str,
        config: GenerateConfig,
        report: Report | None = None,
    ) -> Tensor:
        """Complete a grid in [-1, 1]; known cells come out unchanged."""
        base = self.base
        model = self.two_stream(config)
        cells, done = cells_VTHWC.to(base.device).clone(), known_VT.to(base.device).clone()
        v_all, t_all, h, w, _ = cells.shape
        text, mask = base.encode_text([prompt])
        sigmas = linear_sigmas(config.grid_steps, config.shift).to(base.device)
        tiles = [(v, t) for v in windows(v_all) for t in windows(t_all)]
        for number, (vs, ts) in enumerate(tiles):
            rows, cols = slice(vs.start, vs.stop), slice(ts.start, ts.stop)
            given = _Given(cells[None, rows, cols], done[None, rows, cols].clone())
            if bool(given.known.all()):
                continue
            index = frame_index(len(vs)).to(base.device), frame_index(len(ts)).to(base.device)
            predict = _grid_model(model, given, *index, text, mask)
            x = self.noise((1, len(vs), len(ts), h, w, 3), config.seed, 2, vs.start, ts.start)
            out = SAMPLERS[config.sampler](
                predict, x, sigmas, _callback(report, "grid", number, len(tiles))
            )[0].clamp(-1, 1)
            cells[rows, cols] = keep_known(out, cells[rows, cols], done[rows, cols])
            done[rows, cols] = True
        return cells

    def from_prompt(
        self, prompt: str, config: GenerateConfig | None = None, report: Report | None = None
    ) -> GeneratedGrid:
        """Text -> clips -> grid.  UserError when the model knows no word of the prompt."""
        config = config or GenerateConfig()
        self.base.tokenizer.check_prompt(prompt)
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
        config = config or GenerateConfig()
        if row.ndim != 4 or column.ndim != 4 or row.shape[1:] != column.shape[1:]:
            raise UserError(
                f"the clips must be [frames, height, width, 3] of one size; got {row.shape} and "
                f"{column.shape}"
            )
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
        times = np.linspace(0, 1, config.times) if config.times > 1 else np.zeros(1)
        grid = VideoGrid(
            frames=_to_images(cells), times=times.astype(np.float32), fps=config.fps, prompt=prompt
        )
        return GeneratedGrid(grid, grid.row(0), grid.column(0))


def _callback(report: Report | None, name: str, window: int, windows_total: int):
    if report is None:
        return None
    return lambda i, n, clean: report(name, window * n + i + 1, n * windows_total)


def weights_folder(path: str | Path = "") -> Path:
    """The given weights folder, or the one in the package; UserError when it holds no weights."""
    folder = Path(path) if str(path) else Path(str(resources.files("gen"))) / "weights"
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no weights (config.json is missing)")
    return folder


def load_bundled(folder: Path | None = None, device: str = "cpu") -> GridGenerator:
    """The generator with the package's weights, or those of another weights folder."""
    folder = weights_folder(folder or "")
    base, _ = load_base(folder)
    return GridGenerator(base.to(device), folder)


def check_prompt(prompt: str, folder: Path) -> None:
    """Refuse a prompt without a known word (UserError), warn about unknown ones; loads nothing."""
    Tokenizer(read_config(folder)["vocabulary"]).check_prompt(prompt)


class PromptCommand(Protocol):
    """What `generate_from_prompt` reads of the command line's `prompt` command."""

    prompt: str
    views: int
    times: int
    steps: int
    mixer: MixerName
    untrained_sync: bool
    weights: str


def _progress_bars() -> tuple[Report, Callable[[], None]]:
    """A report that draws one progress bar per thing that is made, and how to close the last."""
    bars: dict[str, Any] = {}

    def report(name: str, step: int, steps: int) -> None:
        if name not in bars:
            close()
            bars[name] = progress(None, name, total=steps)
        bars[name].update(1)

    def close() -> None:
        for bar in bars.values():
            bar.close()

    return report, close


def generate_from_prompt(command: PromptCommand, clips: Path, seed: int) -> VideoGrid:
    """The grid of a prompt; the two clips it grew from are kept in `clips` as mp4."""
    generator = load_bundled(weights_folder(command.weights))
    config = GenerateConfig(
        views=command.views,
        times=command.times,
        steps=command.steps,
        grid_steps=command.steps,
        mixer=command.mixer,
        untrained_sync=command.untrained_sync,
        seed=seed,
    )
    report, close = _progress_bars()
    try:
        made = generator.from_prompt(command.prompt, config, report)
    finally:
        close()
    clips.mkdir(parents=True, exist_ok=True)
    write_video(clips / "fixed_view.mp4", made.fixed_view, config.fps)
    write_video(clips / "freeze_time.mp4", made.freeze_time, config.fps)
    return made.grid


def complete_with_bundled(grid: VideoGrid, seed: int) -> VideoGrid:
    """Fill the unknown cells of a grid of which row 0 and column 0 are known.

    The bundled model works at its own small size: filled cells are enlarged to the grid's, known
    cells stay exactly as they are.
    """
    assert grid.known is not None
    report, close = _progress_bars()
    try:
        made = load_bundled().complete_grid(
            grid.row(0), grid.column(0), grid.prompt, GenerateConfig(seed=seed), report
        )
    finally:
        close()
    filled = resize_frames(made.grid.frames, grid.height, grid.width)
    known = np.asarray(grid.known)[..., None, None, None]
    return replace(grid, frames=np.where(known, grid.frames, filled), known=None)
