"""The stages of a run, from artefact to artefact: grid, tracks, scene, outputs.

    command -> Job -> grid/ -> tracks.npz -> scene.safetensors -> index.html, overview.png, ply/

Every stage has a key of everything that decides its result: the settings as they were resolved,
the files they name, what the stage before left, and the program's own source.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fourreal.atomic import atomic_file
from fourreal.console import reporting, say
from fourreal.errors import UserError
from fourreal.run_folder import RunFolder
from fourreal.stage_key import StageKey, fingerprint, program_hash
from gen.grid import VideoGrid
from pipeline.compile_ahead import CompileAhead
from pipeline.run_options import RunOptions
from pipeline.scene_file import title_and_rate
from tracking.backends.table import Choice

if TYPE_CHECKING:
    from recon.config import FitConfig
    from viewer.viser.live import LiveView

GRID = ("gen.grid", "gen.grid_file", "gen.frame_files")  # what reads a grid
# What to do when memory runs out.
LESS_MEMORY = {
    "prompt": "--max-memory, a smaller --size or fewer --views and --times lower it",
    "videos": "a smaller --size, --max-views or --max-times lowers it",
    "grid": "a smaller --size or fewer views and times (--pick-views, --pick-times) lower it",
}


@dataclass
class Job:
    """What a command asks of the stages.

    kind: the command; name: of the run's folder; title: of the grid stage; settings: the command
    as it was given, for the record; made_from: everything the grid follows from, by name (it may
    refuse: UserError); make_grid: the grid, given the run folder for what it leaves on the way;
    given_cameras: whether the grid comes with cameras, as far as that is known before.
    """

    kind: str
    name: str
    title: str
    settings: dict[str, Any]
    made_from: Callable[[], dict[str, Any]]
    make_grid: Callable[[Path], VideoGrid]
    run: RunOptions
    tracking: Choice = field(default_factory=Choice)
    given_cameras: bool = False

    @property
    def out(self) -> Path:
        """The run's folder: outputs/NAME, made from the prompt or the input's file names (and a
        seed other than 0), unless another was asked for."""
        seed = self.run.seed
        name = f"{self.name}-seed{seed}" if seed else self.name
        return Path(self.run.out or Path("outputs") / name)


def make_scene(job: Job) -> None:
    """Run all stages in the run folder and say where to look. Raises UserError."""
    job.run.check()
    job.tracking.check()
    settings = {"kind": job.kind, **job.settings, **asdict(job.run)}
    run = RunFolder(job.out, settings, job.run.force, LESS_MEMORY[job.kind])
    live = None
    if job.run.view:
        from viewer.viser.live import LiveView

        live = LiveView(job.run.port)
    ahead = CompileAhead(job.given_cameras, job.run.fit_preset())
    try:
        grid_stage(run, job, ahead)
        tracks_stage(run, job.tracking, ahead)
        scene_stage(run, job.run, ahead, live)
        outputs_stage(run)
    except UserError:
        run.discard_if_new()
        raise
    finally:
        ahead.close()
        run.close()
    out = run.path
    if not run.ran_any:
        say("nothing to do: every stage was finished before (--force STAGE redoes one)")
    say(f"look: {out / 'index.html'} (any browser), {out / 'overview.png'}, {out / 'ply'}/")
    if live is not None:
        live.hold(out)
    else:
        say(f"      python run_pipeline.py view {out}")


def grid_stage(run: RunFolder, job: Job, ahead: CompileAhead) -> None:
    """Make or read the V x T grid -> ``grid/`` and ``grid.mp4``."""

    def work() -> None:
        ahead.start()
        grid = job.make_grid(run.path)
        grid.save(run.path / "grid")
        grid.save_mp4(run.path / "grid.mp4")

    key = StageKey.of(**job.made_from(), program=program_hash("fourreal", "gen", "pipeline"))
    run.stage("grid", job.title, key, ["grid/grid.json", "grid.mp4"], work)


def tracks_key(run: Path, backends: Choice) -> StageKey:
    """What the tracks of a run's column follow from; ``backends`` with their paths resolved."""
    from tracking.config import TrackConfig

    return StageKey.of(
        grid=run / "grid",
        backends=asdict(backends),
        their_files=tuple(fingerprint(path) for path in backends.files()),
        tracking_settings=asdict(TrackConfig()),
        program=program_hash("fourreal", *GRID, "tracking"),
    )


def tracks_stage(run: RunFolder, choice: Choice, ahead: CompileAhead) -> None:
    """Track the freeze-time column in 3D -> ``tracks.npz``."""
    backends = choice.resolved()
    key = tracks_key(run.path, backends)

    def work() -> None:
        from tracking.backends.with_any import track_with
        from tracking.column_file import save_column

        ahead.wait("tracks")
        grid = VideoGrid.load(run.path / "grid")
        frames = grid.freeze_time
        with reporting() as report:
            column = track_with(
                frames, backends, K=grid.K, w2c=grid.w2c, fine=grid.fine, at_once=grid.at_once,
                moments=grid.other_moments(), progress=report,
            )  # fmt: skip
        save_column(column, run.path / "tracks.npz", frames)

    run.stage("tracks", "dense 3D tracking of the freeze-time column", key, ["tracks.npz"], work)


def fit_settings(options: RunOptions) -> FitConfig:
    """The settings of the fit that a command's options come to on this machine."""
    from recon.config import as_in_paper, choose_motion, preset

    config = preset(options.fit_preset())
    if options.motion != "auto":
        choose_motion(config, options.motion)
    if options.method == "paper":
        as_in_paper(config)
    config.seed = options.seed
    return config


def scene_key(run: Path, config: FitConfig) -> StageKey:
    """What a run's scene follows from."""
    return StageKey.of(
        grid=run / "grid",
        tracks=run / "tracks.npz",
        fit_settings=asdict(config),
        program=program_hash("fourreal", *GRID, "tracking", "recon"),
    )


def scene_stage(
    run: RunFolder, options: RunOptions, ahead: CompileAhead, live: LiveView | None = None
) -> None:
    """Fit the Gaussians -> ``scene.safetensors``, ``metrics.json``.

    ``live`` is shown the scene while it is fitted.
    """
    config = fit_settings(options)
    key = scene_key(run.path, config)

    def work() -> None:
        from recon.fit.checkpoint import Checkpoint
        from recon.reconstruct import fit_scene
        from tracking.column_file import load_column

        ahead.wait("scene")
        grid = VideoGrid.load(run.path / "grid")
        column = load_column(run.path / "tracks.npz")
        show = None if live is None else lambda scene: live.show(scene, grid)
        checkpoint = Checkpoint(run.path / "fit", str(key))
        scene, report = fit_scene(grid, column, config, show, checkpoint)
        scene.save(run.path / "scene.safetensors")
        with atomic_file(run.path / "metrics.json") as temporary:
            temporary.write_text(json.dumps(report, indent=1))
        checkpoint.done()
        if "psnr_input" in report:
            given = np.count_nonzero(np.asarray(grid.known))
            say(f"  PSNR on the {given} given cells {report['psnr_input']:.1f} dB")

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
        labels = title_and_rate(run.path, len(scene.times))
        write_player(scene, run.path / "index.html", *labels)
        write_overview(scene, grid, run.path / "overview.png")

    key = StageKey.of(
        grid=run.path / "grid",
        scene=run.path / "scene.safetensors",
        program=program_hash("fourreal", *GRID, "recon", "viewer"),
    )
    outputs = ["ply", "index.html", "overview.png"]
    run.stage("outputs", "player, pictures, ply sequence", key, outputs, work)
