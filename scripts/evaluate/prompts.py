"""Do generated clips show what their prompts ask for? Colour, shape and motion, read back.

    python scripts/evaluate.py prompts --n 20 --json prompts.json --sheet prompts.png
    python scripts/evaluate.py prompts --prompts docs/prompts.txt --sheet chosen.png
    python scripts/evaluate.py prompts --assets CACHE --n 40 --json prompts.json --sheet assets.png

Without --prompts, prompts are drawn from the caption grammar over the world that the weights were
trained on, and only their fixed-view clips are made; how they are read is in
`scripts.evaluate.metrics.prompts`. The row `truth` scores true renders of the same scenes: it is
what the readers themselves reach.

With --prompts FILE (one prompt a line, lines that start with # left out) the whole grid of every
prompt is made and the contact sheet shows them, for a person to judge; the readers' opinion is
written above each grid.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from fourreal.console import progress, say
from fourreal.contact_sheet import grid_picture, save_contact_sheet
from fourreal.errors import UserError
from fourreal.script import run_script
from fourreal.stage_key import content_hash
from gen.bundled import GridGenerator, load_bundled
from gen.data.world.captions import parse_prompt
from gen.data.world.scene import Attributes
from gen.generate import GenerateConfig
from gen.network.base import shards
from gen.network.runtime import Runtime
from gen.words import check_words
from scripts.evaluate.grid_methods import network_files
from scripts.evaluate.held_out import trained_world
from scripts.evaluate.metrics.asset_prompts import score_asset_prompts
from scripts.evaluate.metrics.asset_prompts import shares as asset_shares
from scripts.evaluate.metrics.prompts import (
    Marks,
    PromptScores,
    marks,
    score_prompts,
    shares,
    verdict,
)
from scripts.evaluate.result_file import ResultFile


@dataclass
class EvaluatePromptsConfig:
    """Which prompts, of which weights, how sampled."""

    n: int = 20
    """Prompts to draw."""
    prompts: Path | None = None
    """Text file of chosen prompts instead; their whole grids are made."""
    seed: int = 0
    weights: Path | None = None
    """A weights folder; the package's own when left out."""
    assets: Path | None = None
    """Cache of scripts/render_world.py: draw prompts of the asset world instead (animals and
    characters), of scenes kept from training."""
    world: str | None = None
    """Where prompts are drawn from; default: the world the weights were trained on."""
    steps: int = GenerateConfig.steps
    grid_steps: int = GenerateConfig.grid_steps
    guidance: float = GenerateConfig.guidance
    motion_guidance: float = GenerateConfig.motion_guidance
    shift: float = GenerateConfig.shift
    picture_first: bool = GenerateConfig.picture_first
    device: str = "auto"
    """cpu or cuda; auto: a GPU where there is one."""
    json: Path | None = None
    """Result file."""
    sheet: Path | None = None
    """Contact sheet PNG; drawn prompts: a clip each, chosen ones: a whole grid each."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UserError(f"--n must be at least 1; got {self.n}")

    def sampling(self) -> GenerateConfig:
        """How clips and grids are made."""
        return GenerateConfig(
            steps=self.steps,
            grid_steps=self.grid_steps,
            guidance=self.guidance,
            motion_guidance=self.motion_guidance,
            shift=self.shift,
            picture_first=self.picture_first,
            seed=self.seed,
        )


def read_prompts(path: Path, generator: GridGenerator) -> list[str]:
    """The prompts of a file; UserError when there are none or one has no known word."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the prompts in {path} ({error})") from None
    prompts = [line for line in lines if line and not line.startswith("#")]
    if not prompts:
        raise UserError(f"{path} holds no prompts; write one a line")
    for prompt in prompts:
        check_words(prompt, generator.base.tokenizer.words)
    return prompts


def said(prompt: str) -> Attributes:
    """What a prompt asks for; an object whose motion goes unsaid stands still."""
    wanted = parse_prompt(prompt)
    objects = tuple(replace(o, motion=o.motion or "still") for o in wanted.objects)
    return replace(wanted, objects=objects)


def chosen(prompts: list[str], generator: GridGenerator, cfg: EvaluatePromptsConfig) -> list[Marks]:
    """Make the grid of every chosen prompt, read its first row, draw the contact sheet."""
    rows, pictures = [], []
    for i in progress(range(len(prompts)), "grids"):
        config = replace(cfg.sampling(), seed=cfg.seed * 1000 + i)
        frames = generator.from_prompt(prompts[i], config).grid.frames
        rows.append(marks(said(prompts[i]), frames[0]))
        title = f"{i + 1}. {prompts[i]}  [{verdict(rows[-1])}]"
        say(title)
        pictures.append((title, grid_picture(frames)))
        if cfg.sheet is not None:  # what there is so far can be looked at
            save_contact_sheet(cfg.sheet, pictures)
    return rows


def drawn(world: str, generator: GridGenerator, cfg: EvaluatePromptsConfig) -> PromptScores:
    """Score drawn prompts and draw the contact sheet of their clips."""
    scored = score_prompts(generator, world, cfg.n, cfg.sampling())
    titles = [f"{p}  [{verdict(m)}]" for p, m in zip(scored.prompts, scored.marks, strict=True)]
    if cfg.sheet is not None:
        pictures = [grid_picture(clip[None]) for clip in scored.clips]
        save_contact_sheet(cfg.sheet, list(zip(titles, pictures, strict=True)))
    return scored


def drawn_assets(
    generator: GridGenerator, cfg: EvaluatePromptsConfig, results: ResultFile, key: str
) -> None:
    """Score drawn prompts of the asset world and draw the contact sheet of their clips."""
    assert cfg.assets is not None
    scored = score_asset_prompts(generator, cfg.assets, cfg.n, cfg.sampling())
    if cfg.sheet is not None:
        titles = []
        for prompt, mark in zip(scored.prompts, scored.marks, strict=True):
            wrong = [name for name, right in mark.items() if right is False]
            titles.append(f"{prompt}  [{f'other {wrong}' if wrong else 'as asked'}]")
        pictures = [grid_picture(clip[None]) for clip in scored.clips]
        save_contact_sheet(cfg.sheet, list(zip(titles, pictures, strict=True)))
    results.add("prompts_assets", "truth", asset_shares(scored.true_marks))
    values = {**asset_shares(scored.marks), "seconds": scored.seconds}
    results.add("prompts_assets", "default", values, key)
    results.note(
        f"prompts_assets: {cfg.n} prompts, seed {cfg.seed}; shares read back as asked.",
        instead_of="prompts_assets: ",
    )


def main(cfg: EvaluatePromptsConfig) -> None:
    generator = load_bundled(cfg.weights, Runtime(device=cfg.device))
    assert generator.folder is not None
    results = ResultFile(cfg.json, "Prompts", generator.base.device)
    weights = network_files(generator.folder)
    if cfg.prompts is not None:
        prompts = read_prompts(cfg.prompts, generator)
        label, count = f"chosen_{cfg.prompts.stem}", len(prompts)
        weights += shards(generator.folder, cfg.sampling().mixer)
    else:
        prompts, count = [], cfg.n
        world = "" if cfg.assets is not None else trained_world(generator.folder, cfg.world)
        label = "prompts_assets" if cfg.assets is not None else f"prompts_{world}"
    key = content_hash(vars(cfg.sampling()), prompts, count, *weights)
    if results.done(label, "default", key) and (cfg.sheet is None or cfg.sheet.exists()):
        say(f"{label}: done before")
        return
    if cfg.assets is not None and not prompts:
        drawn_assets(generator, cfg, results, key)
        say_rows(label, results)
        return
    if prompts:
        started = time.monotonic()
        rows = chosen(prompts, generator, cfg)
        seconds = (time.monotonic() - started) / count
    else:
        scored = drawn(world, generator, cfg)
        rows, seconds = scored.marks, scored.seconds
        results.add(label, "truth", shares(scored.true_marks))
    results.add(label, "default", {**shares(rows), "seconds": seconds}, key)
    results.note(
        f"{label}: {count} prompts, seed {cfg.seed}; shares of objects whose colour, shape and "
        "motion are read back as asked; seconds a prompt.",
        instead_of=f"{label}: ",
    )
    say_rows(label, results)


def say_rows(label: str, results: ResultFile) -> None:
    """Print the rows of a set."""
    for variant, values in results.variants(label).items():
        texts = [f"{k} {v:.2f}" for k, v in values.items() if v is not None]
        say(f"{label} {variant}: " + "  ".join(texts))


def command() -> int:
    """Run from the command line; the exit code."""
    return run_script(main, EvaluatePromptsConfig, __doc__)
