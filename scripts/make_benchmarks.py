"""Write docs/BENCHMARKS.md from the JSON files of the evaluation scripts.

    python scripts/make_benchmarks.py [--folder docs/benchmarks] [--out docs/BENCHMARKS.md]
    python scripts/make_benchmarks.py --runs outputs/A outputs/B    # record pipeline runs first

Each JSON has the schema ``{"schema": 1, "command", "hardware", "results": {SCENE: {VARIANT:
{METRIC: number | null}}}}`` and optionally "title", "notes" (text or list). Nothing in the page
is typed by hand.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gen.atomic import atomic_file
from gen.errors import UserError
from gen.result_file import SCHEMA, as_list, is_result
from gen.script import run_script

HEADER = """# Benchmarks

Made by `python scripts/make_benchmarks.py` from the files in `docs/benchmarks/`, which the
commands below write. PSNR in dB, times in seconds, memory in MiB; brackets are 95 % intervals; a
dash is a value that does not exist, with the reason in the notes. Scenes are named as in the data
they come from; the rendered grids (fox, robot, stag, koi) are not part of the repository, so their
rows are recorded values. Fox: PixelMannen (CC0), rigged and animated by tomkranis (CC BY 4.0),
converted by AsoboStudio and scurest (CC BY 4.0).
"""


@dataclass
class Options:
    folder: Path = Path("docs/benchmarks")
    """Where the JSON files lie."""
    out: Path = Path("docs/BENCHMARKS.md")
    """The page to write."""
    runs: tuple[Path, ...] = ()
    """Run folders whose metrics and stage times are recorded as ``pipeline.json``."""


def record_runs(runs: tuple[Path, ...], target: Path) -> None:
    """Collect PSNR, points, seconds and peak memory of finished runs into one result file."""
    results: dict[str, Any] = {}
    for run in runs:
        try:
            record = yaml.safe_load((run / "run.yaml").read_text())
            metrics = json.loads((run / "metrics.json").read_text())
        except OSError as error:
            raise UserError(f"{run} is no finished run ({error.strerror})") from None
        stages = record["stages"]
        values = {"psnr_input": metrics.get("psnr_input"), "points": metrics.get("points")}
        values |= {f"seconds_{name}": stage["seconds"] for name, stage in stages.items()}
        values["peak_mb"] = max(stage["peak_mb"] for stage in stages.values())
        results[run.name] = {record["command"]["kind"]: values}
    data = {
        "schema": SCHEMA,
        "title": "Pipeline runs",
        "command": f"python scripts/make_benchmarks.py --runs {' '.join(r.name for r in runs)}",
        "hardware": f"{os.cpu_count()} CPU cores",
        "notes": "One run of run_pipeline.py a row; cameras unknown, but for a prompt's, which are "
        "its model's; seconds are wall time.",
        "results": results,
    }
    with atomic_file(target) as temporary:
        temporary.write_text(json.dumps(data, indent=1) + "\n")


def load(path: Path) -> dict[str, Any]:
    """Read one result file and check its schema."""
    try:
        data = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error})") from None
    if not is_result(data):
        raise UserError(f"{path} is no result file (schema 1 with 'results'); make it again")
    return data


def number(value: Any) -> str:
    """A table cell."""
    if value is None:
        return "–"
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


def tables(results: dict[str, dict[str, dict[str, Any]]]) -> list[tuple[list[str], list[str]]]:
    """(metrics, scenes) of each table: scenes that share a metric besides costs share a table."""
    costs = {"seconds", "seconds_cpu", "peak_mb"}
    found: list[tuple[list[str], list[str]]] = []
    for scene, rows in results.items():
        metrics = columns(rows)
        for names, scenes in found:
            if set(names) & set(metrics) - costs or not set(metrics) - costs:
                names += [m for m in metrics if m not in names]
                scenes.append(scene)
                break
        else:
            found.append((metrics, [scene]))
    return found


def section(name: str, data: dict[str, Any]) -> str:
    """One file as Markdown: command, hardware, tables with a row per scene and variant, notes."""
    lines = [f"## {data.get('title', name)}", ""]
    commands = data.get("command", "command not recorded").split("; ")
    lines += [f"`{command}`  " for command in commands]
    lines += [data.get("hardware", "")]
    for metrics, scenes in tables(data["results"]):
        lines += ["", "| scene | variant | " + " | ".join(metrics) + " |"]
        lines += ["|---|---|" + "---|" * len(metrics)]
        for scene in scenes:
            for variant, values in data["results"][scene].items():
                cells = " | ".join(cell(values, m) for m in metrics)
                lines.append(f"| {scene} | {variant} | {cells} |")
    notes = as_list(data.get("notes", []))
    lines += ["", *[f"- {note}" for note in notes]] if notes else []
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    if options.runs:
        record_runs(options.runs, options.folder / "pipeline.json")
    files = sorted(options.folder.glob("*.json"))
    if not files:
        raise UserError(f"no result files in {options.folder}; run the evaluation scripts first")
    pages = [section(f.stem, load(f)) for f in files]
    with atomic_file(options.out) as temporary:
        temporary.write_text("\n".join([HEADER, *pages]))
    print(f"wrote {options.out} from {len(files)} files")


if __name__ == "__main__":
    sys.exit(run_script(main, Options, __doc__))
