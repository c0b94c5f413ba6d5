"""Every script starts from any folder, without the checkout on the path."""

from __future__ import annotations

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


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_help_is_printed(name, tmp_path):
    command = [sys.executable, str(REPOSITORY / "scripts" / name), "--help"]
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    assert "usage" in done.stdout.lower() or "python scripts/" in done.stdout
