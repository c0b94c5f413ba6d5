"""Signals, a lack of room, memory or permission, changed inputs: what stops a run, what stays."""

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml

import run_pipeline
from fourreal.errors import UserError
from fourreal.guard import exit_code, one_line, out_of_memory
from fourreal.run_folder import RECORD, RunFolder
from fourreal.stage_key import content_hash
from pipeline import stages
from tests.bad_inputs.grids import frames
from tests.shared_data import REPOSITORY


def raising(error):
    def work():
        raise error

    return work


SIGNALS = [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]


@pytest.mark.parametrize(("number", "code", "word"), SIGNALS)
def test_signals_end_in_one_line(capsys, number, code, word):
    def work():
        signal.raise_signal(number)
        time.sleep(5)

    before = signal.getsignal(signal.SIGTERM)
    assert exit_code(work) == code
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith(f"{word}: the same command goes on")
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_while_the_program_is_loaded_is_one_line(tmp_path):
    """The first module of another package that is imported stands for the seconds it takes."""
    (tmp_path / "tyro.py").write_text(
        "import signal, time\nsignal.raise_signal(signal.SIGINT)\ntime.sleep(60)\n"
    )
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"}
    command = [sys.executable, "run_pipeline.py", "doctor"]
    start = "import os, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    start += f"os.execv({sys.executable!r}, {command!r})"  # a test runner may ignore Ctrl-C
    done = subprocess.run(
        [sys.executable, "-c", start], cwd=REPOSITORY, env=env, capture_output=True, text=True
    )
    assert done.returncode == 130
    assert done.stderr == "interrupted before anything was begun\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # after our own import


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (UserError("bad\n input"), "bad input"),
        (MemoryError(), "out of memory; fewer views"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out of GPU memory"),
        (OSError(errno.ENOSPC, "No space left on device", "a.png"), "no space left to write (a"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "no space left to write; free some"),
        (PermissionError(errno.EACCES, "Permission denied", "run/x"), "may not write or read (run"),
        (OSError(errno.EROFS, "Read-only file system", "x"), "choose another --out"),
        (OSError(errno.EIO, "Input/output error", "x"), "x: Input/output error"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "no space left"),
    ],
)
def test_what_the_user_can_help_is_one_line(capsys, error, says):
    assert exit_code(raising(error), "fewer views") == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith("error: ") and says in said[0]


def test_bugs_keep_their_traceback():
    with pytest.raises(KeyError):
        exit_code(raising(KeyError("x")))
    assert one_line(RuntimeError("shape mismatch"), "") is None
    assert not out_of_memory(ValueError("out of memory is no memory error here"))


def test_real_failed_allocations_are_recognised():
    torch = pytest.importorskip("torch")
    with pytest.raises(RuntimeError) as told:
        torch.empty(1 << 50)
    assert out_of_memory(told.value)
    with pytest.raises(MemoryError) as told:
        np.ones(1 << 50)
    assert out_of_memory(told.value)


@pytest.fixture
def grid_only(monkeypatch, tmp_path):
    """run(): the command `grid grid.npz --out run` with nothing but its first stage."""
    monkeypatch.chdir(tmp_path)
    for stage in ("tracks_stage", "scene_stage", "outputs_stage"):
        monkeypatch.setattr(stages, stage, lambda *_: None)
    np.savez("grid.npz", rgb=frames())
    return lambda: run_pipeline.main(["grid", "grid.npz", "--out", "run"])


def test_changed_input_is_detected_and_the_stage_redone(grid_only, tmp_path, capsys):
    assert grid_only() == 0
    assert grid_only() == 0
    assert "done before" in capsys.readouterr().out
    np.savez("grid.npz", rgb=1 - frames())
    before = (tmp_path / "run/grid/v00/t000.png").read_bytes()
    assert grid_only() == 0
    assert "done before" not in capsys.readouterr().out
    assert (tmp_path / "run/grid/v00/t000.png").read_bytes() != before


def test_changed_artefact_changes_what_is_made_from_it(grid_only, tmp_path):
    assert grid_only() == 0
    before = content_hash(tmp_path / "run/grid")
    (tmp_path / "run/grid/v00/t000.png").rename(tmp_path / "run/grid/v00/t009.png")
    assert content_hash(tmp_path / "run/grid") != before


def test_refused_input_leaves_a_finished_run_as_it_was(grid_only, tmp_path, capsys):
    assert grid_only() == 0
    sound, record = (tmp_path / "grid.npz").read_bytes(), (tmp_path / "run" / RECORD).read_text()
    (tmp_path / "grid.npz").write_bytes(b"no npz")
    assert grid_only() == 2
    assert yaml.safe_load((tmp_path / "run" / RECORD).read_text()) == yaml.safe_load(record)
    (tmp_path / "grid.npz").write_bytes(sound)
    capsys.readouterr()
    assert grid_only() == 0
    assert "done before" in capsys.readouterr().out


def test_folder_of_a_run_killed_at_its_very_start_is_taken_up(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / f".partial-0123abcd-{RECORD}").write_text("comm")
    RunFolder(tmp_path, {"kind": "test"}).close()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", RECORD]


def test_next_run_says_in_which_stage_the_last_one_was_killed(tmp_path, capsys):
    folder = RunFolder(tmp_path, {"kind": "test"}, less_memory="fewer views lower it")
    folder.close()
    record = yaml.safe_load((tmp_path / RECORD).read_text())
    (tmp_path / RECORD).write_text(yaml.safe_dump(record | {"running": "scene"}))
    RunFolder(tmp_path, {"kind": "test"}, less_memory="fewer views lower it").close()
    said = capsys.readouterr().err
    assert "killed during stage 'scene'" in said and "fewer views lower it" in said
