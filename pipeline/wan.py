"""What the command line asks of Wan: a prompt's grid, or the cells that footage lacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from fourreal.console import reporting, say, warn
from fourreal.errors import UserError
from gen.generate import GenerateConfig
from gen.grid import VideoGrid
from gen.network.runtime import Precision, Runtime
from gen.sync.names import MixerName
from gen.wan.adapter_file import AdapterConfig, build_two_stream, read_adapter, training_free
from gen.wan.folder import WanFolder
from gen.wan.generate import WAN, WINDOW, WanGenerator, WanParts, frame_size
from gen.wan.lattice import covered_frames, fitting_size
from gen.wan.memory import WanWork, plan_for
from gen.wan.two_stream import cast_for_inference
from pipeline.generate import at_size, complete_cells, save_clips
from pipeline.prompt_options import Prompt
from pipeline.wan_options import STEPS, WanOptions


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
    config: GenerateConfig,
    adapter: tuple[AdapterConfig, dict[str, torch.Tensor] | None],
    precision: Precision = "bf16",
    max_memory: float = 0.0,
) -> WanGenerator:
    """The parts of a folder on the device, shared so that the memory bound is kept.

    precision: on a CPU; on CUDA always bfloat16. max_memory: GB, 0: what the card has free.
    """
    device = Runtime().torch_device()
    dtype = torch.bfloat16 if device.type == "cuda" or precision == "bf16" else torch.float32
    stride = adapter[0].time_stride
    height, width = frame_size(config)
    work = WanWork(
        params=folder.params,
        vae=folder.vae_params,
        transformer=folder.count("transformer"),
        autoencoder=folder.count("vae"),
        text=folder.count("text_encoder"),
        views=min(config.views, WINDOW),
        times=min(config.times, covered_frames(WINDOW, stride)),
        height=height,
        width=width,
        time_stride=stride,
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
    two_stream = cast_for_inference(build_two_stream(model, *adapter, config.output))
    two_stream.clips_at_once = plan.clips_at_once
    parts = WanParts(
        folder.text(dtype), folder.codec(stride, plan.tiled), two_stream, device,
        plan.offload, plan.text_on_cpu,
    )  # fmt: skip
    return WanGenerator(parts)


def _say_measured(device: torch.device) -> None:
    if device.type == "cuda":
        say(f"  memory, measured: {torch.cuda.max_memory_allocated(device) / 1e9:.1f} GB")


def generate_with_wan(options: Prompt, clips: Path) -> VideoGrid:
    """The grid of a prompt, with frames of the asked size; its clips are kept in `clips`."""
    folder = WanFolder(options.weights)
    adapter = adapter_of(options.wan, folder, options.mixer)
    steps = options.steps or STEPS
    config = replace(
        WAN, views=options.views, times=options.times, steps=steps, grid_steps=steps,
        shift=folder.shift, seed=options.run.seed, fps=folder.fps,
    )  # fmt: skip
    size = options.size or frame_size(config)
    config = replace(config, size=fitting_size(*size, folder.pixels_a_token))
    generator = load_generator(folder, config, adapter, options.precision, options.max_memory)
    with reporting() as report:
        made = generator.from_prompt(options.prompt, config, report)
    _say_measured(generator.parts.device)
    save_clips(made, clips)
    return at_size(made.grid, size)


def complete_with_wan(
    grid: VideoGrid,
    options: WanOptions,
    weights: str,
    seed: int,
    steps: int = STEPS,
    max_memory: float = 0.0,
) -> VideoGrid:
    """Fill the unknown cells of a grid (see `complete_cells`) with Wan."""
    folder = WanFolder(weights)
    adapter = adapter_of(options, folder, "soft")
    height, width = fitting_size(grid.height, grid.width, folder.pixels_a_token)
    if min(height, width) < 240:
        warn(f"Wan knows pictures of 480x832, these are {height}x{width}; give a larger --size")
    config = replace(
        WAN, views=grid.V, times=grid.T, size=(height, width), steps=steps, grid_steps=steps,
        shift=folder.shift, seed=seed,
    )  # fmt: skip
    generator = load_generator(folder, config, adapter, max_memory=max_memory)
    grid = complete_cells(grid, generator, config)
    _say_measured(generator.parts.device)
    return grid
