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
import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

import numpy as np
import tyro
from tyro.conf import arg, subcommand

from fourreal.atomic import atomic_file
from fourreal.console import progress, say
from fourreal.errors import UserError
from fourreal.guard import exit_code
from fourreal.run_folder import RunFolder, content_hash
from gen.grid import VideoGrid
from pipeline.export import Export, export
from pipeline.footage_options import GridOptions, PairOptions
from pipeline.look import Doctor, Inspect, View, doctor, inspect, view
from pipeline.prompt_options import PromptOptions
from tracking.backends.table import Choice

if TYPE_CHECKING:
    from viewer.viser.live import LiveView


@dataclass
class RunOptions:
    """Options that every run takes."""

    out: str = ""
    """Folder of the run; by default outputs/NAME."""
    force: str = ""
    """Redo from this stage on: grid, tracks, scene or outputs."""
    seed: int = 0
    """Seed of everything random."""
    preset: Literal["auto", "cpu", "gpu", "debug"] = "auto"
    """Settings of the fit; auto: gpu where CUDA is, else cpu. debug takes seconds and only shows
    that everything works."""
    view: bool = False
    """Watch the scene in the viser viewer while it is fitted, and afterwards until Ctrl-C."""
    port: int = 8080
    """Port of that viewer, on 127.0.0.1."""

    def check(self) -> None:
        """Refuse values that no stage can work with. Raises UserError."""
        if self.force and self.force not in STAGES:
            raise UserError(f"--force {self.force}: no such stage; choose from {', '.join(STAGES)}")
        fit_preset(self.preset)


@dataclass
class Prompt(PromptOptions):
    """Text -> fixed-view clip -> freeze-time clip -> whole grid -> 4D scene."""

    run: Annotated[RunOptions, arg(name="")] = field(default_factory=RunOptions)


@dataclass
class Videos(PairOptions):
    """A fixed-view clip and a freeze-time clip with the same first frame -> 4D scene."""

    run: Annotated[RunOptions, arg(name="")] = field(default_factory=RunOptions)
    tracking: Annotated[Choice, arg(name="")] = field(default_factory=Choice)


@dataclass
class Grid(GridOptions):
    """A grid of frames that exists already (folder, .npz, tiled .mp4) -> 4D scene."""

    run: Annotated[RunOptions, arg(name="")] = field(default_factory=RunOptions)
    tracking: Annotated[Choice, arg(name="")] = field(default_factory=Choice)


STAGES = ("grid", "tracks", "scene", "outputs")
# What to do when memory runs out.
LESS_MEMORY = {
    "prompt": "--max-memory, a smaller --size or fewer --views and --times lower it",
    "videos": "a smaller --size, --max-views or --max-times lowers it",
    "grid": "a smaller --size or fewer views and times (--pick-views, --pick-times) lower it",
}
FEWER_POINTS = "the scene has too many points for it: make it again at a smaller --size"
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


def run_command(command: object) -> None:
    """Carry out one parsed command."""
    if isinstance(command, (Prompt, Videos, Grid)):
        make_scene(command)
    elif isinstance(command, View):
        view(command)
    elif isinstance(command, Export):
        export(command)
    elif isinstance(command, Inspect):
        inspect(command)
    elif isinstance(command, Doctor):
        doctor()


def make_scene(command: Prompt | Videos | Grid) -> None:
    """Run the stages grid, tracks, scene, outputs in the run folder and say where to look."""
    command.check()
    command.run.check()
    choice(command).check()
    out = Path(command.run.out or default_out(command))
    record = {k: v for k, v in asdict(command).items() if k != "run"}
    kind = type(command).__name__.lower()
    settings = {"kind": kind, **record, **asdict(command.run)}
    run = RunFolder(out, settings, command.run.force, LESS_MEMORY[kind])
    live = None
    if command.run.view:
        from viewer.viser.live import LiveView

        live = LiveView(command.run.port)
    try:
        grid_stage(run, command)
        tracks_stage(run, command)
        scene_stage(run, command, live)
        outputs_stage(run)
    except UserError:
        run.discard_if_new()
        raise
    finally:
        run.close()
    if not run.ran_any:
        say("nothing to do: every stage was finished before (--force STAGE redoes one)")
    say(f"look: {out / 'index.html'} (any browser), {out / 'overview.png'}, {out / 'ply'}/")
    if live is not None:
        live.hold(out)
    else:
        say(f"      python run_pipeline.py view {out}")


def choice(command: Prompt | Videos | Grid) -> Choice:
    """The tracker and depth estimator of a command."""
    return Choice() if isinstance(command, Prompt) else command.tracking


def grid_stage(run: RunFolder, command: Prompt | Videos | Grid) -> None:
    """Make or read the V x T grid -> ``grid/`` and ``grid.mp4``."""

    def work() -> None:
        grid = command.make_grid(run.path, command.run.seed)
        grid.save(run.path / "grid")
        grid.save_mp4(run.path / "grid.mp4")

    key = content_hash(*command.key_parts(command.run.seed))
    run.stage("grid", command.title, key, ["grid/grid.json", "grid.mp4"], work)


def tracks_stage(run: RunFolder, command: Prompt | Videos | Grid) -> None:
    """Track the freeze-time column in 3D -> ``tracks.npz``."""
    backends = choice(command)
    imported = [Path(backends.tracker_path)] if backends.tracker == "npz" else []
    key = content_hash("tracks", run.path / "grid", asdict(backends), *imported)

    def work() -> None:
        from tracking.backends.with_any import track_with
        from tracking.column_file import save_column

        grid = VideoGrid.load(run.path / "grid")
        frames = grid.freeze_time
        bars: dict[str, Any] = {}

        def tell(stage: str, done: int, total: int) -> None:
            bar = bars.setdefault(stage, progress(description=stage, total=total))
            bar.update(done - bar.n)

        column = track_with(frames, backends, K=grid.K, w2c=grid.w2c, progress=tell)
        for bar in bars.values():
            bar.close()
        save_column(column, run.path / "tracks.npz", frames)

    run.stage("tracks", "dense 3D tracking of the freeze-time column", key, ["tracks.npz"], work)


def fit_preset(name: str) -> str:
    """The name of the fit's settings on this machine."""
    import torch

    if name == "auto":
        return "gpu" if torch.cuda.is_available() else "cpu"
    if name == "gpu" and not torch.cuda.is_available():
        raise UserError("--preset gpu: no CUDA device here; use --preset cpu")
    return name


def scene_stage(
    run: RunFolder, command: Prompt | Videos | Grid, live: LiveView | None = None
) -> None:
    """Fit the Gaussians -> ``scene.safetensors``, ``metrics.json``.

    ``live`` is shown the scene while it is fitted.
    """
    chosen = fit_preset(command.run.preset)
    made_from = [run.path / "grid", run.path / "tracks.npz"]
    key = content_hash("scene", *made_from, chosen, command.run.seed)

    def work() -> None:
        from recon.config import preset
        from recon.fit.checkpoint import Checkpoint
        from recon.reconstruct import fit_scene
        from tracking.column_file import load_column

        grid = VideoGrid.load(run.path / "grid")
        column = load_column(run.path / "tracks.npz")
        config = preset(chosen)
        config.seed = command.run.seed
        show = None if live is None else lambda scene: live.show(scene, grid)
        checkpoint = Checkpoint(run.path / "fit", key)
        scene, report = fit_scene(grid, column, config, show, checkpoint)
        scene.save(run.path / "scene.safetensors")
        with atomic_file(run.path / "metrics.json") as temporary:
            temporary.write_text(json.dumps(report, indent=1))
        checkpoint.done()
        if "psnr_input" in report:
            say(
                f"  PSNR on the {int(np.sum(grid.known))} given cells {report['psnr_input']:.1f} dB"
            )

    outputs = ["scene.safetensors", "metrics.json"]
    run.stage("scene", "fitting the deformable Gaussians", key, outputs, work)


def outputs_stage(run: RunFolder) -> None:
    """Write what a person looks at: ``index.html``, ``overview.png`` and ``ply/``."""

    def work() -> None:
        from recon.scene import Scene4D
        from viewer.export.ply import write_sequence
        from viewer.overview import write_overview
        from viewer.page.html import write_player

        grid = VideoGrid.load(run.path / "grid")
        scene = Scene4D.load(run.path / "scene.safetensors")
        write_sequence(scene, run.path / "ply")
        write_player(scene, run.path / "index.html", grid.prompt or run.path.name, grid.fps)
        write_overview(scene, grid, run.path / "overview.png")

    key = content_hash("outputs", run.path / "grid", run.path / "scene.safetensors")
    outputs = ["ply", "index.html", "overview.png"]
    run.stage("outputs", "player, pictures, ply sequence", key, outputs, work)


def default_out(command: Prompt | Videos | Grid) -> str:
    """outputs/NAME, made from the prompt or the input's file names (and a seed other than 0)."""
    seed = command.run.seed
    return str(Path("outputs") / (f"{command.name}-seed{seed}" if seed else command.name))


def main(argv: list[str] | None = None) -> int:
    """Entry point; exit codes and what is said on stderr are those of
    ``fourreal.guard.exit_code``."""
    words = list(sys.argv[1:] if argv is None else argv)
    kind = words[0] if words and words[0] in COMMANDS else "prompt"
    return exit_code(lambda: run_command(parse(words)), LESS_MEMORY.get(kind, FEWER_POINTS))


if __name__ == "__main__":
    sys.exit(main())
