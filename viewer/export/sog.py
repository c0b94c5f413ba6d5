"""One moment as ``.sog`` through PlayCanvas' own program, splat-transform, where it is installed.

Found as ``$SPLAT_TRANSFORM`` or on PATH (``npm install @playcanvas/splat-transform``).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from fourreal.errors import UserError
from viewer.export.moments import Moment
from viewer.export.ply import write_frame

_PATIENCE = 600  # seconds a moment


def write_sog(moment: Moment, path: Path) -> None:
    """Write ``moment`` to ``path``. Raises UserError without the program, or when it fails."""
    program = find_splat_transform()
    with tempfile.TemporaryDirectory() as work:
        source = Path(work, "frame.ply")
        write_frame(moment, source)
        made = Path(work, "frame.sog")
        command = [*shlex.split(program), "-w", "-g", "cpu", str(source), str(made)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UserError(f"{program} cannot be used ({error}); install it again") from error
        if done.returncode or not made.is_file():
            said = (done.stderr + done.stdout).strip().splitlines() or ["it said nothing"]
            raise UserError(f"{program} made no .sog file: {said[-1]}")
        path.write_bytes(made.read_bytes())


def find_splat_transform() -> str:
    """The command. Raises UserError when it is not installed."""
    program = os.environ.get("SPLAT_TRANSFORM") or shutil.which("splat-transform")
    if not program:
        raise UserError(
            ".sog files need splat-transform: npm install -g @playcanvas/splat-transform, or "
            "SPLAT_TRANSFORM=/path/to/it"
        )
    return program
