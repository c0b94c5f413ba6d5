"""Options of the commands `videos` and `grid`: which footage, and which part of it is used."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from tyro.conf import Positional, arg

from fourreal.console import say
from fourreal.errors import UserError
from fourreal.option_values import check_memory, existing, key_settings, parse_pair, parse_size
from fourreal.run_folder import slug
from gen.footage.column import key_paths
from gen.footage.detect import check_format, read_source, source_paths
from gen.footage.footage import Footage
from gen.footage.pair import PairRequest, load_pair
from gen.footage.selection import check_timing, choose_times, choose_views, default_size, thin
from gen.grid import VideoGrid
from pipeline.wan_options import STEPS, WanOptions

MAX_VIEWS = 256


@dataclass
class PairOptions:
    """A fixed-view and a freeze-time clip."""

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
    size: str = ""
    """HEIGHTxWIDTH to work at; by default the short side becomes 144 px."""
    max_views: int = 16
    """Longer freeze-time clips are thinned evenly to this many frames."""
    max_times: int = 16
    """Longer fixed-view clips are thinned evenly to this many frames."""
    complete: Literal["none", "bundled", "wan"] = "none"
    """Who fills the cells between: nobody (the fit needs only the two clips), the bundled model,
    which knows nothing but its small procedural world, or Wan, whose weights you have."""
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

    title = "reading the clips"

    @property
    def name(self) -> str:
        """A folder name."""
        name = slug(Path(self.freeze_time).stem)
        return f"{slug(Path(self.fixed_view).stem)}-{name}" if self.fixed_view else name

    def check(self) -> None:
        """Refuse values that no stage can work with. Raises UserError."""
        check_counts(self.max_views, self.max_times)
        check_timing(self.start, self.fps)
        check_memory(self.max_memory)
        self.wan.check(self.complete == "wan")
        if not 1 <= self.steps <= 200:
            raise UserError(f"--steps {self.steps}: choose 1..200")

    def key_parts(self, seed: int) -> list[Any]:
        """What the grid is made from, for `content_hash`. UserError: a clip is missing."""
        clips = key_paths(existing(self.freeze_time), self.cameras)
        clips += [existing(p) for p in (self.fixed_view,) if p]
        model = [seed] if self.complete != "none" else []
        model += self.wan.key_parts(self.weights) if self.complete == "wan" else []
        return [key_settings(self, PairOptions), *clips, *model]

    def make_grid(self, run: Path, seed: int) -> VideoGrid:
        """Read the clips; with `--complete` also fill the cells between them."""
        grid = load_pair(
            PairRequest(
                self.freeze_time,
                self.fixed_view,
                self.cameras,
                self.pick_views,
                self.pick_times,
                self.start,
                self.fps,
                parse_size(self.size),
                self.max_views,
                self.max_times,
                self.shared_frame,
                self.stabilise,
                self.force_pair,
            )
        )
        if grid.complete:
            return grid
        if self.complete == "bundled":
            from pipeline.prompt_command import complete_with_bundled

            return complete_with_bundled(grid, seed, self.max_memory)
        if self.complete == "wan":
            from pipeline.wan_command import complete_with_wan

            grid = replace(grid, prompt=self.prompt)
            return complete_with_wan(
                grid, self.wan, self.weights, seed, self.steps, self.max_memory
            )
        unknown = int(np.sum(~np.asarray(grid.known)))
        say(
            f"  {unknown} cells between the clips stay unknown (--complete none): "
            "the scene is fitted to the two clips alone"
        )
        return grid


@dataclass
class GridOptions:
    """Footage of several views over time."""

    path: Positional[str]
    """Grid folder (v00/t000.png …), .npz with rgb [V, T, H, W, 3], tiled .mp4, or a data set: one
    video or image folder per camera, transforms.json, train_meta.json, intri.yml + extri.yml,
    photos with cameras (images/ + sparse/0, poses_bounds.npy, cameras.json)."""
    cameras: str = ""
    """Cameras of photos or of a rig that lie elsewhere: see `videos`."""
    pick_views: str = ""
    """A:B or A:B:STEP: which views to use."""
    pick_times: str = ""
    """A:B or A:B:STEP: which times to use."""
    start: float = 0.0
    """Leave out the first seconds."""
    fps: float = 0.0
    """Use so many frames per second; 0: all."""
    size: str = ""
    """HEIGHTxWIDTH to work at; by default the short side becomes 144 px."""
    max_views: int = 16
    """More views of a data set are thinned evenly to this many; grids are used whole."""
    max_times: int = 16
    """More times of a data set are thinned evenly to this many; grids are used whole."""
    tiles: str = ""
    """ROWSxCOLUMNS of a tiled mp4 that does not say so itself."""

    title = "reading the grid"

    @property
    def name(self) -> str:
        """A folder name."""
        path = Path(self.path)
        return slug(f"{path.parent.name}-{path.stem}" if path.suffix else path.name)

    def check(self) -> None:
        """Refuse values that no stage can work with. Raises UserError."""
        parse_size(self.size)
        check_counts(self.max_views, self.max_times)
        check_timing(self.start, self.fps)

    def key_parts(self, seed: int) -> list[Any]:
        """What the grid is made from, for `content_hash`. UserError: nothing is there."""
        path = existing(self.path)
        check_format(path, self.cameras)
        return [key_settings(self, GridOptions), *source_paths(path, self.cameras)]

    def make_grid(self, run: Path, seed: int) -> VideoGrid:
        """Read the footage and take the part of it that is asked for."""
        form = ("ROWSxCOLUMNS", "2x4")
        tiles = parse_pair(self.tiles, "--tiles", *form) if self.tiles else None
        source = read_source(self.path, tiles, self.cameras)
        try:
            grid = self._part(source)
        except ValueError as error:
            raise UserError(f"{self.path} cannot be used: {error}") from error
        if grid.V < 2:
            raise UserError(f"{self.path} has {grid.V} view after picking; at least 2 are needed")
        return grid

    def _part(self, source: VideoGrid | Footage) -> VideoGrid:
        size = parse_size(self.size)
        if isinstance(source, VideoGrid):
            span = (source.T - 1) / source.fps
            times = choose_times(
                np.asarray(source.times) * span, self.pick_times, self.start, self.fps
            )
            views = choose_views(source.V, self.pick_views)
            if len(views) > MAX_VIEWS:
                raise ValueError(
                    f"{len(views)} views are more than the {MAX_VIEWS} that are tracked together; "
                    f"use every {-(-len(views) // MAX_VIEWS)}th: --pick-views 0:{source.V}:"
                    f"{-(-len(views) // MAX_VIEWS)}"
                )
            grid = source.pick(views, times)
            return grid.resize(*(size or default_size(grid.height, grid.width)))
        for note in source.describe():
            say(f"  {note}")
        views, times = source.usable()
        views = views[choose_views(len(views), self.pick_views)]
        seconds = source.seconds[times] - source.seconds[times[0]]
        times = times[choose_times(seconds, self.pick_times, self.start, self.fps)]
        views = thin(views, self.max_views, "views", "--pick-views or --max-views")
        times = thin(times, self.max_times, "times", "--pick-times, --fps or --max-times")
        return source.grid(views, times, *(size or default_size(*source.size)))


def check_counts(views: int, times: int) -> None:
    """Refuse impossible upper numbers. Raises UserError."""
    for name, value in (("views", views), ("times", times)):
        if not 2 <= value <= MAX_VIEWS:
            raise UserError(f"--max-{name} {value}: choose 2..{MAX_VIEWS}")
