"""The GPU check's Wan part, dry-run on the CPU with a tiny configuration; counted operations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gen.wan.flops import step_flops
from gen.wan.memory import WanWork
from gen.wan.params import MODELS, VaeParams, WanParams
from scripts.tools.gpu_wan import WanCheck, check_wan, random_model, seconds_of_step, work_of
from tests.gen.network.test_flops import counted

TINY = replace(
    MODELS["wan2.1-t2v-1.3b"],
    params=WanParams(64, 2, 2, 192, 16, 16),
    vae=VaeParams(16, 8, 12, 12),
)


def test_the_count_is_pytorchs():
    check = WanCheck(views=3, times=5, device="cpu")
    model, work = random_model(TINY, "cpu"), work_of(TINY, check, (64, 96), 4)
    count = counted(lambda: seconds_of_step(model, work, 0))
    assert step_flops(work) == pytest.approx(count, rel=0.01)
    with pytest.raises(ValueError, match="fused"):
        step_flops(replace(work, mixer="fused"))


def test_every_model_size_and_stride_is_timed():
    check = WanCheck(views=2, times=3, sizes=((32, 48),), device="cpu", repeats=1)
    record = check_wan(check, {"tiny": TINY})
    ((scene, rows),) = record["results"].items()
    assert scene == "2x3 at 32x48, tiny" and set(rows) == {"time stride 4", "time stride 1"}
    assert rows["time stride 1"]["tflop_step"] >= rows["time stride 4"]["tflop_step"]
    assert all(r["seconds_step"] > 0 and r["utilisation"] is None for r in rows.values())
    assert torch.get_default_dtype() == torch.float32


def test_real_shapes_cost_what_the_documentation_says():
    """An 8 x 8 grid at 480x832 with compressed time: a step of 1.3 B in TFLOP."""
    work = WanWork.of(MODELS["wan2.1-t2v-1.3b"], 8, 8, 480, 832)
    assert 150e12 < step_flops(work) < 350e12
