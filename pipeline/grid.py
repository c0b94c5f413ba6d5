"""The command `grid`: footage of several views over time, in any format that is read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from tyro.conf import Positional, arg

from fourreal.console import say, warn
from fourreal.errors import UserError
from fourreal.option_values import Size, Tiles, existing, key_settings
from fourreal.run_folder import slug
from fourreal.stage_key import fingerprint
from fourreal.video_io import to_uint8
from gen.data.assets.as_grid import AssetRequest, asset_files, asset_grid, is_asset
from gen.footage.detect import check_format, read_source, source_paths
from gen.footage.footage import Footage
from gen.footage.how_many import views_of
from gen.footage.selection import (
    MAX_VIEWS,
    VIEWS,
    check_counts,
    check_timing,
    choose_times,
    choose_views,
    default_size,
    thin,
)
from gen.footage.sync import find_offsets, in_step
from gen.grid import VideoGrid
from pipeline.run_options import RunOptions
from pipeline.stages import Job
from tracking.backends.table import Choice
from tracking.flow.in_common import share_in_common


@dataclass
class Grid:
    """A grid of frames that exists already (folder, .npz, tiled .mp4) -> 4D scene."""

    path: Positional[str]
    """Animated asset (.glb, .gltf; needs the extra [render]), grid folder (v00/t000.png …), .npz
    with rgb [V, T, H, W, 3], tiled .mp4, or a data set: one
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
    size: Size = None
    """HEIGHTxWIDTH to work at; by default the short side becomes 288 px, or stays what it is if
    that is less. A smaller one takes less time."""
    max_views: int = 0
    """More views of a data set are thinned evenly to this many, 0: to 16, or of one moment up to 48
    where 16 would have too little in common; grids are used whole."""
    max_times: int = 16
    """More times of a data set are thinned evenly to this many, 0: all; grids are used whole."""
    tiles: Tiles = None
    """ROWSxCOLUMNS of a tiled mp4 that does not say so itself."""

    views: int | None = None
    """Asset (.glb, .gltf): so many views of it; by default 8."""
    times: int | None = None
    """Asset: so many times of its animation; by default 8."""
    clip: str = ""
    """Asset: part of the name of the animation; by default the first that moves."""
    arc: float | None = None
    """Asset: degrees between its first and last view, 360 for a ring; by default 70."""
    sync: Literal["say", "on", "off"] = "say"
    """Cameras that began earlier or later than the others, as far as motion tells: say, shift
    them (on), or do not look (off)."""
    run: Annotated[RunOptions, arg(name="")] = field(default_factory=RunOptions)
    tracking: Annotated[Choice, arg(name="")] = field(default_factory=Choice)

    def check(self) -> None:
        """Refuse values that no stage can work with. Raises UserError."""
        check_counts(self.max_views or VIEWS, self.max_times)
        check_timing(self.start, self.fps)
        for name in ("views", "times", "clip", "arc"):
            if getattr(self, name) not in (None, "") and not is_asset(Path(self.path)):
                raise UserError(f"--{name} goes with a .glb or .gltf file, not with {self.path}")
        for name, count in (("views", self.views), ("times", self.times)):
            if count is not None and not 2 <= count <= 64:
                raise UserError(f"--{name} {count}: choose 2..64")

    def asset(self) -> AssetRequest:
        """How an asset is filmed."""
        usual = AssetRequest()
        return AssetRequest(
            self.views or usual.views,
            self.times or usual.times,
            self.clip or usual.clip,
            usual.arc if self.arc is None else self.arc,
            self.size or usual.size,
        )


def grid_job(options: Grid) -> Job:
    """What the stages are to do. Raises UserError: impossible options."""
    options.check()
    settings = asdict(options)
    del settings["run"]
    path = Path(options.path)
    return Job(
        kind="grid",
        name=slug(f"{path.parent.name}-{path.stem}" if path.suffix else path.name),
        title="reading the grid",
        settings=settings,
        made_from=lambda: _made_from(options),
        make_grid=lambda run: _make_grid(options),
        run=options.run,
        tracking=options.tracking,
    )


def _made_from(options: Grid) -> dict[str, Any]:
    """What the grid follows from. UserError: nothing is there, or of no known format."""
    path = existing(options.path)
    if is_asset(path):
        files = tuple(fingerprint(at) for at in asset_files(path))
        return {"options": key_settings(options, "run", "tracking"), "asset": files}
    check_format(path, options.cameras)
    footage, *cameras = source_paths(path, options.cameras)
    return {
        "options": key_settings(options, "run", "tracking"),
        "footage": footage,
        "cameras": tuple(fingerprint(at) for at in cameras),
    }


def _make_grid(options: Grid) -> VideoGrid:
    """Read the footage and take the part of it that is asked for."""
    source: VideoGrid | Footage
    if is_asset(Path(options.path)):
        source = asset_grid(Path(options.path), options.asset())
    else:
        source = read_source(options.path, options.tiles, options.cameras)
    try:
        grid = _part(options, source)
    except ValueError as error:
        raise UserError(f"{options.path} cannot be used: {error}") from error
    if grid.V < 2:
        raise UserError(f"{options.path} has {grid.V} view after picking; at least 2 are needed")
    return grid.centred()


def _synchronised(source: Footage, even_out: bool) -> Footage:
    """The footage; views that began at another time are named, and shifted if that is asked for."""
    offsets = find_offsets(source)
    for line in offsets.lines():
        if even_out:
            say(f"  evened out: {line}")
        else:
            warn(f"{line}; --sync on evens that out")
    return in_step(source, offsets) if even_out and not offsets.in_step else source


def _part(options: Grid, source: VideoGrid | Footage) -> VideoGrid:
    size = options.size
    if isinstance(source, VideoGrid):
        span = (source.T - 1) / source.fps
        times = choose_times(
            np.asarray(source.times) * span, options.pick_times, options.start, options.fps
        )
        views = choose_views(source.V, options.pick_views)
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
    if options.sync != "off":
        source = _synchronised(source, options.sync == "on")
    views, times = source.usable()
    views = views[choose_views(len(views), options.pick_views)]
    seconds = source.seconds[times] - source.seconds[times[0]]
    times = times[choose_times(seconds, options.pick_times, options.start, options.fps)]
    most = options.max_views or VIEWS
    if len(times) == 1:

        def small(some: NDArray[np.intp], short_side: int) -> NDArray[np.uint8]:
            size = default_size(*source.size, short_side=short_side)
            return to_uint8(source.grid(some, times, *size).frames[:, 0])

        most = views_of(views, options.max_views, share_in_common, small, "footage")
    views = thin(views, most, "views", "--pick-views or --max-views")
    times = thin(times, options.max_times, "times", "--pick-times, --fps or --max-times")
    return source.grid(views, times, *(size or default_size(*source.size)))
