"""A stage is done again exactly when something changed that decides its result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import recon.config
import tracking.config
from fourreal.errors import UserError
from fourreal.kernels import OURS, sources
from fourreal.run_folder import RunFolder
from pipeline.compile_ahead import CompileAhead
from pipeline.grid import Grid, grid_job
from pipeline.prompt import prompt_job
from pipeline.prompt_options import Prompt
from pipeline.run_options import RunOptions
from pipeline.stages import GRID, fit_settings, scene_key, tracks_key, tracks_stage
from pipeline.videos import Videos, videos_job
from tracking.backends.table import Choice


@pytest.fixture
def run(tmp_path) -> Path:
    """A run folder with a grid and tracks."""
    (tmp_path / "grid").mkdir()
    (tmp_path / "grid" / "grid.json").write_text("{}")
    (tmp_path / "tracks.npz").write_bytes(b"tracks")
    return tmp_path


def changed(before, after) -> list[str]:
    return after.changed_since(before.parts)


def test_a_checkpoint_named_by_the_environment_counts(run, tmp_path, monkeypatch):
    weights = tmp_path / "moge.pt"
    weights.write_bytes(b"old")
    plain = tracks_key(run, Choice(depth="moge").resolved())
    monkeypatch.setenv("FOURREAL_MOGE_WEIGHTS", str(weights))
    before = tracks_key(run, Choice(depth="moge").resolved())
    assert changed(plain, before) == ["backends", "their files"]
    weights.write_bytes(b"new")
    assert changed(before, tracks_key(run, Choice(depth="moge").resolved())) == ["their files"]
    given = Choice(depth="moge", depth_weights=str(weights)).resolved()
    assert changed(tracks_key(run, Choice(depth="moge").resolved()), tracks_key(run, given)) == []
    assert changed(before, tracks_key(run, Choice().resolved())) == ["backends", "their files"]


def test_tracks_of_the_environment_are_hashed_and_not_the_working_folder(
    run, tmp_path, monkeypatch
):
    tracks = tmp_path / "made" / "tracks.npz"
    tracks.parent.mkdir()
    tracks.write_bytes(b"old")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("FOURREAL_TRACKS", str(tracks))
    choice = Choice(tracker="npz").resolved()
    assert choice.files() == [tracks]
    before = tracks_key(run, choice)
    (here / "unrelated.txt").write_text("anything")
    assert changed(before, tracks_key(run, choice)) == []
    tracks.write_bytes(b"new")
    assert changed(before, tracks_key(run, choice)) == ["their files"]


def test_a_tracking_setting_counts(run, monkeypatch):
    before = tracks_key(run, Choice())
    other = replace(tracking.config.TrackConfig(), nonrigid_px=3.0)
    monkeypatch.setattr(tracking.config, "TrackConfig", lambda: other)
    assert changed(before, tracks_key(run, Choice())) == ["tracking settings"]


def test_a_value_of_a_preset_and_the_seed_count(run, monkeypatch):
    options = RunOptions(preset="debug")
    before = scene_key(run, fit_settings(options))
    assert changed(before, scene_key(run, fit_settings(RunOptions(preset="debug", seed=1)))) == [
        "fit settings"
    ]
    original = recon.config.preset

    def preset(name):
        config = original(name)
        config.loss.ssim = 0.3
        return config

    monkeypatch.setattr(recon.config, "preset", preset)
    assert changed(before, scene_key(run, fit_settings(options))) == ["fit settings"]


def test_motion_and_method_count_and_do_not_mix(run):
    plain = scene_key(run, fit_settings(RunOptions(preset="debug")))
    for chosen in ({"motion": "mlp"}, {"motion": "mlp-points"}, {"method": "paper"}):
        options = RunOptions(preset="debug", **chosen)
        options.check()
        assert changed(plain, scene_key(run, fit_settings(options))) == ["fit settings"]
    same = RunOptions(preset="debug", motion="nodes")
    assert changed(plain, scene_key(run, fit_settings(same))) == []
    with pytest.raises(UserError, match="leave out --motion nodes"):
        RunOptions(motion="nodes", method="paper").check()


def test_the_program_counts(run, monkeypatch):
    before = tracks_key(run, Choice()), scene_key(run, fit_settings(RunOptions()))
    monkeypatch.setattr("pipeline.stages.program_hash", lambda *names: "of another version")
    after = tracks_key(run, Choice()), scene_key(run, fit_settings(RunOptions()))
    assert [changed(a, b) for a, b in zip(before, after, strict=True)] == [["program"]] * 2


def test_what_went_before_counts(run):
    before = scene_key(run, fit_settings(RunOptions()))
    (run / "tracks.npz").write_bytes(b"other")
    assert changed(before, scene_key(run, fit_settings(RunOptions()))) == ["tracks"]


def test_the_grid_follows_from_options_files_and_seed_alone(tmp_path):
    clip, other = tmp_path / "a.mp4", tmp_path / "b.mp4"
    clip.write_bytes(b"1")
    other.write_bytes(b"2")

    def pair(**changes):
        return videos_job(Videos(freeze_time=str(clip), **changes)).made_from()

    assert pair() == pair() and pair() != pair(fixed_view=str(other)) != pair(size=(32, 48))
    assert pair() == pair(max_memory=1.0)  # how much memory was allowed changes no result
    completed = pair(fixed_view=str(other), complete="bundled")
    assert completed["weights"].name == "weights" and completed["seed"] == 0
    prompt = prompt_job(Prompt("a red ball")).made_from()
    assert prompt == prompt_job(Prompt("a red ball", max_memory=2.0)).made_from()
    assert prompt != prompt_job(Prompt("a red ball", run=RunOptions(seed=1))).made_from()
    frames = tmp_path / "grid.npz"
    frames.write_bytes(b"3")
    assert grid_job(Grid(str(frames))).made_from()["footage"] == frames


def test_a_changed_checkpoint_redoes_the_stage_and_the_line_says_so(run, tmp_path, capsys):
    """The stage itself, with tracks made elsewhere: refused here, so that nothing is tracked."""
    tracks = tmp_path / "elsewhere.npz"
    tracks.write_bytes(b"old")
    choice = Choice(tracker="npz", tracker_path=str(tracks))
    out = tmp_path / "out"
    folder = RunFolder(out, {"kind": "grid"})
    (out / "grid").mkdir()
    key = tracks_key(out, choice.resolved())
    folder.stage("tracks", "tracking", key, ["tracks.npz"], lambda: (out / "tracks.npz").touch())
    tracks_stage(folder, choice, CompileAhead(False, "cpu"))
    assert "done before" in capsys.readouterr().out
    tracks.write_bytes(b"new")
    with pytest.raises(Exception, match="grid"):
        tracks_stage(folder, choice, CompileAhead(False, "cpu"))
    assert "(again: changed: their files)" in capsys.readouterr().out
    folder.close()


def test_keys_hash_all_that_reads_a_grid():
    """A change to a module that gen.grid is made of redoes the stages that read grids."""
    made_of = {f"gen.{p.stem}" for p in sources(OURS / "gen" / "grid.py") if p.parent.name == "gen"}
    assert made_of - {"gen.__init__"} == set(GRID)
