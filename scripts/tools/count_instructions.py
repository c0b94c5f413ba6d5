"""Instructions in the innermost loops of the rasterizer's blending kernels, as compiled here.

    python -m scripts.tools.count_instructions

Draws a small scene forward and back, then reads the machine code that numba made: of every
innermost loop that works on whole vector registers, how many instructions it has, how many of them
are on the widest registers, and the most frequent ones. The loops of a patch: 16 alphas, and their
blending. Prints; writes nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from fourreal.script import run_script
from recon.raster.cpu import blend
from scripts.tools.bench_rasterizer import passes
from scripts.tools.raster_scene import draw_scene, layered_scene


@dataclass
class Args:
    """What is listed."""

    least: int = 20
    """Loops with fewer instructions on the widest registers are left out."""


def innermost_loops(assembly: str) -> list[list[str]]:
    """The instructions of every loop that holds no other, in the order of the code."""
    lines = [line.strip() for line in assembly.splitlines()]
    labels = {line[:-1]: i for i, line in enumerate(lines) if re.match(r"^\.LBB\d+_\d+:$", line)}
    ends: dict[int, int] = {}  # first line -> last line that jumps back to it
    for i, line in enumerate(lines):
        jump = re.match(r"^j\w+\s+(\.LBB\d+_\d+)", line)
        if jump and labels.get(jump[1], i) < i:
            ends[labels[jump[1]]] = i
    inner = [
        (first, last)
        for first, last in ends.items()
        if not any(first < a and b <= last for a, b in ends.items())
    ]
    return [
        [line for line in lines[a : b + 1] if line and not line.startswith((".", ";", "#"))]
        for a, b in sorted(inner)
    ]


def main(args: Args) -> None:
    _, both = passes(draw_scene, layered_scene(72, 128, 2000), 72, 128)
    both()
    for kernel in (blend.forward, blend.backward):
        kernel.recompile()  # a kernel that was loaded has no listing
        assembly = kernel.inspect_asm(kernel.signatures[0])
        wide = "zmm" if "zmm" in assembly else "ymm"
        print(f"{kernel.__name__} ({'AVX-512' if wide == 'zmm' else 'AVX2'})")
        for body in innermost_loops(assembly):
            on_all = sum(wide in line for line in body)
            if on_all >= args.least:
                kinds = Counter(line.split()[0] for line in body).most_common(8)
                most = ", ".join(f"{name} {n}" for name, n in kinds)
                print(f"  {len(body)} instructions, {on_all} on {wide}: {most}")


if __name__ == "__main__":
    raise SystemExit(run_script(main, Args, __doc__))
