"""What a case of bad input is, and how it is tried: the real command line, in this process."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import run_pipeline


def _nothing() -> None:
    """No file is needed."""


@dataclass(frozen=True)
class BadInput:
    """One case of bad input.

    Attributes:
        name: what is wrong, in a few words; names the case in the table and in the test.
        command: what is typed after ``run_pipeline.py``, in the folder that ``make`` filled.
        says: regular expression that the one line on stderr has to match.
        make: writes the input into the current folder, with relative names.
        during: what holds while the command runs (a full disk, say).
        leaves: regular expression of the files that may be new (a run that can go on).
        code: exit code.
    """

    name: str
    command: str
    says: str
    make: Callable[[], None] = _nothing
    during: Callable[[], AbstractContextManager] = nullcontext
    leaves: str = r"(?!)"
    code: int = 2


@dataclass(frozen=True)
class Outcome:
    """What a command did: exit code, lines on stderr, files that are new, gone or different."""

    code: int
    lines: list[str]
    changed: list[str]


def attempt(case: BadInput, folder: Path) -> Outcome:
    """Make the input in ``folder`` (empty), run the command there and say what came of it."""
    with _inside(folder):
        case.make()
        before = _contents(folder)
        stderr = io.StringIO()
        with (
            contextlib.redirect_stderr(stderr),
            contextlib.redirect_stdout(io.StringIO()),
            case.during(),
        ):
            try:
                code = run_pipeline.main(shlex.split(case.command))
            except Exception as error:  # a bug, which would be a traceback
                print(f"Traceback: {error!r}", file=stderr)
                code = 1
        after = _contents(folder)
    changed = sorted(n for n in before | after if before.get(n) != after.get(n))
    lines = stderr.getvalue().replace(f"{folder}/", "").strip().splitlines()
    return Outcome(code, lines, changed)


def refusal_complaint(case: BadInput, outcome: Outcome) -> str:
    """What is wrong with how the input was refused; empty when nothing is."""
    if outcome.code != case.code:
        return f"exit code {outcome.code}, not {case.code}: {outcome.lines}"
    if len(outcome.lines) != 1 or not outcome.lines[0].startswith("error: "):
        return f"not one line that begins with 'error: ': {outcome.lines}"
    if not re.search(case.says, outcome.lines[0]):
        return f"the message does not say '{case.says}': {outcome.lines[0]}"
    if written := [n for n in outcome.changed if not re.fullmatch(case.leaves, n)]:
        return f"written although the input was refused: {written}"
    return ""


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    previous = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(previous)


def _contents(folder: Path) -> dict[str, str]:
    """Every file and folder below ``folder`` with a hash of what it holds."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        if p.is_file()
        else ""
        for p in sorted(folder.rglob("*"))
    }
