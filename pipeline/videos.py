"""The command `videos`: a fixed-view and a freeze-time clip become a cross of known cells."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from tyro.conf import arg

from fourreal.console import say
from fourreal.errors import UserError
from fourreal.option_values import Size, check_memory, existing, key_settings
from fourreal.run_folder import slug
from fourreal.stage_key import fingerprint
from gen.footage.column import key_paths
from gen.footage.pair import PairRequest, load_pair
from gen.footage.selection import VIEWS, check_counts, check_timing
from gen.grid import VideoGrid
from pipeline.run_options import RunOptions
from pipeline.stages import Job
from pipeline.wan_options import STEPS, WanOptions
from tracking.backends.table import Choice
from tracking.flow.in_common import share_in_common


@dataclass
class Videos:
    """A fixed-view clip and a freeze-time clip with the same first frame -> 4D scene."""

    freeze_time: str
    """Clip (or image folder) of a frozen moment: only the camera moves."""
    fixed_view: str = ""
    """Clip (or image folder) of a still camera: only the scene moves. Absent: a static scene."""
    cameras: str = ""
    """Cameras of the freeze-time clip: COLMAP model (sparse/0), transforms.json, poses_bounds.npy,
    cameras.json, or a folder with one; by default those found in or beside a folder of photos."""
    pick_views: str = ""
    """A:B or A:B:STEP: which frames of the freeze-time clip to use."""
    pick_times: str = ""
    """A:B or A:B:STEP: which frames of the fixed-view clip to use."""
    start: float = 0.0
    """Leave out the first seconds of the fixed-view clip."""
    fps: float = 0.0
    """Use so many frames per second of the fixed-view clip; 0: all."""
    shared_frame: str = ""
    """A:B: frame A of the fixed-view clip is frame B of the freeze-time clip; by default found."""
    stabilise: bool = True
    """Take small shake out of the fixed view."""
    straighten: bool = True
    """Undo what a lens bends, where the frames say that it does and no cameras are given."""
    size: Size = None
    """HEIGHTxWIDTH to work at; by default the short side becomes 288 px, or stays what it is if
    that is less. A smaller one takes less time."""
    max_views: int = 0
    """Longer freeze-time clips are thinned evenly to this many frames; 0: to 16, or up to 48 where
    the camera goes so far around that 16 views would have too little in common."""
    max_times: int = 16
    """Longer fixed-view clips are thinned evenly to this many frames; 0: all of them."""
    complete: Literal["none", "bundled", "wan"] = "none"
    """Who fills the cells between: nobody (the fit needs only the two clips), the bundled network
    for footage, which mixes what the two clips show, or Wan, whose weights you have."""
    weights: str = ""
    """Wan: folder of its weights in diffusers' layout (docs/WAN.md)."""
    prompt: str = ""
    """Wan: what the clips show, in words."""
    steps: int = STEPS
    """Wan: denoising steps."""
    max_memory: float = 0.0
    """GB that the model may take (estimated); 0: no bound (Wan on a GPU: what is free there)."""
    wan: Annotated[WanOptions, arg(name="")] = field(default_factory=WanOptions)
    force_pair: bool = False
    """Go on although the clips do not seem to show the same scene."""

    run: Annotated[RunOptions, arg(name="")] = field(default_factory=RunOptions)
    tracking: Annotated[Choice, arg(name="")] = field(default_factory=Choice)

    def check(self) -> None:
        """Refuse values that no stage can work with. Raises UserError."""
        check_counts(self.max_views or VIEWS, self.max_times)
        check_timing(self.start, self.fps)
        check_memory(self.max_memory)
        self.wan.check(self.complete == "wan")
        if not 1 <= self.steps <= 200:
            raise UserError(f"--steps {self.steps}: choose 1..200")


def videos_job(options: Videos) -> Job:
    """What the stages are to do. Raises UserError: impossible options."""
    options.check()
    settings = asdict(options)
    del settings["run"]
    freeze, fixed = Path(options.freeze_time), Path(options.fixed_view)
    return Job(
        kind="videos",
        name=f"{slug(fixed.stem)}-{slug(freeze.stem)}" if options.fixed_view else slug(freeze.stem),
        title="reading the clips",
        settings=settings,
        made_from=lambda: _made_from(options),
        make_grid=lambda run: _make_grid(options),
        run=options.run,
        tracking=options.tracking,
    )


def _made_from(options: Videos) -> dict[str, Any]:
    """What the grid follows from. UserError: a clip is missing."""
    names = ("max_memory", "run", "tracking", "wan")
    clip, *cameras = key_paths(existing(options.freeze_time), options.cameras)
    made = {
        "options": key_settings(options, *names),
        "freeze_time_clip": clip,
        "cameras": tuple(fingerprint(at) for at in cameras),
        "fixed_view_clip": existing(options.fixed_view) if options.fixed_view else "",
    }
    if options.complete != "none":
        made["seed"] = options.run.seed
    if options.complete == "bundled":
        from gen.bundled import weights_folder

        made["weights"] = weights_folder()
    elif options.complete == "wan":
        made |= options.wan.made_from(options.weights)
    return made


def _make_grid(options: Videos) -> VideoGrid:
    """Read the clips; with `--complete` also fill the cells between them."""
    grid = load_pair(
        PairRequest(
            options.freeze_time,
            options.fixed_view,
            options.cameras,
            options.pick_views,
            options.pick_times,
            options.start,
            options.fps,
            options.size,
            options.max_views,
            options.max_times,
            options.shared_frame,
            options.stabilise,
            options.straighten,
            options.force_pair,
            share_in_common,
        )
    )
    if grid.complete:
        return grid
    if options.complete == "bundled":
        from pipeline.generate import complete_with_bundled

        return complete_with_bundled(grid, options.run.seed, options.max_memory or None)
    if options.complete == "wan":
        from pipeline.wan import complete_with_wan

        grid = replace(grid, prompt=options.prompt)
        return complete_with_wan(
            grid, options.wan, options.weights, options.run.seed, options.steps, options.max_memory
        )
    unknown = int(np.sum(~np.asarray(grid.known)))
    say(
        f"  {unknown} cells between the clips stay unknown (--complete none): "
        "the scene is fitted to the two clips alone"
    )
    return grid
