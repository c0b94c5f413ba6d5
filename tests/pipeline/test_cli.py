"""The command line: what is accepted; what is refused is in tests/bad_inputs."""

import subprocess
import sys

import run_pipeline
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


def test_console_script_prints_no_traceback():
    result = subprocess.run(
        [sys.executable, "run_pipeline.py", "grdi"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert result.returncode == 2 and "Traceback" not in result.stderr
