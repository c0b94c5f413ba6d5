"""Runs of run_pipeline.py in child processes that start at once and can be killed at any moment.

``python -m tests.reliability.forks`` imports everything heavy, then forks a child for every line
on its stdin: ``{"argv": [...], "kill_after": seconds or null, "signal": number, "log": path}``.
It answers with ``{"code": exit code, negative for a signal, "seconds": ...}``.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from tests.shared_data import REPOSITORY

HEAVY = (
    *("run_pipeline", "pipeline.generate", "tracking.backends.with_any", "recon.reconstruct"),
    *("viewer.page.html", "viewer.overview", "viewer.export.ply"),
)


@dataclass(frozen=True)
class Ended:
    """How a run ended: exit code (negative: the signal that ended it), seconds, what it said."""

    code: int
    seconds: float
    log: str


class Runs:
    """Starts runs; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "log.txt"
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.forks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=environment,
        )

    def __enter__(self) -> Runs:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(timeout=60)

    def run(
        self, *argv: object, kill_after: float | None = None, with_signal: int = signal.SIGKILL
    ) -> Ended:
        """Run the command to its end, or send it a signal after so many seconds."""
        assert self._server.stdin is not None and self._server.stdout is not None
        order = {
            "argv": [str(a) for a in argv],
            "kill_after": kill_after,
            "signal": int(with_signal),
            "log": str(self._log),
        }
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        answer = json.loads(self._server.stdout.readline())
        return Ended(answer["code"], answer["seconds"], self._log.read_text())


def _child(order: dict) -> None:
    pipeline = sys.modules["run_pipeline"]
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 1
    try:
        code = pipeline.main(order["argv"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _serve() -> None:
    for name in HEAVY:
        importlib.import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            _child(order)
        until = None if order["kill_after"] is None else start + order["kill_after"]
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            if until is not None and time.monotonic() >= until:
                os.kill(child, order["signal"])
                until = None
            time.sleep(0.005)
        seconds = time.monotonic() - start
        print(json.dumps({"code": os.waitstatus_to_exitcode(status), "seconds": seconds}))
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
