"""The main job at debug size: footage or a prompt -> a run folder with everything in it."""

import json
import shutil

import numpy as np
import pytest

import run_pipeline
from fourreal.video_io import write_video
from gen.data.world.grid import make_grid
from gen.grid import VideoGrid
from pipeline import stages
from recon.scene import Scene4D

ARTEFACTS = (
    "run.yaml grid/grid.json grid.mp4 tracks.npz scene.safetensors metrics.json index.html "
    "overview.png ply/frame0001.ply"
).split()


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    """A procedural 4 x 3 grid at 48x80 as npz and as two clips."""
    folder = tmp_path_factory.mktemp("footage")
    grid, _, _ = make_grid(seed=5, V=4, T=3, size=(48, 80))
    grid.K = grid.w2c = None
    grid.save_npz(folder / "grid.npz")
    write_video(folder / "fixed.mp4", grid.row(0), 4)
    write_video(folder / "freeze.mp4", grid.column(0), 4)
    return folder


def run(*argv):
    return run_pipeline.main([str(a) for a in argv] + ["--preset", "debug"])


def check_run(folder, V, T):
    for name in ARTEFACTS:
        assert (folder / name).exists(), name
    grid = VideoGrid.load(folder / "grid")
    assert (grid.V, grid.T) == (V, T)
    scene = Scene4D.load(folder / "scene.safetensors")
    assert len(scene.times) == T and len(scene.means) > 100
    assert len(list((folder / "ply").iterdir())) == T
    assert "<canvas" in (folder / "index.html").read_text()
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def made(footage):
    """A finished run."""
    assert run("grid", footage / "grid.npz", "--out", footage / "run") == 0
    return footage / "run"


@pytest.mark.slow
def test_grid_becomes_a_scene_and_the_second_run_does_nothing(footage, made, tmp_path, capsys):
    out = shutil.copytree(made, tmp_path / "run")
    metrics = check_run(out, 4, 3)
    assert metrics["psnr_input"] > 18
    before = (out / "scene.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    assert run("grid", footage / "grid.npz", "--out", out) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert (out / "scene.safetensors").stat().st_mtime_ns == before


def test_two_clips_become_a_scene(footage, tmp_path):
    out = tmp_path / "run"
    clips = ["--fixed-view", footage / "fixed.mp4", "--freeze-time", footage / "freeze.mp4"]
    assert run("videos", *clips, "--out", out) == 0
    assert check_run(out, 4, 3)["psnr_input"] > 18
    assert VideoGrid.load(out / "grid").known.sum() == 6


def test_freeze_time_clip_alone_becomes_a_static_scene(footage, tmp_path):
    out = tmp_path / "run"
    assert run("videos", "--freeze-time", footage / "freeze.mp4", "--out", out) == 0
    check_run(out, 4, 1)


@pytest.mark.slow
def test_prompt_becomes_a_scene(tmp_path):
    out = tmp_path / "run"
    command = ["a red ball bouncing beside a blue cube", "--views", 3, "--times", 3, "--steps", 1]
    assert run(*command, "--out", out) == 0
    check_run(out, 3, 3)
    assert len(list((out / "clips").glob("*.mp4"))) >= 2


@pytest.mark.parametrize("stage", ["tracks", "scene", "outputs"])
def test_killed_stage_is_finished_by_the_next_run(footage, tmp_path, monkeypatch, capsys, stage):
    out = tmp_path / "run"
    work = getattr(stages, f"{stage}_stage")

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, f"{stage}_stage", killed)
    assert run("grid", footage / "grid.npz", "--pick-views", "0:3", "--out", out) == 130
    monkeypatch.setattr(stages, f"{stage}_stage", work)
    assert run("grid", footage / "grid.npz", "--pick-views", "0:3", "--out", out) == 0
    check_run(out, 3, 3)


def test_moved_run_still_exports(made, tmp_path):
    moved = shutil.copytree(made, tmp_path / "elsewhere")
    assert run_pipeline.main(["export", str(moved), "--format", "ply-sequence", "--frames", "5",
                              "--out", str(tmp_path / "ply")]) == 0  # fmt: skip
    assert len(list((tmp_path / "ply").iterdir())) == 5
    assert run_pipeline.main(["inspect", str(moved)]) == 0


@pytest.mark.slow
def test_same_seed_same_bytes(footage, made, tmp_path):
    assert run("grid", footage / "grid.npz", "--out", tmp_path / "again") == 0
    scenes = [Scene4D.load(at / "scene.safetensors") for at in (made, tmp_path / "again")]
    assert np.array_equal(scenes[0].means.numpy(), scenes[1].means.numpy())
