"""The command line: what is accepted, and one-line refusals with exit code 2."""

import subprocess
import sys

import numpy as np
import pytest

import run_pipeline
from gen.video_io import write_video
from tests.shared_data import REPOSITORY


def refused(capsys, *argv):
    """Run the command, expect a refusal, and return its single line."""
    assert run_pipeline.main([str(a) for a in argv]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    return lines[0]


def test_words_with_a_space_are_a_prompt():
    command = run_pipeline.parse(["a red ball", "--views", "4"])
    assert isinstance(command, run_pipeline.Prompt)
    assert (command.prompt, command.views, command.times) == ("a red ball", 4, 8)


def test_mistyped_command_is_an_error_with_a_suggestion(capsys):
    assert "did you mean 'prompt'" in refused(capsys, "promt")
    assert "did you mean 'videos'" in refused(capsys, "video")


def test_default_names():
    name = run_pipeline.default_out
    assert name(run_pipeline.Prompt("A red Ball!")) == "outputs/a-red-ball"
    assert name(run_pipeline.Grid("x/fox/grid_144x256.npz")) == "outputs/fox-grid-144x256"
    pair = run_pipeline.Videos(freeze_time="b.mp4", fixed_view="a.mp4")
    pair.run.seed = 3
    assert name(pair) == "outputs/a-b-seed3"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["prompt", "  "], "prompt is empty"),
        (["prompt", "a red ball", "--views", "1"], "--views 1"),
        (["prompt", "a red ball", "--steps", "0"], "--steps 0"),
        (["prompt", "a red ball", "--views", "64", "--times", "65"], "at most 4096 cells"),
        (["prompt", "a red ball", "--size", "big"], "HEIGHTxWIDTH"),
        (["prompt", "a red ball", "--max-memory", "-1"], "--max-memory"),
        (["prompt", "zxqv wvut kkk"], "has no word the bundled model knows"),
        (["prompt", "a red ball", "--weights", "nowhere"], "nowhere"),
        (["videos", "--freeze-time", "missing.mp4"], "no such file"),
        (["grid", "missing.npz"], "no such file"),
        (["view", "missing"], "no scene at missing"),
        (["export", "missing"], "no scene at missing"),
        (["inspect", "missing"], "no such file"),
    ],
)
def test_bad_input_is_one_line(capsys, monkeypatch, tmp_path, argv, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, *argv)
    assert not list(tmp_path.rglob("*.png")), "nothing may be written for bad input"


def test_bad_clips_are_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write_video("one.mp4", np.zeros((1, 32, 48, 3), np.float32), 8)
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    assert "at least 2 views" in refused(capsys, "videos", "--freeze-time", "one.mp4")
    assert "cannot read" in refused(capsys, "videos", "--freeze-time", "broken.mp4")
    assert "not a usable grid" in refused(capsys, "grid", "broken.mp4")
    assert not list(tmp_path.glob("outputs/*")), "a refused input leaves no run folder behind"


def test_foreign_output_folder_is_left_alone(capsys, tmp_path):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1.tex").write_text("precious")
    line = refused(capsys, "prompt", "a red ball bouncing", "--out", out)
    assert "choose another --out" in line
    assert [p.name for p in out.iterdir()] == ["chapter1.tex"]


def test_console_script_prints_no_traceback():
    result = subprocess.run(
        [sys.executable, "run_pipeline.py", "grdi"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert result.returncode == 2 and "Traceback" not in result.stderr
