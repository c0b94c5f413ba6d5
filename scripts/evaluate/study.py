"""The paper's user study: an A/B page for evaluators, and the summary of their answers.

    python scripts/evaluate.py study build --a outputs/pairs/grids/soft --b \\
        outputs/pairs/grids/none \\
        --name-a soft --name-b none --out outputs/study
    python scripts/evaluate.py study summarize --key outputs/study/key.json --json study.json \\
        --chart study.png answers-*.json

`build` writes a page without names (outputs/study/page, for any static host or to be opened as a
file) and the key that says which video is whose. Every evaluator gets an order and sides of their
own, answers the paper's seven questions a pair or sends it to junk, and downloads a JSON file.
`summarize` counts preferences with 95 % binomial intervals and draws a chart like Fig. 8.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from fourreal.console import say
from fourreal.errors import UserError
from fourreal.script import run_script
from scripts.evaluate.result_file import ResultFile
from scripts.evaluate.result_tables import markdown, plain_tables
from scripts.evaluate.user_study.build import build_study
from scripts.evaluate.user_study.questions import QUESTIONS
from scripts.evaluate.user_study.summary import save_chart, summarize


@dataclass
class Build:
    """Make the page."""

    a: Path
    """Folder of grids (or .mp4 videos) of one method."""
    b: Path
    """Folder of the other, with the same names."""
    out: Path
    """Folder to write."""
    name_a: str = ""
    """What A is called in the summary; by default its folder's name."""
    name_b: str = ""
    prompts: Path | None = None
    """Prompts by grid name (JSON object, or lines of NAME, tab, prompt); else the grids' own."""
    views: int = 4
    """Views of a grid that are shown one after the other."""
    pairs: int | None = None
    """At most so many pairs, drawn at random; all by default."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.views < 1 or (self.pairs is not None and self.pairs < 1):
            raise UserError("--views and --pairs must be at least 1")


@dataclass
class Summarize:
    """Count the answers."""

    answers: tyro.conf.Positional[tuple[Path, ...]]
    """Downloaded answer files."""
    key: Path
    """key.json of the study."""
    json: Path | None = None
    """Result file."""
    chart: Path | None = None
    """PNG of the bar chart."""


def main(cfg: Build | Summarize) -> None:
    if isinstance(cfg, Build):
        names = cfg.name_a or cfg.a.resolve().name, cfg.name_b or cfg.b.resolve().name
        page = build_study(
            cfg.a, cfg.b, cfg.out, names=names, prompts=cfg.prompts, views=cfg.views,
            pairs=cfg.pairs, seed=cfg.seed,
        )  # fmt: skip
        say(f"{page}: publish its folder; keep {cfg.out / 'key.json'} back")
        return
    summary = summarize(cfg.key, cfg.answers)
    results = ResultFile(cfg.json, "User study")
    scene = f"{summary.names[0]} against {summary.names[1]}"
    for question in QUESTIONS:
        results.add(scene, question.name, summary.preferences[question.key].metrics())
    results.note(
        f"share: of the votes, for {summary.names[0]}; {summary.trials} pairs judged by "
        f"{summary.evaluators} evaluators; junk: pairs without a significant difference; p: "
        "two-sided binomial test against an even split; votes are taken as independent.",
        instead_of="share: ",
    )
    for table in plain_tables({scene: results.variants(scene)}):
        say(markdown(table))
    if cfg.chart is not None:
        save_chart(summary, cfg.chart)
        say(f"wrote {cfg.chart}")


def command() -> int:
    """Run from the command line; the exit code."""
    return run_script(main, Build | Summarize, __doc__)  # type: ignore[arg-type]
