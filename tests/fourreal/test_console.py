"""Consoles that cannot print a name: the lines come all the same."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import run_pipeline
from fourreal.video_io import write_video

ROOT = Path(run_pipeline.__file__).parent
INSPECT = "import sys, run_pipeline as r; print([r.main(['inspect', f]) for f in sys.argv[1:]])"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"PYTHONIOENCODING": "cp1252"}, "日本"),
        ({"PYTHONIOENCODING": "ascii"}, "größe"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "größe"),
        ({"PYTHONIOENCODING": "utf-8"}, os.fsdecode(b"caf\xe9")),
    ],
)
def test_names_that_cannot_be_printed_are_escaped(tmp_path, environment, name):
    folder = tmp_path / name
    folder.mkdir()
    clip = folder / "clip.mp4"
    write_video(clip, np.random.default_rng(0).random((3, 32, 48, 3)), 8)
    done = subprocess.run(
        [sys.executable, "-c", INSPECT, clip, folder / "none.mp4"],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        cwd=tmp_path,
        capture_output=True,
    )
    assert done.stdout.split(b"\n")[-2].strip() == b"[0, 2]", done.stderr.decode("latin-1")
    assert b"clip of 3 frames" in done.stdout and b"Traceback" not in done.stderr
