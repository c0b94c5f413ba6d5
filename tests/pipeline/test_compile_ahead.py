"""The kernels of a first run are compiled beside it, once, and nothing hangs on that."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fourreal.kernels import OURS
from pipeline import compile_ahead
from pipeline.compile_ahead import CompileAhead
from pipeline.rehearsal import footage


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(compile_ahead, "cache_root", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def child(monkeypatch):
    """Has another program take the part of the rehearsal; returns what was started."""
    started = []
    real = subprocess.Popen

    def choose(program):
        def popen(command, **options):
            started.append(real([sys.executable, "-c", program], **options))
            return started[-1]

        monkeypatch.setattr(compile_ahead.subprocess, "Popen", popen)
        return started

    return choose


def test_a_stage_waits_for_its_own_kernels_and_the_next_run_starts_nothing(cache, child, capsys):
    started = child("print('tracks', flush=True); import time; time.sleep(.3); print('scene')")
    ahead = CompileAhead(given_cameras=True, preset="cpu")
    ahead.start()
    ahead.wait("tracks")
    ahead.wait("tracks")
    assert not list(cache.iterdir())
    ahead.wait("scene")
    assert "once" in capsys.readouterr().out
    assert [p.name.startswith("ahead-given-tracks-scene-") for p in cache.iterdir()] == [True]
    again = CompileAhead(given_cameras=True, preset="cpu")
    again.start()
    again.wait("scene")
    assert len(started) == 1 and capsys.readouterr().out == ""


def test_the_fit_on_a_gpu_waits_for_no_kernels(cache, child):
    child("print('tracks', flush=True); import time; time.sleep(60)")
    ahead = CompileAhead(given_cameras=False, preset="gpu")
    ahead.start()
    ahead.wait("tracks")
    ahead.wait("scene")  # returns at once
    assert [p.name.startswith("ahead-estimated-tracks-") for p in cache.iterdir()] == [True]


def test_where_it_fails_a_line_says_so_and_the_run_goes_on(cache, child, capsys):
    child("raise SystemExit(3)")
    ahead = CompileAhead(given_cameras=True, preset="cpu")
    ahead.start()
    ahead.wait("tracks")
    ahead.wait("scene")
    assert capsys.readouterr().err.count("exit code 3") == 1
    assert not list(cache.iterdir())


def test_close_ends_the_other_process(cache, child):
    started = child("import time; time.sleep(600)")
    ahead = CompileAhead(given_cameras=True, preset="cpu")
    ahead.start()
    ahead.close()
    assert started[0].poll() == -signal.SIGKILL


def test_the_rehearsal_does_not_outlive_the_command(tmp_path):
    code = (
        "import subprocess, sys, os\n"
        "p = subprocess.Popen([sys.executable, '-m', 'pipeline.rehearsal', 'given', 'tracks'],"
        " stdin=subprocess.PIPE, start_new_session=True)\n"
        "print(p.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=OURS, capture_output=True, text=True)
    pid = int(out.stdout)
    for _ in range(600):
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().split(") ")[1].startswith("Z"):
                    return
        except (ProcessLookupError, FileNotFoundError):
            return
        time.sleep(0.1)
    raise AssertionError("still there after a minute")


def test_the_rehearsal_has_a_picture_and_a_camera_a_view():
    frames, K, w2c = footage()
    assert np.ptp(frames) > 0.9 and K.shape == (4, 3, 3) and w2c.shape == (4, 4, 4)


ASKS_FOR = """
from pipeline.rehearsal import rehearse
print(list(rehearse(given=False, fit=True)))
from recon.later.search import _ask
from recon.motion.registration import _pulls
from recon.fit.drawn_kernels import place_gaussians
print([bool(kernel.signatures) for kernel in (_ask, _pulls, place_gaussians)])
"""


@pytest.mark.slow
def test_the_rehearsal_goes_through_both_stages_and_seeks_what_is_lost():
    """The board jumps, so that what finds it again is compiled too."""
    done = subprocess.run([sys.executable, "-c", ASKS_FOR], capture_output=True, text=True)
    stages, compiled = done.stdout.splitlines()[-2:]
    assert stages.endswith("['tracks', 'scene']") and compiled == "[True, True, True]", done.stderr
