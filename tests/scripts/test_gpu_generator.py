"""The GPU check's generator part, dry-run on the CPU at debug size."""

from __future__ import annotations

import importlib
import sys

import pytest


@pytest.fixture
def scripts(monkeypatch):
    """Imports a module of scripts/ by name."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "nerfacc", raising=False)
    yield importlib.import_module
    sys.modules.pop("nerfacc", None)


def check(scripts, **changes):
    part = scripts("scripts.tools.gpu_generator")
    settings = dict(
        size="debug", upsampler="debug", views=3, times=4, steps=2, grid_steps=2,
        upsampler_steps=1, device="cpu", precision="bf16", repeats=1,
    )  # fmt: skip
    return part, part.GeneratorCheck(**(settings | changes))


def test_every_stage_is_timed_and_counted(scripts):
    part, config = check(scripts)
    record = part.check_generator(config)
    ((scene, variants),) = record["results"].items()
    assert scene == "3x4 at 32x48, debug" and set(variants) == {"bf16"}
    metrics = variants["bf16"]
    stages = ("clips", "grid", "upsampler")
    assert metrics["seconds"] == pytest.approx(
        sum(metrics[f"seconds_{s}"] for s in stages), abs=2e-4
    )
    assert all(metrics[f"tflop_{s}"] > 0 for s in ("grid", "clips"))
    assert metrics["utilisation"] is None and "not known" in record["notes"][1]


def test_counted_calls_are_the_calls_made(scripts):
    part, config = check(scripts, steps=5)
    stages = part.Stages(config)
    calls = []
    stages.generator.base.dit.blocks[0].register_forward_hook(lambda *a: calls.append(1))
    stages.clips()
    counted = part.network_calls(stages.config, stages.config.guidance)
    counted += part.network_calls(stages.config, stages.config.motion_guidance) + config.steps
    assert len(calls) == counted > 3 * config.steps


def test_the_paper_sizes_cost_what_the_record_says(scripts):
    """Two networks of about 600 M parameters on an 8 x 8 grid: below one PFLOP in all."""
    part = scripts("scripts.tools.gpu_generator")
    flops = part.counted_flops(part.GeneratorCheck())
    assert 525e12 < flops["grid"] < 600e12  # 6 steps of about 93 TFLOP
    assert 100e12 < flops["upsampler"] < flops["grid"] and flops["clips"] < flops["grid"]


def test_reports_of_several_parts_are_joined(scripts):
    report_of = scripts("scripts.gpu_check").report_of
    a = {"results": {"x": {"bf16": {"seconds": 1.0}}}, "notes": ["same"]}
    b = {"results": {"x": {"bf16_compiled": {"seconds": 0.5}}}, "notes": ["same"], "passed": True}
    report = report_of([a, b], "a card")
    assert set(report["results"]["x"]) == {"bf16", "bf16_compiled"}
    assert report["passed"] and report["notes"] == ["same"]
    assert not report_of([a, {**b, "passed": False}], "a card")["passed"]
