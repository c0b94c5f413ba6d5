"""What a backend that runs a user's checkout needs, and where it runs (see `fourreal.checkout`)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import torch


def why_not(
    folder: str, needed: tuple[str, ...], weights: str, modules: tuple[str, ...], hint: str
) -> str:
    """What is missing before a backend can run, in one line; empty when nothing is.

    folder: the checkout, empty when the package is to be installed; needed: files in it; weights:
    file or folder; modules: what must be installed; hint: where the checkout comes from.
    """
    if needed and not folder:
        return f"no checkout given ({hint})"
    for name in needed:
        if not (Path(folder) / name).is_file():
            return f"{folder} has no {name}: not a checkout of it ({hint})"
    if not weights:
        return "no weights given"
    if not Path(weights).exists():
        return f"no weights at {weights}"
    absent = [name for name in modules if not _installed(name)]
    return f"needs {', '.join(absent)} (pip install {' '.join(absent)})" if absent else ""


def _installed(module: str) -> bool:
    if module in sys.modules:
        return True
    return importlib.util.find_spec(module) is not None


def device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
