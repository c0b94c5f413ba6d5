"""Run one of nerfstudio's commands in a process of its own: ``ns_command.py ns-viewer ARGS``.

PyPI's torchvision is built for CUDA; beside a CPU build of torch its import dies for want of two
operators. They are declared first, which is all that nerfstudio needs.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

import torch

_LIBRARIES = []  # a library that is collected takes its declarations with it


def declare_missing_operators() -> None:
    """Make ``import torchvision`` work on a CPU build of torch; elsewhere do nothing."""
    if torch.version.cuda is not None or _LIBRARIES:
        return
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _LIBRARIES.append(library)


if __name__ == "__main__":
    declare_missing_operators()
    (command,) = entry_points(group="console_scripts", name=sys.argv[1])
    sys.argv = sys.argv[1:]
    sys.exit(command.load()())
