"""Measure what the packages make, one subcommand an evaluation: `python scripts/evaluate.py NAME`.

    python scripts/evaluate.py reconstruction --data DIR --size 144x256 --json FILE
    python scripts/evaluate.py NAME --help

Result files share one schema (`scripts.evaluate.result_file`), and a command that was interrupted
goes on where it stopped.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `scripts` is not installed

COMMANDS = {
    "tracking": "trackers on freeze-time clips with exact or COLMAP cameras",
    "reconstruction": "the reconstruction on grids with ground truth, baselines and ablations",
    "real": "real captures: held-out views and cells, cameras, new viewpoints",
    "cost": "seconds and memory of the reconstruction against points, cells, resolution and times",
    "generation": "grids completed from row 0 and column 0, against rules and mixers",
    "prompts": "colour, shape and motion read back from generated clips",
    "long-grids": "grids longer than the model's window: memory and seams",
    "upsampler": "the upsampler against plain resizing",
    "assets": "the asset renderer against renders made elsewhere",
    "sync-dynamics": "what synchronisation does inside the network, layer by layer",
    "pairs": "write held-out pairs of clips and the grids that methods complete from them",
    "paper": "the paper's Table 1 and Table 2 for folders of completed grids",
    "ablate": "the paper's ablations from training to table",
    "study": "the paper's user study: page and summary",
    "benchmarks": "docs/BENCHMARKS.md from the result files",
    "report": "one HTML page with everything that was measured",
}
MODULES = {"pairs": "make_pairs"}


def main(words: list[str]) -> int:
    """Hand the remaining words to the evaluation that the first one names; the exit code."""
    name = words[0] if words else ""
    if name in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        rows = "\n".join(f"  {key:<{width}}  {what}" for key, what in COMMANDS.items())
        print(f"{__doc__}\n{rows}")
        return 0
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(COMMANDS)}"
        print(f"error: no such evaluation: '{name}'; {hint}", file=sys.stderr)
        return 2
    sys.argv = [f"{sys.argv[0]} {name}", *words[1:]]
    module = MODULES.get(name, name.replace("-", "_"))
    return importlib.import_module(f"scripts.evaluate.{module}").command()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
