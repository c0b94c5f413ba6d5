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
import re
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

import numpy as np
import tyro
from tyro.conf import Positional, arg, subcommand

from gen.atomic import atomic_file
from gen.clips import default_size, load_pair, parse_pair, parse_size, parse_slice
from gen.console import progress, say
from gen.errors import UserError
from gen.grid import MAX_CELLS, VideoGrid
from gen.run_folder import RunFolder, content_hash

if TYPE_CHECKING:
    from viewer.live import LiveView

Mixer = Literal["none", "sequential", "hard", "soft", "fused"]


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


@dataclass
class TrackOptions:
    """Which programs follow the points and say how far they are; `doctor` lists what is usable."""

    tracker: Literal["flow", "alltracker", "delta", "delta-v2", "npz"] = "flow"
    """flow: built in, no weights. The others run from a checkout of yours; npz: a tracks file."""
    depth: Literal["flow", "moge", "depth-anything"] = "flow"
    """flow: triangulated. The networks fill in where that is not sure."""
    tracker_path: str = ""
    """Folder of the tracker's checkout, or the tracks file."""
    tracker_weights: str = ""
    """The tracker's checkpoint."""
    depth_path: str = ""
    """Folder of the depth network's checkout (not needed when it is installed)."""
    depth_weights: str = ""
    """The depth network's checkpoint, or its folder."""


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
    steps: int = 12
    """Denoising steps per clip and for the grid."""
    mixer: Mixer = "soft"
    """How the two streams are synchronised."""
    untrained_sync: bool = False
    """Use the training-free weights of the mixer."""
    size: str = ""
    """HEIGHTxWIDTH of the grid's frames; by default the generated ones times a whole number."""
    upsampler: Literal["auto", "on", "off"] = "auto"
    """Diffusion upsampler for the grid's frames; auto: when the weights have a good one, else plain
    resizing."""
    weights: str = ""
    """Folder of weights; by default the bundled ones."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the generator."""
    max_memory: float = 0.0
    """GB that the generator may take (estimated); fewer clips at a time then. 0: no bound."""


@dataclass
class Videos:
    """A fixed-view clip and a freeze-time clip with the same first frame -> 4D scene."""

    freeze_time: str
    """Clip (or image folder) of a frozen moment: only the camera moves."""
    fixed_view: str = ""
    """Clip (or image folder) of a still camera: only the scene moves. Absent: a static scene."""
    run: Annotated[RunOptions, arg(name="")] = field(default_factory=RunOptions)
    tracking: Annotated[TrackOptions, arg(name="")] = field(default_factory=TrackOptions)
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
    max_memory: float = 0.0
    """GB that the bundled model may take (estimated); 0: no bound."""
    force_pair: bool = False
    """Go on although the clips do not seem to show the same scene."""


@dataclass
class Grid:
    """A grid of frames that exists already (folder, .npz, tiled .mp4) -> 4D scene."""

    path: Positional[str]
    """Grid folder (v00/t000.png …), .npz with rgb [V, T, H, W, 3], or tiled .mp4."""
    run: Annotated[RunOptions, arg(name="")] = field(default_factory=RunOptions)
    tracking: Annotated[TrackOptions, arg(name="")] = field(default_factory=TrackOptions)
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
    format: Literal["ply-sequence", "html", "4dgs", "video", "nerfstudio", "pointcloud"] = (
        "ply-sequence"
    )
    """ply-sequence: one Gaussian .ply per time; html: the self-contained player; 4dgs: the player's
    bare payload; video: an mp4; nerfstudio: a folder for ns-viewer, ns-render and ns-export;
    pointcloud: plain coloured points (needs Open3D)."""
    out: str = ""
    """Where to; by default inside the run folder."""
    frames: int = 0
    """Number of frames of a sequence or video; 0: one per time of the grid (video: 48)."""
    path: Literal["orbit", "spiral", "input"] = "orbit"
    """Camera path of a video."""
    zip: bool = False
    """Write a ply-sequence as one zip file instead of a folder."""
    outliers: float = 0.0
    """pointcloud: remove points this many standard deviations farther from their 20 neighbours
    than usual (2 is a good value); 0 keeps all."""
    min_opacity: float = 0.1
    """pointcloud: leave out Gaussians fainter than this."""


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
    from viewer import commands

    if isinstance(command, (Prompt, Videos, Grid)):
        make_scene(command)
    elif isinstance(command, View):
        commands.view(command.run, command.host, command.port)
    elif isinstance(command, Export):
        options = {k: v for k, v in asdict(command).items() if k not in ("run", "format")}
        commands.export(command.run, command.format, **options)
    elif isinstance(command, Inspect):
        commands.inspect(command.path)
    elif isinstance(command, Doctor):
        commands.doctor()


def make_scene(command: Prompt | Videos | Grid) -> None:
    """Run the stages grid, tracks, scene, outputs in the run folder and say where to look."""
    check(command)
    out = Path(command.run.out or default_out(command))
    settings = {k: v for k, v in asdict(command).items() if k not in ("run", "tracking")}
    kind = type(command).__name__.lower()
    record = {k: v for k, v in asdict(command).items() if k != "run"}
    run = RunFolder(out, {"kind": kind, **record, **asdict(command.run)}, command.run.force)
    live = None
    if command.run.view:
        from viewer.live import LiveView

        live = LiveView(command.run.port)
    try:
        key = grid_stage(run, command, settings)
        key = tracks_stage(run, command, key)
        key = scene_stage(run, command, key, live)
        outputs_stage(run, key)
        run.check_force()
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


def check(command: Prompt | Videos | Grid) -> None:
    """Refuse option values that no stage can work with, before anything is written."""
    if isinstance(command, Prompt):
        if not command.prompt.strip():
            raise UserError("the prompt is empty; describe a scene in quotes")
        for name, value, low, high in (
            ("views", command.views, 2, 64),
            ("times", command.times, 1, 256),
            ("steps", command.steps, 1, 200),
        ):
            if not low <= value <= high:
                raise UserError(f"--{name} {value}: choose {low}..{high}")
        if command.views * command.times > MAX_CELLS:
            raise UserError(
                f"--views {command.views} --times {command.times}: at most {MAX_CELLS} cells"
            )
        parse_size(command.size)
    elif isinstance(command, Videos):
        for name, value in (("views", command.max_views), ("times", command.max_times)):
            if not 2 <= value <= 256:
                raise UserError(f"--max-{name} {value}: choose 2..256")
    if not isinstance(command, Prompt):
        from tracking.backends import Choice

        Choice(**asdict(command.tracking)).check()
    if not isinstance(command, Grid) and not command.max_memory >= 0:
        raise UserError(f"--max-memory {command.max_memory}: give GB, or 0 for no bound")


def grid_stage(run: RunFolder, command: Prompt | Videos | Grid, settings: dict[str, Any]) -> str:
    """Make or read the V x T grid -> ``grid/`` and ``grid.mp4``; returns the stage's key."""
    seed = command.run.seed
    # How much memory was allowed changes no result: another bound is no reason to start again.
    inputs: list[Any] = [{k: v for k, v in settings.items() if k != "max_memory"}]
    if isinstance(command, Prompt):
        from gen.generate import check_prompt, weights_folder

        folder = weights_folder(command.weights)
        check_prompt(command.prompt, folder)
        inputs += [seed, folder]
        title = f'"{command.prompt}" -> {command.views} x {command.times} grid'
    elif isinstance(command, Videos):
        inputs += [existing(p) for p in (command.freeze_time, command.fixed_view) if p]
        inputs += [seed] if command.complete == "bundled" else []
        title = "reading the clips"
    else:
        inputs += [existing(command.path)]
        title = "reading the grid"

    def work() -> None:
        if isinstance(command, Prompt):
            from gen.prompt_command import generate_from_prompt

            grid = generate_from_prompt(command, run.path / "clips", seed)
        else:
            grid = read_grid(command)
        grid.save(run.path / "grid")
        grid.save_mp4(run.path / "grid.mp4")

    key = content_hash(*inputs)
    run.stage("grid", title, key, ["grid/grid.json", "grid.mp4"], work)
    return key


def read_grid(command: Videos | Grid) -> VideoGrid:
    """The grid of the user's own footage, picked and resized."""
    size = parse_size(command.size)
    if isinstance(command, Videos):
        grid = load_pair(
            command.freeze_time,
            command.fixed_view or None,
            command.pick_views,
            command.pick_times,
            size,
            command.max_views,
            command.max_times,
            command.force_pair,
        )
        if command.complete == "bundled" and not grid.complete:
            from gen.prompt_command import complete_with_bundled

            grid = complete_with_bundled(grid, command.run.seed, command.max_memory)
        elif not grid.complete:
            say(
                f"  {grid.V * grid.T - int(np.sum(grid.known))} cells between the clips stay "
                "unknown (--complete none): the scene is fitted to the two clips alone"
            )
        return grid
    tiles = parse_pair(command.tiles, "--tiles", "ROWSxCOLUMNS", "2x4") if command.tiles else None
    grid = VideoGrid.load(command.path, tiles)
    grid = grid.pick(
        parse_slice(command.pick_views, "--pick-views"),
        parse_slice(command.pick_times, "--pick-times"),
    )
    if grid.V < 2:
        raise UserError(f"{command.path} has {grid.V} view after picking; at least 2 are needed")
    return grid.resize(*(size or default_size(grid.height, grid.width)))


def existing(path: str) -> Path:
    """The path, if something is there."""
    p = Path(path)
    if not p.exists():
        raise UserError(f"no such file or folder: {p}")
    return p


def tracks_stage(run: RunFolder, command: Prompt | Videos | Grid, key: str) -> str:
    """Track the freeze-time column in 3D -> ``tracks.npz``; returns the stage's key."""
    from tracking.backends import Choice

    choice = Choice(**(asdict(command.tracking) if not isinstance(command, Prompt) else {}))
    imported = [Path(choice.tracker_path)] if choice.tracker == "npz" else []
    key = content_hash(key, "tracks", asdict(choice), *imported)

    def work() -> None:
        from tracking.column_backends import track_with
        from tracking.column_file import save_column

        grid = VideoGrid.load(run.path / "grid")
        frames = grid.column(0)
        bars: dict[str, Any] = {}

        def tell(stage: str, done: int, total: int) -> None:
            bar = bars.setdefault(stage, progress(description=stage, total=total))
            bar.update(done - bar.n)

        column = track_with(frames, choice, K=grid.K, w2c=grid.w2c, progress=tell)
        for bar in bars.values():
            bar.close()
        save_column(column, run.path / "tracks.npz", frames)

    run.stage("tracks", "dense 3D tracking of the freeze-time column", key, ["tracks.npz"], work)
    return key


def fit_preset(name: str) -> str:
    """The name of the fit's settings on this machine."""
    import torch

    if name == "auto":
        return "gpu" if torch.cuda.is_available() else "cpu"
    if name == "gpu" and not torch.cuda.is_available():
        raise UserError("--preset gpu: no CUDA device here; use --preset cpu")
    return name


def scene_stage(
    run: RunFolder, command: Prompt | Videos | Grid, key: str, live: LiveView | None = None
) -> str:
    """Fit the Gaussians -> ``scene.safetensors``, ``metrics.json``; returns the stage's key.

    ``live`` is shown the scene while it is fitted.
    """
    chosen = fit_preset(command.run.preset)
    key = content_hash(key, "scene", chosen, command.run.seed)

    def work() -> None:
        from recon.config import preset
        from recon.fit import fit_scene
        from tracking.column_file import load_column

        grid = VideoGrid.load(run.path / "grid")
        column = load_column(run.path / "tracks.npz")
        config = preset(chosen)
        config.seed = command.run.seed
        show = None if live is None else lambda scene: live.show(scene, grid)
        scene, report = fit_scene(grid, column, config, show)
        scene.save(run.path / "scene.safetensors")
        with atomic_file(run.path / "metrics.json") as temporary:
            temporary.write_text(json.dumps(report, indent=1))
        if "psnr_input" in report:
            say(
                f"  PSNR on the {int(np.sum(grid.known))} given cells {report['psnr_input']:.1f} dB"
            )

    outputs = ["scene.safetensors", "metrics.json"]
    run.stage("scene", "fitting the deformable Gaussians", key, outputs, work)
    return key


def outputs_stage(run: RunFolder, key: str) -> None:
    """Write what a person looks at: ``index.html``, ``overview.png`` and ``ply/``."""

    def work() -> None:
        from recon.scene import Scene4D
        from viewer.html import write_player
        from viewer.overview import write_overview
        from viewer.ply import write_sequence

        grid = VideoGrid.load(run.path / "grid")
        scene = Scene4D.load(run.path / "scene.safetensors")
        write_sequence(scene, run.path / "ply")
        write_player(scene, run.path / "index.html", grid.prompt or run.path.name, grid.fps)
        write_overview(scene, grid, run.path / "overview.png")

    outputs = ["ply", "index.html", "overview.png"]
    run.stage(
        "outputs", "player, pictures, ply sequence", content_hash(key, "outputs"), outputs, work
    )


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
