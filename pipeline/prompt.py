"""The command `prompt`: text -> grid -> 4D scene."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fourreal.option_values import key_settings
from fourreal.run_folder import slug
from gen.grid import VideoGrid
from pipeline.prompt_options import Prompt
from pipeline.stages import Job, make_scene
from tracking.backends.table import Choice


def run_prompt(options: Prompt) -> None:
    """Make the scene, or say what can be asked for."""
    if options.list:
        from pipeline.prompt_list import list_prompts

        list_prompts(options)
    else:
        make_scene(prompt_job(options))


def prompt_job(options: Prompt) -> Job:
    """What the stages are to do. Raises UserError: impossible options."""
    options.check()
    settings = asdict(options)
    del settings["run"], settings["list"]
    return Job(
        kind="prompt",
        name=slug(options.prompt),
        title=f'"{options.prompt}" -> {options.views} x {options.times} grid',
        settings=settings,
        made_from=lambda: _made_from(options),
        make_grid=lambda run: _make_grid(options, run / "clips"),
        run=options.run,
        tracking=Choice(allow_stand_in=True),  # what was generated is shown, whatever it is
        given_cameras=options.base == "bundled",
    )


def _made_from(options: Prompt) -> dict[str, Any]:
    """What the grid follows from. UserError: unusable words or weights."""
    settings = key_settings(options, "max_memory", "run", "wan", "list")
    settings["seed"] = options.run.seed
    if options.base == "wan":
        return {"options": settings, **options.wan.made_from(options.weights)}
    from gen.bundled import check_prompt, weights_folder
    from gen.network.base import read_config
    from gen.words import read

    folder = weights_folder(options.weights)
    check_prompt(options.prompt, folder)
    made = {"options": settings, "weights": folder}
    found = read(options.prompt, read_config(folder)["vocabulary"])
    if found.taken:  # which words are near depends on what is installed
        made["read_as"] = found.text
    return made


def _make_grid(options: Prompt, clips: Path) -> VideoGrid:
    """Generate the grid; the clips it grows from are kept in ``clips``."""
    if options.base == "wan":
        from pipeline.wan import generate_with_wan

        return generate_with_wan(options, clips)
    from pipeline.generate import generate_from_prompt

    return generate_from_prompt(options, clips)
