"""What a window is estimated to take lies above what it takes, and a bound on it is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from fourreal.errors import UserError
from gen.bundled import GridGenerator
from gen.generate import GenerateConfig
from gen.limits import GB, Work, clip_bytes, clips_at_once, fused_bytes, resident_bytes
from gen.network.params import SIZES
from gen.network.runtime import Runtime, cpu_has_bf16
from gen.sync.mixers import SyncParams
from gen.sync.two_stream import TwoStream
from tests.gen.network.test_dit import random_dit
from tests.gen.test_generate import PROMPT, tiny_base

PARAMS = replace(SIZES["debug"], height=48, width_px=72)
WORK = Work(PARAMS, 8, 8, 48, 72)


def window() -> tuple[torch.Tensor, ...]:
    """What a 4D model of PARAMS takes: 8 x 8 frames, nothing known."""
    x, known = torch.randn(1, 8, 8, 48, 72, 3), torch.zeros(1, 8, 8, dtype=torch.bool)
    return x, known, torch.tensor([0.5]), torch.randn(1, 5, 32), torch.ones(1, 5).bool()


def peak_bytes(call: Callable[[], object]) -> int:
    """Most bytes of tensors alive at once that `call` allocated."""
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
        call()
    events = [e for e in prof.profiler.kineto_results.events() if e.name() == "[memory]"]
    sizes = [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]
    return int(np.cumsum(sizes).max())


def test_estimate_of_the_fused_mixer_bounds_what_is_measured():
    model = TwoStream(random_dit(height=48, width_px=72), SyncParams("fused", 4)).eval()
    peak = peak_bytes(lambda: model(*window()))
    assert peak < fused_bytes(WORK, 0) < 4 * peak


@pytest.mark.parametrize("mixer", ["soft", "sequential", "hard"])
def test_estimate_bounds_what_is_measured(mixer):
    model = TwoStream(random_dit(height=48, width_px=72), SyncParams(mixer, 4)).eval()
    args, peaks = window(), []
    for clips in (1, 4, 8):
        model.clips_at_once = clips
        peaks.append(peak_bytes(lambda: model(*args)))
        estimate = resident_bytes(WORK, 0) + clips * clip_bytes(WORK)
        assert peaks[-1] < estimate < 5 * peaks[-1]
    assert peaks[0] < peaks[2]


def test_the_bound_decides_how_many_clips(capsys):
    resident, clip = resident_bytes(WORK, 1000), clip_bytes(WORK)
    for clips in (1, 2, 7):
        assert clips_at_once(WORK, 1000, "soft", (resident + (clips + 0.5) * clip) / GB) == clips
    assert clips_at_once(WORK, 1000, "soft", (resident + 8 * clip) / GB) is None
    assert clips_at_once(WORK, 1000, "soft", None) is None
    assert not capsys.readouterr().err
    assert clips_at_once(WORK, 1000, "soft", 1e-6) == 1
    assert "one clip at a time" in capsys.readouterr().err
    with pytest.raises(UserError, match="fused mixer"):
        clips_at_once(WORK, 1000, "fused", 0.9 * fused_bytes(WORK, 1000) / GB)
    assert clips_at_once(WORK, 1000, "fused", 1.1 * fused_bytes(WORK, 1000) / GB) is None


def test_a_bounded_grid_is_the_same_grid(capsys):
    """An 11 x 13 grid in 8 x 8 windows: the bound is kept in every window, the result stays."""
    config = GenerateConfig(views=11, times=13, steps=1, grid_steps=1, untrained_sync=True)
    free = GridGenerator(tiny_base()).from_prompt(PROMPT, config).grid.frames
    base = tiny_base()
    seen: list[int] = []
    for block in base.dit.blocks:
        block.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    work = Work(base.params, 8, 8, 16, 24)
    parameters = sum(p.numel() for p in base.parameters()) + 66_048
    bound = (resident_bytes(work, parameters) + 3.5 * clip_bytes(work)) / GB
    generator = GridGenerator(base, runtime=Runtime("cpu", max_memory_gb=bound))
    bounded = generator.from_prompt(PROMPT, config).grid.frames
    assert max(seen) == 3 and not capsys.readouterr().err
    np.testing.assert_allclose(bounded, free, atol=1e-5)


def test_bf16_generates_nearly_the_same_and_says_when_it_is_slow(capsys, monkeypatch):
    config = GenerateConfig(views=2, times=3, steps=2, grid_steps=2, untrained_sync=True)
    exact = GridGenerator(tiny_base()).from_prompt(PROMPT, config).grid.frames
    monkeypatch.setattr("gen.network.runtime.cpu_has_bf16", lambda: False)
    generator = GridGenerator(tiny_base(), runtime=Runtime("cpu", "bf16"))
    assert "saves memory here, not time" in capsys.readouterr().err
    assert generator.two_stream(config).mixer.row[0].own.dtype == torch.bfloat16
    rounded = generator.from_prompt(PROMPT, config).grid.frames
    assert 0 < np.abs(rounded - exact).mean() < 0.02


def test_runtime_options_are_checked(tmp_path):
    with pytest.raises(UserError, match="precision"):
        Runtime(precision="fp8")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="above 0"):
        Runtime(max_memory_gb=-1.0)
    if not torch.cuda.is_available():
        assert Runtime().torch_device() == torch.device("cpu")
        with pytest.raises(UserError, match="no CUDA"):
            Runtime("cuda").torch_device()
    (tmp_path / "old").write_text("flags : fpu avx2\n")
    (tmp_path / "new").write_text("flags : fpu avx2 avx512_bf16\n")
    assert [cpu_has_bf16(tmp_path / name) for name in ("old", "new", "none")] == [
        False,
        True,
        False,
    ]
