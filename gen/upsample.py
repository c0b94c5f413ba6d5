"""Diffusion upsampler: the clip model again, with the enlarged low-resolution clip as an input.

The network is `gen.network.dit.DiT` with a larger patch and four extra channels: the
low-resolution frames, enlarged bicubically, and the level of the noise they were augmented with.
It predicts what is missing, so the clean prediction starts as the plainly enlarged clip.  The flow
does not run from pure noise but from the enlarged clip plus a little noise (a source coupled to
the data, as in arXiv 2310.03725), which a small network learns several times faster.  A grid goes
through `gen.sync.two_stream` (rows and columns, training-free mixer), so that its views agree
(paper 4.1; the paper does not describe its upsampler further).

Rotary coordinates count low-resolution pixels: neighbouring patches are as far apart as what they
show was in the input, whatever the enlargement.

Shape legend: B clips, F frames, V views, T times, H W target pixels, h w low-resolution pixels.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from fourreal.atomic import atomic_file
from fourreal.console import Report
from fourreal.errors import UserError
from fourreal.read_text import read_json
from fourreal.video_io import resize_frames
from gen.flow.rectified import keep_known, linear_sigmas
from gen.flow.samplers import keyed_noise, sample_euler
from gen.flow.windows import WINDOW, frame_index, windows
from gen.limits import GB, Work, clip_bytes, clips_at_once, resident_bytes
from gen.network.base import DAMAGED, BaseModel, check_claim, load_shards, save_shards
from gen.network.params import DiTParams
from gen.network.runtime import Runtime
from gen.sync.mixers import SyncParams
from gen.sync.two_stream import TwoStream

EXTRA_CHANNELS = 4  # the enlarged low-resolution frame and the level of its noise
COORDINATE_WIDTH = 64.0  # low-resolution pixels that make one picture width of rotary coordinates
SHIFT = 2.0  # moves the noise levels of the steps towards noise
SOURCE_NOISE = 0.15  # standard deviation around the enlarged clip of where the flow starts
OVERLAP = 2  # frames that a later window is given from the one before

UPSAMPLER_SIZES: dict[str, DiTParams] = {
    "debug": DiTParams(
        32, 2, 2, 8, 32, 48, text_width=16, bottleneck=32, extra_channels=EXTRA_CHANNELS,
        reference=False, frame_place=False,
    ),
    # 160 tokens a frame at 160x256: what two CPU cores can train and run.
    "bundled": DiTParams(
        160, 6, 5, 16, 160, 256, text_width=64, bottleneck=160, extra_channels=EXTRA_CHANNELS,
        reference=False, frame_place=False,
    ),
    # As wide and deep as the paper's base model; 576 tokens a frame.
    "paper": DiTParams(
        1024, 24, 16, 16, 288, 512, text_width=1024, bottleneck=512, extra_channels=EXTRA_CHANNELS,
        reference=False, frame_place=False, shared_adaln=False,
    ),
}  # fmt: skip


def enlarge(low: Tensor, height: int, width: int) -> Tensor:
    """Frames [..., h, w, 3] in [-1, 1] resized bicubically to [..., height, width, 3]."""
    flat = low.flatten(0, -4).permute(0, 3, 1, 2)
    out = F.interpolate(flat, (height, width), mode="bicubic", align_corners=False)
    return out.clamp(-1, 1).permute(0, 2, 3, 1).reshape(*low.shape[:-3], height, width, 3)


def coordinate_width(low_width: int, width: int) -> float:
    """`picture_width` of `gen.network.dit.rope_table` for a picture enlarged from low_width to
    width."""
    return COORDINATE_WIDTH * width / low_width


def with_level(low_BFHWC: Tensor, level_B: Tensor) -> Tensor:
    """The network's extra channels: the enlarged frames and the level of their noise."""
    plane = level_B.reshape(-1, *[1] * (low_BFHWC.dim() - 1)).expand(*low_BFHWC.shape[:-1], 1)
    return torch.cat([low_BFHWC, plane.to(low_BFHWC.dtype)], dim=-1)


class UpsamplerModel(BaseModel):
    """The base model's parts with the low-resolution clip as a further input."""

    def forward(  # type: ignore[override]
        self,
        x_BFHWC: Tensor,
        known_BF: Tensor,
        sigma_B: Tensor,
        mode_B: Tensor,
        ids_BL: Tensor,
        index_F: Tensor,
        low_BFHWC: Tensor,
        level_B: Tensor,
        picture_width: float,
    ) -> Tensor:
        """Clean frames [B, F, H, W, 3] of clips: `low` plus what the network adds.

        x: clean where `known`, elsewhere sigma of the way from clean to `flow_source`; low: the
        enlarged low-resolution frames, with noise of standard deviation `level` added before they
        were enlarged.
        """
        text, mask = self.text(ids_BL)
        extra = with_level(low_BFHWC, level_B)
        added = self.dit(
            x_BFHWC, known_BF, sigma_B, mode_B, text, mask, index_F, extra, picture_width
        )
        return low_BFHWC + added


def flow_source(low: Tensor, noise: Tensor, source_noise: float) -> Tensor:
    """Where the flow starts (sigma 1): the enlarged frames and a little noise."""
    return low + source_noise * noise


@dataclass(frozen=True)
class Window:
    """A block of the grid that is made at once: its views, its times."""

    views: range
    times: range

    @property
    def cells(self) -> tuple[slice, slice]:
        return (
            slice(self.views.start, self.views.stop),
            slice(self.times.start, self.times.stop),
        )


def split_grid(
    model: UpsamplerModel,
    views: int,
    times: int,
    size: tuple[int, int],
    max_memory_gb: float | None = None,
) -> tuple[list[Window], int | None]:
    """Overlapping windows that cover the grid, and how many clips to run at once in them.

    Windows are of 8x8 cells, and smaller where not even one clip of such a window fits into
    `max_memory_gb` (when two by two cells do not fit either, one line says so).
    """
    parameters = sum(p.numel() for p in model.parameters())
    dtype = model.dit.block_dtype or torch.float32
    for side in (WINDOW, 6, 4, 3, 2):
        work = Work(model.params, min(views, side), min(times, side), *size, dtype.itemsize)
        need = resident_bytes(work, parameters) + clip_bytes(work)
        if side == 2 or max_memory_gb is None or need <= max_memory_gb * GB:
            break
    overlap = min(OVERLAP, side - 1)
    rows, columns = windows(views, side, overlap), windows(times, side, overlap)
    at_once = clips_at_once(work, parameters, "soft", max_memory_gb)
    return [Window(vs, ts) for vs in rows for ts in columns], at_once


class Upsampler:
    """Trained weights with their defaults; `grid` is a pure function of its arguments."""

    def __init__(
        self,
        model: UpsamplerModel,
        *,
        steps: int = 2,
        level: float = 0.0,
        source_noise: float = SOURCE_NOISE,
        factor: int | None = None,
        default: bool = False,
        max_memory_gb: float | None = None,
        how_made: dict[str, Any] | None = None,
    ):
        self.model = model.eval().requires_grad_(False)
        self.steps = steps  # of the sampler, when not asked for otherwise
        self.level = level  # noise added to the low-resolution frames
        self.source_noise = source_noise  # that the weights were trained with
        self.factor = (
            factor  # the enlargement the network does best; other sizes are resized from it
        )
        self.default = default  # whether these weights are good enough to be used unasked
        self.max_memory_gb = max_memory_gb  # of a network call, when not asked for otherwise
        self.how_made = how_made or {}
        self.two_stream = (
            TwoStream(model.dit, SyncParams("soft", rank=None)).to(model.device).eval()
        )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) that the weights were trained for."""
        return self.model.params.height, self.model.params.width_px

    @torch.no_grad()
    def grid(
        self,
        frames: NDArray[np.float32],
        size: tuple[int, int] | None = None,
        prompt: str = "",
        seed: int = 0,
        steps: int | None = None,
        report: Report | None = None,
        max_memory_gb: float | None = None,
    ) -> NDArray[np.float32]:
        """Enlarge a grid of frames [V, T, h, w, 3] in 0..1 to [V, T, H, W, 3] in 0..1.

        size: (H, W), any not smaller than the frames; None: what the weights were trained for.
        max_memory_gb: what a network call may take, estimated: fewer clips at once (the same
        result), then smaller windows; None: that of the runtime, if any.
        UserError when the frames are no grid or would shrink.
        """
        height, width = size or self.size
        if frames.ndim != 5 or frames.shape[-1] != 3:
            raise UserError(f"expected a grid [V, T, h, w, 3] to upsample, got {frames.shape}")
        views, times, h, w, _ = frames.shape
        if height < h or width < w:
            raise UserError(
                f"--size {height}x{width} is smaller than the {h}x{w} frames; ask for a larger one"
            )
        model, patch = self.model, self.model.params.patch
        target = height, width
        if self.factor is not None:
            height, width = h * self.factor, w * self.factor
        padded = -(-height // patch) * patch, -(-width // patch) * patch
        parts, self.two_stream.clips_at_once = split_grid(
            model, views, times, padded, max_memory_gb or self.max_memory_gb
        )
        steps = steps or self.steps
        result = np.zeros((views, times, height, width, 3), np.float32)
        done = torch.zeros(views, times, dtype=torch.bool)
        text, mask = model.encode_text([prompt])
        places = [
            frame_index(n) if n <= WINDOW else torch.arange(n).float() for n in (views, times)
        ]
        sigmas = linear_sigmas(steps, SHIFT)
        unit = coordinate_width(w, width)
        for number, part in enumerate(parts):
            low, x = self._inputs(frames, part, (height, width), padded, seed)
            given = torch.from_numpy(result[part.cells]) * 2 - 1
            given = _pad(given, padded)[None].to(model.device)
            known = done[part.cells][None].to(model.device)
            index_v = places[0][part.cells[0]].to(model.device)
            index_t = places[1][part.cells[1]].to(model.device)
            extra = with_level(low, torch.full((1,), self.level, device=model.device))

            def predict(
                x: Tensor, sigma: Tensor, low=low, given=given, known=known, iv=index_v,
                it=index_t, extra=extra,
            ) -> Tensor:  # fmt: skip
                x = keep_known(x, given, known)
                added = self.two_stream(x, known, sigma.reshape(1), text, mask, iv, it, extra, unit)
                return keep_known(low + added, given, known)

            def callback(i: int, n: int, clean: Tensor, number=number) -> None:
                if report is not None:
                    report("upsampled grid", number * n + i + 1, len(parts) * n)

            out = sample_euler(predict, x, sigmas.to(model.device), callback)[0].clamp(-1, 1)
            images = (out[..., :height, :width, :].cpu().numpy() + 1) / 2
            fresh = ~done[part.cells].numpy()
            result[part.cells][fresh] = images[fresh]
            done[part.cells] = True
        return resize_frames(result, *target)

    def _inputs(
        self,
        frames: NDArray[np.float32],
        part: Window,
        size: tuple[int, int],
        padded: tuple[int, int],
        seed: int,
    ) -> tuple[Tensor, Tensor]:
        """The enlarged low-resolution cells and the flow's start, each [1, V, T, H, W, 3].

        All cells share the noise of one frame, so that what stands still comes out the same at
        every time and from window to window.
        """
        device = self.model.device
        low = torch.from_numpy(np.ascontiguousarray(frames[part.cells], np.float32)) * 2 - 1
        if self.level > 0:
            low = low + self.level * keyed_noise(tuple(low.shape[2:]), seed, 1)
        low = _pad(enlarge(low, *size), padded)[None].to(device)
        noise = keyed_noise((*padded, 3), seed, 0).to(device)
        return low, flow_source(low, noise, self.source_noise)


def _pad(frames: Tensor, padded: tuple[int, int]) -> Tensor:
    """Repeat the last row and column of frames [V, T, H, W, 3] until they fill `padded`."""
    height, width = frames.shape[-3:-1]
    if (height, width) == padded:
        return frames
    rows = torch.arange(padded[0], device=frames.device).clamp(max=height - 1)
    columns = torch.arange(padded[1], device=frames.device).clamp(max=width - 1)
    return frames[..., rows, :, :][..., columns, :]


def save_upsampler(
    model: UpsamplerModel,
    folder: Path,
    how_made: dict[str, Any],
    *,
    steps: int = 2,
    level: float = 0.0,
    source_noise: float = SOURCE_NOISE,
    factor: int | None = None,
    default: bool = False,
) -> None:
    """Write `upsampler-NN.safetensors` (bf16) and `upsampler.json` into a weights folder."""
    save_shards(folder, "upsampler", model.state_dict())
    config = {
        "format": "fourreal-upsampler",
        "version": 1,
        "default": default,
        "steps": steps,
        "level": level,
        "source_noise": source_noise,
        "factor": factor,
        "size": [model.params.height, model.params.width_px],
        "params": asdict(model.params),
        "vocabulary": model.tokenizer.words,
        "how_made": how_made,
    }
    with atomic_file(folder / "upsampler.json") as path:
        path.write_text(json.dumps(config, indent=1) + "\n")


def has_upsampler(folder: Path) -> bool:
    """Whether a weights folder holds an upsampler."""
    return (Path(folder) / "upsampler.json").is_file()


def load_upsampler(folder: Path, runtime: Runtime | None = None) -> Upsampler:
    """The upsampler of a weights folder, on the runtime's device and in its precision.

    Raises UserError when the folder has none or its files do not fit together.
    """
    runtime = runtime or Runtime()
    path = Path(folder) / "upsampler.json"
    if not has_upsampler(folder):
        raise UserError(f"{folder} holds no upsampler (upsampler.json is missing)")
    try:
        config = read_json(path)
        if config["format"] != "fourreal-upsampler" or config["version"] != 1:
            raise ValueError("unknown format or version")
        params = DiTParams(**config["params"])
        check_claim(Path(folder), "upsampler", params)
        model = UpsamplerModel(params, config["vocabulary"])
        model.load_state_dict(load_shards(Path(folder), "upsampler"))
        runtime.prepare(model)
        return Upsampler(
            model,
            steps=int(config["steps"]),
            level=float(config["level"]),
            source_noise=float(config["source_noise"]),
            factor=config["factor"],
            default=bool(config["default"]),
            max_memory_gb=runtime.max_memory_gb,
            how_made=config["how_made"],
        )
    except (*DAMAGED, SafetensorError) as error:
        raise UserError(f"the upsampler in {folder} does not fit together: {error}") from error
