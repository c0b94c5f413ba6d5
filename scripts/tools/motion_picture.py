"""The picture of docs/RECONSTRUCTION.md: what a node's path between time stamps may look like.

Straight lines, the spline that bends least, and the curve of ``recon.motion.curve``.

    python -m scripts.tools.motion_picture --out docs/images/motion.png

Needs matplotlib (extra ``[eval]`` or ``[test]``).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from fourreal.script import run_script
from recon.motion.curve import curve_at, spline_slopes, straight

STAMPS = torch.linspace(0, 1, 8, dtype=torch.float64)


@dataclass
class Options:
    out: Path = Path("docs/images/motion.png")
    """The picture."""


def swinging() -> torch.Tensor:
    """A foot that swings evenly, [T, 1, 1]."""
    return torch.sin(2 * torch.pi * 1.3 * STAMPS)[:, None, None]


def snapping() -> torch.Tensor:
    """An arm that is held, moved within one interval, and held again, [T, 1, 1]."""
    return torch.tensor([-0.9, -0.9, -0.9, 0.9, 0.9, 0.9, -0.1, -0.1]).double()[:, None, None]


def main(options: Options) -> None:
    """Draw both kinds of motion."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 2.6), sharey=True)
    dense = np.linspace(0, 1, 400)
    cases = (
        ("motion goes on: the curve bends", swinging()),
        ("motion stops: it does not swing past", snapping()),
    )
    for axis, (title, values) in zip(axes, cases, strict=True):
        slopes = spline_slopes(STAMPS, values)
        lines = [float(straight(STAMPS, values, t)) for t in dense]
        curve = [float(curve_at(STAMPS, values, slopes, t)) for t in dense]
        spline = CubicSpline(STAMPS.numpy(), values[:, 0, 0].numpy(), bc_type="natural")(dense)
        axis.plot(dense, lines, color="0.6", lw=1, label="straight lines")
        axis.plot(dense, spline, color="tab:orange", lw=1, ls="--", label="natural spline")
        axis.plot(dense, curve, color="tab:blue", lw=2, label="ours")
        axis.plot(STAMPS, values[:, 0, 0], "o", color="k", ms=4, label="time stamps")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("time")
        axis.set_yticks([])
    axes[0].set_ylabel("place of a node")
    axes[1].legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    figure.savefig(options.out, dpi=110)


if __name__ == "__main__":
    sys.exit(run_script(main, Options, __doc__))
