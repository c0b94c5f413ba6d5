"""What the command line asks of Wan: a prompt's grid, or the cells that footage lacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fourreal.console import say, warn
from fourreal.errors import UserError
from fourreal.option_values import parse_size
from fourreal.video_io import resize_frames
from gen.generate import GeneratedGrid
from gen.grid import VideoGrid
from gen.network.runtime import Precision, Runtime
from gen.sync.mixers import MixerName
from gen.wan.adapter_file import AdapterConfig, build_two_stream, read_adapter, training_free
from gen.wan.folder import WanFolder
from gen.wan.generate import WINDOW, WanConfig, WanGenerator, WanParts
from gen.wan.lattice import covered_frames, fitting_size
from gen.wan.memory import WanWork, plan_for
from gen.wan.two_stream import cast_for_inference
from pipeline.prompt_command import at_size, progress_bars, save_clips
from pipeline.prompt_options import PromptOptions
from pipeline.wan_options import STEPS, WanOptions

DEFAULT_SIZE = (480, 832)  # what Wan 2.1 1.3B was trained at


def adapter_of(
    options: WanOptions, folder: WanFolder, mixer: MixerName
) -> tuple[AdapterConfig, dict[str, torch.Tensor] | None]:
    """The adapter that the options ask for, or the training-free one, saying so."""
    if not options.adapter:
        if mixer != "none":
            say(f"  no --adapter: training-free {mixer} synchronisation")
        return training_free(folder.params, mixer, options.time_stride), None
    config, state = read_adapter(options.adapter)
    if config.time_stride != options.time_stride:
        raise UserError(
            f"{options.adapter} was trained with --time-stride {config.time_stride}, not "
            f"{options.time_stride}"
        )
    if mixer not in ("soft", config.mixer):
        raise UserError(f"{options.adapter} holds a {config.mixer} mixer, not {mixer}")
    return config, state


def load_generator(
    folder: WanFolder,
    config: WanConfig,
    adapter: tuple[AdapterConfig, dict[str, torch.Tensor] | None],
    precision: Precision = "bf16",
    max_memory: float = 0.0,
) -> WanGenerator:
    """The parts of a folder on the device, shared so that the memory bound is kept.

    precision: on a CPU; on CUDA always bfloat16. max_memory: GB, 0: what the card has free.
    """
    device = Runtime().torch_device()
    dtype = torch.bfloat16 if device.type == "cuda" or precision == "bf16" else torch.float32
    work = WanWork(
        params=folder.params,
        vae=folder.vae_params,
        transformer=folder.count("transformer"),
        autoencoder=folder.count("vae"),
        text=folder.count("text_encoder"),
        views=min(config.views, WINDOW),
        times=min(config.times, covered_frames(WINDOW, config.time_stride)),
        height=config.height,
        width=config.width,
        time_stride=config.time_stride,
        mixer=adapter[0].mixer,
        rank=adapter[0].rank,
        lora_rank=adapter[0].lora_rank,
        value_bytes=dtype.itemsize,
    )
    bound = max_memory or None
    if bound is None and device.type == "cuda":
        bound = torch.cuda.mem_get_info(device)[0] / 1e9
    plan = plan_for(work, bound)
    say(f"  memory, estimated: {plan}")
    model = folder.transformer(dtype, adapter[0].lora_rank)
    two_stream = cast_for_inference(build_two_stream(model, *adapter))
    two_stream.clips_at_once = plan.clips_at_once
    parts = WanParts(
        folder.text(dtype), folder.codec(config.time_stride, plan.tiled), two_stream, device,
        plan.offload, plan.text_on_cpu,
    )  # fmt: skip
    return WanGenerator(parts)


def _say_measured(device: torch.device) -> None:
    if device.type == "cuda":
        say(f"  memory, measured: {torch.cuda.max_memory_allocated(device) / 1e9:.1f} GB")


def generate_with_wan(command: PromptOptions, clips: Path, seed: int) -> VideoGrid:
    """The grid of a prompt, with frames of the asked size; its clips are kept in `clips`."""
    folder = WanFolder(command.weights)
    adapter = adapter_of(command.wan, folder, command.mixer)
    size = parse_size(command.size) or DEFAULT_SIZE
    height, width = fitting_size(*size, folder.pixels_a_token)
    steps = command.steps or STEPS
    config = WanConfig(
        command.views, command.times, height, width, steps, steps, shift=folder.shift,
        time_stride=command.wan.time_stride, seed=seed, fps=folder.fps,
    )  # fmt: skip
    generator = load_generator(folder, config, adapter, command.precision, command.max_memory)
    report, close = progress_bars()
    try:
        grid = generator.from_prompt(command.prompt, config, report)
    finally:
        close()
    _say_measured(generator.parts.device)
    save_clips(GeneratedGrid(grid, grid.row(0), grid.column(0)), clips)
    return at_size(grid, size)


def complete_with_wan(
    grid: VideoGrid,
    options: WanOptions,
    weights: str,
    seed: int,
    steps: int = STEPS,
    max_memory: float = 0.0,
) -> VideoGrid:
    """Fill the unknown cells of a grid of which one row and one column are known.

    Known cells stay exactly as they are. It starts at the shared cell and goes both ways along
    views and times, so up to four parts are filled one after another.
    """
    assert grid.known is not None
    folder = WanFolder(weights)
    adapter = adapter_of(options, folder, "soft")
    height, width = fitting_size(grid.height, grid.width, folder.pixels_a_token)
    if min(height, width) < 240:
        warn(f"Wan knows pictures of 480x832, these are {height}x{width}; give a larger --size")
    config = WanConfig(
        grid.V, grid.T, height, width, steps, steps, shift=folder.shift,
        time_stride=options.time_stride, seed=seed,
    )  # fmt: skip
    generator = load_generator(folder, config, adapter, max_memory=max_memory)
    frames = grid.frames.copy()
    for views, times in grid.quadrants():
        row, column = (
            resize_frames(clip, height, width)
            for clip in (grid.fixed_view[times], grid.freeze_time[views])
        )
        report, close = progress_bars()
        try:
            part_config = replace(config, views=len(views), times=len(times))
            made = generator.complete(row, column, grid.prompt, part_config, report)
        finally:
            close()
        part = np.ix_(views, times)
        filled = resize_frames(made.frames, grid.height, grid.width)
        known = grid.known[part][..., None, None, None]
        frames[part] = np.where(known, grid.frames[part], filled)
    _say_measured(generator.parts.device)
    return replace(grid, frames=frames, known=None)
