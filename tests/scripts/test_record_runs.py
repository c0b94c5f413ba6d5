"""Rows of finished runs are added to those that were recorded before."""

import json

import pytest

from fourreal.errors import UserError
from scripts.evaluate.benchmarks import RUNS_NOTE, record_runs


def finished_run(folder, seconds):
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps({"psnr_input": 30.5, "points": 7}))
    (folder / "index.html").write_bytes(b"x" * 20_000)
    stage = f"{{seconds: {seconds}, peak_mb: 600}}"
    (folder / "run.yaml").write_text(
        f"command: {{kind: grid}}\nstages:\n  grid: {stage}\n  scene: {stage}\n"
    )
    return folder


def test_rows_and_notes_of_other_runs_stay(tmp_path):
    target = tmp_path / "pipeline.json"
    record_runs((finished_run(tmp_path / "first", 1.5),), target)
    document = json.loads(target.read_text())
    target.write_text(json.dumps({**document, "notes": [*document["notes"], "first: by hand"]}))
    record_runs((finished_run(tmp_path / "second", 2.5),), target)
    document = json.loads(target.read_text())
    assert set(document["results"]) == {"first", "second"}
    row = document["results"]["second"]["grid"]
    assert row["seconds_scene"] == 2.5 and row["peak_mb"] == 600 and row["page_mb"] == 0.02
    assert document["notes"] == [RUNS_NOTE, "first: by hand"]
    assert "first second" in document["command"]


def test_a_folder_without_a_run_is_refused_and_nothing_written(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no finished run"):
        record_runs((tmp_path / "empty",), tmp_path / "pipeline.json")
    assert not (tmp_path / "pipeline.json").exists()
