"""What only a GPU can show. Prints one JSON.

    python scripts/gpu_check.py [--part all|rasterizer|generator|wan] [--json FILE]

`rasterizer`: gsplat against the CPU rasterizer, both timed; its first run on a machine may compile
kernels, which takes minutes. `generator`: seconds and share of the card's peak of a whole 8 x 8
grid at 288x512 with networks of the paper's scale (random weights, bfloat16), as it is and
compiled. `wan`: one step of the two streams over Wan's real shapes (random weights; needs the extra
`[wan]`). Needs a CUDA device; without one it says so in one line and exits with code 2.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `scripts` is not installed

import fourreal  # noqa: E402, F401, I001  first: it sets how torch's threads wait
import torch  # noqa: E402
import tyro  # noqa: E402

from recon.raster.cuda import gsplat_available  # noqa: E402
from scripts.tools.gpu_generator import GeneratorCheck, check_generator  # noqa: E402
from scripts.tools.gpu_rasterizer import check_rasterizer  # noqa: E402
from scripts.tools.gpu_wan import check_wan  # noqa: E402


@dataclass
class GpuCheckConfig:
    part: Literal["all", "rasterizer", "generator", "wan"] = "all"
    repeats: int = 20
    """Repeats of a rasterizer timing."""
    largest: int = 3
    """How many of the rasterizer's three sizes to run, smallest first."""
    compile: bool = True
    """Time the compiled generator too (a minute or more of compiling)."""
    json: Path | None = None
    """Write the result there too."""


def parts_of(config: GpuCheckConfig) -> list[Callable[[], dict[str, Any]]]:
    """The checks to run, in order."""
    parts: list[Callable[[], dict[str, Any]]] = []
    if config.part in ("all", "rasterizer"):
        parts.append(lambda: check_rasterizer(config.repeats, config.largest))
    if config.part in ("all", "generator"):
        parts.append(lambda: check_generator(GeneratorCheck()))
        if config.compile:
            parts.append(lambda: check_generator(GeneratorCheck(compile=True)))
    if config.part == "wan" or (config.part == "all" and find_spec("diffusers") is not None):
        parts.append(check_wan)
    return parts


def report_of(records: list[dict[str, Any]], hardware: str) -> dict[str, Any]:
    """One result file from the records of the parts; variants of one scene are joined."""
    results: dict[str, dict[str, Any]] = {}
    for record in records:
        for scene, variants in record["results"].items():
            results.setdefault(scene, {}).update(variants)
    return {
        "schema": 1,
        "title": "On a GPU",
        "command": "python " + " ".join(sys.argv),
        "hardware": hardware,
        "results": results,
        "notes": list(dict.fromkeys(note for record in records for note in record["notes"])),
        "passed": all(record.get("passed", True) for record in records),
    }


def main(config: GpuCheckConfig) -> int:
    available, reason = gsplat_available()
    if config.part in ("generator", "wan"):
        available, reason = torch.cuda.is_available(), "no CUDA device"
    if available and config.part == "wan" and find_spec("diffusers") is None:
        available, reason = False, "diffusers is not installed (pip install -e '.[wan]')"
    if not available:
        print(f"gpu_check cannot run: {reason}", file=sys.stderr)
        return 2
    hardware = f"one {torch.cuda.get_device_name()}, torch {torch.__version__}"
    hardware += f"; cpu: {torch.get_num_threads()} threads"
    report = report_of([part() for part in parts_of(config)], hardware)
    text = json.dumps(report, indent=1)
    print(text)
    if config.json is not None:
        config.json.write_text(text + "\n")
    return 0 if report["passed"] else 1


if __name__ == "__main__":
    sys.exit(main(tyro.cli(GpuCheckConfig, description=__doc__)))
