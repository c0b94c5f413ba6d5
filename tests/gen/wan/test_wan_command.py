"""Both commands over a tiny random Wan folder: noise in, noise out, but every line is real."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

import run_pipeline
from fourreal.video_io import write_video
from gen.grid import VideoGrid
from gen.wan.adapter_file import AdapterConfig, save_adapter
from pipeline.prompt_options import Prompt
from pipeline.wan import complete_with_wan
from pipeline.wan_options import WanOptions
from tests.gen.wan.tiny import PARAMS, two_stream


def run(*argv) -> None:
    assert run_pipeline.main([str(a) for a in argv]) == 0


def refused(capsys, *argv) -> str:
    assert run_pipeline.main([str(a) for a in argv]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.parametrize("stride", [4, 1])
def test_a_prompt_becomes_a_grid(folder, tmp_path, stride, capsys):
    """`prompt --base wan` up to the grid stage (the next test goes on to the page)."""
    from pipeline.wan import generate_with_wan

    command = run_pipeline.parse([
        "prompt", "a red ball", "--base", "wan", "--weights", str(folder), "--views", "3",
        "--times", "4", "--steps", "2", "--size", "32x48", "--time-stride", str(stride),
    ])  # fmt: skip
    assert isinstance(command, Prompt)
    command.check()
    grid = generate_with_wan(command, tmp_path / "clips")
    assert grid.frames.shape == (3, 4, 32, 48, 3) and grid.complete
    assert grid.frames.std() > 0.01 and grid.fps == 16 / (4 // stride)
    assert (tmp_path / "clips" / "fixed_view.mp4").exists()
    said = capsys.readouterr().out
    assert "memory, estimated" in said and "training-free soft" in said
    again = generate_with_wan(command, tmp_path / "again")
    assert np.array_equal(again.frames, grid.frames)
    command.run.seed = 1
    assert not np.array_equal(generate_with_wan(command, tmp_path / "b").frames, grid.frames)


@pytest.mark.slow
def test_a_prompt_becomes_a_page(folder, tmp_path):
    out = tmp_path / "run"
    argv = [
        "prompt", "a red ball", "--base", "wan", "--weights", folder, "--views", "3", "--times",
        "4", "--steps", "1", "--size", "48x64", "--preset", "debug", "--out", out,
    ]  # fmt: skip
    run(*argv)
    assert (out / "index.html").stat().st_size > 10_000
    record = yaml.safe_load((out / "run.yaml").read_text())
    assert record["command"]["base"] == "wan" and set(record["stages"]) >= {"grid", "outputs"}
    before = (out / "index.html").stat().st_mtime_ns
    run(*argv)
    assert (out / "index.html").stat().st_mtime_ns == before


def clips(folder):
    """A fixed-view and a freeze-time clip of a textured picture that share their first frame."""
    g = np.random.default_rng(0)
    picture = np.kron(g.random((20, 30, 3)), np.ones((8, 8, 1))).astype(np.float32)
    row = np.stack([picture[:64, :96] * (1 - 0.03 * t) for t in range(4)])
    column = np.stack([picture[3 * v : 64 + 3 * v, 5 * v : 96 + 5 * v] for v in range(3)])
    write_video(folder / "row.mp4", row, 8)
    write_video(folder / "column.mp4", column, 8)
    return row, column


@pytest.mark.slow
def test_clips_are_completed_and_become_a_page(folder, tmp_path):
    clips(tmp_path)
    out = tmp_path / "run"
    run(
        "videos", "--fixed-view", tmp_path / "row.mp4", "--freeze-time", tmp_path / "column.mp4",
        "--complete", "wan", "--weights", folder, "--prompt", "a red ball", "--steps", "1",
        "--size", "64x96", "--preset", "debug", "--out", out,
    )  # fmt: skip
    grid = VideoGrid.load(out / "grid")
    assert grid.complete and (grid.V, grid.T) == (3, 4)
    assert (out / "index.html").exists()


@pytest.mark.parametrize("shared", [(0, 0), (1, 2)])
def test_known_cells_stay_as_they_are(folder, shared):
    """The shared cell may lie anywhere; sizes that do not fit the latents are gone and back."""
    g = np.random.default_rng(1)
    frames = g.random((3, 4, 40, 56, 3)).astype(np.float32)
    known = np.zeros((3, 4), bool)
    known[shared[0]] = known[:, shared[1]] = True
    frames[~known] = 0
    given = VideoGrid(frames, known, fps=8.0, prompt="a red ball", shared=shared)
    grid = complete_with_wan(given, WanOptions(), str(folder), 0, steps=1)
    assert grid.complete and np.array_equal(grid.frames[known], frames[known])
    filled = grid.frames[~known]
    assert (filled.reshape(len(filled), -1).std(1) > 0).all()
    assert grid.fps == 8.0


def test_a_trained_adapter_is_used(folder, tmp_path, capsys):
    model = two_stream("hard", noise=0.5, lora_rank=2)
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, model.state_dict(), AdapterConfig(PARAMS, "hard", 4, lora_rank=2))
    frames = np.random.default_rng(1).random((2, 2, 32, 48, 3)).astype(np.float32)
    known = np.array([[True, True], [True, False]])
    given = VideoGrid(frames, known)
    grids = [
        complete_with_wan(given, WanOptions(adapter), str(folder), 0, steps=1)
        for adapter in ("", str(path))
    ]
    assert not np.array_equal(grids[0].frames, grids[1].frames)
    assert capsys.readouterr().out.count("training-free") == 1


def test_little_memory_gives_the_same_grid(folder, capsys):
    """Parts in turn, tiles and one clip at a time: only the rounding changes."""
    frames = np.random.default_rng(1).random((3, 3, 32, 48, 3)).astype(np.float32)
    known = np.zeros((3, 3), bool)
    known[0] = known[:, 0] = True
    given = VideoGrid(frames, known)
    free, bound = (
        complete_with_wan(given, WanOptions(), str(folder), 0, steps=2, max_memory=gb)
        for gb in (0.0, 1e-6)
    )
    np.testing.assert_allclose(bound.frames, free.frames, atol=1e-4)
    captured = capsys.readouterr()
    assert "clip by clip" in captured.err and "1 clip(s) at a time" in captured.out


def test_refusals_are_one_line(folder, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write_video("one.mp4", np.zeros((3, 32, 48, 3), np.float32), 8)
    videos = "videos", "--freeze-time", "one.mp4", "--complete", "wan"
    prompt = "prompt", "a red ball", "--base", "wan"
    assert "Wan-AI/Wan2.1-T2V-1.3B-Diffusers" in refused(capsys, *prompt)
    assert "Apache-2.0" in refused(capsys, *videos)
    assert "no folder nowhere" in refused(capsys, *prompt, "--weights", "nowhere")
    weights = "--weights", folder
    assert "no adapter at" in refused(capsys, *prompt, *weights, "--adapter", "nothing")
    assert "there is none for Wan" in refused(capsys, *prompt, *weights, "--upsampler", "on")
    assert "go with Wan" in refused(capsys, "prompt", "a red ball", "--time-stride", "1")
    path = tmp_path / "adapter.safetensors"
    state = two_stream("hard").state_dict()
    save_adapter(path, state, AdapterConfig(PARAMS, "hard", 4, time_stride=1))
    line = refused(capsys, *prompt, *weights, "--adapter", path)
    assert "--time-stride 1" in line
    stride = "--time-stride", "1", "--mixer", "fused"
    assert "holds a hard mixer" in refused(capsys, *prompt, *weights, "--adapter", path, *stride)
    assert not list(tmp_path.glob("outputs/*/index.html"))
