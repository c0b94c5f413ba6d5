"""Grids that a model makes: the whole of a prompt's, or the cells that footage lacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fourreal.atomic import atomic_folder
from fourreal.console import reporting, say
from fourreal.video_io import resize_frames, write_image, write_video
from gen.bundled import load_bundled, weights_folder
from gen.camera_move import trained_cameras
from gen.completion.model import has_completion, load_completion
from gen.generate import Fills, GenerateConfig, GeneratedGrid
from gen.grid import VideoGrid
from gen.network.runtime import Runtime
from gen.upsample import Upsampler, has_upsampler, load_upsampler
from pipeline.prompt_options import STEPS, Prompt, UpsamplerChoice

WORK_SHORT_SIDE = 144  # generated frames are enlarged by whole factors up to this short side


def generate_from_prompt(options: Prompt, clips: Path) -> VideoGrid:
    """The grid of a prompt, with frames of the asked size; what it grew from is kept in `clips`.

    Where the weights were trained on a single camera move, the grid says its cameras.
    """
    runtime = Runtime(precision=options.precision, max_memory_gb=options.max_memory or None)
    folder, seed = weights_folder(options.weights), options.run.seed
    config = GenerateConfig(
        views=options.views,
        times=options.times,
        steps=options.steps or STEPS,
        grid_steps=options.steps or GenerateConfig.grid_steps,
        mixer=options.mixer,
        untrained_sync=options.untrained_sync,
        seed=seed,
    )
    with reporting() as report:
        made = load_bundled(folder, runtime).from_prompt(options.prompt, config, report)
    save_clips(made, clips)
    upsampler = choose_upsampler(options.upsampler, folder, runtime)
    grid = at_size(made.grid, options.size, upsampler, seed)
    cameras = trained_cameras(folder, grid.V, grid.height, grid.width)
    if cameras is None:
        return grid
    say("  cameras: those of the one move that the model was trained on")
    return replace(grid, K=cameras[0], w2c=cameras[1])


def complete_with_bundled(grid: VideoGrid, seed: int, max_memory_gb: float | None) -> VideoGrid:
    """Fill the unknown cells of a grid with the bundled completion network, at the grid's size, or,
    where the weights have none, with the bundled model, whose small cells are enlarged."""
    folder = weights_folder()
    generator: Fills = (
        load_completion(folder)
        if has_completion(folder)
        else load_bundled(folder, Runtime(max_memory_gb=max_memory_gb))
    )
    return complete_cells(grid, generator, GenerateConfig(seed=seed))


def complete_cells(grid: VideoGrid, generator: Fills, config: GenerateConfig) -> VideoGrid:
    """Fill the unknown cells of a grid of which one row and one column are known.

    Known cells stay exactly as they are. It starts at the shared cell and goes both ways along
    views and times, so up to four parts are filled one after another.
    """
    assert grid.known is not None
    frames = grid.frames.copy()
    for views, times in grid.quadrants():
        row, column = grid.fixed_view[times], grid.freeze_time[views]
        with reporting() as report:
            made = generator.complete_grid(row, column, grid.prompt, config, report)
        part = np.ix_(views, times)
        filled = resize_frames(made.grid.frames, grid.height, grid.width)
        known = grid.known[part][..., None, None, None]
        frames[part] = np.where(known, grid.frames[part], filled)
    return replace(grid, frames=frames, known=None)


def choose_upsampler(
    choice: UpsamplerChoice, folder: Path, runtime: Runtime | None = None
) -> Upsampler | None:
    """The upsampler of a weights folder, or None for plain resizing.

    auto: where the folder has one that its makers found better than plain resizing.  on: always;
    UserError when the folder has none.
    """
    if choice == "off" or (choice == "auto" and not has_upsampler(folder)):
        return None
    upsampler = load_upsampler(folder, runtime)
    return upsampler if choice == "on" or upsampler.default else None


def save_clips(made: GeneratedGrid, folder: Path) -> None:
    """Keep what lies between the prompt and the grid: first frame, both clips, small grid."""
    with atomic_folder(folder) as out:
        write_image(out / "first_frame.png", made.fixed_view[0])
        write_video(out / "fixed_view.mp4", made.fixed_view, made.grid.fps)
        write_video(out / "freeze_time.mp4", made.freeze_time, made.grid.fps)
        made.grid.save(out / "low_resolution_grid")


def at_size(
    grid: VideoGrid,
    size: tuple[int, int] | None,
    upsampler: Upsampler | None = None,
    seed: int = 0,
) -> VideoGrid:
    """A generated grid with frames of `size`, or of one that later stages work well at.

    Where the shape differs, the frames lose their edges rather than their proportions.  Without an
    upsampler, or where the frames shrink, they are resized plainly.
    """
    made = f"frames of {grid.height}x{grid.width}"
    if size is None:
        factor = max(1, WORK_SHORT_SIDE // min(grid.height, grid.width))
        size = factor * grid.height, factor * grid.width
    if size == (grid.height, grid.width):
        return grid
    grid = crop_to_shape(grid, *size)
    if f"frames of {grid.height}x{grid.width}" != made:
        made += f" cropped to {grid.height}x{grid.width} and"
    if upsampler is None or size[0] < grid.height or size[1] < grid.width:
        say(f"  {made} resized to {size[0]}x{size[1]} (cubic)")
        return grid.resize(*size)
    say(f"  {made} upsampled to {size[0]}x{size[1]} (diffusion, steps: {upsampler.steps})")
    with reporting() as report:
        frames = upsampler.grid(grid.frames, size, grid.prompt, seed, report=report)
    return replace(grid, frames=frames)


def crop_to_shape(grid: VideoGrid, height: int, width: int) -> VideoGrid:
    """The largest central part of the frames with the proportions of `height` x `width`, to within
    a pixel of the grid's own."""
    assert grid.K is None, "a generated grid has no cameras yet"
    h = min(grid.height, round(grid.width * height / width))
    w = min(grid.width, round(grid.height * width / height))
    y, x = (grid.height - h) // 2, (grid.width - w) // 2
    return replace(grid, frames=grid.frames[:, :, y : y + h, x : x + w])
