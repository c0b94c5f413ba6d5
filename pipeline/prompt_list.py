"""`prompt --list`: what can be asked for, in words and as a contact sheet that the model draws."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fourreal.console import say
from fourreal.contact_sheet import grid_picture, save_contact_sheet
from fourreal.errors import UserError
from gen.bundled import load_bundled, weights_folder
from gen.generate import GenerateConfig
from gen.words import askable, subject_prompts
from pipeline.prompt_options import Prompt

NAME = "prompts.png"


def listing(vocabulary: Iterable[str]) -> list[str]:
    """Lines of text: what a model with these words can be asked for."""
    groups = askable(vocabulary)
    width = max(len(name) for name in groups)
    return [f"{name:<{width}}  {', '.join(words)}" for name, words in groups.items() if words]


def list_prompts(options: Prompt) -> None:
    """Print what the weights know and draw one first frame a subject into OUT/prompts.png.

    Raises UserError: weights that cannot be used, or the output is no folder.
    """
    if options.base == "wan":
        raise UserError("--list is about the bundled model; Wan takes any words")
    folder = Path(options.run.out or "outputs")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; choose another --out")
    generator = load_bundled(weights_folder(options.weights))
    vocabulary = generator.base.tokenizer.words
    for line in listing(vocabulary):
        say(line)
    pictures = []
    config = GenerateConfig(times=1, seed=options.run.seed)
    for prompt in subject_prompts(vocabulary):
        frame = (generator.row_of(prompt, config).cpu().numpy() + 1) / 2
        pictures.append((prompt, grid_picture(frame[None], 192)))
    if not pictures:
        say("these weights name no subject of ours: no pictures")
        return
    folder.mkdir(parents=True, exist_ok=True)
    save_contact_sheet(folder / NAME, pictures, columns=4)
    say(f"pictures: {folder / NAME}")
