"""Write docs/BENCHMARKS.md from the JSON files of the evaluation scripts.

    python scripts/evaluate.py benchmarks [--folder docs/benchmarks] [--out docs/BENCHMARKS.md]
    python scripts/evaluate.py benchmarks --runs outputs/A outputs/B    # record pipeline runs first

Each JSON has the schema ``{"schema": 1, "command", "hardware", "results": {SCENE: {VARIANT:
{METRIC: number | null}}}}`` and optionally "title", "notes" (text or list). Nothing in the page
is typed by hand.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fourreal.atomic import atomic_file
from fourreal.errors import UserError
from fourreal.script import run_script
from scripts.evaluate.result_file import SCHEMA, as_list, is_result
from scripts.evaluate.result_tables import markdown, tables_of

# Beginnings of the names of scenes that are not part of the repository.
OUTSIDE = (
    *("fox_", "robot_", "stag_", "koi_", "flowerpot_", "treadmill_", "walk_", "gesture_"),
    *("lund_", "stereo_", "webcams_"),
)
HEADER = """# Benchmarks

Made by `python scripts/evaluate.py benchmarks` from the files in `docs/benchmarks/`, which the
commands below write. PSNR in dB, times in seconds, memory in MiB; brackets are 95 % intervals; a
dash is a value that does not exist, with the reason in the notes. Scenes are named as in the data
they come from; the rendered grids (fox, robot, stag, koi) and real clips are not part of the
repository: "(recorded)" marks rows whose data was not on the machine that wrote this page. Fox:
PixelMannen (CC0), rigged and animated by tomkranis (CC BY 4.0), converted by AsoboStudio and
scurest (CC BY 4.0).
"""


@dataclass
class Options:
    folder: Path = Path("docs/benchmarks")
    """Where the JSON files lie."""
    out: Path = Path("docs/BENCHMARKS.md")
    """The page to write."""
    data: tuple[Path, ...] = (Path("../shared/data/grids"), Path("../shared/data/real"))
    """Folders of the scenes that are not part of the repository; rows of those that are not there
    keep their recorded values, marked."""
    runs: tuple[Path, ...] = ()
    """Run folders whose metrics and stage times are recorded in ``pipeline.json``."""


def record_runs(runs: tuple[Path, ...], target: Path) -> None:
    """Collect PSNR, points, seconds, peak memory and size of the page of finished runs into one
    result file, beside the rows of other runs that it holds."""
    results: dict[str, Any] = load(target)["results"] if target.exists() else {}
    for run in runs:
        try:
            record = yaml.safe_load((run / "run.yaml").read_text("utf-8"))
            metrics = json.loads((run / "metrics.json").read_text())
        except OSError as error:
            raise UserError(f"{run} is no finished run ({error.strerror})") from None
        stages = record["stages"]
        values = {"psnr_input": metrics.get("psnr_input"), "points": metrics.get("points")}
        values |= {f"seconds_{name}": stage["seconds"] for name, stage in stages.items()}
        values["peak_mb"] = max(stage["peak_mb"] for stage in stages.values())
        page = run / "index.html"
        values["page_mb"] = round(page.stat().st_size / 1e6, 2) if page.is_file() else None
        results[run.name] = {record["command"]["kind"]: values}
    data = {
        "schema": SCHEMA,
        "title": "Pipeline runs",
        "command": f"python scripts/evaluate.py benchmarks --runs {' '.join(sorted(results))}",
        "hardware": f"{os.cpu_count()} CPU cores",
        "notes": "One run of run_pipeline.py a row; cameras unknown, but for a prompt's, which are "
        "its model's; seconds are wall time; page_mb: index.html, in millions of bytes.",
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


def recorded_scenes(document: dict[str, Any], folders: tuple[Path, ...]) -> set[str]:
    """The scenes of a result file whose data lies outside the repository and is not here."""
    outside = {s: next((x for x in OUTSIDE if s.startswith(x)), "") for s in document["results"]}
    return {s for s, x in outside.items() if x and not any([*f.glob(f"{x}*")] for f in folders)}


def result_files(folder: Path) -> dict[str, dict[str, Any]]:
    """The result files of a folder by name.  UserError when there are none."""
    files = sorted(folder.glob("*.json"))
    if not files:
        raise UserError(f"no result files in {folder}; run the evaluation scripts first")
    return {path.stem: load(path) for path in files}


def section(name: str, data: dict[str, Any], recorded: Collection[str] = ()) -> str:
    """One file as Markdown: commands, hardware, tables, notes."""
    lines = [f"## {data.get('title', name)}", ""]
    commands = data.get("command", "command not recorded").split("; ")
    lines += [f"`{command}`  " for command in commands]
    lines += [data.get("hardware", "")]
    for table in tables_of(data, recorded):
        lines += ["", markdown(table)]
    notes = as_list(data.get("notes", []))
    lines += ["", *[f"- {note}" for note in notes]] if notes else []
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    if options.runs:
        record_runs(options.runs, options.folder / "pipeline.json")
    files = result_files(options.folder)
    pages = [section(n, d, recorded_scenes(d, options.data)) for n, d in files.items()]
    with atomic_file(options.out) as temporary:
        temporary.write_text("\n".join([HEADER, *pages]), "utf-8")
    print(f"wrote {options.out} from {len(files)} files")


def command() -> int:
    """Run from the command line; the exit code."""
    return run_script(main, Options, __doc__)
