"""Footage of two or three cameras in which too much moves to be followed: a geometry per time.

Every time that its own views can be measured at gets Gaussians of its own, which are born at that
time and die with it (`visibility`); in between they fade into each other. What is lost is that a
point has one path; what is kept is true depth at every time.

Legend: V views, T times, N Gaussians.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fourreal.colour import difference
from fourreal.console import say, warn
from fourreal.errors import UserError
from gen.grid import VideoGrid
from recon.config import FitConfig
from recon.fit.checkpoint import Checkpoint
from recon.scene import Scene4D, empty_motion
from tracking.column import ColumnTracks, track_column
from tracking.config import TrackConfig
from tracking.flow.trusted import trusted_flow

FEW_VIEWS = 3
_CHANGED = 0.06  # colour difference of a pixel that changed
_MUCH = 0.3  # share of the picture that changes between neighbouring times ...
_FOLLOWED = 0.35  # ... and share of it whose flow there and back agrees


@dataclass
class Change:
    """Between neighbouring times of a view: shares of the picture that change and, of these, that
    flow can follow."""

    changed: float
    followed: float

    @property
    def too_much(self) -> bool:
        """Whether points cannot be followed from time to time."""
        return self.changed > _MUCH and self.followed < _FOLLOWED


def change_over_time(row_THW3: NDArray[np.float32]) -> Change:
    """How much of a fixed view's clip changes, and how much of that flow can follow."""
    changed = followed = 0.0
    for a, b in zip(row_THW3[:-1], row_THW3[1:], strict=True):
        differs = cv2.blur(difference(a, b), (5, 5)) > _CHANGED
        _, trust = trusted_flow(a, b)
        changed += float(differs.sum())
        followed += float((differs & (trust > 0.5)).sum())
    pixels = row_THW3[0, ..., 0].size * (len(row_THW3) - 1)
    return Change(changed / max(pixels, 1), followed / max(changed, 1.0))


def measured_times(grid: VideoGrid) -> list[int]:
    """Times at which at least two views are known."""
    assert grid.known is not None
    return [int(t) for t in np.flatnonzero(grid.known.sum(0) >= 2)]


def needs_moments(grid: VideoGrid, column: ColumnTracks) -> bool:
    """Whether a grid of few views has a depth at its times but no motion that can be followed."""
    if grid.V > FEW_VIEWS or grid.T < 2 or not column.parallax or column.dropped:
        return False
    change = change_over_time(grid.fixed_view)
    if not change.too_much or len(measured_times(grid)) < 2:
        return False
    warn(
        f"{100 * change.changed:.0f} % of the picture changes from time to time and flow follows "
        f"{100 * change.followed:.0f} % of that: every time gets a geometry of its own from its "
        f"{grid.V} views, and times fade into each other"
    )
    return True


def fit_moments(
    grid: VideoGrid,
    column: ColumnTracks,
    config: FitConfig,
    fit_one: Callable[[VideoGrid, ColumnTracks, FitConfig], Scene4D],
    checkpoint: Checkpoint | None = None,
) -> Scene4D:
    """A scene for every time that can be measured, each visible at its own time alone.

    fit_one fits a grid of one time on the tracks of its column; times that ``checkpoint`` keeps
    are taken as they are.
    """
    assert grid.known is not None and grid.times is not None
    config = replace(config, static_steps=max(1, config.static_steps // 3))
    config.floaters = replace(config.floaters, steps=config.floaters.steps // 3)
    parts: list[tuple[int, Scene4D]] = []
    for t in measured_times(grid):
        views = np.flatnonzero(grid.known[:, t])
        kept = None if checkpoint is None else checkpoint.part(f"time{t}", config.device)
        if kept is not None:
            parts.append((t, kept))
            continue
        say(f"  time {t + 1} of {grid.T}")
        if t == grid.shared[1]:
            own = replace(column, colours=None)
        else:
            try:
                own = track_column(
                    grid.frames[views, t], K=column.K[views], w2c=column.w2c[views],
                    config=TrackConfig(adjust_cameras=False),
                )  # fmt: skip
            except UserError as error:
                warn(f"time {t}: {error}; the times beside it stand in")
                continue
        moment = VideoGrid(grid.frames[views, t][:, None], K=column.K[views], w2c=column.w2c[views])
        part = fit_one(moment, own, config)
        if checkpoint is not None:
            checkpoint.finished_part(f"time{t}", part)
        parts.append((t, part))
    return joined(parts, grid, column)


def joined(parts: list[tuple[int, Scene4D]], grid: VideoGrid, column: ColumnTracks) -> Scene4D:
    """One scene of many: each part visible at its time, and at times nearest to it without one."""
    assert grid.times is not None
    stamps = grid.times
    owners = np.array([t for t, _ in parts])
    nearest = owners[np.abs(stamps[owners][None] - stamps[:, None]).argmin(1)]
    scenes = [scene.anisotropic() for _, scene in parts]

    def all_of(name: str) -> torch.Tensor:
        return torch.cat([getattr(scene, name) for scene in scenes])

    owner = np.concatenate([np.full(len(s), t) for (t, _), s in zip(parts, scenes, strict=True)])
    visibility = torch.from_numpy((nearest[:, None] == owner[None]).astype(np.float32))
    n = len(owner)
    return Scene4D(
        means=all_of("means"),
        log_scales=all_of("log_scales"),
        opacity_logits=all_of("opacity_logits"),
        colors=all_of("colors"),
        log_stretch=all_of("log_stretch"),
        rotations=all_of("rotations"),
        times=torch.as_tensor(stamps, dtype=torch.float32),
        **empty_motion(n, len(stamps)),
        view_offsets=torch.zeros(grid.V, n, 3),
        visibility=visibility,
        K=torch.as_tensor(column.K, dtype=torch.float32),
        w2c=torch.as_tensor(column.w2c, dtype=torch.float32),
        size=scenes[0].size,
        canonical_time=grid.shared[1],
        canonical_view=int(column.central),
        background=scenes[0].background,
    ).to(scenes[0].means.device)
