"""A first run's kernels are compiled by a process of their own, from when its grid is begun.

numba compiles a kernel when it is first called, which is most of what a new user would wait for.
Here another process tracks and fits a tiny scene (``pipeline.rehearsal``) while the command reads
or generates its grid; a stage waits for its own kernels only, and then finds them in the cache.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

from fourreal.atomic import atomic_file
from fourreal.console import say, warn
from fourreal.kernels import OURS, cache_root
from fourreal.stage_key import program_hash

STAGES = ("tracks", "scene")


class CompileAhead:
    """Begins with ``start``; ``wait`` before a stage; ``close`` at the end, whatever happened.

    given_cameras: compile for cameras that come with the grid, not for estimated ones;
    preset: of the fit, which needs no kernel of ours on a GPU.
    """

    def __init__(self, given_cameras: bool, preset: str) -> None:
        self._case = "given" if given_cameras else "estimated"
        self._stages = STAGES[:1] if preset == "gpu" else STAGES
        self._child: subprocess.Popen[bytes] | None = None
        self._marker: Path | None = None
        self._ready: list[str] = []

    def start(self) -> None:
        """Begin to compile, unless it was done before or no folder can keep what is compiled."""
        root = cache_root()
        if root is None or self._child is not None:
            return
        marker = root / f"ahead-{self._case}-{'-'.join(self._stages)}-{_build()}"
        if marker.exists():
            return
        say("compiling beside the rest, once: the next start is quicker")
        self._marker = marker
        self._child = subprocess.Popen(
            [sys.executable, "-m", "pipeline.rehearsal", self._case, *self._stages],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=OURS,
            start_new_session=True,  # Ctrl-C is this process's affair
        )

    def wait(self, stage: str) -> None:
        """Until the kernels of a stage of ``STAGES`` are there, or will not be."""
        child = self._child
        while child is not None and stage in self._stages and stage not in self._ready:
            assert child.stdout is not None
            line = child.stdout.readline()
            if line:
                self._ready.append(line.decode().strip())
                continue
            warn(
                f"compiling ahead ended early (exit code {child.wait()}): stages compile their own"
            )
            self.close()
            return
        if child is not None and stage == self._stages[-1] and self._marker is not None:
            with atomic_file(self._marker) as temporary:
                temporary.touch()
            self.close()

    def close(self) -> None:
        """End the other process, if there is one."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        for pipe in (child.stdin, child.stdout):
            assert pipe is not None
            pipe.close()
        child.wait()


def _build() -> str:
    """What compiled kernels follow from: our sources, numba, the processor."""
    import numba
    from llvmlite import binding

    program = program_hash("fourreal", "tracking", "recon")
    return f"{program}-{numba.__version__}-{platform.machine()}-{binding.get_host_cpu_name()}"
