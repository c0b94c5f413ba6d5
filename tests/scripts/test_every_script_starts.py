"""Every script starts from any folder, without the checkout on the path."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.shared_data import REPOSITORY

SCRIPTS = sorted(
    path.name
    for path in (REPOSITORY / "scripts").glob("*.py")
    if '__name__ == "__main__"' in path.read_text()
)
# What others made is imported once; then every script runs in a process of its own that has
# nothing of ours.
START = """
import json, os, runpy, sys, traceback
import cv2, kornia, numba, scipy, torch, tyro

for script in sys.argv[1:]:
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        log = os.open(os.path.basename(script) + ".txt", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.path[0] = os.path.dirname(script)
        sys.argv = [script, "--help"]
        code = 0
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    print(json.dumps(os.waitstatus_to_exitcode(status)))
"""


def elsewhere(folder, *words: str) -> subprocess.CompletedProcess[str]:
    """Python in a folder that holds nothing of ours."""
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True)


@pytest.fixture(scope="module")
def started(tmp_path_factory) -> dict[str, tuple[int, str]]:
    """How every script ended that was asked for its help, and what it said."""
    folder = tmp_path_factory.mktemp("elsewhere")
    done = elsewhere(folder, "-c", START, *(str(REPOSITORY / "scripts" / n) for n in SCRIPTS))
    assert done.returncode == 0, done.stderr[-500:]
    codes = [json.loads(line) for line in done.stdout.splitlines()]
    return {
        name: (code, (folder / f"{name}.txt").read_text())
        for name, code in zip(SCRIPTS, codes, strict=True)
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_help_is_printed(name, started):
    code, said = started[name]
    assert code == 0, said[-500:]
    assert "usage" in said.lower() or "python scripts/" in said


@pytest.mark.slow
def test_a_script_as_it_is_typed(tmp_path):
    done = elsewhere(tmp_path, str(REPOSITORY / "scripts" / "train_base.py"), "--help")
    assert done.returncode == 0 and "usage" in done.stdout.lower(), done.stderr[-500:]
