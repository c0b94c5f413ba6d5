"""The one command: a prompt, two clips or a grid of footage becomes a 4D scene to look at.

    python run_pipeline.py prompt "a red ball bouncing beside a blue cube on a checkered floor"
    python run_pipeline.py videos --fixed-view A.mp4 --freeze-time B.mp4
    python run_pipeline.py grid PATH
    python run_pipeline.py view|export|inspect DIR      python run_pipeline.py doctor

Every run writes a folder (docs/FORMATS.md) and continues after its last finished stage when the
same command is given again.
"""

from __future__ import annotations

import os

# Idle OpenMP workers would spin on the cores our own threads need (DESIGN: 35 -> 23 ms a step).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import difflib
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Union

import tyro
from tyro.conf import Positional, arg, subcommand

from gen.errors import UserError

Mixer = Literal["none", "sequential", "hard", "soft"]


@dataclass
class RunOptions:
    """Options that every run takes."""

    out: str = ""
    """Folder of the run; by default outputs/NAME."""
    force: str = ""
    """Redo from this stage on: grid, tracks, scene or outputs."""
    seed: int = 0
    """Seed of everything random."""
    preset: Literal["default", "fast", "debug"] = "default"
    """How long to fit the scene: debug takes seconds and only shows that everything works."""


@dataclass
class Prompt:
    """Text -> fixed-view clip -> freeze-time clip -> whole grid -> 4D scene."""

    prompt: Positional[str]
    """What to make, in words the bundled model knows."""
    run: Annotated[RunOptions, arg(name="")] = field(default_factory=RunOptions)
    views: int = 8
    """Number of viewpoints (rows)."""
    times: int = 8
    """Number of times (columns)."""
    steps: int = 8
    """Denoising steps per clip and for the grid."""
    mixer: Mixer = "soft"
    """How the two streams are synchronised."""
    untrained_sync: bool = False
    """Use the training-free weights of the mixer."""
    weights: str = ""
    """Folder of weights; by default the bundled ones."""


@dataclass
class Videos:
    """A fixed-view clip and a freeze-time clip with the same first frame -> 4D scene."""

    freeze_time: str
    """Clip (or image folder) of a frozen moment: only the camera moves."""
    fixed_view: str = ""
    """Clip (or image folder) of a still camera: only the scene moves. Absent: a static scene."""
    run: Annotated[RunOptions, arg(name="")] = field(default_factory=RunOptions)
    pick_views: str = ""
    """A:B or A:B:STEP: which frames of the freeze-time clip to use."""
    pick_times: str = ""
    """A:B or A:B:STEP: which frames of the fixed-view clip to use."""
    size: str = ""
    """HEIGHTxWIDTH to work at; by default the short side becomes 144 px."""
    max_views: int = 16
    """Longer freeze-time clips are thinned evenly to this many frames."""
    max_times: int = 16
    """Longer fixed-view clips are thinned evenly to this many frames."""
    complete: Literal["none", "bundled"] = "none"
    """Who fills the cells between: nobody (the fit needs only the two clips), or the bundled
    model, which knows nothing but its small procedural world."""
    force_pair: bool = False
    """Go on although the clips do not seem to show the same scene."""


@dataclass
class Grid:
    """A grid of frames that exists already (folder, .npz, tiled .mp4) -> 4D scene."""

    path: Positional[str]
    """Grid folder (v00/t000.png …), .npz with rgb [V, T, H, W, 3], or tiled .mp4."""
    run: Annotated[RunOptions, arg(name="")] = field(default_factory=RunOptions)
    pick_views: str = ""
    """A:B or A:B:STEP: which views to use."""
    pick_times: str = ""
    """A:B or A:B:STEP: which times to use."""
    size: str = ""
    """HEIGHTxWIDTH to work at; by default the short side becomes 144 px."""
    tiles: str = ""
    """ROWSxCOLUMNS of a tiled mp4 that does not say so itself."""


@dataclass
class View:
    """Open a run in the viser viewer (a local web server)."""

    run: Positional[str]
    """Folder of the run, or a scene.safetensors."""
    host: str = "127.0.0.1"
    """Address to listen on; anything but 127.0.0.1 is reachable from other machines."""
    port: int = 8080
    """Port to listen on."""


@dataclass
class Export:
    """Write a run's scene in another form."""

    run: Positional[str]
    """Folder of the run, or a scene.safetensors."""
    format: Literal["ply-sequence", "html", "video"] = "ply-sequence"
    """ply-sequence: one .ply per time; html: the self-contained player; video: an mp4."""
    out: str = ""
    """Where to; by default inside the run folder."""
    frames: int = 0
    """Number of frames of a ply sequence or video; 0: one per time of the grid (video: 48)."""
    path: Literal["orbit", "spiral", "input"] = "orbit"
    """Camera path of a video."""


@dataclass
class Inspect:
    """Say what a clip, grid or run folder holds, and whether it can be used."""

    path: Positional[str]
    """A clip, a grid or a run folder."""


@dataclass
class Doctor:
    """Versions, devices, optional parts, memory and disk in one screen."""


COMMANDS: dict[str, type] = {
    "prompt": Prompt,
    "videos": Videos,
    "grid": Grid,
    "view": View,
    "export": Export,
    "inspect": Inspect,
    "doctor": Doctor,
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
    kinds = tuple(Annotated[c, subcommand(name)] for name, c in COMMANDS.items())
    return tyro.cli(Union[kinds], args=argv, prog="run_pipeline.py", description=__doc__)  # type: ignore[arg-type]  # noqa: UP007


def slug(text: str) -> str:
    """A folder name from any text."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "scene"


def run_command(command: object) -> None:
    """Carry out one parsed command."""
    from viewer import commands, make_scene

    if isinstance(command, Prompt):
        make_scene.from_prompt(command, command.run.out or default_out(command))
    elif isinstance(command, Videos):
        make_scene.from_videos(command, command.run.out or default_out(command))
    elif isinstance(command, Grid):
        make_scene.from_grid(command, command.run.out or default_out(command))
    elif isinstance(command, View):
        commands.view(command.run, command.host, command.port)
    elif isinstance(command, Export):
        commands.export(command.run, command.format, command.out, command.frames, command.path)
    elif isinstance(command, Inspect):
        commands.inspect(command.path)
    elif isinstance(command, Doctor):
        commands.doctor()


def default_out(command: Prompt | Videos | Grid) -> str:
    """outputs/NAME, made from the prompt or the input's file names (and a seed other than 0)."""
    if isinstance(command, Prompt):
        name = slug(command.prompt)
    elif isinstance(command, Videos):
        name = slug(Path(command.freeze_time).stem)
        if command.fixed_view:
            name = f"{slug(Path(command.fixed_view).stem)}-{name}"
    else:
        path = Path(command.path)
        name = slug(f"{path.parent.name}-{path.stem}" if path.suffix else path.name)
    if command.run.seed:
        name += f"-seed{command.run.seed}"
    return str(Path("outputs") / name)


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0 on success, 2 with one line on stderr for bad input, 130 when interrupted."""
    try:
        run_command(parse(list(sys.argv[1:] if argv is None else argv)))
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except MemoryError:
        print(
            "error: out of memory; use a smaller --size, or fewer views and times", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        print(
            "interrupted: the same command goes on after the last finished stage", file=sys.stderr
        )
        return 130
    except BrokenPipeError:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
