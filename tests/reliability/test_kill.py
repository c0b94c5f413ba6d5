"""kill -9 at random moments of every stage, then the same command: it finishes, and nothing is
different."""

import hashlib
import json
import os
import shutil
import signal

import numpy as np
import pytest
import yaml

from gen.data.world.grid import make_grid
from tests.reliability.forks import Runs

KILLS = int(os.environ.get("FOURREAL_KILLS", "3"))
"""Number of moments, all commands together; FOURREAL_KILLS=30 is the long test."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    grid, _, _ = make_grid(seed=5, V=3, T=3, size=(32, 48))
    grid.K = grid.w2c = None
    grid.save_npz(folder / "grid.npz")
    with Runs(folder) as started:
        yield started


COMMANDS = {
    "grid": (["grid", "grid.npz"], 0.6),
    "prompt": (["a red ball bouncing beside a blue cube", "--views", 2, "--times", 2, "--steps", 1,
                "--upsampler", "off", "--size", "36x64"], 0.4),
}  # fmt: skip


def results(folder):
    """Hash of every file of a run, without what tells how long it took."""
    found = {}
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = file.read_bytes()
        if file.name == "metrics.json":
            report = json.loads(data)
            data = json.dumps({k: v for k, v in report.items() if k != "seconds"}).encode()
        if file.name == "run.yaml":
            stages = yaml.safe_load(data)["stages"]
            data = json.dumps({name: (s["key"], s["outputs"]) for name, s in stages.items()})
            data = data.encode()
        found[str(file.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return found


def stage_spans(folder, seconds):
    """When each stage of a finished run began and ended, in seconds after its start; before them
    the time before the first."""
    record = yaml.safe_load((folder / "run.yaml").read_text())["stages"]
    lengths = [stage["seconds"] for stage in record.values()]
    bounds = np.cumsum([0.0, max(seconds - sum(lengths), 0.0), *lengths])
    return list(zip(bounds[:-1], bounds[1:], strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_run_ends_like_an_undisturbed_one(runs, tmp_path, name):
    argv, share = COMMANDS[name]
    argv = [*argv, "--preset", "debug", "--seed", 3]
    whole = runs.run(*argv, "--out", tmp_path / "whole")
    assert whole.code == 0, whole.log
    expected = results(tmp_path / "whole")
    rng = np.random.default_rng(len(name))
    left = max(1, round(KILLS * share))
    out = tmp_path / "killed"
    stages: list[str] = []
    spans = stage_spans(tmp_path / "whole", whole.seconds)
    while left:
        moment = rng.uniform(*spans[left % len(spans)])
        killed = runs.run(*argv, "--out", out, kill_after=moment)
        if killed.code != -signal.SIGKILL:  # it was faster than those before
            spans = stage_spans(out, killed.seconds)
            shutil.rmtree(out)
            continue
        left -= 1
        begun = [line[1:].split("]")[0] for line in killed.log.splitlines() if line.endswith("…")]
        stages.append(begun[-1] if begun else "start")
        again = runs.run(*argv, "--out", out)
        assert again.code == 0, f"killed after {moment:.3f} s, then: {again.log}"
        assert results(out) == expected, f"killed after {moment:.3f} s: {killed.log}"
        shutil.rmtree(out)
        print(f"{name}: kill -9 after {moment:.2f} s, in '{stages[-1]}': same files", flush=True)
    assert KILLS < 20 or len(set(stages)) >= 3, f"only in {stages}"
