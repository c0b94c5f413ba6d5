"""Tables out of result files (`scripts.evaluate.result_file`), as Markdown for the docs and HTML
for reports.

A file may say how its rows are arranged (`layouts`: titles and columns as (key, heading, whether
higher is better)) and what its metrics need (`metrics`); otherwise scenes that share a metric share
a table. A number with `_lo` and `_hi` beside it is shown with that interval.
"""

from __future__ import annotations

import html
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

COSTS = {"seconds", "seconds_cpu", "peak_mb"}
NOTHING = "–"


@dataclass(frozen=True)
class Table:
    """A heading (or ""), the columns' headings and the rows' cells."""

    title: str
    headings: list[str]
    rows: list[list[str]]


def number(value: Any) -> str:
    """A table cell."""
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return (
            f"{value:.3g}"
            if abs(value) < 1
            else f"{value:.2f}"
            if abs(value) < 1000
            else f"{value:.0f}"
        )
    return str(value)


def cell(values: dict[str, Any], metric: str) -> str:
    """A value of a row, with its interval when there is one."""
    text = number(values.get(metric))
    low, high = values.get(f"{metric}_lo"), values.get(f"{metric}_hi")
    return text if low is None or high is None else f"{text} [{number(low)}, {number(high)}]"


def columns(rows: dict[str, dict[str, Any]]) -> list[str]:
    """The metrics of a scene's rows, in order; ends of intervals are no columns of their own, nor
    are metrics that no row has."""
    names = list(dict.fromkeys(m for values in rows.values() for m in values))
    ends = {f"{m}{end}" for m in names for end in ("_lo", "_hi")}
    return [m for m in names if m not in ends and any(v.get(m) is not None for v in rows.values())]


def groups(results: dict[str, dict[str, dict[str, Any]]]) -> list[tuple[list[str], list[str]]]:
    """(metrics, scenes) of each table: scenes that share a metric besides costs share a table."""
    found: list[tuple[list[str], list[str]]] = []
    for scene, rows in results.items():
        metrics = columns(rows)
        for names, scenes in found:
            if set(names) & set(metrics) - COSTS or not set(metrics) - COSTS:
                names += [m for m in metrics if m not in names]
                scenes.append(scene)
                break
        else:
            found.append((metrics, [scene]))
    return found


def plain_tables(
    results: dict[str, dict[str, dict[str, Any]]], recorded: Collection[str] = ()
) -> list[Table]:
    """A row per scene and variant."""
    return [
        Table(
            "",
            ["scene", "variant", *metrics],
            [
                [_scene(scene, recorded), variant, *(cell(values, m) for m in metrics)]
                for scene in scenes
                for variant, values in results[scene].items()
            ],
        )
        for metrics, scenes in groups(results)
    ]


def _scene(scene: str, recorded: Collection[str]) -> str:
    return f"{scene} (recorded)" if scene in recorded else scene


def layout_tables(document: dict[str, Any]) -> list[Table]:
    """The tables that the file's `layouts` ask for, a row per scene and variant; every column is
    kept, also one without a figure."""
    rows = [(s, v, x) for s, each in document["results"].items() for v, x in each.items()]
    return [
        Table(
            layout["title"],
            ["scene", "method", *(f"{t} {'↑' if up else '↓'}" for _, t, up in layout["columns"])],
            [[s, v, *(cell(x, key) for key, _, _ in layout["columns"])] for s, v, x in rows],
        )
        for layout in document["layouts"]
    ]


def metric_table(metrics: dict[str, dict[str, Any]]) -> Table:
    """What each metric is, whether it was measured, and if not, what to get."""
    return Table(
        "Metrics",
        ["metric", "figures", "state", "licence"],
        [
            [name, "; ".join(m["figures"]), m["missing"] or "measured", m["licence"]]
            for name, m in metrics.items()
        ],
    )


def tables_of(document: dict[str, Any], recorded: Collection[str] = ()) -> list[Table]:
    """All tables of a result file; rows of `recorded` scenes are marked so."""
    if "layouts" not in document:
        return plain_tables(document["results"], recorded)
    extra = [metric_table(document["metrics"])] if "metrics" in document else []
    return layout_tables(document) + extra


def markdown(table: Table) -> str:
    """The table as Markdown, without a line break at the end."""
    lines = [f"**{table.title}**", ""] if table.title else []
    return "\n".join([*lines, _line(table.headings), "|" + "---|" * len(table.headings),
                      *map(_line, table.rows)])  # fmt: skip


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |"


def as_html(table: Table) -> str:
    """The table as HTML, escaped."""
    title = f"<h3>{html.escape(table.title)}</h3>" if table.title else ""
    head = "".join(f"<th>{html.escape(text)}</th>" for text in table.headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>\n"
        for row in table.rows
    )
    return (
        f'{title}<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table></div>\n"
    )
