"""The run folder: stages are skipped when done, redone when something changed."""

import errno
import os

import pytest
import yaml

from fourreal.errors import UserError
from fourreal.run_folder import RunFolder
from fourreal.stage_key import StageKey


def run(path, key="k", force="", fail=False, done=None, kind="test"):
    """One command with two stages; returns which of them worked."""
    done = [] if done is None else done
    folder = RunFolder(path, {"kind": kind}, force)

    def work(name):
        def write():
            if fail and name == "second":
                raise KeyboardInterrupt
            (path / f"{name}.txt").write_text(key)
            done.append(name)

        return write

    try:
        for name in ("first", "second"):
            folder.stage(
                name, name, StageKey.of(settings=key, name=name), [f"{name}.txt"], work(name)
            )
    finally:
        folder.close()
    return done


def test_second_run_does_nothing(tmp_path, capsys):
    assert run(tmp_path / "r") == ["first", "second"]
    assert run(tmp_path / "r") == []
    assert "done before" in capsys.readouterr().out


def test_interrupted_run_goes_on_after_the_last_stage(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "r", fail=True)
    assert run(tmp_path / "r") == ["second"]


def test_changed_settings_redo_the_stages(tmp_path):
    run(tmp_path / "r")
    assert run(tmp_path / "r", key="other") == ["first", "second"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EINVAL])
def test_a_drive_that_cannot_lock_is_said_and_used(tmp_path, monkeypatch, capsys, number):
    fcntl = pytest.importorskip("fcntl")

    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    assert run(tmp_path / "r") == ["first", "second"]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "cannot lock" in said[0]


def test_a_folder_in_use_is_refused(tmp_path):
    pytest.importorskip("fcntl")
    first = RunFolder(tmp_path / "r", {"kind": "test"})
    with pytest.raises(UserError, match="in use by another run"):
        RunFolder(tmp_path / "r", {"kind": "test"})
    first.close()


def test_lost_output_is_made_again(tmp_path):
    run(tmp_path / "r")
    (tmp_path / "r" / "second.txt").unlink()
    assert run(tmp_path / "r") == ["second"]


def test_force_redoes_from_there(tmp_path):
    run(tmp_path / "r")
    assert run(tmp_path / "r", force="second") == ["second"]
    assert run(tmp_path / "r", force="first") == ["first", "second"]


def test_record_tells_time_and_memory(tmp_path):
    run(tmp_path / "r")
    record = yaml.safe_load((tmp_path / "r" / "run.yaml").read_text())
    assert set(record["stages"]) == {"first", "second"}
    assert record["stages"]["first"]["peak_mb"] > 0 and "torch" in record["versions"]


def test_foreign_folders_are_refused_untouched(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UserError, match="choose another --out"):
        run(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(UserError, match="is a file"):
        run(tmp_path / "mine.txt")


def test_run_of_another_kind_is_refused(tmp_path):
    run(tmp_path / "r", kind="prompt")
    with pytest.raises(UserError, match="is a run of 'prompt'"):
        run(tmp_path / "r", kind="grid")


def test_two_runs_on_one_folder_are_refused(tmp_path):
    folder = RunFolder(tmp_path / "r", {"kind": "test"})
    with pytest.raises(UserError, match="in use"):
        RunFolder(tmp_path / "r", {"kind": "test"})
    folder.close()
    RunFolder(tmp_path / "r", {"kind": "test"}).close()


def test_damaged_record_is_named(tmp_path):
    run(tmp_path / "r")
    (tmp_path / "r" / "run.yaml").write_text("{[")
    with pytest.raises(UserError, match="damaged"):
        run(tmp_path / "r")


def test_a_stage_done_again_says_why(tmp_path, capsys):
    run(tmp_path / "r")
    assert "again" not in capsys.readouterr().out
    run(tmp_path / "r", key="other")
    assert "[first] first … (again: changed: settings)" in capsys.readouterr().out
    (tmp_path / "r" / "second.txt").unlink()
    run(tmp_path / "r", key="other")
    assert "[second] second … (again: its files are gone)" in capsys.readouterr().out
    run(tmp_path / "r", key="other", force="second")
    assert "[second] second … (again: --force)" in capsys.readouterr().out


def test_records_of_earlier_versions_are_redone_once_and_say_so(tmp_path, capsys):
    run(tmp_path / "r")
    file = tmp_path / "r" / "run.yaml"
    record = yaml.safe_load(file.read_text())
    for stage in record["stages"].values():
        stage["key"] = "0123456789abcdef"
        del stage["made_from"]
    file.write_text(yaml.safe_dump(record))
    assert run(tmp_path / "r") == ["first", "second"]
    assert capsys.readouterr().out.count("an earlier version did not record everything") == 2
    assert run(tmp_path / "r") == []
