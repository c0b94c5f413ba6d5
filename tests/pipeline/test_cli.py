"""The command line: what is accepted; what is refused is in tests/bad_inputs."""

import subprocess
import sys
from pathlib import Path

import run_pipeline
from pipeline.grid import Grid, grid_job
from pipeline.prompt import prompt_job
from pipeline.prompt_options import Prompt
from pipeline.videos import Videos, videos_job
from tests.shared_data import REPOSITORY


def refused(capsys, *argv):
    """Run the command, expect a refusal, and return its single line."""
    assert run_pipeline.main([str(a) for a in argv]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    return lines[0]


def test_words_with_a_space_are_a_prompt():
    command = run_pipeline.parse(["a red ball", "--views", "4"])
    assert isinstance(command, Prompt)
    assert (command.prompt, command.views, command.times) == ("a red ball", 4, 8)


def test_mistyped_command_is_an_error_with_a_suggestion(capsys):
    assert "did you mean 'prompt'" in refused(capsys, "promt")
    assert "did you mean 'videos'" in refused(capsys, "video")


def test_default_names():
    outputs = Path("outputs")
    assert prompt_job(Prompt("A red Ball!")).out == outputs / "a-red-ball"
    assert grid_job(Grid("x/fox/grid_144x256.npz")).out == outputs / "fox-grid-144x256"
    pair = Videos(freeze_time="b.mp4", fixed_view="a.mp4")
    pair.run.seed = 3
    assert videos_job(pair).out == outputs / "a-b-seed3"
    pair.run.out = "elsewhere/x"
    assert videos_job(pair).out == Path("elsewhere/x")


def test_console_script_prints_no_traceback():
    result = subprocess.run(
        [sys.executable, "run_pipeline.py", "grdi"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert result.returncode == 2 and "Traceback" not in result.stderr
