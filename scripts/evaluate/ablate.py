"""The paper's ablations from training to table: every row trained alike, then judged alike.

    python scripts/evaluate.py ablate --row soft --out runs/ablation --json ablation.json
    python scripts/evaluate.py ablate --row soft_mixed --steps 2000 --finetune-steps 400   # \\
        another budget
    python scripts/evaluate.py ablate --list
    python scripts/evaluate.py ablate --recorded docs/benchmarks/generation.json --json \\
        ablation.json

One command a row; --row all makes those that are missing. A row is trained in two stages on a
frozen base, as in the paper (pseudo-4D first, then rendered grids; here procedural scenes stand in
for animated assets), completes the held-out pairs of scripts/evaluate.py pairs and is
measured with the metrics of scripts/evaluate.py paper. Rows share what they have in common: the
data ablations start from one pseudo-4D stage. All of it resumes: trained stages, completed grids
and records are kept. Training runs on the GPU if there is one (--train-args="--precision bf16"),
and under torchrun with --processes N. --recorded takes over the rows that evaluate.py generation
has measured already, of mixers that were trained alike (the bundled ones): nothing is run again.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fourreal.console import say
from fourreal.errors import UserError
from fourreal.script import run_script
from gen.bundled import GridGenerator, load_bundled, weights_folder
from gen.network.runtime import Runtime
from gen.sync.mixers import Drop, layers_without
from gen.sync.names import MixerName
from scripts.evaluate.grid_methods import LEARNED
from scripts.evaluate.held_out import TrueGrid
from scripts.evaluate.metrics.grid_set import find_test_set
from scripts.evaluate.metrics.pairs import Pairs, write_inputs, write_method
from scripts.evaluate.metrics.registry import METRICS, layouts, make_metrics
from scripts.evaluate.metrics.run import MetricRun
from scripts.evaluate.result_file import REPOSITORY, ResultFile
from scripts.evaluate.result_tables import layout_tables, markdown

Data = Literal["pseudo4d", "rendered", "mixed"]
# Ratios of rendered (procedural) and pseudo-4D grids; the supplement mixes 2 : 1.
RATIOS: dict[Data, tuple[int, int]] = {"pseudo4d": (0, 1), "rendered": (1, 0), "mixed": (2, 1)}
TITLE = "Ablations"
# Figures of scripts/evaluate.py generation under the names of
# `scripts.evaluate.metrics.weight_free`.
RECORDED = {
    "sampson_px": "cse_px", "matches": "matches", "psnr": "psnr", "psnr_changing": "psnr_changing",
    "psnr_rows": "psnr_time", "psnr_columns": "psnr_view", "ssim": "ssim",
    "static_psnr": "static_psnr", "flicker": "static_flicker",
}  # fmt: skip
SWITCHED_OFF = {  # there these layers were trained and then switched off
    "soft_without_first_third": "soft, first third switched off",
    "soft_without_last_third": "soft, last third switched off",
}


@dataclass(frozen=True)
class Row:
    """How a row of the table is made; without stages it is not trained."""

    mixer: MixerName
    stages: tuple[Data, ...] = ("pseudo4d", "rendered")
    drop: Drop = "none"
    what: str = ""

    @property
    def family(self) -> str:
        """Rows of one family can share a first stage."""
        return self.mixer + ("" if self.drop == "none" else f"_without_{self.drop}_third")


ROWS: dict[str, Row] = {
    "none": Row("none", (), what="no synchronisation"),
    "sequential_untrained": Row("sequential", (), what="Eq. 5, training-free"),
    "hard_untrained": Row("hard", (), what="Eq. 12, training-free"),
    "soft_untrained": Row("soft", (), what="Eq. 13, training-free"),
    "sequential": Row("sequential", what="Eq. 5"),
    "hard": Row("hard", what="Eq. 8"),
    "fused": Row("fused", what="one attention over row and column (4Real-Video-V2)"),
    "soft_pseudo4d_only": Row("soft", ("pseudo4d", "pseudo4d"), what="never a rendered grid"),
    "soft_rendered_only": Row("soft", ("rendered", "rendered"), what="never a pseudo-4D grid"),
    "soft_mixed": Row(
        "soft", ("pseudo4d", "mixed"), what="second stage 1 : 2 pseudo-4D and rendered"
    ),
    "soft_without_first_third": Row("soft", drop="first", what="trained without these layers"),
    "soft_without_last_third": Row("soft", drop="last", what="trained without these layers"),
    "soft": Row("soft", what="Eq. 9-10, the paper's model"),
}


@dataclass
class AblateConfig:
    """Which row, with which budget."""

    row: str = "all"
    """A row of the table, or all."""
    out: Path = Path("runs/ablation")
    """Folder of the training runs, the pairs and the completed grids."""
    base: Path | None = None
    """Weights folder whose base is used, frozen; the package's own when left out."""
    steps: int = 300
    """Steps of the first stage."""
    finetune_steps: int = 100
    """Steps of the second stage."""
    preset: str = "small"
    """Preset of scripts/train_4d.py that sets everything else."""
    train_args: str = ""
    """More arguments for scripts/train_4d.py, as one text."""
    finetune_args: str = ""
    """More arguments for the second stage alone."""
    processes: int = 1
    """Training processes (torchrun)."""
    n: int | None = None
    """Held-out pairs: 200 with a GPU, 24 without."""
    world: str | None = None
    """Part of the procedural world of the pairs; default: what the base was trained on."""
    views: int = 8
    times: int = 8
    grid_steps: int = Pairs.grid_steps
    weights: Path | None = None
    """Folder with the metrics' networks."""
    metrics: tuple[str, ...] = tuple(METRICS)
    device: str = "auto"
    json: Path | None = None
    """Result file, a row at a time."""
    recorded: Path | None = None
    """Result file of scripts/evaluate.py generation whose rows are taken over, instead of making
    rows."""
    train_only: bool = False
    """Stop after training."""
    list: bool = False
    """Only say which rows there are."""

    def __post_init__(self) -> None:
        if self.row != "all" and self.row not in ROWS:
            raise UserError(f"unknown row {self.row!r}; choose from all, {', '.join(ROWS)}")
        if min(self.steps, self.finetune_steps, self.processes) < 1:
            raise UserError("--steps, --finetune-steps and --processes must be at least 1")

    @property
    def folder(self) -> Path:
        """The budget is part of the name, so that two budgets never meet."""
        return self.out / f"{self.steps}_{self.finetune_steps}"

    @property
    def label(self) -> str:
        """What the rows of one table have in common."""
        return f"{self.steps} + {self.finetune_steps} steps"


@dataclass(frozen=True)
class Stage:
    """One run of scripts/train_4d.py: its folder, the number of its steps, its command."""

    folder: Path
    steps: int
    command: list[str]

    def finished(self, mixer: str) -> bool:
        """Whether its weights are there, after all steps."""
        made = self.folder / "weights" / f"{mixer}.json"
        try:
            return int(json.loads(made.read_text())["how_made"]["step"]) == self.steps
        except (OSError, ValueError, KeyError, TypeError):
            return False


def stages(row: Row, cfg: AblateConfig, base: Path, depth: int) -> list[Stage]:
    """The training runs of a row."""
    made: list[Stage] = []
    top = (cfg.folder / "training" / row.family).resolve()
    name = ""
    for number, data in enumerate(row.stages):
        name = f"{name}_{data}" if name else data
        steps = cfg.finetune_steps if number else cfg.steps
        rendered, pseudo = RATIOS[data]
        launch = [sys.executable]
        if cfg.processes > 1:
            launch += ["-m", "torch.distributed.run", f"--nproc-per-node={cfg.processes}"]
        command = [*launch, str(REPOSITORY / "scripts/train_4d.py"), "--preset", cfg.preset]
        command += ["--base", str(base.resolve()), "--out", str(top / name), "--mixer", row.mixer]
        command += ["--steps", str(steps), "--seed", str(number)]
        command += ["--mix.procedural", str(rendered), "--mix.pseudo4d", str(pseudo)]
        if made:
            command += ["--init", str(made[-1].folder)]
        if row.drop != "none":
            command += ["--layers", *map(str, layers_without(depth, row.drop))]
        command += shlex.split(cfg.train_args)
        command += shlex.split(cfg.finetune_args) if number else []
        made.append(Stage(top / name, steps, command))
    return made


def train(row: Row, cfg: AblateConfig, base: Path, depth: int) -> Path:
    """Train what is missing of a row; returns its weights folder.  UserError when a run fails."""
    folder = base
    for stage in stages(row, cfg, base, depth):
        if not stage.finished(row.mixer):
            say(shlex.join(stage.command))
            path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
            code = subprocess.run(stage.command, env={**os.environ, "PYTHONPATH": path}).returncode
            if code or not stage.finished(row.mixer):
                raise UserError(f"training in {stage.folder} ended early (exit code {code})")
        folder = stage.folder / "weights"
    return folder


def method_of(row: Row) -> str:
    """The name in `scripts.evaluate.grid_methods` of running a row's mixer as its weights folder
    has it."""
    return next(
        name
        for name, how in LEARNED.items()
        if how.mixer == row.mixer and how.untrained == (not row.stages) and how.drop == "none"
    )


def make_row(
    name: str, cfg: AblateConfig, base: GridGenerator, pairs: Pairs, grids: list[TrueGrid],
    run: MetricRun, results: ResultFile,
) -> None:  # fmt: skip
    """Train, complete and measure one row."""
    row = ROWS[name]
    assert base.folder is not None
    folder = train(row, cfg, base.folder, base.base.params.depth)
    if cfg.train_only:
        return
    generator = load_bundled(folder, Runtime(device=cfg.device))
    made = write_method(method_of(row), grids, pairs, generator, called=name)
    test_set = find_test_set(made.parent, pairs.out / "inputs").only((name,))
    how = {"preset": cfg.preset, "train": cfg.train_args, "finetune": cfg.finetune_args}
    results.use_settings(cfg.label, {"pairs": len(grids), **how})
    run.evaluate(test_set, results, cfg.label, truth=False)


def take_over(cfg: AblateConfig, source: Path) -> None:
    """Rows of mixers that were trained alike, from figures that exist.  UserError when unreadable
    or without such rows."""
    try:
        document = json.loads(source.read_text())
        scenes = {s: rows for s, rows in document["results"].items() if "soft" in rows}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{source} is no result file ({error!r})") from None
    if not scenes:
        raise UserError(f"{source} has no row 'soft'; make it with scripts/evaluate.py generation")
    results = ResultFile(cfg.json, TITLE, order=(*ROWS, *SWITCHED_OFF.values()))
    for scene, rows in scenes.items():
        label = f"{scene}, bundled mixers"
        results.use_settings(label, document.get("settings", {}).get(scene, {}))
        for name in (*ROWS, *SWITCHED_OFF):
            if name in rows:
                ends = ("", "_lo", "_hi")
                row = {b + e: rows[name].get(a + e) for a, b in RECORDED.items() for e in ends}
                results.add(label, SWITCHED_OFF.get(name, name), row)
        results.note(
            f"{label}: figures of {source.name}, made by {document.get('command', '')}; trained "
            "rows had equal budgets (docs/MODEL_CARD.md gives each row's command).",
            instead_of=f"{label}: ",
        )
    shown = [
        {"title": x["title"], "columns": [c for c in x["columns"] if c[0] in RECORDED.values()]}
        for x in layouts(("epipolar", "truth"))
    ]
    results.store("layouts", shown)


def main(cfg: AblateConfig) -> None:
    if cfg.recorded is not None:
        take_over(cfg, cfg.recorded)
        return
    if cfg.list:
        for name, row in ROWS.items():
            say(f"{name}: {row.what} ({' then '.join(row.stages) or 'not trained'})")
        return
    runtime = Runtime(device=cfg.device)
    base = load_bundled(weights_folder(cfg.base or ""), runtime)
    pairs = Pairs(cfg.folder, cfg.n, cfg.world, cfg.views, cfg.times, cfg.grid_steps)
    grids = [] if cfg.train_only else write_inputs(pairs, base)
    results = ResultFile(cfg.json, TITLE, runtime.torch_device(), tuple(ROWS))
    metrics = make_metrics(cfg.metrics, cfg.weights, runtime.torch_device())
    ready = [m for m in metrics if m.is_available()[0]]
    results.store("layouts", layouts([m.name for m in ready]))
    run = MetricRun(ready, cfg.folder / "records")
    for name in ROWS if cfg.row == "all" else (cfg.row,):
        make_row(name, cfg, base, pairs, grids, run, results)
        results.note(f"{name}: {ROWS[name].what}", instead_of=f"{name}: ")
    results.note(
        f"{cfg.label}: the mixers of scripts/train_4d.py --preset {cfg.preset} on a frozen base, "
        f"{len(grids)} held-out pairs; "
        "first stage on pseudo-4D grids, second on rendered procedural ones, where a row does not "
        "say otherwise; a small-scale result, no claim about the paper's 20000 + 3000 steps."
    )
    for table in layout_tables(results.document):
        say("\n" + markdown(table))


def command() -> int:
    """Run from the command line; the exit code."""
    return run_script(main, AblateConfig, __doc__)
