"""The rasterizer's benchmark and GPU check run and say what they should."""

from __future__ import annotations

import importlib
import json
import sys

import pytest
import torch


@pytest.fixture
def scripts(monkeypatch):
    """Imports a module of scripts/ by name; undoes what running it changes in the process."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "nerfacc", raising=False)
    threads = torch.get_num_threads()
    yield importlib.import_module
    torch.set_num_threads(threads)
    sys.modules.pop("nerfacc", None)


def test_agrees_with_gsplats_own_pytorch_code(scripts):
    scene = scripts("scripts.tools.raster_scene").layered_scene(30, 50, 900)
    want = scripts("scripts.tools.gsplat_torch_reference").rasterize_gsplat_torch(
        **scene, width=50, height=30
    )
    got = scripts("scripts.tools.raster_scene").draw_scene(**scene, width=50, height=30)
    for name, a, b in zip(("rgb", "alpha", "depth"), got, want, strict=True):
        difference = (a - b).abs()
        # single pixels may decide the 1/255 threshold the other way
        assert difference.max() < 1e-2 and difference.mean() < 1e-5, name


def test_benchmark_writes_its_result(scripts, tmp_path, capsys):
    bench = scripts("scripts.tools.bench_rasterizer")
    path = tmp_path / "rasterizer.json"
    bench.main(
        bench.BenchConfig(
            repeats=1, reference_repeats=1, threads=1, largest=1, json=path, published=False
        )
    )
    assert "gsplat PyTorch" in capsys.readouterr().out
    record = json.loads(path.read_text())
    (row,) = record["results"].values()
    assert record["schema"] == 1 and set(row) == {"default", "gsplat_pytorch"}
    assert row["default"]["forward_backward_ms"] > 0
    assert row["default"]["grad_relative_difference"] < 1e-3


def test_a_training_step_of_the_benchmark_trains(scripts):
    bench = scripts("scripts.tools.bench_rasterizer")
    row = bench.training_row(2)
    assert row["steps_per_second"] > 0 and row["steps_per_cpu_second"] > 0


def test_loops_of_a_listing_are_found_with_their_early_ends(scripts):
    count = scripts("scripts.tools.count_instructions")
    listing = """
    .LBB0_1:
        xorl %eax, %eax
    .LBB0_2:
        vaddps %zmm0, %zmm1, %zmm1
        je .LBB0_2
        # a comment
        vmulps %zmm0, %zmm1, %zmm1
        jmp .LBB0_2
        decq %rdi
        jne .LBB0_1
        ret
    """
    (loop,) = count.innermost_loops(listing)  # the outer one holds it
    assert [line.split()[0] for line in loop] == ["vaddps", "je", "vmulps", "jmp"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without CUDA")
def test_gpu_check_without_cuda_is_one_line_and_exit_code_2(scripts, capsys):
    check = scripts("scripts.gpu_check")
    assert check.main(check.GpuCheckConfig()) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == "gpu_check cannot run: no CUDA device\n"


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device for gsplat")
def test_gpu_check_passes(scripts, capsys):
    check = scripts("scripts.gpu_check")
    assert check.main(check.GpuCheckConfig(repeats=3, largest=2)) == 0
    assert json.loads(capsys.readouterr().out)["passed"]
