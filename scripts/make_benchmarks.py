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

import tyro
import yaml

from gen.errors import UserError

HEADER = """# Benchmarks

Made by `python scripts/make_benchmarks.py` from the files in `docs/benchmarks/`, which the
commands below write. PSNR in dB, times in seconds, memory in MiB; a dash is a value that does not
exist, with the reason in the notes. Scenes are named as in the data they come from; the rendered
grids (fox, robot, stag, koi) are not part of the repository, so their rows are recorded values.
Fox: PixelMannen (CC0), rigged and animated by tomkranis (CC BY 4.0), converted by AsoboStudio and
scurest (CC BY 4.0).
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
        "schema": 1,
        "title": "Pipeline runs",
        "command": f"python scripts/make_benchmarks.py --runs {' '.join(r.name for r in runs)}",
        "hardware": f"{os.cpu_count()} CPU cores",
        "notes": "One run of run_pipeline.py a row, cameras unknown; seconds are wall time.",
        "results": results,
    }
    target.write_text(json.dumps(data, indent=1) + "\n")


def load(path: Path) -> dict[str, Any]:
    """Read one result file and check its schema."""
    try:
        data = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON ({error})") from None
    if data.get("schema") != 1 or not isinstance(data.get("results"), dict):
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


def section(name: str, data: dict[str, Any]) -> str:
    """One file as Markdown: command, hardware, a table with a row per scene and variant."""
    metrics: list[str] = []
    for variants in data["results"].values():
        for values in variants.values():
            metrics += [m for m in values if m not in metrics]
    lines = [f"## {data.get('title', name)}", ""]
    lines += [
        f"`{data.get('command', 'command not recorded')}`  ",
        f"{data.get('hardware', '')}",
        "",
    ]
    lines += ["| scene | variant | " + " | ".join(metrics) + " |"]
    lines += ["|---|---|" + "---|" * len(metrics)]
    for scene, variants in data["results"].items():
        for variant, values in variants.items():
            cells = " | ".join(number(values.get(m)) for m in metrics)
            lines.append(f"| {scene} | {variant} | {cells} |")
    notes = data.get("notes", [])
    notes = [notes] if isinstance(notes, str) else notes
    if isinstance(notes, dict):
        notes = [f"{k}: {v}" for k, v in notes.items() if not isinstance(v, list)]
    lines += ["", *[f"- {note}" for note in notes]] if notes else []
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    if options.runs:
        record_runs(options.runs, options.folder / "pipeline.json")
    files = sorted(options.folder.glob("*.json"))
    if not files:
        raise UserError(f"no result files in {options.folder}; run the evaluation scripts first")
    pages = [section(f.stem, load(f)) for f in files]
    options.out.write_text("\n".join([HEADER, *pages]))
    print(f"wrote {options.out} from {len(files)} files")


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, description=__doc__))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
