"""How long a whole grid takes from text to full size, and what share of the card's peak that is.

The weights are random: time does not depend on them. The `paper` sizes of the generator (72x128)
and of the upsampler (288x512) have the scale of the paper's models, whose 8 x 8 grid takes about
one minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gen.bundled import GridGenerator
from gen.data.world.captions import VOCABULARY
from gen.flops import PEAK_BF16, clip_flops, two_stream_flops
from gen.flow.rectified import linear_sigmas
from gen.generate import GenerateConfig
from gen.network.base import BaseModel
from gen.network.dit import Mode
from gen.network.params import SIZES
from gen.network.runtime import Precision, Runtime
from gen.network.text import split_words
from gen.sync.mixers import SyncParams
from gen.sync.two_stream import TwoStream
from gen.upsample import UPSAMPLER_SIZES, Upsampler, UpsamplerModel

PROMPT = "a red ball bouncing beside a blue cube on a checkered floor"
SYNC = SyncParams("soft", rank=None)  # the paper's mixer: soft, full matrices


@dataclass(frozen=True)
class GeneratorCheck:
    """What is timed; the numbers of steps are those that `prompt` and the upsampler use."""

    size: str = "paper"
    upsampler: str = "paper"
    views: int = 8
    times: int = 8
    steps: int = GenerateConfig.steps
    grid_steps: int = GenerateConfig.grid_steps
    upsampler_steps: int = 2
    device: str = "cuda"
    precision: Precision = "bf16"
    compile: bool = False
    repeats: int = 3

    def config(self) -> GenerateConfig:
        return GenerateConfig(
            views=self.views, times=self.times, steps=self.steps, grid_steps=self.grid_steps
        )


def network_calls(config: GenerateConfig, scale: float) -> int:
    """Network calls of one clip: two at the noise levels where guidance acts, else one."""
    low, high = config.guidance_interval
    levels = linear_sigmas(config.steps, config.shift)[:-1].tolist()
    return sum(2 if scale != 1 and low <= s <= high else 1 for s in levels)


def counted_flops(check: GeneratorCheck) -> dict[str, int]:
    """Operations of each stage (`gen.flops`)."""
    params, large, config = SIZES[check.size], UPSAMPLER_SIZES[check.upsampler], check.config()
    words, size = len(split_words(PROMPT)), (params.height, params.width_px)
    first = network_calls(config, config.guidance)
    row = network_calls(config, config.motion_guidance)
    clips = first * clip_flops(params, 1, *size, words)
    clips += row * clip_flops(params, check.times, *size, words)
    clips += check.steps * clip_flops(params, check.views, *size, words)
    cells = check.views, check.times
    grid = two_stream_flops(params, SYNC, *cells, *size, words)
    big = two_stream_flops(large, SYNC, *cells, large.height, large.width_px, words)
    return {
        "clips": clips,
        "grid": check.grid_steps * grid,
        "upsampler": check.upsampler_steps * big,
    }


class Stages:
    """The three stages of one generation, callable one by one: clips, grid, upsampled grid."""

    def __init__(self, check: GeneratorCheck):
        self.check = check
        runtime = Runtime(check.device, check.precision, check.compile)
        torch.manual_seed(0)
        with torch.device(runtime.torch_device()):
            base = BaseModel(SIZES[check.size], VOCABULARY)
            enlarger = UpsamplerModel(UPSAMPLER_SIZES[check.upsampler], VOCABULARY)
        for network in (base, enlarger):
            network.requires_grad_(False)
        self.generator = GridGenerator(base, runtime=runtime)
        self.upsampler = Upsampler(runtime.prepare(enlarger), steps=check.upsampler_steps)
        self.two_stream = TwoStream(base.dit, SYNC).to(base.device).eval()
        self.config = check.config()

    def clips(self) -> tuple[Tensor, Tensor]:
        """Text -> first frame -> fixed-view clip, and the freeze-time clip from its first frame."""
        row = self.generator.row_of(PROMPT, self.config)
        views = self.check.views
        column = self.generator.clip(PROMPT, Mode.FREEZE_TIME, views, self.config, row[:1])
        return row, column

    def grid(self, row: Tensor, column: Tensor) -> Tensor:
        cells = torch.zeros(self.check.views, self.check.times, *row.shape[1:])
        known = torch.zeros(cells.shape[:2], dtype=torch.bool)
        cells[:, 0], cells[0] = column, row
        known[:, 0] = known[0] = True
        return self.generator.fill(cells, known, PROMPT, self.config, model=self.two_stream)

    def upsample(self, cells: Tensor) -> Any:
        return self.upsampler.grid((cells.numpy() + 1) / 2, prompt=PROMPT)


def seconds_of(call: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """Wall time of a call with everything it queued on the device, and what it returned."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    out = call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, out


def check_generator(check: GeneratorCheck) -> dict[str, Any]:
    """Seconds (best of the repeats), operations and share of the card's peak of every stage."""
    stages = Stages(check)
    device = stages.generator.base.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    best: dict[str, float] = {}
    first = 0.0
    for number in range(check.repeats + 1):
        seconds = {}
        seconds["clips"], clips = seconds_of(stages.clips, device)
        seconds["grid"], cells = seconds_of(lambda c=clips: stages.grid(*c), device)
        seconds["upsampler"], _ = seconds_of(lambda c=cells: stages.upsample(c), device)
        if number == 0:  # first calls choose kernels and compile
            first = sum(seconds.values())
        else:
            best = {k: min(s, best.get(k, s)) for k, s in seconds.items()}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    peak = next((p for card, p in PEAK_BF16.items() if card in name), None)
    flops = counted_flops(check)
    seconds_of_part = {**best, "": sum(best.values())}
    metrics: dict[str, float | None] = {}
    for stage, count in {**flops, "": sum(flops.values())}.items():
        suffix = f"_{stage}" if stage else ""
        metrics[f"seconds{suffix}"] = round(seconds_of_part[stage], 4)
        metrics[f"tflop{suffix}"] = round(count / 1e12, 4)
        share = None if peak is None else round(count / seconds_of_part[stage] / peak, 4)
        metrics[f"utilisation{suffix}"] = share
    if device.type == "cuda":
        metrics["peak_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
    large = stages.upsampler.model.params
    scene = f"{check.views}x{check.times} at {large.height}x{large.width_px}, {check.size}"
    variant = check.precision + ("_compiled" if check.compile else "")
    known = f"No utilisation: the bfloat16 peak of {name} is not known to the script."
    if peak is not None:
        known = (
            f"Utilisation: counted operations / seconds / {peak / 1e12:.0f} TFLOP/s, the dense "
            "bfloat16 peak of the card."
        )
    notes = [
        f"Random weights; {check.steps} steps a clip, {check.grid_steps} for the grid, "
        f"{check.upsampler_steps} for the upsampler; soft mixer with full matrices; best of "
        f"{check.repeats} runs, the first run ({variant}) took {first:.1f} s.",
        known,
    ]
    return {"results": {scene: {variant: metrics}}, "notes": notes}
