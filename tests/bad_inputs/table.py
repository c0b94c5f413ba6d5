"""The table of bad inputs, docs/BAD_INPUTS.md, made by trying every case."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import ModuleType

from tests.bad_inputs import clips, footage, grids, machine, options, photos, runs
from tests.bad_inputs.case import BadInput, attempt, refusal_complaint

GROUPS: tuple[ModuleType, ...] = (options, clips, footage, photos, grids, runs, machine)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "BAD_INPUTS.md"
HEADER = """# Bad inputs

Made by `python -m tests.bad_inputs`, which tries every case; the tests try them again. Bad input
is one line on stderr and exit code 2; nothing is overwritten and no folder is left behind.
"""


def row(case: BadInput, message: str) -> str:
    """A line of the table; ``message`` is what the program printed."""
    said = message.removeprefix("error: ").replace("|", "\\|")
    said = said if len(said) < 300 else f"{said[:250]} …"
    return f"| {case.name} | `{case.command}` | {said} |"


def page() -> str:
    """The whole page.

    Raises:
        RuntimeError: cases that were not refused in one line.
    """
    parts, wrong = [HEADER], []
    for group in GROUPS:
        parts.append(
            f"\n## {group.TITLE}\n| what is wrong | command | what it says |\n|---|---|---|\n"
        )
        for case in group.CASES:
            with tempfile.TemporaryDirectory() as folder:
                outcome = attempt(case, Path(folder))
            if complaint := refusal_complaint(case, outcome):
                wrong.append(f"{case.name}: {complaint}")
            parts.append(row(case, outcome.lines[0] if outcome.lines else "") + "\n")
    if wrong:
        raise RuntimeError("\n".join(wrong))
    return "".join(parts)
