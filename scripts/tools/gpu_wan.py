"""Seconds, memory and share of the card's peak of one denoising step over Wan's real shapes.

The weights are random: time does not depend on them, so nothing has to be downloaded.  An 8 x 8
grid, with compressed time (8 x 3 latents) and with every frame an image (8 x 8).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import torch

from gen.flops import PEAK_BF16
from gen.sync.mixers import SyncParams
from gen.wan.flops import step_flops
from gen.wan.lattice import TimeStride
from gen.wan.memory import WanWork, plan_of
from gen.wan.model import WanModel
from gen.wan.params import MODELS, TEXT_TOKENS, WanModelCard
from gen.wan.two_stream import WanTwoStream, cast_for_inference

SIZES = ((288, 512), (480, 832))
RANK, LORA_RANK = 64, 32


@dataclass(frozen=True)
class WanCheck:
    """What is timed."""

    views: int = 8
    times: int = 8
    sizes: tuple[tuple[int, int], ...] = SIZES
    strides: tuple[TimeStride, ...] = (4, 1)
    device: str = "cuda"
    repeats: int = 3


def random_model(card: WanModelCard, device: str) -> WanTwoStream:
    """The 4D model over a published configuration, made on the device in bfloat16."""
    from diffusers import WanTransformer3DModel

    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            model = WanModel(WanTransformer3DModel(**card.params.library_config()), LORA_RANK)
            two_stream = WanTwoStream(model, SyncParams("soft", RANK))
    finally:
        torch.set_default_dtype(default)
    return cast_for_inference(two_stream)


def work_of(card: WanModelCard, check: WanCheck, size: tuple[int, int], stride: Any) -> WanWork:
    """What one step works on."""
    work = WanWork.of(card, check.views, check.times, *size)
    return replace(work, time_stride=stride, rank=RANK, lora_rank=LORA_RANK)


@torch.no_grad()
def seconds_of_step(model: WanTwoStream, work: WanWork, repeats: int) -> float:
    """Best wall time of a call of the 4D model, row 0 and column 0 known."""
    device, p = model.model.device, work.params
    h, w = work.height // work.vae.space, work.width // work.vae.space
    x = torch.randn(1, work.views, work.latents, p.channels, h, w, device=device)
    known = torch.zeros(x.shape[:3], dtype=torch.bool, device=device)
    known[:, 0] = known[:, :, 0] = True
    text = torch.randn(1, TEXT_TOKENS, p.text_width, device=device)
    best = float("inf")
    for _ in range(repeats + 1):  # the first call chooses kernels
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        model.clean(x, x, known, torch.tensor([0.5], device=device), text, text)
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


def check_wan(
    check: WanCheck | None = None, models: dict[str, WanModelCard] | None = None
) -> dict[str, Any]:
    """One record of `gpu_check`: every model, size and time stride."""
    check, models = check or WanCheck(), models or MODELS
    cuda = check.device == "cuda"
    name = torch.cuda.get_device_name() if cuda else "cpu"
    peak = next((p for card, p in PEAK_BF16.items() if card in name), None)
    results: dict[str, dict[str, Any]] = {}
    for label, card in models.items():
        model = random_model(card, check.device)
        for size in check.sizes:
            rows: dict[str, Any] = {}
            for stride in check.strides:
                work = work_of(card, check, size, stride)
                if cuda:
                    torch.cuda.reset_peak_memory_stats()
                seconds = seconds_of_step(model, work, check.repeats)
                flops = step_flops(work)
                alone = replace(work, text=0, autoencoder=0)
                rows[f"time stride {stride}"] = {
                    "seconds_step": round(seconds, 4),
                    "tflop_step": round(flops / 1e12, 3),
                    "utilisation": None if peak is None else round(flops / seconds / peak, 4),
                    "peak_gb": torch.cuda.max_memory_allocated() / 1e9 if cuda else None,
                    "estimated_gb": round(
                        plan_of(alone, False, False, None).parts["transformer"], 3
                    ),
                }
            results[f"{check.views}x{check.times} at {size[0]}x{size[1]}, {label}"] = rows
        del model
        if cuda:
            torch.cuda.empty_cache()
    notes = [
        f"Random weights in bfloat16, soft mixer of rank {RANK}, low-rank matrices of rank "
        f"{LORA_RANK} in the columns; one step is one call without guidance; best of "
        f"{check.repeats}. Time stride 4: {check.times} frames are 3 latents of a row; 1: every "
        "frame is one. Without text encoder and autoencoder.",
    ]
    return {"results": results, "notes": notes}
