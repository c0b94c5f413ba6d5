"""Every case of bad input: one line that names it, exit code 2, and nothing overwritten."""

import pytest

from tests.bad_inputs.case import BadInput, attempt, refusal_complaint
from tests.bad_inputs.table import GROUPS, PAGE, row

EVERY = [
    pytest.param(case, id=f"{group.__name__.split('.')[-1]}: {case.name}")
    for group in GROUPS
    for case in group.CASES
]


@pytest.mark.parametrize("case", EVERY)
def test_bad_input_is_one_line(case: BadInput, tmp_path):
    outcome = attempt(case, tmp_path)
    assert not refusal_complaint(case, outcome)
    assert row(case, outcome.lines[0]) in PAGE.read_text().splitlines(), (
        "docs/BAD_INPUTS.md is out of date: run python -m tests.bad_inputs"
    )


def test_table_has_no_other_rows():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    headers = len(GROUPS)
    assert len(rows) == headers + len(EVERY), "run python -m tests.bad_inputs"
