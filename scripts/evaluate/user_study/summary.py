"""Preference shares out of the answer files of a study, with binomial intervals and a bar chart.

A vote is one evaluator's answer to one question about one pair; pairs sent to junk give none. The
intervals (Wilson, 95 %) take votes as independent, as the paper's percentages do: with few pairs or
evaluators they are too narrow.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fourreal.atomic import atomic_file
from fourreal.console import warn
from fourreal.errors import UserError
from scripts.evaluate.plots import pyplot
from scripts.evaluate.user_study.build import KEY_FORMAT
from scripts.evaluate.user_study.questions import QUESTIONS

ANSWERS_FORMAT = "user-study-answers"


@dataclass(frozen=True)
class Preference:
    """Votes for the first of two names on one question."""

    votes_a: int
    votes: int
    junk: int

    @property
    def share(self) -> float | None:
        """Share of the votes that went to the first name."""
        return self.votes_a / self.votes if self.votes else None

    def interval(self) -> tuple[float, float] | tuple[None, None]:
        """Wilson's 95 % interval of the share."""
        if not self.votes:
            return None, None
        found = self._test().proportion_ci(0.95, method="wilson")
        return float(found.low), float(found.high)

    def p_value(self) -> float | None:
        """Chance of a split at least this uneven if both were liked equally."""
        return float(self._test().pvalue) if self.votes else None

    def _test(self) -> Any:
        from scipy.stats import binomtest

        return binomtest(self.votes_a, self.votes, 0.5)

    def metrics(self) -> dict[str, float | int | None]:
        """A row of a result file."""
        low, high = self.interval()
        return {
            "share": self.share, "share_lo": low, "share_hi": high, "votes": self.votes,
            "junk": self.junk, "p": self.p_value(),
        }  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """Preferences by question key, for `names[0]` over `names[1]`."""

    names: tuple[str, str]
    evaluators: int
    trials: int
    preferences: dict[str, Preference]


def read_json(path: Path, form: str) -> dict[str, Any]:
    """A file of the study.  UserError when it is none."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not readable ({error})") from None
    if not isinstance(document, dict) or document.get("format") != form:
        raise UserError(f"{path} is no {form} file")
    return document


def summarize(key_file: Path, answers: Sequence[Path]) -> Summary:
    """Count the votes of all evaluators; of several files with one evaluator's seed only the one
    with most answers counts, and unfinished pairs count not at all.

    Raises:
        UserError: unreadable files, or answers of another study.
    """
    key = read_json(key_file, KEY_FORMAT)
    names = (key["names"][0], key["names"][1])
    by_person: dict[Any, list[dict[str, Any]]] = {}
    for path in answers:
        document = read_json(path, ANSWERS_FORMAT)
        if document.get("study") != key["id"]:
            raise UserError(f"{path} belongs to another study than {key_file}")
        trials = _finished(path, document, key)
        person = document.get("seed"), document.get("evaluator")
        if person in by_person:
            warn(f"{path}: answers of {person[1] or 'this evaluator'} came twice; the fuller count")
        if len(trials) >= len(by_person.get(person, [])):
            by_person[person] = trials
    if not by_person:
        raise UserError("no answers given")
    every = [trial for trials in by_person.values() for trial in trials]
    preferences = {}
    for question in QUESTIONS:
        voted = [t for t in every if not t["junk"]]
        chosen = [key["videos"][t[t["answers"][question.key]]]["name"] for t in voted]
        first = sum(name == names[0] for name in chosen)
        preferences[question.key] = Preference(first, len(voted), len(every) - len(voted))
    return Summary(names, len(by_person), len(every), preferences)


def _finished(path: Path, document: dict[str, Any], key: dict[str, Any]) -> list[dict[str, Any]]:
    """The pairs that are answered or junk, checked against the key."""
    finished = []
    try:
        for trial in document["trials"]:
            if {trial["left"], trial["right"]} != set(key["pairs"][trial["pair"]]):
                raise UserError(f"{path}: pair {trial['pair']} shows other videos than the key")
            answers = trial["answers"]
            if not set(answers.values()) <= {"left", "right"}:
                raise UserError(f"{path}: pair {trial['pair']} has answers that are no side")
            if trial["junk"] or all(q.key in answers for q in QUESTIONS):
                finished.append(trial)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} does not fit the key ({error!r})") from None
    return finished


def save_chart(summary: Summary, path: Path) -> None:
    """A bar a question (Fig. 8 of the paper): shares of both, with the interval of the split."""
    plt = pyplot()
    questions = [q for q in QUESTIONS if summary.preferences[q.key].votes]
    figure, axes = plt.subplots(figsize=(7.5, 0.52 * max(len(questions), 1) + 1.5))
    for place, question in enumerate(questions):
        p = summary.preferences[question.key]
        share = 100 * (p.share or 0.0)
        low, high = (100 * (x or 0.0) for x in p.interval())
        axes.barh(place, share, color="#1f6feb", height=0.66)
        axes.barh(place, 100 - share, left=share, color="#c9d1da", height=0.66)
        spread = [[max(share - low, 0)], [max(high - share, 0)]]
        axes.errorbar(share, place, xerr=spread, color="#1d232b", capsize=3, linewidth=1.2)
        axes.text(1.5, place, f"{share:.0f} %", va="center", color="white", weight="bold")
        axes.text(98.5, place, f"{100 - share:.0f} %", va="center", ha="right", color="#1d232b")
    axes.set_yticks(range(len(questions)), [q.name for q in questions])
    axes.invert_yaxis()
    axes.axvline(50, color="#5d6875", linewidth=0.8, linestyle="--")
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of votes, %")
    axes.set_title(
        f"{summary.names[0]} (blue) against {summary.names[1]} (grey)\n"
        f"{summary.trials} pairs judged by {summary.evaluators} evaluator"
        f"{'s' * (summary.evaluators != 1)}; 95 % intervals",
        fontsize=10,
    )
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=150)
    plt.close(figure)
