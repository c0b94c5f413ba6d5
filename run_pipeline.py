"""The one command: a prompt, two clips or a grid of footage becomes a 4D scene to look at.

    python run_pipeline.py prompt "a red ball bouncing beside a blue cube on a checkered floor"
    python run_pipeline.py videos --fixed-view A.mp4 --freeze-time B.mp4
    python run_pipeline.py grid PATH
    python run_pipeline.py prompt --list    (what can be asked for)
    python run_pipeline.py view|export|inspect DIR      python run_pipeline.py doctor

Every run writes a folder (docs/FORMATS.md) and continues after its last finished stage when the
same command is given again.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Union

import fourreal  # noqa: F401, I001  first: it sets how torch's threads wait
from fourreal.guard import exit_code, loading

with loading():
    import tyro
    from tyro.conf import subcommand

    from fourreal.console import print_any_name
    from fourreal.errors import UserError
    from pipeline.doctor import Doctor, doctor
    from pipeline.export import Export, export
    from pipeline.grid import Grid, grid_job
    from pipeline.inspect import Inspect, inspect
    from pipeline.prompt import run_prompt
    from pipeline.prompt_options import Prompt
    from pipeline.stages import LESS_MEMORY, make_scene
    from pipeline.videos import Videos, videos_job
    from pipeline.view import View, view

FEWER_POINTS = "the scene has too many points for it: make it again at a smaller --size"
COMMANDS: dict[str, tuple[type, Callable[[Any], None]]] = {
    "prompt": (Prompt, run_prompt),
    "videos": (Videos, lambda options: make_scene(videos_job(options))),
    "grid": (Grid, lambda options: make_scene(grid_job(options))),
    "view": (View, view),
    "export": (Export, export),
    "inspect": (Inspect, inspect),
    "doctor": (Doctor, doctor),
}


def parse(argv: list[str]) -> object:
    """Turn arguments into one of the command dataclasses.

    A first argument that is no subcommand but holds a space is taken as a prompt.

    Raises:
        UserError: a subcommand that does not exist, with the nearest one that does.
    """
    if argv and not argv[0].startswith("-") and argv[0] not in COMMANDS:
        if " " in argv[0].strip():
            argv = ["prompt", *argv]
        else:
            near = difflib.get_close_matches(argv[0], COMMANDS, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(COMMANDS)}"
            raise UserError(f"no such command: '{argv[0]}'; {hint} (a prompt needs quotes)")
    kinds = tuple(Annotated[kind, subcommand(name)] for name, (kind, _) in COMMANDS.items())
    return tyro.cli(Union[kinds], args=argv, prog="run_pipeline.py", description=__doc__)  # type: ignore[arg-type]  # noqa: UP007


def run_command(command: object) -> None:
    """Carry out one parsed command."""
    next(run for kind, run in COMMANDS.values() if isinstance(command, kind))(command)


def main(argv: list[str] | None = None) -> int:
    """Entry point; exit codes and what is said on stderr are those of
    ``fourreal.guard.exit_code``."""
    print_any_name()
    words = list(sys.argv[1:] if argv is None else argv)
    # a file whose name begins with a dash is no option
    words = [f"./{w}" if w.startswith("-") and Path(w).exists() else w for w in words]
    kind = words[0] if words and words[0] in COMMANDS else "prompt"
    return exit_code(lambda: run_command(parse(words)), LESS_MEMORY.get(kind, FEWER_POINTS))


if __name__ == "__main__":
    sys.exit(main())
