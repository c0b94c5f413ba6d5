"""One HTML page with everything that was measured, and docs/BENCHMARKS.md from the same files.

    python scripts/evaluate.py report --out outputs/report.html
    python scripts/evaluate.py report --runs outputs/fox outputs/pot --pictures outputs/*.png

The page is one file without links to others: tables of all result files in docs/benchmarks with the
commands and the hardware that made them, bar charts of the generation and paper metrics, figures
and contact sheets, and an overview of each run folder. docs/BENCHMARKS.md is written anew by the
same call (scripts/evaluate.py benchmarks), so the two never disagree; --no-benchmarks leaves it
alone.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from fourreal.atomic import atomic_file
from fourreal.console import say
from fourreal.errors import UserError
from fourreal.script import run_script
from scripts.evaluate.benchmarks import Options as PageOptions
from scripts.evaluate.benchmarks import main as write_benchmarks
from scripts.evaluate.benchmarks import recorded_scenes, result_files
from scripts.evaluate.plots import pyplot
from scripts.evaluate.result_file import as_list, hardware_line
from scripts.evaluate.result_tables import as_html, tables_of

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif")
MAX_WIDTH = 1400  # wider pictures are shrunk, so that the page stays light
CHARTS = (  # metric, heading: drawn for every scene that has it in two rows or more
    ("psnr_changing", "PSNR of pixels that change, dB"),
    ("psnr", "PSNR, dB"),
    ("psnr_heldout_views", "PSNR of held-out views, dB"),
    ("cse_px", "cross-view Sampson error, px"),
    ("share", "share of votes"),
)
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1d232b;background:#f5f7f9;margin:0}
main{max-width:1200px;margin:0 auto;padding:20px}
nav{columns:3;margin-bottom:1rem} h1{font-size:1.6rem} h2{font-size:1.25rem} h3{font-size:1rem}
section{background:#fff;border:1px solid #d5dbe2;border-radius:12px;padding:4px 18px 14px;
margin-bottom:18px}
.wide{overflow-x:auto} table{border-collapse:collapse;font-size:.8rem;white-space:nowrap}
th,td{border-bottom:1px solid #e3e8ed;padding:3px 9px;text-align:right}
th:nth-child(-n+2),td:nth-child(-n+2){text-align:left} th{background:#eef2f6}
code{background:#eef2f6;border-radius:4px;padding:1px 5px;overflow-wrap:anywhere;font-size:.85em}
.soft{color:#5d6875} img{max-width:100%;border-radius:6px} figure{margin:10px 0}
figcaption{color:#5d6875;font-size:.9rem} li{margin-bottom:2px}
"""


@dataclass
class ReportConfig:
    """What goes into the report."""

    out: Path = Path("outputs/report.html")
    """The page."""
    folder: Path = Path("docs/benchmarks")
    """Result files."""
    pictures: tuple[Path, ...] = ()
    """Figures and contact sheets, or folders of them."""
    runs: tuple[Path, ...] = ()
    """Run folders, whose overview.png and stage times are shown."""
    title: str = "fourreal: what was measured"
    data: tuple[Path, ...] = PageOptions.data
    """Folders of the scenes that are not part of the repository, see
    scripts/evaluate.py benchmarks."""
    benchmarks: bool = True
    """Also write docs/BENCHMARKS.md from the same files."""
    markdown: Path = Path("docs/BENCHMARKS.md")
    """Where that is."""

    def __post_init__(self) -> None:
        missing = [p for p in (*self.pictures, *self.runs) if not p.exists()]
        if missing:
            raise UserError(f"no such file or folder: {missing[0]}")


def picture_files(paths: tuple[Path, ...]) -> list[Path]:
    """The pictures among files and folders.  UserError for a file that is none."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES)
        elif path.suffix.lower() in PICTURES:
            found.append(path)
        else:
            raise UserError(f"{path} is no picture; use {', '.join(PICTURES)}")
    return found


def figure(path: Path, caption: str = "") -> str:
    """A picture inside the page; large stills are shrunk, animations taken as they are."""
    data, kind = path.read_bytes(), path.suffix.lower().lstrip(".").replace("jpg", "jpeg")
    image = cv2.imread(str(path)) if kind in ("png", "jpeg") else None
    if image is not None and image.shape[1] > MAX_WIDTH:
        height = round(image.shape[0] * MAX_WIDTH / image.shape[1])
        small = cv2.resize(image, (MAX_WIDTH, height), interpolation=cv2.INTER_AREA)
        data = cv2.imencode(".png", small)[1].tobytes()
        kind = "png"
    text = html.escape(caption or path.stem.replace("_", " "))
    code = base64.b64encode(data).decode()
    return (
        f'<figure><img alt="{text}" src="data:image/{kind};base64,{code}">'
        f"<figcaption>{text}</figcaption></figure>\n"
    )


def chart(rows: dict[str, dict[str, Any]], metric: str, heading: str) -> str:
    """Bars of one metric over the rows of a scene, with their intervals, as inline SVG."""
    plt = pyplot()
    names = [n for n, values in rows.items() if values.get(metric) is not None]
    values = [float(rows[n][metric]) for n in names]
    figure_, axes = plt.subplots(figsize=(7, 0.3 * len(names) + 0.9))
    axes.barh(range(len(names)), values, color=["#1f6feb" if n == "default" else "#9db7d9"
                                                for n in names])  # fmt: skip
    for place, name in enumerate(names):
        low, high = rows[name].get(f"{metric}_lo"), rows[name].get(f"{metric}_hi")
        if low is not None and high is not None:
            spread = [[max(values[place] - low, 0)], [max(high - values[place], 0)]]
            axes.errorbar(values[place], place, xerr=spread, color="#1d232b", capsize=2)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(heading)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure_.tight_layout()
    text = io.StringIO()
    figure_.savefig(text, format="svg", metadata={"Date": None})
    plt.close(figure_)
    svg = text.getvalue()
    return f"<figure>{svg[svg.index('<svg') :]}</figure>\n"


def charts(document: dict[str, Any]) -> str:
    """The first of `CHARTS` that a scene has in two rows or more, one a scene."""
    parts = []
    for scene, rows in document["results"].items():
        for metric, heading in CHARTS:
            if sum(values.get(metric) is not None for values in rows.values()) > 1:
                parts.append(f"<h3>{html.escape(scene)}</h3>" + chart(rows, metric, heading))
                break
    return "".join(parts)


def result_section(name: str, document: dict[str, Any], recorded: Collection[str]) -> str:
    """One result file: commands, hardware, charts, tables, notes."""
    commands = document.get("command", "command not recorded").split("; ")
    parts = [
        f'<section id="{html.escape(name)}"><h2>{html.escape(document.get("title", name))}</h2>'
    ]
    parts += [f"<p><code>{html.escape(command)}</code></p>" for command in commands]
    parts.append(f'<p class="soft">{html.escape(document.get("hardware", ""))}</p>')
    parts.append(charts(document))
    parts += [as_html(table) for table in tables_of(document, recorded)]
    notes = as_list(document.get("notes", []))
    if notes:
        parts.append("<ul>" + "".join(f"<li>{html.escape(n)}</li>" for n in notes) + "</ul>")
    return "".join(parts) + "</section>\n"


def run_section(run: Path) -> str:
    """One run folder: its overview and what run.yaml says of its stages."""
    import yaml

    try:
        record = yaml.safe_load((run / "run.yaml").read_text("utf-8"))
        stages = record["stages"]
        rows = [f"{n}: {s['seconds']:.1f} s, {s['peak_mb']:.0f} MiB" for n, s in stages.items()]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{run} is no finished run ({error})") from None
    parts = [f"<section><h2>{html.escape(run.name)}</h2>"]
    overview = run / "overview.png"
    if overview.is_file():
        parts.append(figure(overview, f"{run.name}: overview"))
    listed = "".join(f"<li>{html.escape(row)}</li>" for row in rows)
    return "".join(parts) + f"<ul>{listed}</ul></section>\n"


def main(cfg: ReportConfig) -> None:
    documents = result_files(cfg.folder)
    if cfg.benchmarks:
        write_benchmarks(PageOptions(folder=cfg.folder, out=cfg.markdown, data=cfg.data))
    links = "".join(
        f'<div><a href="#{html.escape(name)}">{html.escape(d.get("title", name))}</a></div>'
        for name, d in documents.items()
    )
    pictures = "".join(figure(path) for path in picture_files(cfg.pictures))
    if pictures:
        pictures = f"<section><h2>Pictures</h2>{pictures}</section>\n"
    body = pictures + "".join(run_section(run) for run in cfg.runs)
    body += "".join(
        result_section(name, d, recorded_scenes(d, cfg.data)) for name, d in documents.items()
    )
    title = html.escape(cfg.title)
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1>\n"
        f'<p class="soft">Made on {html.escape(hardware_line())} by '
        f"<code>python scripts/evaluate.py report</code> from {len(documents)} "
        f"result files; each section names its own command and hardware.</p>\n"
        f"<nav>{links}</nav>\n{body}"
        "</main></body></html>\n"
    )
    with atomic_file(cfg.out) as temporary:
        temporary.write_text(page, "utf-8")
    say(f"wrote {cfg.out} from {len(documents)} result files")


def command() -> int:
    """Run from the command line; the exit code."""
    return run_script(main, ReportConfig, __doc__)
